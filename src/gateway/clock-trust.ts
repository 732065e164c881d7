/**
 * By what time things may be forgotten for their age. The wall clock may be wrong: one that is set far ahead would make all
 * there is old at once. So it is not believed for a while after it was seen to be set, and after the start, when it may be
 * wrong and be set soon.
 *
 * A gateway may never live that long, such as one that is started for half an hour a day. So each leaves a mark in the store,
 * a time that its clock has said after it had run well for a while, and a young one goes by the mark that it has found:
 * as long as one of two lives in a row has its clock right, nothing is old too early.
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

export class ClockTrust {
  readonly #init: ClockTrustInit;
  /** Wall clock minus monotonic clock, when they were last looked at. */
  #offset: number;
  /** By the monotonic clock: the wall clock is not believed before. */
  #trustedAtMs: number;
  /** By the monotonic clock: since when the wall clock has run well. */
  #steadySinceMs: number;
  #timesSet = 0;
  /** Whether the mark that was found has been read. */
  #hasRead = false;
  /** As it is in the store. */
  #mark: number | undefined;
  /** Up to when an earlier life's clock had come, as far as this one's has never said less. */
  #earlierAt: number | undefined;

  constructor(init: ClockTrustInit) {
    this.#init = init;
    const nowMs = init.clock.monotonicMs();
    this.#offset = init.clock.now() - nowMs;
    this.#trustedAtMs = nowMs + (init.trustedAfterMs ?? RETAIN_CLOCK_TRUST_MS);
    this.#steadySinceMs = nowMs;
  }

  /** Looks at the clock; returns how often it was seen to be set so far. */
  timesSet(): number {
    const { clock, log } = this.#init;
    const nowMs = clock.monotonicMs();
    const offset = clock.now() - nowMs;
    const offMs = offset - this.#offset;
    this.#offset = offset;
    if (Math.abs(offMs) > RETAIN_CLOCK_OFF_MS_MAX) {
      log.warn("the clock was set: for a while it is not believed when it makes things old enough to be forgotten", {
        offMs,
      });
      this.#trustedAtMs = nowMs + (this.#init.trustMs ?? RETAIN_CLOCK_TRUST_MS);
      this.#steadySinceMs = nowMs;
      this.#timesSet += 1;
    }
    return this.#timesSet;
  }

  /** The time by which things may be old now; undefined: none may. To be called every now and then. Rejects as the store does. */
  async believedAt(): Promise<number | undefined> {
    const { clock, store } = this.#init;
    this.timesSet();
    const now = clock.now();
    const isTrusted = clock.monotonicMs() >= this.#trustedAtMs;
    if (!this.#hasRead) {
      this.#mark = await store.getClockMark();
      this.#earlierAt = this.#mark;
      this.#hasRead = true;
    }
    if (this.#earlierAt !== undefined) this.#earlierAt = Math.min(this.#earlierAt, now);
    await this.#leaveMark(now);
    return isTrusted ? now : this.#earlierAt;
  }

  /** A store that does not take it is tried again: what goes by it here is known already. */
  async #leaveMark(now: number): Promise<void> {
    const { clock, store, log, markEveryMs = RETAIN_CLOCK_MARK_EVERY_MS } = this.#init;
    const isAhead = this.#mark !== undefined && this.#mark > now;
    const isSteady = clock.monotonicMs() - this.#steadySinceMs >= markEveryMs;
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
