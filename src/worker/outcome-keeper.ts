/**
 * Sees to it that outcomes which are not acknowledged soon are on the disk. Most are acknowledged before that, and cost
 * nothing: an outcome that this process could tell only a moment ago could as well have been lost with its guest.
 */
import type { Clock, Timer } from "../base/clock.ts";
import { KEEP_OUTCOME_AFTER_MS } from "../base/limits.ts";
import type { HeldAttempt } from "./held-attempt.ts";

export interface OutcomeKeeperInit {
  readonly clock: Clock;
  /** An outcome is on the disk, or cannot be. */
  readonly onKept: () => void;
}

export class OutcomeKeeper implements Disposable {
  readonly #init: OutcomeKeeperInit;
  /** They have ended, and are neither acknowledged nor kept. */
  readonly #ended = new Set<HeldAttempt>();
  #timer: Timer | undefined;

  constructor(init: OutcomeKeeperInit) {
    this.#init = init;
  }

  /** Its outcome is on the way to its gateway, or there is none to tell it to. */
  ended(attempt: HeldAttempt, { isConnected }: { readonly isConnected: boolean }): void {
    if (!isConnected) {
      this.#keep(attempt);
      return;
    }
    this.#ended.add(attempt);
    this.#timer ??= this.#init.clock.setTimer(KEEP_OUTCOME_AFTER_MS, () => this.#keepOverdue());
  }

  forgotten(attempt: HeldAttempt): void {
    this.#ended.delete(attempt);
  }

  /** The gateway is out of reach. */
  keepAll(): void {
    for (const attempt of this.#ended) this.#keep(attempt);
  }

  [Symbol.dispose](): void {
    this.#timer?.[Symbol.dispose]();
  }

  #keepOverdue(): void {
    this.#timer = undefined;
    const { clock } = this.#init;
    const overdueMs = clock.monotonicMs() - KEEP_OUTCOME_AFTER_MS;
    for (const attempt of this.#ended) if (attempt.endedAtMs <= overdueMs) this.#keep(attempt);
    if (this.#ended.size > 0) this.#timer = clock.setTimer(KEEP_OUTCOME_AFTER_MS, () => this.#keepOverdue());
  }

  #keep(attempt: HeldAttempt): void {
    this.#ended.delete(attempt);
    void attempt.keep().then(this.#init.onKept);
  }
}
