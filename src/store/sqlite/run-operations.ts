/** Operations that move runs: due, lease, settle. Each runs inside a transaction of the store's thread. */
import { assert } from "../../base/errors.ts";
import { CATCHUP_PROMOTE_WEIGHT } from "../../base/limits.ts";
import type { TaskId } from "../../base/ids.ts";
import type { RunResult, Usage } from "../../model/outcome.ts";
import type { AttemptId, RunChange, RunState } from "../../model/run.ts";
import type { SlotMoment } from "../../model/schedule.ts";
import type { FileContent } from "../../model/task-file.ts";
import type { TaskState } from "../../model/task.ts";
import { failureReason } from "../failure-reason.ts";
import type { RunRef, RunningAttempt } from "../store.ts";
import {
  decodeAmount,
  decodeCount,
  decodeNumber,
  decodeOptionalNumber,
  decodeTaskId,
  decodeTime,
  decodeWorker,
} from "./columns.ts";
import { DamagedRow } from "./damaged-row.ts";
import type { Database, Row } from "./database.ts";
import { settleFiles } from "./file-rows.ts";
import { seeToEnds } from "./dependency-rows.ts";
import type { Answer, Args, RunWire, SettleArgs } from "./messages.ts";
import { readResultTexts } from "./output-rows.ts";
import {
  type RunRecord,
  decide,
  finishAttempt,
  finishRun,
  insertAttempt,
  loadRun,
  loadTaskOf,
  makeRuns,
  moveRun,
} from "./run-rows.ts";
import { readAttempts } from "./run-wires.ts";
import { noteBackoff, shortenBackoffs } from "./set-back-backoffs.ts";
import { seatAnew } from "./set-back-slots.ts";
import { retakeSlot } from "./slot-rows.ts";
import { type TaskRecord, loadTask, readTaskWire, saveTask } from "./task-rows.ts";

export function promoteDue(db: Database, args: Args<"promoteDue">): Answer<"promoteDue"> {
  const { now, limit } = args;
  const ended = endBackoffs(db, now, limit);
  const hasEndedBackoffs = ended > 0;
  const shortened = shortenBackoffs(db, now, limit);
  const promoted: RunRef[] = [];
  const changedTasks: { readonly task: TaskId; readonly state: TaskState }[] = [];
  // Runs that are due do not wait behind very many that waited for one task.
  const endsMax = Math.ceil(limit / 2);
  let work = seeToEnds(db, args, endsMax, { promoted, changedTasks });
  const hasMoreEnds = work >= endsMax;
  work += seatAnew(db, args, limit - work);
  while (work < limit) {
    // A task has one scheduled run at most, so each row is of another task, and what is made meanwhile is none of them.
    const due = db.all(
      "SELECT task, idx FROM runs WHERE state = 'scheduled' AND due_at <= ? ORDER BY due_at LIMIT ?",
      now,
      limit - work,
    );
    if (due.length === 0) break;
    for (const row of due) {
      if (work >= limit) break;
      const serial = decodeNumber(row.task);
      const task = loadTask(db, serial);
      if (task === undefined) throw new DamagedRow("a run that is scheduled has no task");
      const { savedState: before, slots } = task;
      const { ready, work: found } = promote(db, task, decodeNumber(row.idx), args, limit - work);
      work += Math.max(found, task.slots.owedUntil === slots.owedUntil ? 0 : CATCHUP_PROMOTE_WEIGHT);
      for (const index of ready) promoted.push({ task: task.plan.id, serial, index });
      if (task.savedState !== before) changedTasks.push({ task: task.plan.id, state: task.savedState });
    }
  }
  const told = { promoted, changedTasks, hasEndedBackoffs };
  if (work >= limit || Math.max(ended, shortened) >= limit || hasMoreEnds) return { ...told, nextDueAt: now };
  const due = nextDueAt(db);
  const backoffEnd = nextBackoffEnd(db, { now });
  return {
    ...told,
    nextDueAt: due === undefined || backoffEnd === undefined ? (due ?? backoffEnd) : Math.min(due, backoffEnd),
  };
}

/**
 * Makes a scheduled run ready, and after it those that are due too; at most `limit` in all. `ready` are their indexes. A run
 * whose slot was missed, or has fired, may be put off to one that is still to come: then there are none.
 */
function promote(
  db: Database,
  task: TaskRecord,
  index: number,
  moment: SlotMoment,
  limit: number,
): { readonly ready: readonly number[]; readonly work: number } {
  const run = loadRun(db, task.serial, index);
  if (run === undefined) throw new DamagedRow("a run that is scheduled is not there");
  const { due, mayBeReady, work } = retakeSlot(db, task, run, moment);
  if (due > moment.now || !mayBeReady) {
    db.run("UPDATE runs SET due_at = ? WHERE task = ? AND idx = ?", due, run.serial, run.index);
    task.nextDueAt = due;
    saveTask(db, task, moment.now);
    return { ready: [], work };
  }
  const change = decide(task, run, { kind: "due" });
  if (change.kind === "refused") throw new DamagedRow("a run that is scheduled is not");
  moveRun(db, task, run, change.next, { set: "not_before = 0, due_at = ?", values: [due] });
  const made = makeRuns(db, task, moment, limit - work);
  saveTask(db, task, moment.now);
  return { ready: [index, ...made.ready], work: work + made.ready.length + made.searchWork };
}

/**
 * Moves ready runs whose back-off has ended to where the others are, so that looking at the ready ones stays cheap.
 * Returns how many.
 */
function endBackoffs(db: Database, now: number, limit: number): number {
  return db.run(
    `UPDATE runs SET not_before = 0 WHERE (task, idx) IN
       (SELECT task, idx FROM runs WHERE state = 'ready' AND not_before > 0 AND not_before <= ? LIMIT ?)`,
    now,
    limit,
  );
}

export function nextDueAt(db: Database): number | undefined {
  const scheduled = db.get("SELECT min(due_at) AS due_at FROM runs WHERE state = 'scheduled'");
  return decodeOptionalNumber(scheduled?.due_at);
}

export function nextBackoffEnd(db: Database, args: Args<"nextBackoffEnd">): number | undefined {
  const row = db.get(
    "SELECT min(not_before) AS not_before FROM runs WHERE state = 'ready' AND not_before > 0 AND not_before > ?",
    args.now,
  );
  return decodeOptionalNumber(row?.not_before);
}

export function lease(db: Database, args: Args<"lease">): boolean {
  const { id, worker, now, leaseUntil } = args;
  const run = loadRun(db, id.serial, id.run);
  const task = run === undefined ? undefined : loadTaskOf(db, run);
  if (run === undefined || task === undefined || run.cursor.attempt + 1 !== id.attempt) return false;
  const change = decide(task, run, { kind: "lease" });
  if (change.kind === "refused") return false;
  moveRun(db, task, run, change.next, {
    set: "not_before = 0, worker = ?, started_at = ?, lease_until = ?, attempt_offset = output_bytes",
    values: [worker, now, leaseUntil],
  });
  insertAttempt(db, run, id.attempt, worker, now);
  task.latestRun = run.index;
  saveTask(db, task, now);
  return true;
}

export function noteEnded(db: Database, { ids }: Args<"noteEnded">): boolean {
  let isReady = false;
  for (const { serial, run, attempt } of ids) {
    const end = (state: RunState) =>
      db.run(
        `UPDATE runs SET lease_until = NULL, not_before = 0
         WHERE task = ? AND idx = ? AND attempt = ? AND state = ? AND lease_until IS NOT NULL`,
        serial,
        run,
        attempt,
        state,
      );
    if (end("ready") > 0) isReady = true;
    else end("cancelled");
  }
  return isReady;
}

export function renew(db: Database, args: Args<"renew">): readonly AttemptId[] {
  return args.ids.filter(
    (id) =>
      db.run(
        `UPDATE runs SET lease_until = ?
         WHERE task = ? AND idx = ? AND attempt = ? AND state = 'running' AND worker = ?`,
        args.leaseUntil,
        id.serial,
        id.run,
        id.attempt,
        args.worker,
      ) === 0,
  );
}

const RUNNING = `SELECT t.id, r.task, r.idx, r.attempt, r.worker, r.lease_until, r.started_at, r.output_bytes, r.attempt_offset,
  t.output_bytes_max, (SELECT json_extract(s.spec, '$.timeoutMs') FROM specs s WHERE s.serial = r.task) AS timeout_ms
  FROM runs r JOIN tasks t ON t.serial = r.task WHERE r.state = 'running'`;

export function listRunning(db: Database, args: Args<"listRunning">): readonly RunningAttempt[] {
  const rows = args.worker === undefined ? db.all(RUNNING) : db.all(`${RUNNING} AND r.worker = ?`, args.worker);
  return rows.map(decodeRunningAttempt);
}

export function listExpired(db: Database, args: Args<"listExpired">): readonly RunningAttempt[] {
  return db
    .all(`${RUNNING} AND r.lease_until < ? ORDER BY r.lease_until LIMIT ?`, args.now, args.limit)
    .map(decodeRunningAttempt);
}

export function extendAllLeases(db: Database, args: Args<"extendAllLeases">): void {
  db.run("UPDATE runs SET lease_until = ? WHERE state = 'running'", args.leaseUntil);
  db.run(
    `UPDATE runs SET not_before = ?1, lease_until = ?1
     WHERE state = 'ready' AND not_before > 0 AND lease_until IS NOT NULL`,
    args.leaseUntil,
  );
}

function decodeRunningAttempt(row: Row): RunningAttempt {
  return {
    id: {
      task: decodeTaskId(row.id),
      serial: decodeCount(row.task),
      run: decodeCount(row.idx),
      attempt: decodeCount(row.attempt),
    },
    worker: decodeWorker(row.worker),
    leaseUntil: decodeTime(row.lease_until),
    startedAt: decodeTime(row.started_at),
    outputBytes: decodeCount(row.output_bytes) - decodeCount(row.attempt_offset),
    outputBytesMax: decodeCount(row.output_bytes_max),
    timeoutMs: decodeAmount(row.timeout_ms),
  };
}

export function settle(db: Database, args: SettleArgs): Answer<"settle"> {
  const { id, end, now } = args;
  const run = loadRun(db, id.serial, id.run);
  const task = run === undefined ? undefined : loadTaskOf(db, run);
  if (run === undefined || task === undefined) return { kind: "stale" };
  const change = decide(task, run, { kind: "settle", attempt: id.attempt, end, isBlameless: args.isBlameless });
  if (change.kind === "refused") return { kind: "stale" };
  assert(change.attemptState !== undefined, "what is settled was under way");
  finishAttempt(db, run, change.attemptState, end.outcome, now);
  const { files, freed } = settleFiles(db, run, change.outcome);
  const notBefore = notBeforeOf(change, args);
  if (notBefore > 0) noteBackoff(db, now);
  const told =
    change.outcome === undefined
      ? tryAgain(db, task, run, change, { ...args, notBefore, files })
      : endRun(db, task, run, { ...change, outcome: change.outcome }, { ...args, files });
  const ready = change.outcome === undefined ? [] : makeRuns(db, task, { now, missedBefore: now }, Infinity).ready;
  saveTask(db, task, now);
  const { hasDependents } = task;
  return {
    kind: "settled",
    task: readTaskWire(db, task, args.isSpecKnown, told),
    run: told,
    ready,
    hasDependents,
    backoffEnd: notBefore === 0 ? undefined : notBefore,
    freed,
  };
}

type Changed = Extract<RunChange, { kind: "changed" }>;

/** After a failure of its own a run is not tried again before its back-off is over. 0: at once. */
function notBeforeOf({ outcome, backoffMs = 0 }: Changed, { now, backoffJitter }: SettleArgs): number {
  return outcome !== undefined || backoffMs === 0 ? 0 : now + backoffMs * (0.5 + 0.5 * backoffJitter);
}

/** Back to ready. */
function tryAgain(
  db: Database,
  task: TaskRecord,
  run: RunRecord,
  change: Changed,
  { end, notBefore, files }: SettleArgs & { readonly notBefore: number; readonly files: readonly FileContent[] },
): RunWire {
  const outputTruncated = run.outputTruncated || end.outputTruncated;
  moveRun(db, task, run, change.next, {
    set: "worker = NULL, lease_until = NULL, not_before = ?, output_truncated = ?",
    values: [notBefore, Number(outputTruncated)],
  });
  return settledRunWire(db, task, run, change, { outputTruncated, files });
}

function endRun(
  db: Database,
  task: TaskRecord,
  run: RunRecord,
  change: Changed & Required<Pick<Changed, "outcome">>,
  args: SettleArgs & { readonly files: readonly FileContent[] },
): RunWire {
  const { end, files } = args;
  const result: RunResult = {
    value: end.value,
    ...readResultTexts(db, run),
    exitCode: end.outcome.kind === "exited" ? end.outcome.code : undefined,
  };
  const ended = {
    outcome: JSON.stringify(change.outcome),
    usage: end.usage,
    result: JSON.stringify(result),
    outputTruncated: run.outputTruncated || end.outputTruncated,
  };
  finishRun(db, task, run, change.next, ended);
  task.resultRun = run.index;
  task.reason = failureReason(change.outcome, run.index, task.plan.total) ?? task.reason;
  return settledRunWire(db, task, run, change, { ...ended, files });
}

/** The run as it is told, from what was just written of it. */
function settledRunWire(
  db: Database,
  task: TaskRecord,
  run: RunRecord,
  change: Changed,
  ended: {
    readonly outcome?: string;
    readonly result?: string;
    readonly usage?: Usage;
    readonly outputTruncated: boolean;
    readonly files: readonly FileContent[];
  },
): RunWire {
  return {
    task: task.plan.id,
    serial: task.serial,
    index: run.index,
    state: change.next.state,
    dueAt: run.dueAt,
    attempts: readAttempts(db, run.serial, run.index, run.index).get(run.index) ?? [],
    outcome: ended.outcome,
    result: ended.result,
    usage: ended.usage,
    outputBytes: run.outputBytes,
    outputTruncated: ended.outputTruncated,
    files: ended.files,
  };
}
