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
  /** The most that can be drawn at once. */
  readonly burst: number;
  #level: number;
  #atMs: number;

  constructor({ perMs, burst, nowMs }: RateInit) {
    this.#perMs = perMs;
    this.burst = burst;
    this.#level = burst;
    this.#atMs = nowMs;
  }

  /**
   * Draws `amount`, at most the burst; returns 0. If there is not that much, draws nothing and returns the milliseconds
   * until there will be.
   */
  take(amount: number, nowMs: number): number {
    const waitMs = this.waitMs(amount, nowMs);
    if (waitMs === 0) this.#level -= amount;
    return waitMs;
  }

  /** The milliseconds until `amount`, at most the burst, can be drawn; 0: now. */
  waitMs(amount: number, nowMs: number): number {
    this.#fill(nowMs);
    return this.#level < amount ? Math.ceil((amount - this.#level) / this.#perMs) : 0;
  }

  /** Draws `amount`, whatever is there: what is missing has to flow in before anything else can be taken. */
  spend(amount: number, nowMs: number): void {
    this.#fill(nowMs);
    this.#level -= amount;
  }

  #fill(nowMs: number): void {
    this.#level = Math.min(this.burst, this.#level + Math.max(0, nowMs - this.#atMs) * this.#perMs);
    this.#atMs = nowMs;
  }
}
