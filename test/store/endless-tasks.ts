/** Tasks of the store's tests that have a run each second, and no end. */
import { expect } from "vitest";
import { assert } from "../../src/base/errors.ts";
import type { AttemptEnd } from "../../src/model/outcome.ts";
import type { Task } from "../../src/model/task.ts";
import type { FileContent } from "../../src/model/task-file.ts";
import type { Store } from "../../src/store/store.ts";
import { T0, WORKER_A, attemptEnd, attemptOf, bytesOf, create, digest, taskId, taskSpec } from "./store-samples.ts";

/** T0 is a whole second: run n is due n seconds later. */
export const EVERY_SECOND = { cron: "* * * * * *", repeats: 0 };

/** Everything in these tests is older. */
export const LATER = T0 + 1_000_000;
export const NONE_FREED = { digests: [], hasMore: false };

export function slot(run: number): number {
  return T0 + run * 1_000;
}

/** A task without end of which the first `runs` have succeeded, each at its slot. */
export async function createEndless(store: Store, id: string, runs: number): Promise<Task> {
  const task = await create(store, taskSpec(id, EVERY_SECOND));
  await live(
    store,
    task,
    Array.from({ length: runs }, (_, index) => index + 1),
  );
  return task;
}

/** These runs of the task come, and end so. */
export async function live(store: Store, task: Task, runs: readonly number[], how = attemptEnd()): Promise<void> {
  for (const run of runs) {
    await store.promoteDue(slot(run), 10);
    await carryOut(store, task, run, { how });
  }
}

interface Ending {
  readonly attempt?: number;
  readonly at?: number;
  readonly how?: AttemptEnd;
}

/** A run that is ready writes a little, keeps these files, and ends. */
export async function carryOut(
  store: Store,
  task: Task,
  run: number,
  { files = [], ...ending }: Ending & { readonly files?: readonly FileContent[] } = {},
): Promise<void> {
  const id = attemptOf(task, run, ending.attempt);
  await lease(store, task, run, ending.attempt);
  await store.appendOutput(id, 0, "stdout", bytesOf("wrote"));
  for (const file of files) expect(await store.keepFile(id, file, { hasBytes: true })).toBe("kept");
  await end(store, task, run, ending);
}

export async function lease(store: Store, task: Task, run: number, attempt = 1): Promise<void> {
  const id = attemptOf(task, run, attempt);
  assert(await store.lease(id, WORKER_A, slot(run) + 10, slot(run) + 15_000), `run ${run} is ready`);
}

export async function end(
  store: Store,
  task: Task,
  run: number,
  { attempt = 1, at = slot(run) + 100, how = attemptEnd() }: Ending = {},
): Promise<void> {
  const settled = await store.settle(attemptOf(task, run, attempt), how, { now: at, backoffJitter: 0 });
  assert(settled.kind === "settled", `run ${run} was under way`);
}

export function keptFile(path: string, digit: string): FileContent {
  return { path, digest: digest(digit), bytes: 10 };
}

export async function get(store: Store, id: string): Promise<Task> {
  const task = await store.getTask(taskId(id));
  assert(task !== undefined, `${id} is there`);
  return task;
}

export async function indexes(store: Store, id: string, fromIndex: number, limit: number): Promise<readonly number[]> {
  const runs = await store.listRuns(taskId(id), { fromIndex, limit });
  return runs?.map(({ index }) => index) ?? [];
}
