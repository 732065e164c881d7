/**
 * When the runs of a task with `cron` are due: they take its slots one after the other, in the order in which the wall clock
 * comes to them. No slot is taken that a run of the task has had, so that none fires twice, over restarts and clocks that
 * jump either way; but for runs that were forgotten for their age, where a clock is put back that far.
 *
 * A clock that is put back comes to moments again for which the task was already past. It then goes on from the moment that
 * the clock says: with the first slot after it that has not fired. What a clock that was ahead has taken is taken, and
 * leaves the rest; those that it has not taken fire at their time. Slots that the task was past before are not made up for:
 * they were decided upon, and a clock that falls behind for a while, as many do until they are set, does not bring them up.
 *
 * Slots that nobody served when they came are missed, and the task's `catchup` says what becomes of them:
 *
 * - `latest`: the latest of all slots that have come is taken, and none before it; none, if that one has fired.
 * - `all`: each is taken, of the latest CATCHUP_RUNS_MAX.
 * - `none`: they are left out.
 *
 * Pure. Times are milliseconds since the Unix epoch.
 */
import { CATCHUP_RUNS_MAX, SLOTS_LOOKED_AT_MAX, SLOTS_LOOKED_AT_PER_PROMOTE } from "../base/limits.ts";
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
  /** What the wall clock said when this was decided. Where it says less, it was put back since. */
  readonly seatedAt: number;
  /** The latest moment up to which all slots were ever decided upon: those that did not fire then are not missed. */
  readonly reachedAt: number;
}

export interface SlotMoment {
  readonly now: number;
  /** Slots before this were missed, unless they are owed: nobody was there to serve them. */
  readonly missedBefore: number;
}

export interface SlotChoice {
  /** The slot of the next run. It may be still to come. */
  readonly slot: number;
  /**
   * So many slots have fired already that the first one which has not is still to be found. The run waits at this one, which
   * has fired as well, to look further from there when it comes; it must not be ready before.
   */
  readonly hasFired: boolean;
  /** How far the task has come with it. */
  readonly cursor: SlotCursor;
  /** For how many runs made ready it counts to have found it. */
  readonly work: number;
}

/** Where a task stands that begins to count from this moment. */
export function slotsFrom(moment: number): SlotCursor {
  return { takenUntil: moment, owedUntil: 0, seatedAt: moment, reachedAt: 0 };
}

/** Where a task stands that goes on from a moment which may be before what it had come to. */
export function slotsAfterSetBack(cursor: SlotCursor, now: number): SlotCursor {
  return {
    ...cursor,
    takenUntil: Math.min(cursor.takenUntil, now),
    owedUntil: Math.min(cursor.owedUntil, now),
    seatedAt: now,
  };
}

/**
 * The slot that the next run takes; undefined when there is none any more. `hasFired`: whether another run of the task has
 * this slot, whatever has become of it.
 */
export function nextSlot(
  schedule: CronSchedule,
  catchup: Catchup,
  cursor: SlotCursor,
  moment: SlotMoment,
  hasFired: (slot: number) => boolean,
): SlotChoice | undefined {
  const { now, missedBefore } = moment;
  const from = cursor.seatedAt > now ? slotsAfterSetBack(cursor, now) : cursor;
  const search = new SlotSearch(schedule, hasFired);
  const slot = search.next(from.takenUntil);
  if (slot === undefined) return undefined;
  if (slot > now || slot <= from.owedUntil || slot >= missedBefore) return search.choice(slot, from, moment);
  const decidedUntil = from.reachedAt <= now ? Math.max(from.takenUntil, from.reachedAt) : from.takenUntil;
  const missed = search.missed(catchup, decidedUntil, now);
  if (missed !== undefined) {
    return search.choice(missed, catchup === "all" ? { ...from, owedUntil: now } : from, moment);
  }
  // Slots are whole milliseconds: the first one that is not before the bound.
  const served = search.next(Math.max(decidedUntil, Math.ceil(missedBefore) - 1));
  return served === undefined ? undefined : search.choice(served, from, moment);
}

/** Looks for slots that have not fired, and counts what that takes. */
class SlotSearch {
  readonly #schedule: CronSchedule;
  readonly #hasFired: (slot: number) => boolean;
  #looked = 0;

  constructor(schedule: CronSchedule, hasFired: (slot: number) => boolean) {
    this.#schedule = schedule;
    this.#hasFired = hasFired;
  }

  /** The first slot after `after` that has not fired, or one that has where these are too many. */
  next(after: number): number | undefined {
    const end = this.#looked + SLOTS_LOOKED_AT_MAX;
    let slot = this.#schedule.next(after);
    while (slot !== undefined && this.#isFired(slot) && this.#looked < end) slot = this.#schedule.next(slot);
    return slot;
  }

  /** The first slot to make up for, of those after `decidedUntil` that have come. */
  missed(catchup: Catchup, decidedUntil: number, now: number): number | undefined {
    if (catchup === "none") return undefined;
    const slots = catchup === "all" ? slotsOwed(this.#schedule, decidedUntil, now) : this.#schedule.latest(now, 1);
    return slots.find((slot) => slot > decidedUntil && !this.#isFired(slot));
  }

  choice(slot: number, cursor: SlotCursor, { now }: SlotMoment): SlotChoice {
    return {
      slot,
      hasFired: this.#hasFired(slot),
      cursor: {
        takenUntil: slot,
        owedUntil: cursor.owedUntil,
        seatedAt: now,
        reachedAt: Math.max(cursor.reachedAt, Math.min(slot, now)),
      },
      work: 1 + Math.floor(this.#looked / SLOTS_LOOKED_AT_PER_PROMOTE),
    };
  }

  #isFired(slot: number): boolean {
    this.#looked += 1;
    return this.#hasFired(slot);
  }
}

/**
 * The slots after `after` that have come, of which the latest CATCHUP_RUNS_MAX count; there may be some before them. Going
 * back costs by the slot, and most tasks have missed few: it goes back in strides, each longer than the one before.
 */
function slotsOwed(schedule: CronSchedule, after: number, now: number): readonly number[] {
  for (let count = FIRST_STRIDE; ; count *= STRIDE_GROWTH) {
    const slots = schedule.latest(now, Math.min(count, CATCHUP_RUNS_MAX));
    const [earliest] = slots;
    const isAll = earliest === undefined || earliest <= after || slots.length < count;
    if (isAll || count >= CATCHUP_RUNS_MAX) return slots;
  }
}

const FIRST_STRIDE = 4;
const STRIDE_GROWTH = 16;
