/**
 * Forgets tasks that finished long ago, with their output and the files kept of them, and so the old runs of tasks without
 * end; lets modules go that came by themselves and that nobody has named for long, and then the blobs that nothing refers to
 * any more. In small batches with pauses, so that nobody waits for it.
 *
 * Age is by the wall clock as far as it is believed, and what ended since this process began is as old as that has seen it
 * become (`clock-trust.ts`).
 */
import { type Clock, sleep } from "../base/clock.ts";
import {
  RETAIN_BATCH,
  RETAIN_BATCH_PAUSE_MS,
  RETAIN_SWEEP_EVERY_MS_MAX,
  RETAIN_SWEEP_EVERY_MS_MIN,
} from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import type { FinishedPosition, Store } from "../store/store.ts";
import type { BlobPins } from "./blob-pins.ts";
import { type BelievedTime, ClockTrust } from "./clock-trust.ts";
import type { EventHub } from "./events.ts";

/** How much time goes by between looks. Only a simulation, which has little of it, needs another than the limits say. */
export interface RetentionPace {
  /**
   * Between two sweeps, and before the first. Default: as long as something is kept, but RETAIN_SWEEP_EVERY_MS_MAX at most
   * and RETAIN_SWEEP_EVERY_MS_MIN at least.
   */
  readonly sweepEveryMs?: number | undefined;
  /** How long a clock is not believed that was set. Default: RETAIN_CLOCK_TRUST_MS. */
  readonly clockTrustMs?: number | undefined;
  /** How long a clock runs well before a mark is left of it, and how often. Default: RETAIN_CLOCK_MARK_EVERY_MS. */
  readonly clockMarkEveryMs?: number | undefined;
}

export interface RetentionInit {
  /** How long a finished task is kept, or a run of a task without end; undefined: for ever. */
  readonly retainMs: number | undefined;
  /** How long a module that came by itself is held after it was last brought or named; undefined: for ever. */
  readonly retainModulesMs: number | undefined;
  /** How long the clock is not believed at first. Default: RETAIN_CLOCK_TRUST_MS. */
  readonly clockTrustedAfterMs?: number | undefined;
  readonly pace?: RetentionPace | undefined;
  readonly store: Pick<Store, "forgetFinished" | "forgetRuns" | "releaseModules" | "getClockMark" | "setClockMark">;
  readonly pins: Pick<BlobPins, "retireFreed">;
  readonly events: EventHub;
  readonly clock: Clock;
  readonly log: Log;
}

export class Retention {
  readonly #init: RetentionInit;
  readonly #closed = new AbortController();
  #running: Promise<void> = Promise.resolve();
  readonly #trust: ClockTrust;

  constructor(init: RetentionInit) {
    this.#init = init;
    const { clockTrustedAfterMs: trustedAfterMs, pace } = init;
    const { clockTrustMs: trustMs, clockMarkEveryMs: markEveryMs } = pace ?? {};
    this.#trust = new ClockTrust({ ...init, trustedAfterMs, trustMs, markEveryMs });
  }

  start(): void {
    const { retainMs, retainModulesMs } = this.#init;
    if (retainMs !== undefined || retainModulesMs !== undefined) this.#running = this.#run();
  }

  /** Resolves when nothing is under way any more. Idempotent. */
  async close(): Promise<void> {
    this.#closed.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock, log } = this.#init;
    const { signal } = this.#closed;
    const sweepEveryMs = this.#sweepEveryMs();
    while (!signal.aborted) {
      await sleep(clock, sweepEveryMs, { signal }).catch(() => {});
      if (signal.aborted) continue;
      try {
        // All that this sweep does goes by the times that were believed when it began, and ends when the clock is set.
        const timesSet = this.#trust.timesSet();
        for (const time of await this.#trust.believed()) await this.#sweepAll(time, timesSet);
      } catch (error) {
        if (!signal.aborted) log.warn("finished tasks and old modules could not be forgotten; trying again", { error });
      }
    }
  }

  #sweepEveryMs(): number {
    const { retainMs = Infinity, retainModulesMs = Infinity, pace } = this.#init;
    const atOnceMs = Math.max(RETAIN_SWEEP_EVERY_MS_MIN, Math.min(retainMs, retainModulesMs));
    return pace?.sweepEveryMs ?? Math.min(RETAIN_SWEEP_EVERY_MS_MAX, atOnceMs);
  }

  /** Rejects as the store does. */
  async #sweepAll({ from, now }: BelievedTime, timesSet: number): Promise<void> {
    const { log, retainMs = Infinity, retainModulesMs = Infinity } = this.#init;
    const old = { from, before: now - retainMs, timesSet };
    if (old.from < old.before) {
      const forgotten = await this.#sweep(old);
      if (forgotten > 0) log.info("finished tasks were forgotten for their age", { tasks: forgotten });
      const runs = await this.#sweepRuns(old);
      if (runs > 0) log.info("old runs of tasks without end were forgotten", { runs });
    }
    const oldModules = { from, before: now - retainModulesMs, timesSet };
    if (oldModules.from < oldModules.before) {
      const released = await this.#release(oldModules, now);
      if (released > 0) log.info("modules that nobody names were let go for their age", { modules: released });
    }
  }

  /** How many were forgotten. Rejects as the store does. */
  async #sweep({ from, before, timesSet }: Old): Promise<number> {
    const { store, pins, events, clock } = this.#init;
    const { signal } = this.#closed;
    let count = 0;
    let after: FinishedPosition = { finishedAt: from, serial: 0 };
    while (!signal.aborted && this.#trust.timesSet() === timesSet) {
      const { forgotten, freed, next } = await store.forgetFinished(before, RETAIN_BATCH, after);
      for (const task of forgotten) events.publish({ type: "task", task, state: "deleted" });
      count += forgotten.length;
      await pins.retireFreed(freed);
      if (next === undefined) break;
      after = next;
      await sleep(clock, RETAIN_BATCH_PAUSE_MS, { signal }).catch(() => {});
    }
    return count;
  }

  /** How many were forgotten. Rejects as the store does. */
  async #sweepRuns({ from, before, timesSet }: Old): Promise<number> {
    const { store, pins, clock } = this.#init;
    const { signal } = this.#closed;
    let count = 0;
    for (let after: number | undefined = 0; !signal.aborted && this.#trust.timesSet() === timesSet;) {
      const { forgotten, freed, next } = await store.forgetRuns(before, RETAIN_BATCH, after, from);
      count += forgotten;
      await pins.retireFreed(freed);
      if (next === undefined) break;
      after = next;
      await sleep(clock, RETAIN_BATCH_PAUSE_MS, { signal }).catch(() => {});
    }
    return count;
  }

  /** How many were let go. A submission that has pinned one keeps its bytes. Rejects as the store does. */
  async #release({ from, before, timesSet }: Old, now: number): Promise<number> {
    const { store, pins, clock } = this.#init;
    const { signal } = this.#closed;
    let count = 0;
    while (!signal.aborted && this.#trust.timesSet() === timesSet) {
      const { released, isThrough } = await store.releaseModules(before, RETAIN_BATCH, now, from);
      count += released.length;
      await pins.retireFreed({ digests: released, hasMore: false });
      if (isThrough) break;
      await sleep(clock, RETAIN_BATCH_PAUSE_MS, { signal }).catch(() => {});
    }
    return count;
  }
}

/** What ended at `from` or later, and before `before`, may go while the clock has been set so often. */
interface Old {
  readonly from: number;
  readonly before: number;
  readonly timesSet: number;
}
