/**
 * Workers that an operator has drained. They finish what they have, within a grace, and are given nothing more until the
 * operator admits them again: a worker that reconnects, or is started again, stays drained, and so it does over a restart
 * of the gateway, since nobody but the operator knows why it was drained.
 */
import type { Clock, Timer } from "../base/clock.ts";
import type { PeerId } from "../base/ids.ts";
import { TAKE_BACK_RETRY_MS } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import type { Store } from "../store/store.ts";

export interface DrainedWorkersInit {
  readonly store: Pick<Store, "listDrained" | "setDrained">;
  readonly clock: Clock;
  readonly log: Log;
  /** For those that an earlier gateway drained. */
  readonly graceMs: number;
  /** The grace of this one is over: what it has not finished is taken back. Called again when it rejects. */
  readonly onOver: (worker: PeerId) => Promise<void>;
}

export class DrainedWorkers {
  readonly #init: DrainedWorkersInit;
  readonly #timers = new Map<PeerId, Timer>();
  #isClosed = false;

  constructor(init: DrainedWorkersInit) {
    this.#init = init;
  }

  has(worker: PeerId): boolean {
    return this.#timers.has(worker);
  }

  async load(): Promise<void> {
    for (const worker of await this.#init.store.listDrained()) this.#hold(worker, this.#init.graceMs);
  }

  /** Durable when it resolves. Drained again, it gets the new grace. */
  async add(worker: PeerId, graceMs: number): Promise<void> {
    const { store, clock } = this.#init;
    await store.setDrained(worker, true, clock.now());
    this.#hold(worker, graceMs);
  }

  /** Durable when it resolves. False: it was not drained. */
  async remove(worker: PeerId): Promise<boolean> {
    if (!this.has(worker)) return false;
    const { store, clock } = this.#init;
    await store.setDrained(worker, false, clock.now());
    this.#timers.get(worker)?.[Symbol.dispose]();
    return this.#timers.delete(worker);
  }

  close(): void {
    this.#isClosed = true;
    for (const timer of this.#timers.values()) timer[Symbol.dispose]();
  }

  #hold(worker: PeerId, graceMs: number): void {
    if (this.#isClosed) return;
    this.#timers.get(worker)?.[Symbol.dispose]();
    const timer = this.#init.clock.setTimer(graceMs, () => {
      void this.#init.onOver(worker).catch((error: unknown) => {
        // It was admitted meanwhile, or has a new grace.
        if (this.#isClosed || this.#timers.get(worker) !== timer) return;
        this.#init.log.error("what a drained worker has could not be taken back; trying again", { worker, error });
        this.#hold(worker, TAKE_BACK_RETRY_MS);
      });
    });
    this.#timers.set(worker, timer);
  }
}
