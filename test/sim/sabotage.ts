/** What planted bugs are made of: a store some of whose operations are others, and what is done to its rows behind its back. */
import { parseCron } from "../../src/model/cron.ts";
import { overloaded } from "../../src/base/errors.ts";
import type { AttemptEnd } from "../../src/model/outcome.ts";
import { type AttemptId, attemptKey } from "../../src/model/run.ts";
import type { Store } from "../../src/store/store.ts";
import type { MemoryStore } from "../support/memory-store.ts";
import { type TaskRow, withRun } from "../support/memory-store-state.ts";

/** A store in which these operations are others. */
export function changed(store: MemoryStore, operations: Partial<Store>): Store {
  return new Proxy<Store>(store, {
    get: (target, name) => {
      const own: unknown = Reflect.get(operations, name);
      const value: unknown = own ?? Reflect.get(target, name);
      return typeof value === "function" ? (...args: unknown[]): unknown => Reflect.apply(value, target, args) : value;
    },
  });
}

export const NOTHING_FREED = { digests: [], hasMore: false };

/** True for each `count`-th call. */
export function every(count: number): () => boolean {
  let calls = 0;
  return () => {
    calls += 1;
    return calls % count === 0;
  };
}

export function put(store: MemoryStore, task: TaskRow): void {
  const { state } = store.disk;
  store.disk.commit([{ ...state, tasks: new Map(state.tasks).set(task.spec.id, task) }]);
}

/** The task's latest run, if it is to come at a slot, takes the one after that. */
export function leaveSlotOut(store: MemoryStore, task: TaskRow): void {
  const { cron, timezone } = task.spec;
  const run = task.runs.at(-1);
  const parsed = cron === undefined ? undefined : parseCron(cron, timezone);
  if (parsed?.ok !== true || run?.cursor.state !== "scheduled") return;
  put(store, withRun(task, { ...run, dueAt: parsed.schedule.next(run.dueAt) ?? run.dueAt }));
}

export function reopen(store: MemoryStore, id: AttemptId): void {
  const task = store.disk.state.tasks.get(id.task);
  const run = task?.runs[id.run - 1];
  if (task === undefined || run === undefined) return;
  const again = { ...run, cursor: { ...run.cursor, state: "ready" as const }, outcome: undefined };
  put(store, { ...withRun(task, again), finishedAt: undefined });
}

/** A settlement that is refused a few times, if it is of this kind, as a store with much to do does. */
export function reluctantly(store: MemoryStore, isOfKind: (end: AttemptEnd) => boolean): Store["settle"] {
  const asked = new Map<string, number>();
  return (id, end, options) => {
    const count = (asked.get(attemptKey(id)) ?? 0) + 1;
    asked.set(attemptKey(id), count);
    if (count > REFUSALS || !isOfKind(end)) return store.settle(id, end, options);
    return Promise.reject(overloaded("not now", { code: "store-busy" }));
  };
}

const REFUSALS = 7;
