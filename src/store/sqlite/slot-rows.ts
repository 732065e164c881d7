/**
 * When runs are due, by their task's row. Slots of cron are chosen by the model (`model/schedule.ts`); which of them have
 * fired, the rows of runs say: a task's runs of all states are found by their slots. What changes in the task's record the
 * caller saves.
 */
import { type SlotChoice, type SlotMoment, nextSlot, slotsAfterSetBack } from "../../model/schedule.ts";
import { dueAt } from "../../model/task.ts";
import { parseTimezone } from "../../model/timezone.ts";
import { DamagedRow } from "./damaged-row.ts";
import type { Database } from "./database.ts";
import type { RunWire } from "./messages.ts";
import type { TaskRecord } from "./task-rows.ts";

/** What of a run's row matters here. */
export type SlotRun = Pick<RunWire, "index" | "dueAt">;

/** When a run is due. */
export interface TakenDueTime {
  readonly due: number;
  /** False: it is a slot that has fired, and the run waits for it only to look for the next one then. */
  readonly mayBeReady: boolean;
  /** For how many runs made ready it counts to have found it. */
  readonly work: number;
}

/** When the task's next run is due; a cron task has then taken that slot. Undefined: there are no more slots. */
export function takeDueTime(db: Database, task: TaskRecord, moment: SlotMoment): TakenDueTime | undefined {
  const { plan } = task;
  const index = task.made + 1;
  if (plan.cron === undefined) return { due: dueAt(plan, index), mayBeReady: true, work: 1 };
  return takeSlot(task, chooseSlot(db, task, moment, index));
}

function takeSlot(task: TaskRecord, choice: SlotChoice | undefined): TakenDueTime | undefined {
  if (choice === undefined) return undefined;
  task.slots = choice.cursor;
  return { due: choice.slot, mayBeReady: !choice.hasFired, work: choice.work };
}

/** The slot for the run of this index, with the task's cursor as it stands; undefined: there is none, as far as can be known here. */
function chooseSlot(db: Database, task: TaskRecord, moment: SlotMoment, index: number): SlotChoice | undefined {
  const { plan, slots, serial } = task;
  if (plan.cron === undefined) return undefined;
  const schedule = db.schedules.find(plan.cron, plan.timezone);
  if (schedule === undefined) {
    // Which time zones there are depends on this machine, not on the file.
    if (parseTimezone(plan.timezone) === undefined) return undefined;
    throw new DamagedRow("a cron expression cannot be read");
  }
  return nextSlot(schedule, plan.catchup, slots, moment, (slot) => hasFired(db, serial, slot, index));
}

/** Whether another run than that of this index has the slot. */
function hasFired(db: Database, serial: number, slot: number, index: number): boolean {
  const row = db.get(
    "SELECT 1 FROM runs INDEXED BY runs_by_slot WHERE is_slot = 1 AND task = ? AND due_at = ? AND idx <> ? LIMIT 1",
    serial,
    slot,
    index,
  );
  return row !== undefined;
}

/** Of the run that waits for the one before it, as far as is known now: nothing is taken. */
export function dueAfterNow(db: Database, task: TaskRecord, now: number): TakenDueTime | undefined {
  const { slots } = task;
  const due = takeDueTime(db, task, { now, missedBefore: -Infinity });
  task.slots = slots;
  return due;
}

/**
 * The slot that a run is to take which was made for one and has not begun: another one, where that was missed, or where the
 * clock was put back. It may be one that is still to come.
 */
export function retakeSlot(db: Database, task: TaskRecord, run: SlotRun, moment: SlotMoment): TakenDueTime {
  const own = { due: run.dueAt, mayBeReady: true, work: 1 };
  if (task.plan.cron === undefined) return own;
  task.slots = { ...task.slots, takenUntil: Math.min(run.dueAt - 1, moment.now) };
  const taken = takeSlot(task, chooseSlot(db, task, moment, run.index));
  if (taken === undefined) task.slots = slotsAfterSetBack(task.slots, moment.now);
  return taken ?? own;
}
