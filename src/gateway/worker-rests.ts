/**
 * Which workers are left alone for a while because what they were given came to nothing, again and again.
 *
 * A worker whose runners cannot start, or that refuses every run, offers its slot again at once: without a rest it would
 * take run after run, faster than any other, and wear out the attempts of each. One failure says nothing about a worker
 * (the run may be to blame); several in a row do. Any attempt that comes to an end of its own clears it.
 */
import { Backoff } from "../base/backoff.ts";
import type { Clock } from "../base/clock.ts";
import type { PeerId } from "../base/ids.ts";
import {
  WORKER_FAILURES_BEFORE_REST,
  WORKER_REST_FIRST_MS,
  WORKER_REST_MAX_MS,
  WORKER_RESTS_MAX,
} from "../base/limits.ts";
import type { Random } from "../base/random.ts";

export interface WorkerRestsInit {
  readonly clock: Clock;
  readonly random: Random;
}

interface FailureRecord {
  readonly backoff: Backoff;
  /** In a row. */
  failures: number;
  /** By the monotonic clock. */
  restsUntilMs: number;
}

export class WorkerRests {
  readonly #init: WorkerRestsInit;
  /** Workers that have failed since they last did not. The one that began to fail longest ago comes first. */
  readonly #records = new Map<PeerId, FailureRecord>();

  constructor(init: WorkerRestsInit) {
    this.#init = init;
  }

  /** An attempt on this worker was lost. What comes in while it rests was begun before, and adds nothing. */
  failed(worker: PeerId): void {
    const nowMs = this.#init.clock.monotonicMs();
    const record = this.#record(worker);
    if (nowMs < record.restsUntilMs) return;
    record.failures++;
    if (record.failures > WORKER_FAILURES_BEFORE_REST) record.restsUntilMs = nowMs + record.backoff.nextMs();
  }

  /** An attempt on this worker ended by itself, well or not. True: it rested, and does no more. */
  worked(worker: PeerId): boolean {
    const rested = this.isResting(worker);
    this.#records.delete(worker);
    return rested;
  }

  isResting(worker: PeerId): boolean {
    const record = this.#records.get(worker);
    return record !== undefined && this.#init.clock.monotonicMs() < record.restsUntilMs;
  }

  /**
   * How long until the first of those that rest may be given runs again; undefined when none rested at `sinceMs` (by
   * the monotonic clock). Not above 0 for what has ended since then.
   */
  nextEndInMs(sinceMs = this.#init.clock.monotonicMs()): number | undefined {
    const nowMs = this.#init.clock.monotonicMs();
    let next: number | undefined;
    for (const { restsUntilMs } of this.#records.values()) {
      const leftMs = restsUntilMs - nowMs;
      if (restsUntilMs > sinceMs && (next === undefined || leftMs < next)) next = leftMs;
    }
    return next;
  }

  #record(worker: PeerId): FailureRecord {
    const known = this.#records.get(worker);
    if (known !== undefined) return known;
    const record: FailureRecord = {
      backoff: new Backoff({ firstMs: WORKER_REST_FIRST_MS, maxMs: WORKER_REST_MAX_MS, random: this.#init.random }),
      failures: 0,
      restsUntilMs: 0,
    };
    this.#records.set(worker, record);
    if (this.#records.size > WORKER_RESTS_MAX) {
      const [oldest] = this.#records.keys();
      if (oldest !== undefined) this.#records.delete(oldest);
    }
    return record;
  }
}
