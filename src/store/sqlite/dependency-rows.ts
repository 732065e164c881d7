/**
 * Which task waits for which: a row for each pair, found from both sides by index. A pair is `waiting` until the end of
 * the one that is waited for has been seen to; a task waits (`is_waiting`) while one of its pairs does.
 */
import type { TaskId } from "../../base/ids.ts";
import { DEPENDENCY_ENDS, DEPENDENCY_STATES, type DependencyEnd, brokenReason } from "../../model/dependency.ts";
import { type SlotMoment, slotsFrom } from "../../model/schedule.ts";
import { type TaskState, isFinished, taskTransition } from "../../model/task.ts";
import type { UnmetDependency } from "../inspection.ts";
import type { RunRef } from "../store.ts";
import {
  decodeCount,
  decodeNumber,
  decodeOneOf,
  decodeOptionalText,
  decodeOptionalTime,
  decodeTaskId,
} from "./columns.ts";
import type { Database, Row } from "./database.ts";
import { type EndedTask, requireKnownStates, takeBackEnd } from "./dependency-ends.ts";
import { makeRuns } from "./run-rows.ts";
import { type TaskRecord, decodeReason, loadTask, loadTaskById, saveTask, standingOf } from "./task-rows.ts";

/** The tasks that a new one names. */
export interface FoundDependencies {
  readonly tasks: readonly TaskRecord[];
  readonly unknown: readonly TaskId[];
  readonly endless: readonly TaskId[];
}

/** Tasks that others are to run after, each loaded once: for one transaction, which alone changes them. */
export class KnownTasks {
  readonly #db: Database;
  readonly #tasks = new Map<TaskId, TaskRecord>();

  constructor(db: Database) {
    this.#db = db;
  }

  get(id: TaskId): TaskRecord | undefined {
    const task = this.#tasks.get(id) ?? loadTaskById(this.#db, id);
    if (task !== undefined) this.#tasks.set(id, task);
    return task;
  }

  /** One that was inserted: how it stands is known once it is saved. */
  add(task: TaskRecord): void {
    this.#tasks.set(task.plan.id, task);
  }
}

export function findDependencies(known: KnownTasks, ids: readonly TaskId[]): FoundDependencies {
  const tasks: TaskRecord[] = [];
  const unknown: TaskId[] = [];
  const endless: TaskId[] = [];
  for (const id of ids) {
    const task = known.get(id);
    if (task === undefined) unknown.push(id);
    else if (task.plan.total === Infinity) endless.push(id);
    else tasks.push(task);
  }
  return { tasks, unknown, endless };
}

/** Binds a new task to those that it runs after. It waits, or is cancelled already, or counts from its creation. */
export function bindDependencies(db: Database, task: TaskRecord, dependencies: readonly TaskRecord[]): void {
  for (const { serial, savedState, finishedAt, plan, reason } of dependencies) {
    const isBroken = savedState === "failed" || savedState === "cancelled";
    const isMet = savedState === "succeeded";
    db.run(
      "INSERT INTO dependencies (dependency, dependent, state, ended_at) VALUES (?, ?, ?, ?)",
      serial,
      task.serial,
      isMet ? "met" : isBroken ? "broken" : "waiting",
      finishedAt ?? null,
    );
    if (!isMet) task.isWaiting = true;
    if (isBroken) breakOff(task, { id: plan.id, end: savedState, reason });
  }
  if (task.isWaiting) db.run("UPDATE tasks SET is_waiting = 1 WHERE serial = ?", task.serial);
}

/** What `promoteDue` tells, as it comes together. */
export interface PromoteFindings {
  readonly promoted: RunRef[];
  readonly changedTasks: { readonly task: TaskId; readonly state: TaskState }[];
}

/**
 * Sees to tasks that waited for others which have ended: those that wait for nothing more get their first runs, and those
 * that wait in vain are cancelled. Stops when it has done as much as `limit` runs are; returns how much that was.
 */
export function seeToEnds(db: Database, moment: SlotMoment, limit: number, found: PromoteFindings): number {
  let work = 0;
  while (work < limit) {
    const row = db.get("SELECT * FROM dependency_ends WHERE serial > 0 ORDER BY serial LIMIT 1");
    if (row === undefined) break;
    const ended = decodeEnded(row);
    const waiting = db.get(
      "SELECT dependent FROM dependencies WHERE dependency = ? AND state = 'waiting' ORDER BY dependent LIMIT 1",
      ended.serial,
    );
    if (waiting === undefined) {
      requireKnownStates(db, ended.serial);
      takeBackEnd(db, ended.serial);
    } else seeToDependent(db, decodeNumber(waiting.dependent), ended, moment, limit - work, found);
    work = Math.max(work + 1, found.promoted.length);
  }
  return work;
}

function seeToDependent(
  db: Database,
  serial: number,
  ended: EndedTask,
  moment: SlotMoment,
  readyMax: number,
  found: PromoteFindings,
): void {
  const isMet = ended.end === "succeeded";
  db.run(
    "UPDATE dependencies SET state = ?, ended_at = ? WHERE dependency = ? AND dependent = ?",
    isMet ? "met" : "broken",
    ended.endedAt ?? null,
    ended.serial,
    serial,
  );
  const task = loadTask(db, serial);
  const event = isMet ? "dependencies-met" : "dependency-broken";
  // It may have been deleted, or cancelled by somebody's word.
  if (task === undefined || taskTransition(standingOf(task), event).kind === "refused") return;
  const { savedState } = task;
  if (ended.end !== "succeeded") {
    const reason = ended.reason === undefined ? undefined : decodeReason(ended.reason);
    breakOff(task, { id: ended.id, end: ended.end, reason });
  } else if (isStillWaiting(db, serial)) return;
  else {
    release(db, task);
    // It has had no runs: none of its slots has to be passed over.
    const { ready } = makeRuns(db, task, moment, readyMax);
    for (const index of ready) found.promoted.push({ task: task.plan.id, serial, index });
  }
  saveTask(db, task, moment.now);
  if (task.savedState !== savedState) found.changedTasks.push({ task: task.plan.id, state: task.savedState });
}

/** The caller saves the task. */
function breakOff(
  task: TaskRecord,
  { id, end, reason }: { id: TaskId; end: Exclude<DependencyEnd, "succeeded">; reason: string | undefined },
): void {
  task.isCancelled = true;
  task.reason ??= brokenReason(id, end, reason);
}

/**
 * Binds a task again that waited when it was cancelled: to each of those it runs after as that one stands now. Returns one
 * of them that is gone or has not succeeded, if there is any; then nothing was done.
 */
export function waitAgain(db: Database, task: TaskRecord): UnmetDependency | undefined {
  const unmet = db
    .all(
      "SELECT dependency, state FROM dependencies WHERE dependent = ? AND state <> 'met' ORDER BY dependency",
      task.serial,
    )
    .map((row) => {
      decodeOneOf(DEPENDENCY_STATES, row.state);
      return decodeNumber(row.dependency);
    });
  const dependencies = unmet.map((serial) => loadTask(db, serial));
  for (const each of dependencies) {
    if (each === undefined) return { id: undefined, state: "deleted" };
    if (!mayYetSucceed(each.savedState)) return { id: each.plan.id, state: each.savedState };
  }
  for (const dependency of dependencies) {
    if (dependency === undefined) continue;
    db.run(
      "UPDATE dependencies SET state = ?, ended_at = ? WHERE dependency = ? AND dependent = ?",
      dependency.savedState === "succeeded" ? "met" : "waiting",
      dependency.finishedAt ?? null,
      dependency.serial,
      task.serial,
    );
  }
  if (!isStillWaiting(db, task.serial)) release(db, task);
  return undefined;
}

function mayYetSucceed(state: TaskState): boolean {
  return state === "succeeded" || !isFinished(state);
}

function isStillWaiting(db: Database, serial: number): boolean {
  const states = db.all("SELECT DISTINCT state FROM dependencies WHERE dependent = ?", serial);
  return states.map((row) => decodeOneOf(DEPENDENCY_STATES, row.state)).some((state) => state !== "met");
}

/** The task counts from when the last of those it waited for ended. The caller makes its runs and saves it. */
function release(db: Database, task: TaskRecord): void {
  const row = db.get("SELECT max(ended_at) AS ended_at FROM dependencies WHERE dependent = ?", task.serial);
  const since = Math.max(task.createdAt, decodeOptionalTime(row?.ended_at ?? null) ?? 0);
  const { startAfterMs, firstDueAt } = task.plan;
  task.plan = { ...task.plan, firstDueAt: startAfterMs === undefined ? firstDueAt : since + startAfterMs };
  task.slots = slotsFrom(since);
  task.isWaiting = false;
  db.run("UPDATE tasks SET is_waiting = 0, first_due_at = ? WHERE serial = ?", task.plan.firstDueAt, task.serial);
}

function decodeEnded(row: Row): EndedTask {
  return {
    serial: decodeCount(row.serial),
    id: decodeTaskId(row.id),
    end: decodeOneOf(DEPENDENCY_ENDS, row.ended),
    endedAt: decodeOptionalTime(row.ended_at),
    reason: decodeOptionalText(row.reason),
  };
}
