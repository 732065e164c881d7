/** Waits between tries: doubling from `firstMs` to `maxMs`, each with jitter so that many do not try in step. */
import type { Random } from "./random.ts";

export interface BackoffInit {
  readonly firstMs: number;
  readonly maxMs: number;
  readonly random: Random;
}

export class Backoff {
  readonly #init: BackoffInit;
  #tries = 0;

  constructor(init: BackoffInit) {
    this.#init = init;
  }

  /** The next wait, in milliseconds: uniform between half and all of the doubled step ("equal jitter"). */
  nextMs(): number {
    const stepMs = Math.min(this.#init.maxMs, this.#init.firstMs * 2 ** Math.min(this.#tries, 30));
    this.#tries++;
    return stepMs / 2 + (stepMs / 2) * this.#init.random.next();
  }

  /** Starts over, after a success. */
  reset(): void {
    this.#tries = 0;
  }
}
