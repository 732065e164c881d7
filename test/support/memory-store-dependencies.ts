/** A MemoryStore's tasks that run after others: who waits for whom, and what becomes of it. */
import type { TaskId } from "../../src/base/ids.ts";
import { type DependencyEnd, brokenReason } from "../../src/model/dependency.ts";
import { type SlotMoment, slotsFrom } from "../../src/model/schedule.ts";
import type { UnmetDependency } from "../../src/store/inspection.ts";
import { taskTransition, totalRuns } from "../../src/model/task.ts";
import { type Dependency, type TaskRow, type Transaction, standingOf } from "./memory-store-state.ts";

/** The tasks that are named, as far as they may be waited for. */
export function findDependencies(
  tx: Transaction,
  ids: readonly TaskId[],
): { readonly tasks: readonly TaskRow[]; readonly unknown: readonly TaskId[]; readonly endless: readonly TaskId[] } {
  const tasks = ids.flatMap((id) => tx.task(id) ?? []);
  return {
    tasks: tasks.filter((task) => totalRuns(task.spec) < Infinity),
    unknown: ids.filter((id) => tx.task(id) === undefined),
    endless: tasks.filter((task) => totalRuns(task.spec) === Infinity).map((task) => task.spec.id),
  };
}

/** A new task, bound to those that it runs after: it waits, or is cancelled already, or counts from its creation. */
export function bound(tx: Transaction, task: TaskRow, dependencies: readonly TaskRow[]): TaskRow {
  let row = task;
  for (const { serial, spec, finishedAt: endedAt } of dependencies) {
    const end = endOf(tx, spec.id);
    const state = end === undefined ? "waiting" : end.ended === "succeeded" ? "met" : "broken";
    row = {
      ...row,
      dependencies: [...row.dependencies, { serial, id: spec.id, state, endedAt }],
      isWaiting: row.isWaiting || state !== "met",
    };
    if (end !== undefined && end.ended !== "succeeded") row = broken(row, spec.id, end.ended, end.reason);
  }
  return row;
}

function endOf(
  tx: Transaction,
  id: TaskId,
): { readonly ended: DependencyEnd; readonly reason: string | undefined } | undefined {
  const task = tx.task(id);
  if (task === undefined) return { ended: "deleted", reason: undefined };
  const state = tx.stateOf(task);
  if (state !== "succeeded" && state !== "failed" && state !== "cancelled") return undefined;
  return { ended: state, reason: task.reason };
}

function broken(
  task: TaskRow,
  id: TaskId,
  ended: Exclude<DependencyEnd, "succeeded">,
  reason: string | undefined,
): TaskRow {
  return { ...task, isCancelled: true, reason: task.reason ?? brokenReason(id, ended, reason) };
}

/**
 * Sees to one task that waited for another which has ended, or that none does any more. Undefined: there is none. `task` is
 * what has become of it, unsaved and without runs; undefined if nothing has.
 */
export function seeToOneEnd(
  tx: Transaction,
  moment: SlotMoment,
): { readonly before: TaskRow; readonly task: TaskRow } | { readonly task: undefined } | undefined {
  const [end] = tx.state.ends.toSorted((a, b) => a.serial - b.serial);
  if (end === undefined) return undefined;
  const before = [...tx.state.tasks.values()].find(({ dependencies }) =>
    dependencies.some(({ serial, state }) => serial === end.serial && state === "waiting"),
  );
  if (before === undefined) {
    tx.takeBackEnd(end);
    return { task: undefined };
  }
  const dependencies = before.dependencies.map((each) =>
    each.serial !== end.serial
      ? each
      : { ...each, state: end.ended === "succeeded" ? ("met" as const) : ("broken" as const), endedAt: end.endedAt },
  );
  const seen = { ...before, dependencies };
  tx.saveTask(seen, moment.now);
  const event = end.ended === "succeeded" ? "dependencies-met" : "dependency-broken";
  if (taskTransition(standingOf(before), event).kind === "refused") return { task: undefined };
  if (end.ended !== "succeeded") return { before, task: broken(seen, end.id, end.ended, end.reason) };
  if (dependencies.some(({ state }) => state !== "met")) return { task: undefined };
  return { before, task: released(seen) };
}

/** Bound again to those it runs after, as they stand now; or one of them that will not succeed. */
export function waitAgain(
  tx: Transaction,
  task: TaskRow,
): { readonly row: TaskRow } | { readonly by: UnmetDependency } {
  const dependencies: Dependency[] = [];
  for (const each of task.dependencies.toSorted((one, other) => one.serial - other.serial)) {
    const found = [...tx.state.tasks.values()].find(({ serial }) => serial === each.serial);
    const state = found && tx.stateOf(found);
    if (each.state === "met") dependencies.push(each);
    else if (state === undefined) return { by: { id: undefined, state: "deleted" } };
    else if (state === "failed" || state === "cancelled") return { by: { id: each.id, state } };
    else dependencies.push({ ...each, state: state === "succeeded" ? "met" : "waiting", endedAt: found?.finishedAt });
  }
  const row = { ...task, dependencies };
  return { row: dependencies.every(({ state }) => state === "met") ? released(row) : row };
}

/** It counts from when the last of those it waited for ended. */
function released(task: TaskRow): TaskRow {
  const since = Math.max(task.createdAt, ...task.dependencies.map(({ endedAt = 0 }) => endedAt));
  const { start, firstDueAt } = task.spec;
  return {
    ...task,
    isWaiting: false,
    firstDueAt: typeof start === "number" ? since + Math.round(start * 1_000) : firstDueAt,
    slots: slotsFrom(since),
  };
}
