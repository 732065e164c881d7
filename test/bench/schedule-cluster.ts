/**
 * Runs that fall due at an even pace in a whole cluster: a gateway and a worker, each its own process, libp2p between them,
 * and guests in their runners. How long after its due time each is given to the worker, and its result is durable.
 */
import { readFile } from "node:fs/promises";
import type { CapmeshClient } from "../../src/client/client.ts";
import { Cluster, eventually, guestPath } from "../support/processes.ts";
import { type Figure, percentile } from "./measure.ts";

/** Enough that a slot is free whenever one is due. Guests of difficulty 0 are done at once. */
const SLOTS = 8;
const PACES = [50, 200, 500];
const SECONDS = 8;
/** Of the seconds, those before compilers on all sides are warm. */
const WARM_UP_SECONDS = 3;
/** Until the first one is due, and for each task more: all are submitted by then. */
const LEAD_MS = 2_000;
const LEAD_PER_TASK_MS = 2;
const BATCH_LINES = 500;

interface Lateness {
  readonly givenMs: number[];
  readonly doneMs: number[];
}

export async function benchClusterDueToStart(): Promise<Figure[]> {
  await using cluster = await Cluster.create();
  const { ready, client } = await cluster.gateway();
  await cluster.worker(ready.peerId, ["--slots", `${SLOTS}`]).ready;
  await eventually(async () => ((await client.workers())[0]?.offers === SLOTS ? true : undefined));
  const { module } = await client.submit({ wasm: await readFile(guestPath("hash")), input: 0, difficulty: 0 });
  if (module === null) throw new Error("the task has no module");
  const figures: Figure[] = [];
  for (const perSecond of PACES) {
    const { givenMs, doneMs } = await lateness(client, module, perSecond);
    const name = `a whole cluster at ${perSecond} runs/s: due to`;
    for (const share of [0.5, 0.99]) {
      figures.push({ name: `${name} given, p${share * 100}`, unit: "ms", value: percentile(givenMs, share) });
      figures.push({ name: `${name} done, p${share * 100}`, unit: "ms", value: percentile(doneMs, share) });
    }
  }
  return figures;
}

/** By the gateway's clock: of each run, from due to given to the worker, and to its result being durable. */
async function lateness(client: CapmeshClient, module: string, perSecond: number): Promise<Lateness> {
  const count = perSecond * SECONDS;
  const firstDueAt = Date.now() + LEAD_MS + count * LEAD_PER_TASK_MS;
  const tasks = Array.from({ length: count }, (_, index) => ({
    module,
    input: 0,
    difficulty: 0,
    start: new Date(firstDueAt + (index * 1_000) / perSecond).toISOString(),
  }));
  const ids: string[] = [];
  for (let at = 0; at < count; at += BATCH_LINES) {
    ids.push(...(await client.submitBatch(tasks.slice(at, at + BATCH_LINES))).map(({ id }) => id));
  }
  if (Date.now() > firstDueAt) throw new Error("some were due before they were submitted");
  const measured = ids.slice(perSecond * WARM_UP_SECONDS);
  const late: Lateness = { givenMs: [], doneMs: [] };
  for (const id of ids.slice(-SLOTS)) await client.waitForTask(id);
  for (const id of measured) {
    const { dueAt, attempts } = await client.getRun(id, 1);
    const [attempt] = attempts;
    if (dueAt === null || attempt === undefined || attempt.finishedAt === null) throw new Error(`${id} did not end`);
    late.givenMs.push(Date.parse(attempt.startedAt) - Date.parse(dueAt));
    late.doneMs.push(Date.parse(attempt.finishedAt) - Date.parse(dueAt));
  }
  return late;
}
