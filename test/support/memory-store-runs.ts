/**
 * A MemoryStore's operations that move runs: due, lease, settle. `transition` of the model decides each change.
 */
import { assert } from "../../src/base/errors.ts";
import type { PeerId, TaskId } from "../../src/base/ids.ts";
import { ATTEMPTS_KEPT_PER_RUN_MAX, CATCHUP_PROMOTE_WEIGHT } from "../../src/base/limits.ts";
import type { AttemptEnd, Outcome } from "../../src/model/outcome.ts";
import {
  type Attempt,
  type AttemptId,
  type AttemptState,
  type RunChange,
  longestBackoffMs,
  transition,
} from "../../src/model/run.ts";
import { type SlotMoment, slotsAfterSetBack } from "../../src/model/schedule.ts";
import { type TaskState, totalRuns } from "../../src/model/task.ts";
import { requirementKey } from "../../src/model/worker.ts";
import { failureReason } from "../../src/store/failure-reason.ts";
import type {
  ListReadyOptions,
  PromoteResult,
  ReadyRun,
  RunRef,
  RunningAttempt,
  SettleOptions,
  SettleResult,
} from "../../src/store/store.ts";
import { settleFiles } from "./memory-store-files.ts";
import { seeToOneEnd } from "./memory-store-dependencies.ts";
import { resultTexts } from "./memory-store-log.ts";
import { makeRuns, nextDue, retakeSlot } from "./memory-store-making.ts";
import {
  type RunRow,
  type TaskRow,
  type Transaction,
  attemptId,
  runOf,
  runView,
  stateOf,
  taskView,
  withRun,
} from "./memory-store-state.ts";

/** Has tasks with cron go on from now that had come further, by a clock that was put back since; returns how much work that was. */
function seatAnew(tx: Transaction, moment: SlotMoment, limit: number): number {
  const { now } = moment;
  const isAhead = ({ spec, finishedAt, slots }: TaskRow) =>
    spec.cron !== undefined && finishedAt === undefined && slots.seatedAt > now;
  let work = 0;
  const ahead = [...tx.state.tasks.values()].filter(isAhead);
  for (const task of ahead.toSorted((a, b) => a.slots.seatedAt - b.slots.seatedAt || a.serial - b.serial)) {
    if (work >= limit) break;
    const seated = seat(task, moment);
    tx.saveTask(seated.task, now);
    work += seated.work;
  }
  return work;
}

function seat(task: TaskRow, moment: SlotMoment): { readonly task: TaskRow; readonly work: number } {
  const last = task.runs.at(-1);
  if (last?.cursor.state === "scheduled" && last.dueAt > moment.now) {
    const taken = retakeSlot(task, last, moment);
    return { task: withRun(taken.task, { ...last, dueAt: taken.due }), work: taken.work };
  }
  const anew = { ...task, slots: slotsAfterSetBack(task.slots, moment.now) };
  if (task.heldBackUntil === undefined) return { task: anew, work: 1 };
  const next = nextDue(anew, task.runs.length + 1, { ...moment, missedBefore: -Infinity });
  return { task: { ...anew, heldBackUntil: next?.due }, work: next?.work ?? 1 };
}

export function promoteDue(tx: Transaction, moment: SlotMoment, limit: number): PromoteResult {
  const { now } = moment;
  const ended = endBackoffs(tx, now, limit);
  const shortened = shortenBackoffs(tx, now, limit);
  const promoted: RunRef[] = [];
  const changedTasks: { readonly task: TaskId; readonly state: TaskState }[] = [];
  const endsMax = Math.ceil(limit / 2);
  let work = 0;
  while (work < endsMax) {
    const seen = seeToOneEnd(tx, moment);
    if (seen === undefined) break;
    const readyMax = endsMax - work;
    work += 1;
    if (seen.task === undefined) continue;
    const made = makeRuns(seen.task, moment, readyMax);
    const { spec, serial } = tx.saveTask(made.task, now);
    for (const index of made.ready) promoted.push({ task: spec.id, serial, index });
    work = Math.max(work, promoted.length);
    const state = stateOf(made.task);
    if (state !== stateOf(seen.before)) changedTasks.push({ task: spec.id, state });
  }
  const hasMoreEnds = work >= endsMax;
  work += seatAnew(tx, moment, limit - work);
  // One that was put off to a slot which has come as well is due again.
  for (let due = dueRuns(tx, now); due.length > 0 && work < limit; due = dueRuns(tx, now)) {
    for (const each of due) {
      if (work >= limit) break;
      const done = promote(tx, each, moment, limit - work);
      work += done.work;
      for (const index of done.ready) promoted.push({ task: done.task.spec.id, serial: done.task.serial, index });
      const state = stateOf(done.task);
      if (state !== stateOf(each.task)) changedTasks.push({ task: done.task.spec.id, state });
    }
  }
  const told = { promoted, changedTasks, hasEndedBackoffs: ended > 0 };
  if (work >= limit || Math.max(ended, shortened) >= limit || hasMoreEnds) return { ...told, nextDueAt: now };
  const times = [nextDueAt(tx), nextBackoffEnd(tx, now)];
  return { ...told, nextDueAt: smallest(times.filter((time) => time !== undefined)) };
}

interface DueRun {
  readonly task: TaskRow;
  readonly run: RunRow;
}

function dueRuns(tx: Transaction, now: number): readonly DueRun[] {
  const due = [...tx.runs((run) => run.cursor.state === "scheduled" && run.dueAt <= now)];
  return due.toSorted((a, b) => a.run.dueAt - b.run.dueAt);
}

/** Makes a run ready that is due, and those after it; or puts it off. `limit` is for all of them. */
function promote(
  tx: Transaction,
  { task: found, run }: DueRun,
  moment: SlotMoment,
  limit: number,
): { readonly task: TaskRow; readonly ready: readonly number[]; readonly work: number } {
  const { now } = moment;
  const { task, due: slot, mayBeReady, work: looking } = retakeSlot(found, run, moment);
  // Counting what was missed is work; so is putting a run off.
  const workFor = (after: TaskRow) =>
    Math.max(looking, after.slots.owedUntil === found.slots.owedUntil ? 1 : CATCHUP_PROMOTE_WEIGHT);
  if (slot > now || !mayBeReady) {
    const putOff = tx.saveTask(withRun(task, { ...run, dueAt: slot }), now);
    return { task: putOff, ready: [], work: workFor(putOff) };
  }
  const change = transition(run.cursor, { kind: "due" }, task.spec);
  assert(change.kind === "changed", "a scheduled run can become ready");
  const made = makeRuns(withRun(task, { ...run, dueAt: slot, cursor: change.next }), moment, limit - looking);
  const work = looking + made.ready.length + made.searchWork;
  return {
    task: tx.saveTask(made.task, now),
    ready: [run.index, ...made.ready],
    work: Math.max(work, workFor(made.task)),
  };
}

/** What has backed off long enough is ready for good, even if the clock then goes back. Returns how many of them. */
function endBackoffs(tx: Transaction, now: number, limit: number): number {
  const over = [...tx.runs((each) => isBackingOff(each) && each.notBefore <= now)].slice(0, limit);
  for (const { task, run } of over) {
    const current = tx.task(task.spec.id) ?? task;
    tx.saveTask(withRun(current, { ...run, notBefore: 0 }), now);
  }
  return over.length;
}

/** Back-offs that were given by a clock that was ahead last no longer than any that is given now. Returns how many of them. */
function shortenBackoffs(tx: Transaction, now: number, limit: number): number {
  const ends = [...tx.runs((run) => isBackingOff(run) && !isHeld(run))].map(({ task, run }) => ({
    task,
    run,
    until: now + longestBackoffMs(task.spec.backoffMs, run.cursor.retried),
  }));
  const tooFar = ends
    .filter(({ run, until }) => run.notBefore > until)
    .toSorted((a, b) => b.run.notBefore - a.run.notBefore || b.task.serial - a.task.serial || b.run.index - a.run.index)
    .slice(0, limit);
  for (const { task, run, until } of tooFar) {
    tx.saveTask(withRun(tx.task(task.spec.id) ?? task, { ...run, notBefore: until }), now);
  }
  return tooFar.length;
}

/** It is to run again, and an attempt that was cancelled may still be under way. */
export function isHeld(run: RunRow): boolean {
  return isBackingOff(run) && run.leaseUntil > 0;
}

function isBackingOff(run: RunRow): boolean {
  return run.cursor.state === "ready" && run.notBefore > 0;
}

export function listReady(
  tx: Transaction,
  now: number,
  limit: number,
  { after, except = [] }: ListReadyOptions = {},
): readonly ReadyRun[] {
  return [...tx.runs((run) => run.cursor.state === "ready" && run.notBefore <= now)]
    .map(({ task, run }) => readyRun(tx, task, run))
    .filter(({ requirement }) => !except.includes(requirement))
    .toSorted(byTurn)
    .filter((run) => after === undefined || byTurn(run, after) > 0)
    .slice(0, limit);
}

function readyRun(tx: Transaction, task: TaskRow, run: RunRow): ReadyRun {
  const workersOf = (...states: readonly AttemptState[]) => [
    ...new Set(run.attempts.filter(({ state }) => states.includes(state)).map(({ worker }) => worker)),
  ];
  return {
    spec: task.spec,
    serial: task.serial,
    index: run.index,
    dueAt: run.dueAt,
    requirement: tx.state.requirements.get(requirementKey(task.spec)) ?? 0,
    nextAttempt: run.cursor.attempt + 1,
    triedWorkers: workersOf("lost", "failed"),
    lostOn: workersOf("lost"),
  };
}

function byTurn(a: ReadyRun, b: ReadyRun): number {
  return b.spec.priority - a.spec.priority || a.dueAt - b.dueAt || a.serial - b.serial || a.index - b.index;
}

export function nextDueAt(tx: Transaction): number | undefined {
  return smallest([...tx.runs((run) => run.cursor.state === "scheduled")].map(({ run }) => run.dueAt));
}

export function nextBackoffEnd(tx: Transaction, now: number): number | undefined {
  return smallest([...tx.runs((run) => isBackingOff(run) && run.notBefore > now)].map(({ run }) => run.notBefore));
}

function smallest(times: readonly number[]): number | undefined {
  return times.length === 0 ? undefined : Math.min(...times);
}

export function lease(tx: Transaction, id: AttemptId, worker: PeerId, now: number, leaseUntil: number): boolean {
  const found = tx.find(id);
  if (found === undefined || found.run.cursor.attempt + 1 !== id.attempt) return false;
  const { task, run } = found;
  const change = transition(run.cursor, { kind: "lease" }, task.spec);
  if (change.kind === "refused") return false;
  const attempt: Attempt = { number: id.attempt, worker, state: "running", startedAt: now };
  const leased: RunRow = {
    ...run,
    cursor: change.next,
    notBefore: 0,
    worker,
    startedAt: now,
    leaseUntil,
    attemptOffset: run.log.bytes,
    attempts: [...run.attempts, attempt].slice(-ATTEMPTS_KEPT_PER_RUN_MAX),
  };
  tx.saveTask({ ...withRun(task, leased), latestRun: run.index }, now);
  return true;
}

export function noteEnded(tx: Transaction, ids: readonly AttemptId[]): boolean {
  let isReady = false;
  for (const id of ids) {
    const found = tx.find(id);
    if (found === undefined || found.run.cursor.attempt !== id.attempt || found.run.leaseUntil === 0) continue;
    const { state } = found.run.cursor;
    if (state !== "cancelled" && state !== "ready") continue;
    tx.saveTask(withRun(found.task, { ...found.run, leaseUntil: 0, notBefore: 0 }), 0);
    isReady ||= state === "ready";
  }
  return isReady;
}

export function renew(
  tx: Transaction,
  ids: readonly AttemptId[],
  worker: PeerId,
  leaseUntil: number,
): readonly AttemptId[] {
  return ids.filter((id) => {
    const found = tx.find(id);
    const isHeld =
      found?.run.cursor.state === "running" && found.run.cursor.attempt === id.attempt && found.run.worker === worker;
    if (isHeld) tx.saveTask(withRun(found.task, { ...found.run, leaseUntil }), 0);
    return !isHeld;
  });
}

export function listRunning(tx: Transaction, worker?: PeerId): readonly RunningAttempt[] {
  return running(tx, (run) => worker === undefined || run.worker === worker);
}

export function listExpired(tx: Transaction, now: number, limit: number): readonly RunningAttempt[] {
  return running(tx, (run) => run.leaseUntil < now)
    .toSorted((a, b) => a.leaseUntil - b.leaseUntil)
    .slice(0, limit);
}

export function extendAllLeases(tx: Transaction, leaseUntil: number): void {
  for (const { id } of running(tx, () => true)) {
    const found = tx.find(id);
    if (found !== undefined) tx.saveTask(withRun(found.task, { ...found.run, leaseUntil }), 0);
  }
  for (const { task, run } of tx.runs(isHeld)) {
    tx.saveTask(withRun(tx.task(task.spec.id) ?? task, { ...run, notBefore: leaseUntil, leaseUntil }), 0);
  }
}

function running(tx: Transaction, isWanted: (run: RunRow) => boolean): readonly RunningAttempt[] {
  const found: RunningAttempt[] = [];
  for (const { task, run } of tx.runs((each) => each.cursor.state === "running" && isWanted(each))) {
    assert(run.worker !== undefined, "a run that is under way is on a worker");
    found.push({
      id: attemptId(task, run),
      worker: run.worker,
      leaseUntil: run.leaseUntil,
      startedAt: run.startedAt,
      outputBytes: run.log.bytes - run.attemptOffset,
      outputBytesMax: task.spec.outputBytesMax,
      timeoutMs: task.spec.timeoutMs,
    });
  }
  return found;
}

export function settle(tx: Transaction, id: AttemptId, end: AttemptEnd, options: SettleOptions): SettleResult {
  const found = tx.find(id);
  if (found === undefined) return { kind: "stale" };
  const { task, run } = found;
  const { isBlameless, now } = options;
  const change = transition(run.cursor, { kind: "settle", attempt: id.attempt, end, isBlameless }, task.spec);
  if (change.kind === "refused") return { kind: "stale" };
  assert(change.attemptState !== undefined, "what is settled was under way");
  const ended: RunRow = {
    ...run,
    attempts: endAttempt(run, change.attemptState, end.outcome, now),
    cursor: change.next,
    worker: undefined,
    leaseUntil: 0,
    outputTruncated: run.outputTruncated || end.outputTruncated,
  };
  const { outcome } = change;
  const { settled, freed } = settleFiles(ended, outcome);
  const made =
    outcome === undefined
      ? { task: withRun(task, tryAgain(settled, change, options)), ready: [] }
      : makeRuns(endRun(task, settled, outcome, end), { now, missedBefore: now }, Infinity);
  const saved = tx.saveTask(made.task, now);
  const after = runOf(saved, run.index);
  return {
    kind: "settled",
    task: taskView(saved),
    run: runView(saved, after),
    ready: made.ready,
    hasDependents: tx.hasDependents(saved),
    backoffEnd: isBackingOff(after) ? after.notBefore : undefined,
    freed,
  };
}

/** Back to ready; after a failure of its own, not before its back-off is over. */
function tryAgain(run: RunRow, change: Extract<RunChange, { kind: "changed" }>, options: SettleOptions): RunRow {
  const backoffMs = change.backoffMs ?? 0;
  return { ...run, notBefore: backoffMs === 0 ? 0 : options.now + backoffMs * (0.5 + 0.5 * options.backoffJitter) };
}

function endRun(task: TaskRow, run: RunRow, outcome: Outcome, end: AttemptEnd): TaskRow {
  const exitCode = end.outcome.kind === "exited" ? end.outcome.code : undefined;
  const result = { value: end.value, ...resultTexts(run), exitCode };
  return {
    ...withRun(task, { ...run, outcome, usage: end.usage, result }),
    resultRun: run.index,
    reason: failureReason(outcome, run.index, totalRuns(task.spec)) ?? task.reason,
  };
}

/** The run's attempts, the latest of them ended. */
export function endAttempt(run: RunRow, state: AttemptState, outcome: Outcome, now: number): readonly Attempt[] {
  return run.attempts.map((attempt) =>
    attempt.number === run.cursor.attempt ? { ...attempt, state, outcome, finishedAt: now } : attempt,
  );
}
