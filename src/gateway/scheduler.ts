/**
 * Makes runs ready when they are due, and ends back-offs. The store knows what is due; this only knows when to ask it next.
 *
 * The wait is cut into short pieces and compared with the wall clock after each, so that a clock that jumps makes runs
 * due when it says so.
 *
 * It also knows since when somebody has been there to serve slots of cron tasks: not before it began, not where the wall
 * clock was jumped over, not while this process or the store stood still, and not while the store refused.
 */
import { Backoff } from "../base/backoff.ts";
import type { Clock, Timer } from "../base/clock.ts";
import {
  CLOCK_CHECK_EVERY_MS,
  CLOCK_JUMP_MS_MIN,
  PROMOTE_BATCH,
  SLOT_LATE_MS_MAX,
  SLOT_STALL_MS_MAX,
} from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import type { Random } from "../base/random.ts";
import type { Store } from "../store/store.ts";
import { type EventHub, publishReady } from "./events.ts";

export interface SchedulerInit {
  readonly store: Pick<Store, "promoteDue">;
  readonly events: EventHub;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Runs have become ready. */
  readonly onReady: () => void;
}

export class Scheduler {
  readonly #init: SchedulerInit;
  #nextAt: number | undefined;
  #timer: Timer | undefined;
  #isPromoting = false;
  #isClosed = false;
  readonly #backoff: Backoff;
  /** By the wall clock: since when somebody has been there without a break. */
  #servingSince: number;
  /** The wall clock's lead over the monotonic one when it was looked at last. It changes when the wall clock is set. */
  #leadMs: number;
  /** By the monotonic clock: when this was at work last. */
  #seenAtMs: number;
  /** The store has refused the last time: nobody serves slots before it takes them. */
  #isRefused = false;

  constructor(init: SchedulerInit) {
    this.#init = init;
    this.#servingSince = init.clock.now();
    this.#leadMs = init.clock.now() - init.clock.monotonicMs();
    this.#seenAtMs = init.clock.monotonicMs();
    this.#backoff = new Backoff({ firstMs: 100, maxMs: 5_000, random: init.random });
  }

  /** Something may be due at `at`: makes sure that the store is asked by then. */
  wake(at: number): void {
    if (this.#nextAt !== undefined && this.#nextAt <= at) return;
    this.#nextAt = at;
    this.#arm();
  }

  /** The store takes something again: what waits for the next try is tried now. */
  storeIsWell(): void {
    if (this.#isRefused) this.wake(this.#init.clock.now());
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.[Symbol.dispose]();
  }

  #arm(): void {
    this.#timer?.[Symbol.dispose]();
    if (this.#isClosed || this.#isPromoting || this.#nextAt === undefined) return;
    const { clock } = this.#init;
    // What was to be done at a time of the clock as it was before may be due, or was to be tried again soon.
    if (this.#noticeJump()) this.#nextAt = Math.min(this.#nextAt, clock.now());
    this.#noticeStandstill();
    const waitMs = Math.min(CLOCK_CHECK_EVERY_MS, Math.max(0, this.#nextAt - clock.now()));
    this.#timer = clock.setTimer(waitMs, () => {
      if (this.#nextAt !== undefined && this.#nextAt <= clock.now()) void this.#promote();
      else this.#arm();
    });
  }

  /** A wall clock that was put forward has passed slots that nobody saw. True: it was set. */
  #noticeJump(): boolean {
    const { clock } = this.#init;
    const leadMs = clock.now() - clock.monotonicMs();
    const hasJumped = Math.abs(leadMs - this.#leadMs) > CLOCK_JUMP_MS_MIN;
    if (hasJumped) this.#servingSince = clock.now();
    this.#leadMs = leadMs;
    return hasJumped;
  }

  /** While nothing was done here for so long, whatever the reason, nobody was there for the slots that came. */
  #noticeStandstill(): void {
    const { clock } = this.#init;
    const nowMs = clock.monotonicMs();
    if (nowMs - this.#seenAtMs >= SLOT_STALL_MS_MAX) this.#servingSince = clock.now();
    this.#seenAtMs = nowMs;
  }

  /** Slots of cron tasks before this were missed. */
  #missedBefore(): number {
    return Math.max(this.#servingSince - SLOT_LATE_MS_MAX, this.#init.clock.now() - SLOT_STALL_MS_MAX);
  }

  async #promote(): Promise<void> {
    const { store, events, clock, log, onReady } = this.#init;
    this.#isPromoting = true;
    this.#noticeJump();
    this.#noticeStandstill();
    if (this.#isRefused) this.#servingSince = clock.now();
    this.#nextAt = undefined;
    let nextAt: number | undefined;
    try {
      const { promoted, changedTasks, hasEndedBackoffs, nextDueAt } = await store.promoteDue(
        clock.now(),
        PROMOTE_BATCH,
        this.#missedBefore(),
      );
      if (this.#isClosed) return;
      this.#isRefused = false;
      this.#backoff.reset();
      nextAt = nextDueAt;
      for (const { task, index } of promoted) publishReady(events, task, [index]);
      for (const { task, state } of changedTasks) events.publish({ type: "task", task, state });
      if (promoted.length > 0 || hasEndedBackoffs) onReady();
    } catch (error) {
      if (this.#isClosed) return;
      this.#isRefused = true;
      nextAt = clock.now() + this.#backoff.nextMs();
      log.error("due runs could not be made ready; trying again", { error });
    }
    this.#isPromoting = false;
    this.#noticeStandstill();
    // `wake` may have been called meanwhile, for something earlier.
    if (nextAt !== undefined) this.#nextAt = Math.min(nextAt, this.#nextAt ?? nextAt);
    this.#arm();
  }
}
