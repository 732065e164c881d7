/**
 * Forgets tasks that finished long ago, with their output and the files kept of them, and so the old runs of tasks without
 * end; lets modules go that came by themselves and that nobody has named for long, and then the blobs that nothing refers to
 * any more. In small batches with pauses, so that nobody waits for it.
 *
 * Age is by the wall clock as far as it is believed (`clock-trust.ts`).
 */
import { type Clock, sleep } from "../base/clock.ts";
import { RETAIN_BATCH, RETAIN_BATCH_PAUSE_MS, RETAIN_SWEEP_EVERY_MS } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import type { FinishedPosition, Store } from "../store/store.ts";
import type { BlobPins } from "./blob-pins.ts";
import { ClockTrust } from "./clock-trust.ts";
import type { EventHub } from "./events.ts";

/** How much time goes by between looks. Only a simulation, which has little of it, needs another than the limits say. */
export interface RetentionPace {
  /** Between two sweeps, and before the first. Default: RETAIN_SWEEP_EVERY_MS. */
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
    const { clock, log, retainMs, retainModulesMs, pace } = this.#init;
    const { signal } = this.#closed;
    const sweepEveryMs = pace?.sweepEveryMs ?? RETAIN_SWEEP_EVERY_MS;
    while (!signal.aborted) {
      await sleep(clock, sweepEveryMs, { signal }).catch(() => {});
      if (signal.aborted) continue;
      try {
        // All that this sweep does goes by the time that was believed when it began, and ends when the clock is set.
        const timesSet = this.#trust.timesSet();
        const now = await this.#trust.believedAt();
        if (now === undefined) continue;
        const forgotten = retainMs === undefined ? 0 : await this.#sweep(now - retainMs, timesSet);
        if (forgotten > 0) log.info("finished tasks were forgotten for their age", { tasks: forgotten });
        const runs = retainMs === undefined ? 0 : await this.#sweepRuns(now - retainMs, timesSet);
        if (runs > 0) log.info("old runs of tasks without end were forgotten", { runs });
        const released = retainModulesMs === undefined ? 0 : await this.#release(now - retainModulesMs, now, timesSet);
        if (released > 0) log.info("modules that nobody names were let go for their age", { modules: released });
      } catch (error) {
        if (!signal.aborted) log.warn("finished tasks and old modules could not be forgotten; trying again", { error });
      }
    }
  }

  /** How many were forgotten. Rejects as the store does. */
  async #sweep(endedBefore: number, timesSet: number): Promise<number> {
    const { store, pins, events, clock } = this.#init;
    const { signal } = this.#closed;
    let count = 0;
    for (let after: FinishedPosition | undefined; !signal.aborted && this.#trust.timesSet() === timesSet;) {
      const { forgotten, freed, next } = await store.forgetFinished(endedBefore, RETAIN_BATCH, after);
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
  async #sweepRuns(endedBefore: number, timesSet: number): Promise<number> {
    const { store, pins, clock } = this.#init;
    const { signal } = this.#closed;
    let count = 0;
    for (let after: number | undefined = 0; !signal.aborted && this.#trust.timesSet() === timesSet;) {
      const { forgotten, freed, next } = await store.forgetRuns(endedBefore, RETAIN_BATCH, after);
      count += forgotten;
      await pins.retireFreed(freed);
      if (next === undefined) break;
      after = next;
      await sleep(clock, RETAIN_BATCH_PAUSE_MS, { signal }).catch(() => {});
    }
    return count;
  }

  /** How many were let go. A submission that has pinned one keeps its bytes. Rejects as the store does. */
  async #release(heldBefore: number, now: number, timesSet: number): Promise<number> {
    const { store, pins, clock } = this.#init;
    const { signal } = this.#closed;
    let count = 0;
    while (!signal.aborted && this.#trust.timesSet() === timesSet) {
      const { released, isThrough } = await store.releaseModules(heldBefore, RETAIN_BATCH, now);
      count += released.length;
      await pins.retireFreed({ digests: released, hasMore: false });
      if (isThrough) break;
      await sleep(clock, RETAIN_BATCH_PAUSE_MS, { signal }).catch(() => {});
    }
    return count;
  }
}
