/**
 * The store on a disk and the one that the simulation has in its place answer alike: both are taken through the same random
 * histories, and whatever is asked of them on the way has one answer. What the contract leaves open (orders, cursors, numbers
 * of requirements, how a log is cut into pieces) is left out of the comparison.
 */
import { expect, test } from "vitest";
import type { Digest, PeerId, TaskId } from "../../src/base/ids.ts";
import type { AttemptId } from "../../src/model/run.ts";
import { TASK_STATES } from "../../src/model/task.ts";
import type { FinishedPosition, ForgetResult, OutputPage, ReadyRun, Store } from "../../src/store/store.ts";
import { MemoryStore } from "../support/memory-store.ts";
import { SqliteHarness } from "./sqlite/sqlite-harness.ts";
import {
  type Action,
  type Ageing,
  type AttemptChoice,
  DIGESTS,
  IDS,
  KEYS,
  PATHS,
  type Step,
  SUBMITTERS,
  WORKERS,
  endlessSteps,
  newTask,
  steps,
  submissionKey,
  submitterLimit,
} from "./store-actions.ts";
import { INSPECTION, T0 } from "./store-samples.ts";
import { fc } from "../support/properties.ts";

const SEED = 1;
const SHRINKING_MS_MAX = 90_000;
/** No task has it. */
const NO_SERIAL = 0;

test.each([
  { what: "whatever is done to them", histories: steps, numRuns: 15 },
  { what: "with tasks that have no end", histories: endlessSteps, numRuns: 5 },
])(
  "the store on a disk and the one in memory answer alike, $what",
  { timeout: 180_000 },
  async ({ histories, numRuns }) => {
    const held: { pair: StorePair | undefined } = { pair: undefined };
    let history = 0;
    try {
      await fc.assert(
        fc.asyncProperty(histories, async (all) => {
          const pair = (held.pair ??= await StorePair.open());
          history += 1;
          try {
            await pair.live(all, history);
          } catch (thrown) {
            // What they have disagreed in they would disagree in again.
            held.pair = undefined;
            await pair[Symbol.asyncDispose]();
            throw thrown;
          }
        }),
        // The same histories each time: another seed has others. Whoever has to look into a disagreement wants a short one, but
        // not for ever.
        { seed: SEED, numRuns, plugins: [fc.interruptAfterTimeLimit(SHRINKING_MS_MAX)] },
      );
    } finally {
      await held.pair?.[Symbol.asyncDispose]();
    }
  },
);

/** Two stores that have seen the same. */
class StorePair implements AsyncDisposable {
  readonly #disk: SqliteHarness;
  #memory = new MemoryStore();
  #now = T0;

  private constructor(disk: SqliteHarness) {
    this.#disk = disk;
  }

  static async open(): Promise<StorePair> {
    return new StorePair(await SqliteHarness.open());
  }

  /** Takes both through a history, and leaves them without a task. */
  async live(all: readonly Step[], history: number): Promise<void> {
    for (const { waitMs, action, looks } of all) {
      this.#now += waitMs;
      await this.#act(action, history);
      if (looks) await this.#look(history);
    }
    await this.#look(history);
    for (const id of IDS) await this.#both((store) => store.deleteTask(id));
    await this.#both((store) => store.releaseModules(Infinity, 100, this.#now));
    await this.#both((store) => store.promoteDue(this.#now, 1_000));
    await this.#look(history);
    expect(await this.#memory.measureQueue()).toEqual({ tasks: 0, bytes: 0 });
    expect(await this.#disk.store.measureQueue()).toEqual({ tasks: 0, bytes: 0 });
  }

  async #act(action: Action, history: number): Promise<void> {
    const now = this.#now;
    switch (action.kind) {
      case "submit": {
        const { spec, inspection } = newTask(action.task, now);
        const key = submissionKey(action.key, history);
        await this.#both((store) => store.createTask(spec, inspection, now, key, submitterLimit(action.max)));
        return;
      }
      case "batch": {
        const tasks = action.tasks.map((task) => newTask(task, now));
        // A batch is never the same submission as one of another size.
        const draft = action.key && { ...action.key, fingerprint: `${action.key.fingerprint} ${tasks.length}` };
        const key = submissionKey(draft, history);
        await this.#both((store) => store.createTasks(tasks, now, key, submitterLimit(action.max)));
        return;
      }
      case "promote": {
        const missedBefore = action.missedMs === undefined ? undefined : now - action.missedMs;
        await this.#both((store) => store.promoteDue(now, action.limit, missedBefore));
        return;
      }
      case "lease": {
        const id = await this.#attempt(action.which);
        await this.#both((store) => store.lease(id, action.worker, now, now + action.leaseMs));
        return;
      }
      case "renew": {
        const ids = await Promise.all(action.which.map((which) => this.#attempt(which)));
        await this.#both((store) => store.renew(ids, action.worker, now + action.leaseMs));
        return;
      }
      case "settle": {
        const id = await this.#attempt(action.which);
        const { isBlameless, backoffJitter } = action;
        await this.#both((store) => store.settle(id, action.end, { now, isBlameless, backoffJitter }));
        return;
      }
      default:
        await this.#actOnMore(action);
    }
  }

  async #actOnMore(action: Exclude<Action, { kind: "submit" | "batch" | "promote" | "lease" | "renew" | "settle" }>) {
    const now = this.#now;
    switch (action.kind) {
      case "append": {
        const id = await this.#attempt(action.which);
        return this.#both((store) => store.appendOutput(id, action.offset, action.stream, action.bytes));
      }
      case "keep-file": {
        const id = await this.#attempt(action.which);
        const file = { path: action.path, digest: action.digest, bytes: 3 };
        return this.#both((store) => store.keepFile(id, file, { hasBytes: action.hasBytes }));
      }
      case "extend-all":
        return this.#both((store) => store.extendAllLeases(now + action.leaseMs));
      case "cancel":
        return this.#both((store) => store.cancelTask(action.id, "enough", now));
      case "delete":
        return this.#both((store) => store.deleteTask(action.id));
      case "retry":
        return this.#both((store) => store.retryTask(action.id, now, submitterLimit(action.max)));
      case "forget":
        return this.#both((store) => forgetAll(store, now - action.ageMs, action));
      case "forget-runs":
        return this.#both((store) => forgetAllRuns(store, now - action.ageMs, action));
      case "hold":
        return this.#both((store) => store.holdModule(action.digest, INSPECTION, now));
      case "release":
        return this.#both((store) =>
          store.releaseModules(now - action.ageMs, action.limit, now, now - action.ageMs - action.spanMs),
        );
      case "drain":
        return this.#both((store) => store.setDrained(action.worker, action.isDrained, now));
      case "admit":
        return this.#both((store) => store.setAdmission(action.worker, action.admission, now));
      case "reopen":
        await this.#disk.reopen();
        await this.#memory.close();
        this.#memory = new MemoryStore({ disk: this.#memory.disk });
        return undefined;
    }
  }

  /** One that is not there, if there is none to choose. */
  async #attempt({ among, place, off }: AttemptChoice): Promise<AttemptId> {
    const found =
      among === "ready"
        ? (await this.#memory.listReady(this.#now, 1_000)).map(({ spec, serial, index, nextAttempt }) => {
            return { task: spec.id, serial, run: index, attempt: nextAttempt };
          })
        : (await this.#memory.listRunning())
            .map(({ id }) => id)
            .toSorted((a, b) => a.serial - b.serial || a.run - b.run);
    const [first] = IDS;
    if (first === undefined) throw new Error("there are ids");
    const id = found[place % Math.max(1, found.length)] ?? { task: first, serial: NO_SERIAL, run: 1, attempt: 1 };
    return { ...id, attempt: id.attempt + off };
  }

  /** Asks for everything that there is to know. */
  async #look(history: number): Promise<void> {
    const now = this.#now;
    const questions: readonly ((store: Store) => Promise<unknown>)[] = [
      (store) => listAll(store, undefined),
      ...TASK_STATES.map((state) => (store: Store) => listAll(store, state)),
      ...IDS.flatMap((id) => [
        (store: Store) => store.getTask(id),
        ...[1, 2].map((fromIndex) => (store: Store) => store.listRuns(id, { fromIndex, limit: 3 })),
        (store: Store) => store.getRun(id, 1),
        (store: Store) => store.getLatestStartedRun(id),
        (store: Store) => readLog(store, id),
        ...PATHS.flatMap((path) => [undefined, 1].map((run) => (store: Store) => store.findKeptFile(id, path, run))),
      ]),
      (store) => inspectAll(store, now),
      (store) => listReady(store, now),
      (store) => store.nextDueAt(),
      (store) => store.nextBackoffEnd(now),
      ...[undefined, ...WORKERS].map((worker) => async (store: Store) => {
        const running = await store.listRunning(worker);
        return running.toSorted((a, b) => a.id.serial - b.id.serial || a.id.run - b.id.run);
      }),
      ...[1, 1_000].map((limit) => async (store: Store) => {
        return (await store.listExpired(now, limit)).map(({ leaseUntil }) => leaseUntil);
      }),
      async (store) => (await store.measureQueue()).tasks,
      (store) => store.countOpenRuns(),
      ...DIGESTS.flatMap((digest) => [
        (store: Store) => store.isBlobUsed(digest),
        (store: Store) => store.getModule(digest),
      ]),
      listModules,
      async (store) => (await store.listDrained()).toSorted(),
      ...WORKERS.map((worker: PeerId) => (store: Store) => store.getAdmission(worker)),
      ...SUBMITTERS.flatMap((submitter) =>
        KEYS.map((key) => (store: Store) => {
          const asked = submissionKey({ submitter, key, fingerprint: "f1" }, history);
          return asked === undefined ? Promise.resolve(undefined) : store.findSubmission(asked, now);
        }),
      ),
    ];
    await Promise.all(questions.map((question) => this.#both(question)));
  }

  async #both(ask: (store: Store) => Promise<unknown>): Promise<void> {
    const [disk, memory] = await Promise.all([ask(this.#disk.store), ask(this.#memory)]);
    expect(comparable(disk)).toEqual(comparable(memory));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#memory.close();
    await this.#disk[Symbol.asyncDispose]();
  }
}

/** Page by page. */
async function listAll(store: Store, state: (typeof TASK_STATES)[number] | undefined): Promise<unknown> {
  const pages: unknown[] = [];
  for (let cursor: string | undefined; ;) {
    const page = await store.listTasks({ state, limit: 2, cursor });
    pages.push(page.tasks);
    ({ cursor } = page);
    if (cursor === undefined) return pages;
  }
}

async function listModules(store: Store): Promise<readonly Digest[]> {
  const found: Digest[] = [];
  for (let cursor: string | undefined; ;) {
    const page = await store.listModules({ limit: 1, cursor });
    found.push(...page.modules.map(({ digest }) => digest));
    ({ cursor } = page);
    if (cursor === undefined) return found;
  }
}

async function forgetAll(store: Store, endedBefore: number, { limit, spanMs }: Ageing): Promise<unknown> {
  const rounds: unknown[] = [];
  const from = spanMs === Infinity ? undefined : { finishedAt: endedBefore - spanMs, serial: 0 };
  for (let after: FinishedPosition | undefined = from; ;) {
    const round: ForgetResult = await store.forgetFinished(endedBefore, limit, after);
    rounds.push(round);
    after = round.next;
    if (after === undefined) return rounds;
  }
}

/** Step by step: which tasks each one looks at beside those without end is a store's own affair. */
async function forgetAllRuns(store: Store, endedBefore: number, { limit, spanMs }: Ageing): Promise<unknown> {
  const freed = new Set<Digest>();
  let forgotten = 0;
  for (let after = 0; ;) {
    const step = await store.forgetRuns(endedBefore, limit, after, endedBefore - spanMs);
    forgotten += step.forgotten;
    for (const digest of step.freed.digests) freed.add(digest);
    if (step.next === undefined) return { forgotten, digests: [...freed] };
    after = step.next;
  }
}

/** All at once, page by page, and all but those of each requirement. The numbers of requirements are each store's own. */
async function listReady(store: Store, now: number): Promise<unknown> {
  const all = await store.listReady(now, 1_000);
  const paged: ReadyRun[] = [];
  for (let after: ReadyRun | undefined; ;) {
    const page = await store.listReady(now, 3, { after });
    paged.push(...page);
    after = page.at(-1);
    if (after === undefined) break;
  }
  expect(paged).toEqual(all);
  const requirements = [...new Set(all.map(({ requirement }) => requirement))];
  for (const requirement of requirements) {
    const others = all.filter((run) => run.requirement !== requirement);
    expect(await store.listReady(now, 1_000, { except: [requirement] })).toEqual(others);
  }
  return all.map((run) => ({ ...run, requirement: requirements.indexOf(run.requirement) }));
}

/** Where each is; how much is before it only when no back-off is over that `promoteDue` has not ended. */
async function inspectAll(store: Store, now: number): Promise<unknown> {
  const all = await Promise.all(IDS.map((id) => store.inspectTask(id, now)));
  const runs = all.flatMap((each) => each?.openRuns ?? []);
  const isEnded = runs.some(({ notBefore }) => notBefore > 0 && notBefore <= now);
  return isEnded ? all.map((each) => each && { ...each, readyAhead: undefined }) : all;
}

/** The logs of a task's first runs, put together from small pages. */
async function readLog(store: Store, id: TaskId): Promise<unknown> {
  const logs: unknown[] = [];
  for (const run of [1, 2]) {
    for (const stream of [undefined, "stdout", "stderr"] as const) {
      const bytes: string[] = [];
      let page: OutputPage | undefined;
      for (let offset = 0; ; offset = page.nextOffset) {
        page = await store.readOutput(id, run, { stream, offset, bytesMax: 5 });
        if (page === undefined) break;
        for (const chunk of page.chunks) {
          for (const [at, byte] of chunk.bytes.entries())
            bytes.push(`${chunk.offset + at} ${chunk.attempt} ${chunk.stream} ${byte}`);
        }
        if (page.nextOffset === page.outputBytes) break;
      }
      logs.push({ bytes, length: page?.outputBytes, isComplete: page?.isComplete, isTruncated: page?.isTruncated });
    }
  }
  return logs;
}

/** The same without what may differ: the order of what has none. */
function comparable(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(comparable);
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, each]) => [
      name,
      UNORDERED.has(name) && Array.isArray(each) ? each.map(comparable).toSorted(byText) : comparable(each),
    ]),
  );
}

const UNORDERED: ReadonlySet<string> = new Set([
  "digests",
  "triedWorkers",
  "lostOn",
  "waitsFor",
  "released",
  "running",
]);

function byText(a: unknown, b: unknown): number {
  const [one, other] = [JSON.stringify(a), JSON.stringify(b)];
  return one < other ? -1 : one > other ? 1 : 0;
}
