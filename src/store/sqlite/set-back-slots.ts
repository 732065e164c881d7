/**
 * Tasks with cron whose next slot was decided upon at a moment that is still to come: the wall clock was put back since.
 * They are found by that moment, so that finding none costs nothing, and each is found once.
 */
import { type SlotMoment, slotsAfterSetBack } from "../../model/schedule.ts";
import { decodeNumber } from "./columns.ts";
import type { Database } from "./database.ts";
import { loadRun } from "./run-rows.ts";
import { dueAfterNow, retakeSlot } from "./slot-rows.ts";
import { type TaskRecord, loadTask, saveTask } from "./task-rows.ts";

/** Has such tasks go on from now, as much as `limit` runs are of work; returns how much that was. */
export function seatAnew(db: Database, moment: SlotMoment, limit: number): number {
  const found = db.all(
    "SELECT serial FROM tasks WHERE seated_at > ? ORDER BY seated_at, serial LIMIT ?",
    moment.now,
    limit,
  );
  let work = 0;
  for (const row of found) {
    if (work >= limit) break;
    const task = loadTask(db, decodeNumber(row.serial));
    if (task === undefined) continue;
    work += seat(db, task, moment);
    saveTask(db, task, moment.now);
  }
  return work;
}

/** Returns for how many runs it counts. The caller saves the task. */
function seat(db: Database, task: TaskRecord, moment: SlotMoment): number {
  const last = task.counts.scheduled === 0 ? undefined : loadRun(db, task.serial, task.made);
  // One whose slot has come is seen to as what is due.
  if (last?.cursor.state === "scheduled" && last.dueAt > moment.now) {
    const { due, work } = retakeSlot(db, task, last, moment);
    db.run("UPDATE runs SET due_at = ? WHERE task = ? AND idx = ?", due, last.serial, last.index);
    task.nextDueAt = due;
    return work;
  }
  task.slots = slotsAfterSetBack(task.slots, moment.now);
  if (task.counts.scheduled > 0 || task.nextDueAt === undefined) return 1;
  const next = dueAfterNow(db, task, moment.now);
  task.nextDueAt = next?.due;
  return next?.work ?? 1;
}
