/**
 * A rate that is held over time and exceeded for moments: a bucket that fills evenly, and is drawn from. Pure but for the
 * bucket itself; time is the caller's, monotonic, in milliseconds.
 */
export interface RateInit {
  readonly perMs: number;
  /** What a full bucket holds; it begins full. */
  readonly burst: number;
  readonly nowMs: number;
}

export class Rate {
  readonly #perMs: number;
  readonly #burst: number;
  #level: number;
  #atMs: number;

  constructor({ perMs, burst, nowMs }: RateInit) {
    this.#perMs = perMs;
    this.#burst = burst;
    this.#level = burst;
    this.#atMs = nowMs;
  }

  /**
   * Draws `amount`; returns 0. If there is not that much, draws nothing and returns the milliseconds until there will
   * be. More than the bucket can hold is let through when it is full, and then paid for in advance.
   */
  take(amount: number, nowMs: number): number {
    this.#level = Math.min(this.#burst, this.#level + Math.max(0, nowMs - this.#atMs) * this.#perMs);
    this.#atMs = nowMs;
    const needed = Math.min(amount, this.#burst);
    if (this.#level >= needed) {
      this.#level -= amount;
      return 0;
    }
    return Math.ceil((needed - this.#level) / this.#perMs);
  }
}
