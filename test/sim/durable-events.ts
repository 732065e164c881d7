/** What a transaction has changed, from the state before it and after it. */
import type { TaskId } from "../../src/base/ids.ts";
import type { Attempt } from "../../src/model/run.ts";
import type { RunRow, StoreState, TaskRow } from "../support/memory-store-state.ts";
import type { DurableEvent } from "./history.ts";

export interface Moment {
  /** The wall clock of the gateway's machine: the latest by which what is durable now was decided. */
  readonly wallMs: number;
  /** Transactions so far. */
  readonly transaction: number;
}

export function durableEvents(before: StoreState, after: StoreState, moment: Moment): readonly DurableEvent[] {
  const events: DurableEvent[] = [];
  for (const worker of after.drained.difference(before.drained)) events.push({ kind: "worker-drained", worker });
  for (const worker of before.drained.difference(after.drained)) events.push({ kind: "worker-admitted", worker });
  for (const [id, old] of before.tasks) {
    const task = after.tasks.get(id);
    if (task?.serial === old.serial) continue;
    const ageMs = old.finishedAt === undefined ? undefined : moment.wallMs - old.finishedAt;
    events.push({ kind: "task-deleted", task: id, serial: old.serial, ageMs, wallMs: moment.wallMs });
  }
  const changed = changedTasks(before, after);
  for (const { id, old, task } of changed) {
    if (old !== undefined) continue;
    const { spec, serial, createdAt, dependencies } = task;
    const afterSerials = dependencies.map((dependency) => dependency.serial);
    const { transaction } = moment;
    events.push({ kind: "task-made", task: id, serial, spec, createdAt, after: afterSerials, transaction });
  }
  for (const { id, old, task } of inDependencyOrder(changed)) {
    if (task.isCancelled && old?.isCancelled !== true) {
      events.push({ kind: "task-cancelled", task: id, serial: task.serial, wallMs: moment.wallMs });
    }
    if (task.finishedAt !== undefined && old?.finishedAt === undefined) {
      events.push({ kind: "task-finished", task: id, serial: task.serial, finishedAt: task.finishedAt });
    }
    if (old?.finishedAt !== undefined && task.finishedAt === undefined) {
      events.push({ kind: "task-retried", task: id, serial: task.serial, wallMs: moment.wallMs });
    }
    if (old !== undefined && old.firstRun !== task.firstRun) events.push(forgotten(old, task, moment.wallMs));
    events.push(...runEvents(old, task, moment.wallMs));
  }
  return events;
}

interface ChangedTask {
  readonly id: TaskId;
  /** Undefined: it was made. */
  readonly old: TaskRow | undefined;
  readonly task: TaskRow;
}

/** In the order in which they were made. */
function changedTasks(before: StoreState, after: StoreState): readonly ChangedTask[] {
  return [...after.tasks].flatMap(([id, task]) => {
    const found = before.tasks.get(id);
    return found === task ? [] : { id, old: found?.serial === task.serial ? found : undefined, task };
  });
}

/** Each behind what it waits for, of which a batch may have some in later lines. */
function inDependencyOrder(changed: readonly ChangedTask[]): ReadonlySet<ChangedTask> {
  const bySerial = new Map(changed.map((each) => [each.task.serial, each]));
  const seen = new Set<ChangedTask>();
  const ordered = new Set<ChangedTask>();
  const visit = (each: ChangedTask): void => {
    if (seen.has(each)) return;
    seen.add(each);
    for (const { serial } of each.task.dependencies) {
      const dependency = bySerial.get(serial);
      if (dependency !== undefined) visit(dependency);
    }
    ordered.add(each);
  };
  for (const each of changed) visit(each);
  return ordered;
}

function forgotten(old: TaskRow, { spec, serial, firstRun: to }: TaskRow, wallMs: number): DurableEvent {
  const from = old.firstRun;
  const endedAt = old.runs
    .slice(from - 1, Math.max(from, to) - 1)
    .map(({ dueAt, attempts }) => Math.max(dueAt, ...attempts.map(({ finishedAt = 0 }) => finishedAt)));
  return { kind: "runs-forgotten", task: spec.id, serial, from, to, endedAt, wallMs };
}

function runEvents(old: TaskRow | undefined, task: TaskRow, wallMs: number): readonly DurableEvent[] {
  const events: DurableEvent[] = [];
  for (const run of task.runs) {
    const was = old?.runs[run.index - 1];
    if (was === run || (was !== undefined && isSame(was, run))) continue;
    const attempt = attemptNumbered(run, was?.cursor.state === "running" ? was.cursor.attempt : 0);
    events.push({
      kind: "run-moved",
      task: task.spec.id,
      serial: task.serial,
      run: run.index,
      from: was?.cursor.state,
      to: run.cursor.state,
      attempt: run.cursor.attempt,
      dueAt: run.dueAt,
      firstDueAt: task.firstDueAt,
      wallMs,
      worker: run.attempts.at(-1)?.worker,
      attemptState: attempt?.state,
      attemptOutcome: attempt?.outcome,
      blamed: run.cursor.lost,
    });
  }
  return events;
}

/** Only its lease or its log has changed. */
function isSame(was: RunRow, run: RunRow): boolean {
  return was.cursor.state === run.cursor.state && was.cursor.attempt === run.cursor.attempt;
}

function attemptNumbered(run: RunRow, number: number): Attempt | undefined {
  return run.attempts.find((attempt) => attempt.number === number);
}
