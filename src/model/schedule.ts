/**
 * When the runs of a task with `cron` are due: they take its slots one after the other. A run's slot is later than that of
 * the run before it, so that no slot is ever taken twice, over restarts and clocks that jump either way. The price: what
 * was taken by a clock that was far ahead leaves nothing for the time up to there; `explain` says so.
 *
 * Slots that nobody served when they came are missed, and the task's `catchup` says what becomes of them:
 *
 * - `latest`: the latest of all slots that have come is taken, and none before it.
 * - `all`: each is taken, the latest CATCHUP_RUNS_MAX of them.
 * - `none`: they are left out.
 *
 * Pure. Times are milliseconds since the Unix epoch.
 */
import { CATCHUP_RUNS_MAX } from "../base/limits.ts";
import type { CronSchedule } from "./cron.ts";

/** What becomes of slots that were missed. */
export type Catchup = "latest" | "all" | "none";

export const CATCHUPS: readonly Catchup[] = ["latest", "all", "none"];

/** Whether the next run may be ready while one is under way. */
export type Overlap = "allow" | "forbid";

export const OVERLAPS: readonly Overlap[] = ["allow", "forbid"];

/** How far a task has come in its slots. */
export interface SlotCursor {
  /** The slot that was taken last; before there is one, the moment from which the task counts. */
  readonly takenUntil: number;
  /** Slots up to here were missed and are to be made up for, each of them: that is decided. */
  readonly owedUntil: number;
}

export interface SlotMoment {
  readonly now: number;
  /** Slots before this were missed, unless they are owed: nobody was there to serve them. */
  readonly missedBefore: number;
}

export interface SlotChoice {
  /** The slot of the next run. It may be still to come. */
  readonly slot: number;
  readonly owedUntil: number;
}

/** The slot that the next run takes; undefined when there is none any more. */
export function nextSlot(
  schedule: CronSchedule,
  catchup: Catchup,
  { takenUntil, owedUntil }: SlotCursor,
  { now, missedBefore }: SlotMoment,
): SlotChoice | undefined {
  const slot = schedule.next(takenUntil);
  if (slot === undefined) return undefined;
  if (slot > now || slot <= owedUntil || slot >= missedBefore) return { slot, owedUntil };
  switch (catchup) {
    case "latest":
      return { slot: schedule.latest(now, 1)[0] ?? slot, owedUntil };
    case "all":
      return { slot: firstOwed(schedule, takenUntil, now) ?? slot, owedUntil: now };
    case "none": {
      // Slots are whole milliseconds: the first one that is not before the bound.
      const served = schedule.next(Math.ceil(missedBefore) - 1);
      return served === undefined ? undefined : { slot: served, owedUntil };
    }
  }
}

/**
 * The first of the slots after `takenUntil` that have come, of which the latest CATCHUP_RUNS_MAX count. Going back costs
 * by the slot, and most tasks have missed few: it goes back in strides, each longer than the one before.
 */
function firstOwed(schedule: CronSchedule, takenUntil: number, now: number): number | undefined {
  for (let count = FIRST_STRIDE; ; count *= STRIDE_GROWTH) {
    const slots = schedule.latest(now, Math.min(count, CATCHUP_RUNS_MAX));
    const [earliest] = slots;
    const isAll = earliest === undefined || earliest <= takenUntil || slots.length < count;
    if (isAll || count >= CATCHUP_RUNS_MAX) return slots.find((slot) => slot > takenUntil);
  }
}

const FIRST_STRIDE = 4;
const STRIDE_GROWTH = 16;
