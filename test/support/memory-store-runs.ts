/**
 * A MemoryStore's operations that move runs: due, lease, settle. `transition` of the model decides each change. A task
 * has at most one scheduled run, its next; `makeRuns` restores that after each change that takes it away or ends a run.
 */
import { assert } from "../../src/base/errors.ts";
import type { PeerId, TaskId } from "../../src/base/ids.ts";
import {
  ATTEMPTS_KEPT_PER_RUN_MAX,
  CATCHUP_PROMOTE_WEIGHT,
  LEASE_MS_MAX,
  OPEN_RUNS_PER_TASK_MAX,
} from "../../src/base/limits.ts";
import type { AttemptEnd, Outcome } from "../../src/model/outcome.ts";
import {
  type Attempt,
  type AttemptId,
  type AttemptState,
  type RunChange,
  type RunCursor,
  transition,
} from "../../src/model/run.ts";
import { type CronSchedule, CronSchedules } from "../../src/model/cron.ts";
import { type SlotCursor, type SlotMoment, nextSlot, slotsAfterSetBack } from "../../src/model/schedule.ts";
import { type TaskState, dueAt, totalRuns } from "../../src/model/task.ts";
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
import { emptyLog, resultTexts } from "./memory-store-log.ts";
import {
  type RunRow,
  type TaskRow,
  type Transaction,
  attemptId,
  countsOf,
  runOf,
  runView,
  stateOf,
  taskView,
  withRun,
} from "./memory-store-state.ts";

const NEW_RUN: RunCursor = { state: "scheduled", attempt: 0, retried: 0, lost: 0 };

const SCHEDULES = new CronSchedules();

/**
 * Makes the task's next runs: those due as ready, at most `readyMax`, then the next one as scheduled. `ready` are the
 * indexes of those that are ready. The caller saves the task.
 */
export function makeRuns(
  task: TaskRow,
  moment: SlotMoment,
  readyMax: number,
): { readonly task: TaskRow; readonly ready: readonly number[] } {
  const runs = [...task.runs];
  const ready: number[] = [];
  const counts = countsOf(task);
  const openMax = task.spec.overlap === "forbid" ? 1 : OPEN_RUNS_PER_TASK_MAX;
  let { slots, retrying } = task;
  let hasScheduled = counts.scheduled > 0;
  for (const run of task.runs) {
    if (retrying === undefined || task.isCancelled || run.index > retrying.to) break;
    if (counts.ready + counts.running + counts.scheduled + ready.length >= openMax) break;
    if (run.index < retrying.from || (run.cursor.state !== "failed" && run.cursor.state !== "cancelled")) continue;
    retrying = { from: run.index + 1, to: retrying.to };
    const again = runAgain({ ...task, runs, slots }, run, moment);
    runs[run.index - 1] = again.run;
    ({ slots } = again);
    if (again.run.cursor.state === "ready") ready.push(run.index);
    else hasScheduled = true;
  }
  const mayMakeMore = () => !task.isCancelled && !task.isWaiting && runs.length < totalRuns(task.spec) && !hasScheduled;
  while (mayMakeMore() && counts.ready + counts.running + ready.length < openMax) {
    const index = runs.length + 1;
    const next = nextDue({ ...task, runs, slots }, index, moment);
    if (next === undefined) break;
    ({ slots } = next);
    const isReady = next.mayBeReady && next.due <= moment.now && ready.length < readyMax;
    if (isReady) ready.push(index);
    else hasScheduled = true;
    runs.push({
      index,
      cursor: isReady ? { ...NEW_RUN, state: "ready" } : NEW_RUN,
      dueAt: next.due,
      notBefore: 0,
      startedAt: 0,
      leaseUntil: 0,
      attempts: [],
      log: emptyLog(),
      attemptOffset: 0,
      outputTruncated: false,
      arrivedFiles: [],
      keptFiles: [],
    });
  }
  const isHeldBack = task.spec.overlap === "forbid" && mayMakeMore();
  const heldBackUntil = isHeldBack
    ? nextDue({ ...task, runs, slots }, runs.length + 1, { now: moment.now, missedBefore: -Infinity })?.due
    : undefined;
  return { task: { ...task, runs, slots, retrying, heldBackUntil }, ready };
}

/** A run that was over, open again. The task's last one, if it never began, takes its slot as one that is scheduled does. */
function runAgain(
  task: TaskRow,
  run: RunRow,
  moment: SlotMoment,
): { readonly run: RunRow; readonly slots: SlotCursor } {
  const hadCome = run.cursor.attempt > 0 || run.index < task.runs.length;
  const taken = hadCome ? { task, due: run.dueAt, mayBeReady: true } : retakeSlot(task, run, moment);
  const isDue = hadCome || (taken.mayBeReady && taken.due <= moment.now);
  const change = transition(run.cursor, { kind: "retry", isDue }, task.spec);
  assert(change.kind === "changed", "a run that did not succeed can run again");
  const ended = { outcome: undefined, result: undefined, usage: undefined };
  const notBefore = run.leaseUntil > moment.now ? Math.min(run.leaseUntil, moment.now + LEASE_MS_MAX) : 0;
  return { run: { ...run, ...ended, cursor: change.next, dueAt: taken.due, notBefore }, slots: taken.task.slots };
}

function scheduleOf({ spec }: TaskRow): CronSchedule | undefined {
  return spec.cron === undefined ? undefined : SCHEDULES.get(spec.cron, spec.timezone);
}

/** When a run is due. `mayBeReady` is false for a slot that has fired, at which the run waits to look further then. */
interface DueTime {
  readonly due: number;
  readonly slots: SlotCursor;
  readonly mayBeReady: boolean;
  readonly work: number;
}

function nextDue(task: TaskRow, index: number, moment: SlotMoment): DueTime | undefined {
  const { spec, slots, runs } = task;
  const schedule = scheduleOf(task);
  if (schedule === undefined) {
    const due = dueAt({ firstDueAt: task.firstDueAt, delayMs: spec.delayMs }, index);
    return { due, slots, mayBeReady: true, work: 1 };
  }
  const hasFired = (slot: number) => runs.some((run) => run.dueAt === slot && run.index !== index);
  const choice = nextSlot(schedule, spec.catchup, slots, moment, hasFired);
  return choice && { due: choice.slot, slots: choice.cursor, mayBeReady: !choice.hasFired, work: choice.work };
}

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
  const due = [...tx.runs((run) => run.cursor.state === "scheduled" && run.dueAt <= now)];
  for (const { task: found, run } of due.toSorted((a, b) => a.run.dueAt - b.run.dueAt)) {
    if (work >= limit) break;
    const { task, due: slot, mayBeReady, work: looking } = retakeSlot(found, run, moment);
    // Counting what was missed is work; so is putting a run off.
    const workFor = (after: TaskRow) =>
      Math.max(looking, after.slots.owedUntil === found.slots.owedUntil ? 1 : CATCHUP_PROMOTE_WEIGHT);
    if (slot > now || !mayBeReady) {
      tx.saveTask(withRun(task, { ...run, dueAt: slot }), now);
      work += workFor(task);
      continue;
    }
    const change = transition(run.cursor, { kind: "due" }, task.spec);
    assert(change.kind === "changed", "a scheduled run can become ready");
    const ready = withRun(task, { ...run, dueAt: slot, cursor: change.next });
    const made = makeRuns(ready, moment, limit - work - 1);
    tx.saveTask(made.task, now);
    work += Math.max(made.ready.length + 1, workFor(made.task));
    for (const index of [run.index, ...made.ready]) {
      promoted.push({ task: task.spec.id, serial: task.serial, index });
    }
    const state = stateOf(made.task);
    if (state !== stateOf(found)) changedTasks.push({ task: task.spec.id, state });
  }
  const told = { promoted, changedTasks, hasEndedBackoffs: ended > 0 };
  if (work >= limit || ended >= limit || hasMoreEnds) return { ...told, nextDueAt: now };
  const waiting = [...tx.runs((run) => run.cursor.state === "scheduled")].map(({ run }) => run.dueAt);
  const backoffEnd = nextBackoffEnd(tx, now);
  return { ...told, nextDueAt: smallest(backoffEnd === undefined ? waiting : [...waiting, backoffEnd]) };
}

/** The slot that a run takes which has not begun: another one, where that was missed or the clock was put back. */
function retakeSlot(
  task: TaskRow,
  run: RunRow,
  moment: SlotMoment,
): { readonly task: TaskRow; readonly due: number; readonly mayBeReady: boolean; readonly work: number } {
  const own = { task, due: run.dueAt, mayBeReady: true, work: 1 };
  if (task.spec.cron === undefined) return own;
  const slots = { ...task.slots, takenUntil: Math.min(run.dueAt - 1, moment.now) };
  const next = nextDue({ ...task, slots }, run.index, moment);
  return next === undefined ? own : { ...next, task: { ...task, slots: next.slots } };
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
  for (const { task, run } of tx.runs((each) => isHeld(each) && each.notBefore > leaseUntil)) {
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
