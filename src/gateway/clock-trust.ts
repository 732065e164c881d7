/**
 * By what time things may be forgotten for their age. The wall clock may be wrong: one that is set far ahead would make all
 * there is old at once. So it is not believed for a while after it was seen to be set, and after the start, when it may be
 * wrong and be set soon. Meanwhile things may be old in two ways:
 *
 * - What ended since then has aged while this process was there, whose monotonic clock says how much, whether or not the
 *   wall clock is right. The same holds for what ended before and claims to have ended later: it is older still.
 * - Each life leaves a mark in the store, a time that its clock has said after it had run well for a while. The next one
 *   goes on from the mark that it has found, by its monotonic clock, as far as its wall clock has never said less. So as
 *   long as one of two lives in a row has its clock right, nothing is old too early.
 *
 * A mark may have been left by a clock that was ahead. A clock that says less takes it back at once, to what it says itself;
 * that may be too early, where this one is behind, and costs nothing but time until the next mark.
 */
import type { Clock } from "../base/clock.ts";
import { RETAIN_CLOCK_MARK_EVERY_MS, RETAIN_CLOCK_OFF_MS_MAX, RETAIN_CLOCK_TRUST_MS } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import type { Store } from "../store/store.ts";

export interface ClockTrustInit {
  /** How long the clock is not believed at first. Default: RETAIN_CLOCK_TRUST_MS. */
  readonly trustedAfterMs?: number | undefined;
  /** How long it is not believed after it was set. Default: RETAIN_CLOCK_TRUST_MS. */
  readonly trustMs?: number | undefined;
  /** How long it has to run well before a mark is left of it, and how often one is. Default: RETAIN_CLOCK_MARK_EVERY_MS. */
  readonly markEveryMs?: number | undefined;
  readonly store: Pick<Store, "getClockMark" | "setClockMark">;
  readonly clock: Clock;
  readonly log: Log;
}

/** What ended at `from` or later is as old as it is by `now`. */
export interface BelievedTime {
  readonly from: number;
  readonly now: number;
}

export class ClockTrust {
  readonly #init: ClockTrustInit;
  /** By the monotonic clock: when this process began. */
  readonly #beganAtMs: number;
  /** Wall clock minus monotonic clock, when they were last looked at. */
  #offset: number;
  /** The least of those that there have been. */
  #leastOffset: number;
  /** By the monotonic clock: the wall clock is not believed before. */
  #trustedAtMs: number;
  #steady: SteadyTime;
  #timesSet = 0;
  /** Whether the mark that was found has been read. */
  #hasRead = false;
  /** As it is in the store. */
  #mark: number | undefined;
  /** What was found when this process began, minus the monotonic clock then. */
  #earlierOffset: number | undefined;

  constructor(init: ClockTrustInit) {
    this.#init = init;
    const { clock } = init;
    const nowMs = clock.monotonicMs();
    this.#beganAtMs = nowMs;
    this.#steady = steadyFrom(clock);
    this.#offset = this.#steady.leastOffset;
    this.#leastOffset = this.#offset;
    this.#trustedAtMs = nowMs + (init.trustedAfterMs ?? RETAIN_CLOCK_TRUST_MS);
  }

  /** Looks at the clock; returns how often it was seen to be set so far. */
  timesSet(): number {
    const { clock, log, trustMs = RETAIN_CLOCK_TRUST_MS } = this.#init;
    const nowMs = clock.monotonicMs();
    const offset = clock.now() - nowMs;
    const offMs = offset - this.#offset;
    this.#offset = offset;
    this.#leastOffset = Math.min(this.#leastOffset, offset);
    this.#steady.leastOffset = Math.min(this.#steady.leastOffset, offset);
    if (Math.abs(offMs) > RETAIN_CLOCK_OFF_MS_MAX) {
      log.warn("the clock was set: for a while it is not believed when it makes things old enough to be forgotten", {
        offMs,
      });
      this.#trustedAtMs = nowMs + trustMs;
      this.#steady = steadyFrom(clock);
      this.#timesSet += 1;
    }
    return this.#timesSet;
  }

  /** The times by which things may be old now. To be called every now and then. Rejects as the store does. */
  async believed(): Promise<readonly BelievedTime[]> {
    const { clock, store } = this.#init;
    if (!this.#hasRead) {
      this.#mark = await store.getClockMark();
      if (this.#mark !== undefined) this.#earlierOffset = this.#mark - this.#beganAtMs;
      this.#hasRead = true;
    }
    this.timesSet();
    await this.#leaveMark(clock.now());
    // What it says now counts, and whether it was set meanwhile.
    this.timesSet();
    const nowMs = clock.monotonicMs();
    if (nowMs >= this.#trustedAtMs) return [{ from: -Infinity, now: clock.now() }];
    const { from, leastOffset } = this.#steady;
    const own = { from, now: Math.floor(nowMs + leastOffset) };
    if (this.#earlierOffset === undefined) return [own];
    return [{ from: -Infinity, now: Math.floor(nowMs + Math.min(this.#earlierOffset, this.#leastOffset)) }, own];
  }

  /** A store that does not take it is tried again: what goes by it here is known already. */
  async #leaveMark(now: number): Promise<void> {
    const { clock, store, log, markEveryMs = RETAIN_CLOCK_MARK_EVERY_MS } = this.#init;
    const isAhead = this.#mark !== undefined && this.#mark > now;
    const isSteady = clock.monotonicMs() - this.#steady.sinceMs >= markEveryMs;
    const isOld = this.#mark === undefined || now - this.#mark >= markEveryMs;
    if (!isAhead && !(isSteady && isOld)) return;
    try {
      await store.setClockMark(now);
      this.#mark = now;
    } catch (error) {
      log.warn("what the clock says could not be noted for the next start; trying again", { error });
    }
  }
}

/** While the wall clock has run well. */
interface SteadyTime {
  /** By the monotonic clock: when it began. */
  readonly sinceMs: number;
  /** What the wall clock said then. */
  readonly from: number;
  /** Wall clock minus monotonic clock: the least that there was. */
  leastOffset: number;
}

function steadyFrom(clock: Clock): SteadyTime {
  const sinceMs = clock.monotonicMs();
  const from = clock.now();
  return { sinceMs, from, leastOffset: from - sinceMs };
}
