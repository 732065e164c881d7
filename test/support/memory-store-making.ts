/**
 * How a MemoryStore makes a task's runs: when each is due, by the task's row, and which slots of cron have fired, by its runs.
 * A task has at most one scheduled run, its next; `makeRuns` restores that after each change that takes it away or ends a run.
 */
import { assert } from "../../src/base/errors.ts";
import { LEASE_MS_MAX, OPEN_RUNS_PER_TASK_MAX } from "../../src/base/limits.ts";
import { type CronSchedule, CronSchedules } from "../../src/model/cron.ts";
import { type RunCursor, transition } from "../../src/model/run.ts";
import { type SlotCursor, type SlotMoment, nextSlot } from "../../src/model/schedule.ts";
import { dueAt, totalRuns } from "../../src/model/task.ts";
import { emptyLog } from "./memory-store-log.ts";
import { type RunRow, type TaskRow, countsOf } from "./memory-store-state.ts";

const NEW_RUN: RunCursor = { state: "scheduled", attempt: 0, retried: 0, lost: 0 };

const SCHEDULES = new CronSchedules();

/**
 * Makes the task's next runs: those due as ready, as long as that counts for no more than `readyMax`, then the next one as
 * scheduled. `ready` are the indexes of those that are ready; `searchWork` is for how many more it counts to have found
 * the slots of all of them. The caller saves the task.
 */
export function makeRuns(
  task: TaskRow,
  moment: SlotMoment,
  readyMax: number,
): { readonly task: TaskRow; readonly ready: readonly number[]; readonly searchWork: number } {
  const runs = [...task.runs];
  const ready: number[] = [];
  let searchWork = 0;
  const counts = countsOf(task);
  const openMax = task.spec.overlap === "forbid" ? 1 : OPEN_RUNS_PER_TASK_MAX;
  let { slots, retrying } = task;
  let hasScheduled = counts.scheduled > 0;
  for (let open = counts.ready + counts.running + counts.scheduled; open < openMax; open += 1) {
    if (retrying === undefined || task.isCancelled) break;
    const { from, to }: Retrying = retrying;
    const run = runs.find(({ index, cursor }) => index >= from && index <= to && hasNotSucceeded(cursor));
    retrying = run && { from: run.index + 1, to };
    if (run === undefined) break;
    const again = runAgain({ ...task, runs, slots }, run, moment);
    runs[run.index - 1] = again.run;
    ({ slots } = again);
    searchWork += again.work - 1;
    if (again.run.cursor.state === "ready") ready.push(run.index);
    else hasScheduled = true;
  }
  const mayMakeMore = () => !task.isCancelled && !task.isWaiting && runs.length < totalRuns(task.spec) && !hasScheduled;
  while (mayMakeMore() && counts.ready + counts.running + ready.length < openMax) {
    const index = runs.length + 1;
    const next = nextDue({ ...task, runs, slots }, index, moment);
    if (next === undefined) break;
    ({ slots } = next);
    searchWork += next.work - 1;
    const isReady = next.mayBeReady && next.due <= moment.now && ready.length + searchWork < readyMax;
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
  const heldBack = isHeldBack
    ? nextDue({ ...task, runs, slots }, runs.length + 1, { now: moment.now, missedBefore: -Infinity })
    : undefined;
  searchWork += (heldBack?.work ?? 1) - 1;
  return { task: { ...task, runs, slots, retrying, heldBackUntil: heldBack?.due }, ready, searchWork };
}

type Retrying = NonNullable<TaskRow["retrying"]>;

function hasNotSucceeded({ state }: RunCursor): boolean {
  return state === "failed" || state === "cancelled";
}

/** A run that was over, open again. The task's last one, if it never began, takes its slot as one that is scheduled does. */
function runAgain(
  task: TaskRow,
  run: RunRow,
  moment: SlotMoment,
): { readonly run: RunRow; readonly slots: SlotCursor; readonly work: number } {
  const hadCome = run.cursor.attempt > 0 || run.index < task.runs.length;
  const taken = hadCome ? { task, due: run.dueAt, mayBeReady: true, work: 1 } : retakeSlot(task, run, moment);
  const isDue = hadCome || (taken.mayBeReady && taken.due <= moment.now);
  const change = transition(run.cursor, { kind: "retry", isDue }, task.spec);
  assert(change.kind === "changed", "a run that did not succeed can run again");
  const ended = { outcome: undefined, result: undefined, usage: undefined };
  const notBefore = run.leaseUntil > moment.now ? Math.min(run.leaseUntil, moment.now + LEASE_MS_MAX) : 0;
  const again = { ...run, ...ended, cursor: change.next, dueAt: taken.due, notBefore };
  return { run: again, slots: taken.task.slots, work: taken.work };
}

function scheduleOf({ spec }: TaskRow): CronSchedule | undefined {
  return spec.cron === undefined ? undefined : SCHEDULES.find(spec.cron, spec.timezone);
}

/** When a run is due. `mayBeReady` is false for a slot that has fired, at which the run waits to look further then. */
export interface DueTime {
  readonly due: number;
  readonly slots: SlotCursor;
  readonly mayBeReady: boolean;
  readonly work: number;
}

export function nextDue(task: TaskRow, index: number, moment: SlotMoment): DueTime | undefined {
  const { spec, slots, runs } = task;
  const schedule = scheduleOf(task);
  if (schedule === undefined) {
    const due = dueAt({ firstDueAt: task.firstDueAt, delayMs: spec.delayMs }, index);
    return { due, slots, mayBeReady: true, work: 1 };
  }
  // Nobody knows any more at which slots those have fired that were forgotten.
  const hasFired = (slot: number) =>
    runs.some((run) => run.dueAt === slot && run.index !== index && run.index >= task.firstRun);
  const choice = nextSlot(schedule, spec.catchup, slots, moment, hasFired);
  return choice && { due: choice.slot, slots: choice.cursor, mayBeReady: !choice.hasFired, work: choice.work };
}

/** The slot that a run takes which has not begun: another one, where that was missed or the clock was put back. */
export function retakeSlot(
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
