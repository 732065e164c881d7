/**
 * A store with a million tasks, most of them finished: how long it takes to open, to list a page, to count and to submit.
 * The rows are copies of one task's that really ran, made by SQL; what they cost to make is not measured.
 */
import { silentLog } from "../../src/base/log.ts";
import { SqliteStore } from "../../src/store/sqlite/sqlite-store.ts";
import { T0, attemptEnd, bytesOf, create, createRunning, taskSpec } from "../store/store-samples.ts";
import { type Figure, latencies, percentile } from "./measure.ts";
import { BenchFolder } from "./schedule-gateway.ts";
import { copyTasks } from "./schedule-rows.ts";

const TASKS = 1_000_000;
/** Of each state beside `succeeded`. */
const OTHERS = 50_000;
const SAMPLES = 100;

const TARGETS_MS: Timings = {
  "open and extend the leases": 2_000,
  "list a page of 100": 50,
  "list a page of 1000": 50,
};

type Timings = Readonly<Record<string, number>>;

export async function benchMillionTasks(): Promise<Figure[]> {
  await using folder = await BenchFolder.create();
  const few = await measure(folder.file("few.db"), () => {});
  const many = await measure(folder.file("many.db"), multiply);
  return Object.entries(many).flatMap(([name, value]) => {
    const figure = { name: `${TASKS} stored tasks: ${name}`, unit: "ms", value };
    const atMost = TARGETS_MS[name];
    const alike = { name: `4 stored tasks: ${name}`, unit: "ms", value: few[name] ?? NaN };
    return atMost === undefined
      ? { ...figure, against: { name: "with four", value: alike.value } }
      : [alike, { ...figure, target: { atMost } }];
  });
}

/** Times are in milliseconds, medians unless a name says otherwise. */
async function measure(path: string, grow: (path: string) => void): Promise<Timings> {
  {
    await using store = await SqliteStore.open({ path, log: silentLog });
    await fill(store);
  }
  grow(path);
  const openedAt = performance.now();
  await using store = await SqliteStore.open({ path, log: silentLog });
  await store.extendAllLeases(T0);
  const openMs = performance.now() - openedAt;
  const median = async (once: (index: number) => Promise<unknown>) =>
    percentile(await latencies(SAMPLES, async (index) => void (await once(index))), 0.5);
  const firstPage = await store.listTasks({ limit: 100 });
  const submits = await latencies(SAMPLES, async (index) => void (await create(store, taskSpec(`new-${index}`))));
  return {
    "open and extend the leases": openMs,
    "list a page of 100": await median(() => store.listTasks({ limit: 100 })),
    "list the next page": await median(() => store.listTasks({ limit: 100, cursor: firstPage.cursor })),
    "list a page of 1000": await median(() => store.listTasks({ limit: 1_000 })),
    "list 100 failed ones": await median(() => store.listTasks({ limit: 100, state: "failed" })),
    "list 100 that are ready to run": await median(() => store.listReady(T0, 100)),
    "make due runs ready, none is due": await median(() => store.promoteDue(T0 - 1, 500)),
    "count the unfinished": await median(() => store.measureQueue()),
    "submit, p50": percentile(submits, 0.5),
    "submit, p99": percentile(submits, 0.99),
  };
}

/** One task of each state. */
async function fill(store: SqliteStore): Promise<void> {
  await create(store, taskSpec("scheduled", { firstDueAt: T0 + 86_400_000 }));
  await create(store, taskSpec("ready", { require: { zone: "nowhere" } }));
  for (const id of ["failed", "succeeded"]) {
    const { attempt } = await createRunning(store, taskSpec(id));
    await store.appendOutput(attempt, 0, "stdout", bytesOf("output of a task\n"));
    const code = id === "failed" ? 1 : 0;
    await store.settle(attempt, attemptEnd({ kind: "exited", code }), { now: T0, backoffJitter: 0 });
  }
}

/** Copies each of the four. */
function multiply(path: string): void {
  copyTasks(path, [
    { id: "scheduled", copies: OTHERS },
    { id: "ready", copies: OTHERS },
    { id: "failed", copies: OTHERS },
    { id: "succeeded", copies: TASKS - 3 * OTHERS },
  ]);
}
