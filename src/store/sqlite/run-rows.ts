/**
 * Rows of runs and attempts. `transition` of the model decides every change; what it returns is written as a
 * compare-and-set on (state, attempt), inside the transaction that read the row.
 *
 * Rows are made lazily. A task has at most one scheduled run, its next; `makeRuns` restores that, as far as
 * OPEN_RUNS_PER_TASK_MAX allows, after each change that takes it away or settles a run.
 */
import { assert } from "../../base/errors.ts";
import { ATTEMPTS_KEPT_PER_RUN_MAX, LEASE_MS_MAX, OPEN_RUNS_PER_TASK_MAX } from "../../base/limits.ts";
import type { PeerId } from "../../base/ids.ts";
import type { Outcome, Usage } from "../../model/outcome.ts";
import {
  type AttemptId,
  type AttemptState,
  RUN_STATES,
  type RunChange,
  type RunCursor,
  type RunEvent,
  type RunRetryPolicy,
  type RunState,
  transition,
} from "../../model/run.ts";
import type { SlotMoment } from "../../model/schedule.ts";
import { RETRYABLE_KINDS } from "../../model/task.ts";
import { decodeCount, decodeNumber, decodeOneOf, decodeTime } from "./columns.ts";
import { DamagedRow } from "./damaged-row.ts";
import type { Database, Row } from "./database.ts";
import type { TaskPlan } from "./messages.ts";
import { dueAfterNow, retakeSlot, takeDueTime } from "./slot-rows.ts";
import { type TaskRecord, countRun, loadTask, openRuns } from "./task-rows.ts";

/** A run's row, but for what it ended with. */
export interface RunRecord {
  readonly serial: number;
  readonly index: number;
  readonly cursor: RunCursor;
  readonly dueAt: number;
  /** The log's length, and where in it the latest attempt's begins. */
  readonly outputBytes: number;
  readonly attemptOffset: number;
  readonly outputTruncated: boolean;
}

const RECORD = `task, idx, state, due_at, attempt, retried, lost, output_bytes, attempt_offset, output_truncated`;

/** The task of a run that is open: a task that goes takes those with it. */
export function loadTaskOf(db: Database, run: RunRecord): TaskRecord | undefined {
  const task = loadTask(db, run.serial);
  if (task === undefined && OPEN_STATES.has(run.cursor.state)) throw new DamagedRow("a run that is open has no task");
  return task;
}

const OPEN_STATES: ReadonlySet<RunState> = new Set(["scheduled", "ready", "running"]);

export function loadRun(db: Database, serial: number, index: number): RunRecord | undefined {
  const row = db.get(`SELECT ${RECORD} FROM runs WHERE task = ? AND idx = ?`, serial, index);
  return row === undefined ? undefined : decodeRunRecord(row);
}

/** The runs of a task that are scheduled, ready or running. */
export function loadOpenRuns(db: Database, task: TaskRecord): readonly RunRecord[] {
  return db
    .all(
      // Left to itself, SQLite would go through the settled runs too.
      `SELECT ${RECORD} FROM runs INDEXED BY runs_open WHERE task = ? AND outcome IS NULL ORDER BY idx`,
      task.serial,
    )
    .map(decodeRunRecord);
}

export function planPolicy(plan: TaskPlan): RunRetryPolicy {
  const kinds = plan.retryOn.split(",");
  return {
    retries: plan.retries,
    backoffMs: plan.backoffMs,
    retryOn: RETRYABLE_KINDS.filter((kind) => kinds.includes(kind)),
  };
}

export function decide(task: TaskRecord, run: RunRecord, event: RunEvent): RunChange {
  return transition(run.cursor, event, planPolicy(task.plan));
}

const NEW_RUN: RunCursor = { state: "scheduled", attempt: 0, retried: 0, lost: 0 };

export interface MadeRuns {
  /** The indexes of those that are ready. */
  readonly ready: readonly number[];
  /** For how many ready ones more it counts to have found the slots of all of them. */
  readonly searchWork: number;
}

/**
 * Makes the task's next runs: those due as ready, as long as that counts for no more than `readyMax`, then the next one as
 * scheduled. The caller saves the task.
 */
export function makeRuns(db: Database, task: TaskRecord, moment: SlotMoment, readyMax: number): MadeRuns {
  const ready: number[] = [];
  let searchWork = 0;
  const { plan, counts } = task;
  const openMax = plan.overlap === "forbid" ? 1 : OPEN_RUNS_PER_TASK_MAX;
  if (counts.scheduled === 0) task.nextDueAt = undefined;
  for (let run = nextToRetry(db, task, openMax); run !== undefined; run = nextToRetry(db, task, openMax)) {
    const again = runAgain(db, task, run, moment);
    searchWork += again.work - 1;
    if (again.state === "ready") ready.push(run.index);
  }
  while (mayMakeMore(task) && counts.scheduled === 0 && openRuns(task) < openMax) {
    const taken = takeDueTime(db, task, moment);
    if (taken === undefined) break;
    const { due, mayBeReady, work } = taken;
    searchWork += work - 1;
    const index = task.made + 1;
    let state = NEW_RUN.state;
    if (mayBeReady && due <= moment.now && ready.length + searchWork < readyMax) {
      const change = transition(NEW_RUN, { kind: "due" }, planPolicy(plan));
      assert(change.kind === "changed", "a new run can become ready");
      state = change.next.state;
      ready.push(index);
    } else {
      task.nextDueAt = due;
    }
    insertRun(db, task, index, state, due);
    task.made = index;
    countRun(task, undefined, state);
  }
  if (plan.overlap === "forbid" && counts.scheduled === 0 && mayMakeMore(task)) {
    const next = dueAfterNow(db, task, moment.now);
    task.nextDueAt = next?.due;
    searchWork += (next?.work ?? 1) - 1;
  }
  return { ready, searchWork };
}

/** The first run that an operator wants again and that is not open yet; undefined when there is none, or no room. */
function nextToRetry(db: Database, task: TaskRecord, openMax: number): RunRecord | undefined {
  const { retrying } = task;
  if (retrying === undefined || task.isCancelled || openRuns(task) >= openMax) return undefined;
  const row = db.get(
    `SELECT ${RECORD} FROM runs INDEXED BY runs_unsuccessful
     WHERE task = ? AND idx BETWEEN ? AND ? AND state IN ('failed', 'cancelled') ORDER BY idx LIMIT 1`,
    task.serial,
    retrying.from,
    retrying.to,
  );
  const run = row === undefined ? undefined : decodeRunRecord(row);
  task.retrying = run === undefined ? undefined : { from: run.index + 1, to: retrying.to };
  return run;
}

/** Opens a run that was over. The task's last one, if it never began, takes its slot as one that is scheduled does. */
function runAgain(
  db: Database,
  task: TaskRecord,
  run: RunRecord,
  moment: SlotMoment,
): { readonly state: RunState; readonly work: number } {
  const hadCome = run.cursor.attempt > 0 || run.index < task.made;
  const taken = hadCome ? { due: run.dueAt, mayBeReady: true, work: 1 } : retakeSlot(db, task, run, moment);
  const { due, mayBeReady, work } = taken;
  const change = decide(task, run, { kind: "retry", isDue: hadCome || (mayBeReady && due <= moment.now) });
  if (change.kind === "refused") throw new DamagedRow("a run that did not succeed is none of those");
  moveRun(db, task, run, change.next, {
    // No lease is longer than that: it was given by a clock that was ahead.
    set: `due_at = ?, not_before = iif(lease_until > ?, min(lease_until, ?), 0), outcome = NULL, result = NULL,
      wall_ms = NULL, cpu_ms = NULL, memory_bytes = NULL`,
    values: [due, moment.now, moment.now + LEASE_MS_MAX],
  });
  if (change.next.state === "scheduled") task.nextDueAt = due;
  return { state: change.next.state, work };
}

function mayMakeMore(task: TaskRecord): boolean {
  return !task.isCancelled && !task.isWaiting && task.made < task.plan.total;
}

function insertRun(db: Database, task: TaskRecord, index: number, state: RunState, due: number): void {
  const inserted = db.run(
    `INSERT INTO runs (task, idx, state, due_at, priority, requirement, not_before, attempt, retried, lost, output_bytes,
       attempt_offset, output_truncated, is_slot)
     VALUES (?, ?, ?, ?, ?, ?, 0, 0, 0, 0, 0, 0, 0, ?) ON CONFLICT DO NOTHING`,
    task.serial,
    index,
    state,
    due,
    task.plan.priority,
    task.requirement,
    Number(task.plan.cron !== undefined),
  );
  if (inserted === 0) throw new DamagedRow("a run that has not been made is there");
}

/** Writes a run's next cursor if it still stands where it was read. `extra` sets more columns. */
export function moveRun(
  db: Database,
  task: TaskRecord,
  run: RunRecord,
  next: RunCursor,
  extra: { readonly set: string; readonly values: readonly (string | number | null)[] },
): void {
  const changed = db.run(
    `UPDATE runs SET state = ?, attempt = ?, retried = ?, lost = ?, ${extra.set}
     WHERE task = ? AND idx = ? AND state = ? AND attempt = ?`,
    next.state,
    next.attempt,
    next.retried,
    next.lost,
    ...extra.values,
    run.serial,
    run.index,
    run.cursor.state,
    run.cursor.attempt,
  );
  assert(changed === 1, "a run that was read in this transaction is as it was");
  countRun(task, run.cursor.state, next.state);
}

/**
 * Ends a run: `outcome` is the run's, the rest the last attempt's, where it had one. Outcome and result are JSON. The lease
 * of an attempt that may still be under way is kept, for whoever wants the run again.
 */
export function finishRun(
  db: Database,
  task: TaskRecord,
  run: RunRecord,
  next: RunCursor,
  end: {
    readonly outcome: string;
    readonly usage?: Usage;
    readonly result?: string;
    readonly outputTruncated: boolean;
    readonly keepsLease?: boolean;
  },
): void {
  moveRun(db, task, run, next, {
    set: `worker = NULL, ${end.keepsLease === true ? "" : "lease_until = NULL,"} not_before = 0, outcome = ?, wall_ms = ?, cpu_ms = ?, memory_bytes = ?,
      result = ?, output_truncated = ?`,
    values: [
      end.outcome,
      end.usage?.wallMs ?? null,
      end.usage?.cpuMs ?? null,
      end.usage?.memoryBytes ?? null,
      end.result ?? null,
      Number(end.outputTruncated),
    ],
  });
}

export function insertAttempt(db: Database, run: RunRecord, number: number, worker: PeerId, now: number): void {
  const inserted = db.run(
    `INSERT INTO attempts (task, run, number, worker, state, started_at) VALUES (?, ?, ?, ?, 'running', ?)
     ON CONFLICT DO NOTHING`,
    run.serial,
    run.index,
    number,
    worker,
    now,
  );
  if (inserted === 0) throw new DamagedRow("an attempt that has not begun is there");
  if (number <= ATTEMPTS_KEPT_PER_RUN_MAX) return;
  db.run(
    "DELETE FROM attempts WHERE task = ? AND run = ? AND number <= ?",
    run.serial,
    run.index,
    number - ATTEMPTS_KEPT_PER_RUN_MAX,
  );
}

/** Of the attempt under way. */
export function finishAttempt(db: Database, run: RunRecord, state: AttemptState, outcome: Outcome, now: number): void {
  const finished = db.run(
    `UPDATE attempts SET state = ?, finished_at = ?, outcome = ?
     WHERE task = ? AND run = ? AND number = ? AND state = 'running'`,
    state,
    now,
    JSON.stringify(outcome),
    run.serial,
    run.index,
    run.cursor.attempt,
  );
  if (finished === 0) throw new DamagedRow("an attempt that is under way is not there");
}

export function attemptId(task: TaskRecord, run: RunRecord): AttemptId {
  return { task: task.plan.id, serial: task.serial, run: run.index, attempt: run.cursor.attempt };
}

function decodeRunRecord(row: Row): RunRecord {
  const outputBytes = decodeCount(row.output_bytes);
  const attemptOffset = decodeCount(row.attempt_offset);
  if (attemptOffset > outputBytes) throw new DamagedRow("the log of a run ends before its latest attempt's begins");
  return {
    serial: decodeCount(row.task),
    index: decodeCount(row.idx),
    cursor: {
      state: decodeOneOf(RUN_STATES, row.state),
      attempt: decodeCount(row.attempt),
      retried: decodeCount(row.retried),
      lost: decodeCount(row.lost),
    },
    dueAt: decodeTime(row.due_at),
    outputBytes,
    attemptOffset,
    outputTruncated: decodeNumber(row.output_truncated) !== 0,
  };
}
