/**
 * A task's row, as a record that an operation loads, changes and saves. The task's state is computed at each save, so
 * that it cannot disagree with the counts; the counter of unfinished tasks is kept at the same place.
 */
import type { SQLInputValue } from "node:sqlite";
import type { TaskId } from "../../base/ids.ts";
import type { RunState } from "../../model/run.ts";
import { CATCHUPS, OVERLAPS, type SlotCursor, slotsFrom } from "../../model/schedule.ts";
import {
  type RunCounts,
  TASK_STATES,
  type TaskStanding,
  type TaskState,
  isFinished,
  madeRuns,
  taskState,
} from "../../model/task.ts";
import {
  decodeAmount,
  decodeBytes,
  decodeCount,
  decodeDigest,
  decodeNumber,
  decodeOneOf,
  decodeOptionalAmount,
  decodeOptionalCount,
  decodeOptionalText,
  decodeOptionalTime,
  decodeTaskId,
  decodeText,
  decodeTime,
} from "./columns.ts";
import { DamagedRow, parseStored } from "./damaged-row.ts";
import type { OpenRunCounts } from "../store.ts";
import type { Database, Row } from "./database.ts";
import { noteEnd } from "./dependency-ends.ts";
import { countOpenRunsOf, countUnfinished } from "./queue-rows.ts";
import { numberRequirement } from "./requirement-rows.ts";
import type { NewTaskWire, SpecWire, TaskPlan, TaskWire } from "./messages.ts";

/** A task as its row has it. Operations change it, then `saveTask`. */
export interface TaskRecord {
  readonly serial: number;
  plan: TaskPlan;
  /** Its number in `requirements`; 0: it requires nothing. */
  readonly requirement: number;
  /** Of its spec, stdin included. */
  readonly specBytes: number;
  readonly submitter: string;
  readonly createdAt: number;
  /** As it was saved last; `savedOpen` are its open runs then. */
  savedState: TaskState;
  savedOpen: OpenRunCounts;
  isCancelled: boolean;
  /** It has no runs before the tasks that it runs after have succeeded. */
  isWaiting: boolean;
  /** It has just ended, and others wait for that. */
  hasDependents: boolean;
  readonly counts: { -readonly [State in keyof RunCounts]: RunCounts[State] };
  /** Rows of runs that were made: the runs 1 to `made`. */
  made: number;
  /** Those before it were forgotten. */
  firstRun: number;
  /** Of the one run that is scheduled; where a run waits for the one before it to end, of that. */
  nextDueAt: number | undefined;
  /** Those of its runs 1 to `to` that did not succeed are to run again; from `from` on they have not been taken up. */
  retrying: { readonly from: number; readonly to: number } | undefined;
  /** Of a task with cron. `savedSeatedAt` is its column, as it was saved last. */
  slots: SlotCursor;
  savedSeatedAt: number | null;
  finishedAt: number | undefined;
  reason: string | undefined;
  /** The run that gave the task's result. */
  resultRun: number | undefined;
  /** The run whose latest attempt started last. */
  latestRun: number | undefined;
}

/** In `total`: the task has no end. */
const ENDLESS = 0;
/** In the column of a task that has none. */
const NO_MODULE = "";

/** Inserts the task. The caller saves it once its runs are made. Undefined: the id is taken. */
export function insertTask(db: Database, args: NewTaskWire, now: number): TaskRecord | undefined {
  const { plan, spec } = args;
  if (db.get("SELECT 1 FROM tasks WHERE id = ?", plan.id) !== undefined) return undefined;
  const requirement = numberRequirement(db, args.requirement);
  const serial = db.insert(
    `INSERT INTO tasks (id, module, first_due_at, start_after_ms, delay_ms, total, cron, timezone, overlap, catchup, priority, retries,
       backoff_ms, retry_on, output_bytes_max, requirement, spec_bytes, created_at, state, is_cancelled, scheduled, ready, running,
       succeeded, failed, cancelled, made, submitter)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'scheduled', 0, 0, 0, 0, 0, 0, 0, 0, ?)`,
    plan.id,
    plan.module ?? NO_MODULE,
    plan.firstDueAt,
    plan.startAfterMs ?? null,
    plan.delayMs,
    plan.total === Infinity ? ENDLESS : plan.total,
    plan.cron ?? null,
    plan.timezone,
    plan.overlap,
    plan.catchup,
    plan.priority,
    plan.retries,
    plan.backoffMs,
    plan.retryOn,
    plan.outputBytesMax,
    requirement,
    spec.text.length + spec.stdin.length,
    now,
    spec.submitter,
  );
  db.insert(
    "INSERT INTO specs (serial, spec, submitter, stdin) VALUES (?, ?, ?, ?)",
    serial,
    spec.text,
    spec.submitter,
    spec.stdin,
  );
  const specBytes = spec.text.length + spec.stdin.length;
  countUnfinished(db, { specBytes, submitter: spec.submitter }, 1);
  return {
    serial,
    specBytes,
    submitter: spec.submitter,
    plan,
    requirement,
    createdAt: now,
    savedState: "scheduled",
    isCancelled: false,
    isWaiting: false,
    hasDependents: false,
    counts: { scheduled: 0, ready: 0, running: 0, succeeded: 0, failed: 0, cancelled: 0 },
    savedOpen: { scheduled: 0, ready: 0, running: 0 },
    made: 0,
    firstRun: 1,
    nextDueAt: undefined,
    retrying: undefined,
    slots: slotsFrom(now),
    savedSeatedAt: null,
    finishedAt: undefined,
    reason: undefined,
    resultRun: undefined,
    latestRun: undefined,
  };
}

export function loadTask(db: Database, serial: number): TaskRecord | undefined {
  const row = db.get("SELECT * FROM tasks WHERE serial = ?", serial);
  return row === undefined ? undefined : decodeTaskRecord(row);
}

export function loadTaskById(db: Database, id: TaskId): TaskRecord | undefined {
  const row = db.get("SELECT * FROM tasks WHERE id = ?", id);
  return row === undefined ? undefined : decodeTaskRecord(row);
}

/**
 * Moves one run from a state to another in the counts; `from` is undefined for a run that was just made. Throws DamagedRow if
 * none was counted there.
 */
export function countRun(task: TaskRecord, from: RunState | undefined, to: RunState): void {
  if (from !== undefined && task.counts[from] === 0) throw new DamagedRow("a task has fewer runs than there are");
  if (from !== undefined) task.counts[from]--;
  task.counts[to]++;
}

export function openRuns(task: TaskRecord): number {
  return task.counts.scheduled + task.counts.ready + task.counts.running;
}

/** Writes the record, and `now` as its end if it has just finished. */
export function saveTask(db: Database, task: TaskRecord, now: number): void {
  const state = taskState(task.plan.total, task.counts, task.isCancelled);
  if (isFinished(state) && task.finishedAt === undefined) {
    task.finishedAt = now;
    task.nextDueAt = undefined;
    task.hasDependents = noteEnd(db, {
      serial: task.serial,
      id: task.plan.id,
      end: state,
      endedAt: now,
      reason: encodeReason(task.reason) ?? undefined,
    });
    countUnfinished(db, task, -1);
  }
  countOpenRunsOf(db, task);
  const { counts } = task;
  const values: SQLInputValue[] = [
    Number(task.isCancelled),
    counts.scheduled,
    counts.ready,
    counts.running,
    counts.succeeded,
    counts.failed,
    counts.cancelled,
    task.made,
    task.nextDueAt ?? null,
    task.retrying?.from ?? null,
    task.retrying?.to ?? null,
    task.slots.takenUntil,
    task.slots.owedUntil,
    task.slots.reachedAt,
    task.finishedAt ?? null,
    encodeReason(task.reason),
    task.resultRun ?? null,
    task.latestRun ?? null,
  ];
  // The state is indexed: the index is written only when it changes.
  if (state === task.savedState) db.run(`UPDATE tasks SET ${CHANGING} WHERE serial = ?`, ...values, task.serial);
  else db.run(`UPDATE tasks SET ${CHANGING}, state = ? WHERE serial = ?`, ...values, state, task.serial);
  task.savedState = state;
  saveSeat(db, task);
}

/** When the slots of a cron task were decided upon is indexed, while the task has some to come. */
function saveSeat(db: Database, task: TaskRecord): void {
  const seatedAt = task.plan.cron === undefined || task.finishedAt !== undefined ? null : task.slots.seatedAt;
  if (seatedAt === task.savedSeatedAt) return;
  db.run("UPDATE tasks SET seated_at = ? WHERE serial = ?", seatedAt, task.serial);
  task.savedSeatedAt = seatedAt;
}

const CHANGING = `is_cancelled = ?, scheduled = ?, ready = ?, running = ?, succeeded = ?, failed = ?, cancelled = ?,
  made = ?, next_due_at = ?, retry_from = ?, retry_to = ?, taken_until = ?, owed_until = ?, reached_at = ?, finished_at = ?, reason = ?, result_run = ?, latest_run = ?`;

/** As it was saved last. */
export function standingOf({ savedState, isWaiting }: TaskRecord): TaskStanding {
  return isWaiting && !isFinished(savedState) ? "waiting" : savedState;
}

/** A task as it is told. It has just been loaded or saved. */
export function taskWire(task: TaskRecord, parts: Pick<TaskWire, "spec" | "result" | "runningSince">): TaskWire {
  return {
    spec: parts.spec,
    serial: task.serial,
    createdAt: task.createdAt,
    counts: task.counts,
    firstRun: task.firstRun,
    firstDueAt: task.isWaiting ? undefined : task.plan.firstDueAt,
    isCancelled: task.isCancelled,
    state: task.savedState,
    nextRunAt: task.nextDueAt,
    finishedAt: task.finishedAt,
    result: parts.result,
    // Failures of runs are noted as they come, and told when the task has ended.
    reason: task.finishedAt === undefined ? undefined : task.reason,
    runningSince: parts.runningSince,
  };
}

/** Looks up what `taskWire` needs beside the record. `latest` is a run that is at hand: it may be the one with the result. */
export function readTaskWire(
  db: Database,
  task: TaskRecord,
  isSpecKnown: boolean,
  latest?: { readonly index: number; readonly result: string | undefined },
): TaskWire {
  return taskWire(task, {
    spec: isSpecKnown ? undefined : readSpec(db, task.serial),
    result: latest !== undefined && latest.index === task.resultRun ? latest.result : readResult(db, task),
    runningSince: task.counts.running === 0 ? [] : readRunningSince(db, task.serial),
  });
}

function readResult(db: Database, task: TaskRecord): string | undefined {
  if (task.resultRun === undefined) return undefined;
  const row = db.get("SELECT result FROM runs WHERE task = ? AND idx = ?", task.serial, task.resultRun);
  return decodeOptionalText(row?.result);
}

export function readSpec(db: Database, serial: number): SpecWire {
  return decodeSpecWire(db.get("SELECT spec, submitter, stdin FROM specs WHERE serial = ?", serial));
}

/** Of a row with the columns of `specs`. */
export function decodeSpecWire(row: Row | undefined): SpecWire {
  return { text: decodeText(row?.spec), submitter: decodeText(row?.submitter), stdin: decodeBytes(row?.stdin) };
}

/** When the current attempts of a task's running runs began. */
export function readRunningSince(db: Database, serial: number): readonly number[] {
  return db
    .all("SELECT started_at FROM runs WHERE state = 'running' AND task = ? ORDER BY started_at", serial)
    .map((row) => decodeTime(row.started_at));
}

/** Throws DamagedRow, too, where columns contradict each other: they are only ever written together. */
export function decodeTaskRecord(row: Row): TaskRecord {
  const reason = decodeOptionalText(row.reason);
  const scheduled = decodeCount(row.scheduled);
  const ready = decodeCount(row.ready);
  const running = decodeCount(row.running);
  const record: TaskRecord = {
    serial: decodeCount(row.serial),
    plan: decodePlan(row),
    requirement: decodeCount(row.requirement),
    specBytes: decodeCount(row.spec_bytes),
    submitter: decodeText(row.submitter),
    createdAt: decodeTime(row.created_at),
    savedState: decodeOneOf(TASK_STATES, row.state),
    isCancelled: decodeNumber(row.is_cancelled) !== 0,
    isWaiting: decodeNumber(row.is_waiting) !== 0,
    hasDependents: false,
    counts: {
      scheduled,
      ready,
      running,
      succeeded: decodeCount(row.succeeded),
      failed: decodeCount(row.failed),
      cancelled: decodeCount(row.cancelled),
    },
    savedOpen: { scheduled, ready, running },
    made: decodeCount(row.made),
    firstRun: decodeCount(row.first_run),
    nextDueAt: decodeOptionalTime(row.next_due_at),
    retrying:
      row.retry_from === null ? undefined : { from: decodeCount(row.retry_from), to: decodeCount(row.retry_to) },
    slots: {
      takenUntil: decodeTime(row.taken_until),
      owedUntil: decodeTime(row.owed_until),
      seatedAt: decodeOptionalTime(row.seated_at) ?? 0,
      reachedAt: decodeTime(row.reached_at),
    },
    savedSeatedAt: decodeOptionalTime(row.seated_at) ?? null,
    finishedAt: decodeOptionalTime(row.finished_at),
    reason: reason === undefined ? undefined : decodeReason(reason),
    resultRun: decodeOptionalCount(row.result_run),
    latestRun: decodeOptionalCount(row.latest_run),
  };
  const { plan, counts, savedState, finishedAt } = record;
  if (
    madeRuns(counts) !== record.made ||
    record.firstRun > Math.max(1, record.made) ||
    taskState(plan.total, counts, record.isCancelled) !== savedState ||
    (finishedAt !== undefined) !== isFinished(savedState)
  ) {
    throw new DamagedRow(`the columns of task ${JSON.stringify(plan.id)} contradict each other`);
  }
  return record;
}

function decodePlan(row: Row): TaskPlan {
  const total = decodeCount(row.total);
  return {
    id: decodeTaskId(row.id),
    module: row.module === NO_MODULE ? undefined : decodeDigest(row.module),
    firstDueAt: decodeTime(row.first_due_at),
    startAfterMs: decodeOptionalAmount(row.start_after_ms),
    delayMs: decodeAmount(row.delay_ms),
    total: total === ENDLESS ? Infinity : total,
    cron: decodeOptionalText(row.cron),
    timezone: decodeText(row.timezone),
    overlap: decodeOneOf(OVERLAPS, row.overlap),
    catchup: decodeOneOf(CATCHUPS, row.catchup),
    priority: decodeNumber(row.priority),
    retries: decodeCount(row.retries),
    backoffMs: decodeAmount(row.backoff_ms),
    retryOn: decodeText(row.retry_on),
    outputBytesMax: decodeCount(row.output_bytes_max),
  };
}

/** Reasons are kept as JSON: plain text would be cut at a NUL. */
function encodeReason(reason: string | undefined): string | null {
  return reason === undefined ? null : JSON.stringify(reason);
}

export function decodeReason(json: string): string {
  const reason = parseStored(json);
  if (typeof reason !== "string") throw new DamagedRow("a reason is no text");
  return reason;
}
