/**
 * Gives up attempts whose lease has lapsed: their worker has been silent for too long, whatever the network says.
 * Renewals come through the worker's session; the store holds the leases and their time.
 */
import type { Clock, Timer } from "../base/clock.ts";
import { EXPIRE_BATCH, LEASE_CHECK_EVERY_MS, LEASE_MS } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import type { Store } from "../store/store.ts";
import type { Attempts } from "./attempts.ts";

export interface LeasesInit {
  readonly store: Store;
  readonly attempts: Attempts;
  readonly clock: Clock;
  readonly log: Log;
}

export class Leases {
  readonly #init: LeasesInit;
  readonly #startedAt: number;
  #timer: Timer | undefined;
  #isClosed = false;

  constructor(init: LeasesInit) {
    this.#init = init;
    this.#startedAt = init.clock.now();
  }

  /** Gives what an earlier gateway left under way one lease to be resumed in, then watches. */
  async start(): Promise<void> {
    await this.#init.store.extendAllLeases(this.#startedAt + LEASE_MS);
    this.#arm();
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.[Symbol.dispose]();
  }

  #arm(): void {
    if (this.#isClosed) return;
    this.#timer = this.#init.clock.setTimer(LEASE_CHECK_EVERY_MS, () => {
      void this.#expire().finally(() => this.#arm());
    });
  }

  async #expire(): Promise<void> {
    const { store, attempts, clock, log } = this.#init;
    try {
      for (const { id, startedAt } of await store.listExpired(clock.now(), EXPIRE_BATCH)) {
        const reason = `its worker has not renewed the lease for ${LEASE_MS / 1000} s`;
        // What an earlier gateway began was cut off by that gateway's end.
        await attempts.giveUp(id, reason, { isBlameless: startedAt < this.#startedAt });
      }
    } catch (error) {
      log.error("leases could not be checked; trying again", { error });
    }
  }
}
