/**
 * Gives up attempts whose lease has lapsed: their worker has been silent for too long, whatever the network says.
 * Renewals come through the worker's session; the store holds the leases and their time.
 *
 * Leases lapse by the wall clock, and renewals need this process. When a check comes far off its time, the clock has
 * jumped, or this process has slept, or the store was out of order; and a clock that was wrong between two checks may
 * have given leases (lease-clock.ts). Then workers are given one lease to be heard in, as after a restart, and what they
 * lose meanwhile counts against nobody.
 *
 * So while each answer of the store takes a fifth of a lease or more, none lapses at all, the silent ones' neither: renewals
 * wait for the same store, and what has just begun has its first one so late that it could not be told from silence. A
 * lease is to be many times as long as the disk takes for a write.
 */
import type { Clock, Timer } from "../base/clock.ts";
import { EXPIRE_BATCH, LEASE_CHECK_EVERY_MS } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import { attemptKey } from "../model/run.ts";
import type { RunningAttempt, Store } from "../store/store.ts";
import type { Attempts } from "./attempts.ts";
import type { LeaseClock } from "./lease-clock.ts";

export interface LeasesInit {
  readonly store: Pick<Store, "extendAllLeases" | "listExpired">;
  readonly attempts: Pick<Attempts, "giveUp" | "hasBegunBefore">;
  readonly leaseClock: LeaseClock;
  readonly clock: Clock;
  readonly log: Log;
}

export class Leases {
  readonly #init: LeasesInit;
  #checkedAt: number;
  /** Of the time of leases, those that need nothing more. */
  #disturbancesMended = 0;
  #timer: Timer | undefined;
  /** Being given up, which lasts for as long as the store does not take it. They hold up nobody else. */
  readonly #givingUp = new Set<string>();
  #isClosed = false;

  constructor(init: LeasesInit) {
    this.#init = init;
    this.#checkedAt = init.clock.now();
  }

  /**
   * Gives what an earlier gateway left under way one lease to be resumed in, then watches. A store that takes nothing now
   * is no reason not to start: no lease lapses before it has taken this.
   */
  async start(): Promise<void> {
    const { store, leaseClock, clock, log } = this.#init;
    try {
      await store.extendAllLeases(leaseClock.leaseEnd());
      this.#checkedAt = clock.now();
    } catch (error) {
      log.error("leases of the gateway before could not be extended; trying again", { error });
      this.#checkedAt = -Infinity;
    }
    this.#arm();
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.[Symbol.dispose]();
  }

  #arm(): void {
    if (this.#isClosed) return;
    this.#timer = this.#init.clock.setTimer(LEASE_CHECK_EVERY_MS, () => {
      void this.#check().finally(() => this.#arm());
    });
  }

  async #check(): Promise<void> {
    const { clock, leaseClock, log } = this.#init;
    try {
      const now = clock.now();
      const offMs = now - this.#checkedAt - LEASE_CHECK_EVERY_MS;
      leaseClock.checked(offMs);
      const { disturbances } = leaseClock;
      await (disturbances === this.#disturbancesMended ? this.#expire(now) : this.#hold());
      // A check that failed is not remembered: when the store has been out of order for long, so have renewals.
      this.#checkedAt = now;
      this.#disturbancesMended = disturbances;
    } catch (error) {
      if (this.#isClosed) return;
      log.error("leases could not be checked; trying again", { error });
    }
  }

  async #hold(): Promise<void> {
    const { store, leaseClock, log } = this.#init;
    const { disturbedByMs } = leaseClock;
    // Since a start at which the store took nothing there is no telling.
    const offMs = Number.isFinite(disturbedByMs) ? disturbedByMs : undefined;
    log.warn("time has jumped, or stood still here, or the store was slow; workers get a new lease to be heard in", {
      offMs,
    });
    leaseClock.noteDisorder();
    await store.extendAllLeases(leaseClock.leaseEnd());
  }

  async #expire(now: number): Promise<void> {
    const { store } = this.#init;
    const expired = await store.listExpired(now, EXPIRE_BATCH + this.#givingUp.size);
    if (this.#isClosed) return;
    for (const attempt of expired) {
      const key = attemptKey(attempt.id);
      if (this.#givingUp.has(key)) continue;
      this.#givingUp.add(key);
      void this.#giveUp(attempt).finally(() => this.#givingUp.delete(key));
    }
  }

  #giveUp(attempt: RunningAttempt): Promise<void> {
    const { attempts, leaseClock } = this.#init;
    const reason = `its worker has not renewed the lease for ${leaseClock.terms.leaseMs / 1000} s`;
    const cause = attempts.hasBegunBefore(attempt.id, leaseClock.heldSinceMs) ? "gateway" : "silence";
    return attempts.giveUp(attempt, reason, cause);
  }
}
