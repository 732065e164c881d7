/**
 * The wall clock in nanoseconds. The system tells it in whole milliseconds; what lies between them is taken from the
 * monotonic clock, so that times differ where moments do. Where the two disagree by more, the system's clock was set, and
 * it is believed.
 */

const NS_PER_MS = 1_000_000n;

export class WallClock {
  readonly #nowMs: () => number;
  readonly #monotonicNs: () => bigint;
  /** What the monotonic clock has to be given to become the wall clock. */
  #offsetNs: bigint | undefined;

  constructor(nowMs: () => number, monotonicNs: () => bigint) {
    this.#nowMs = nowMs;
    this.#monotonicNs = monotonicNs;
  }

  /** Nanoseconds since the Unix epoch; within the millisecond that the system tells. */
  nowNs(): bigint {
    const fromNs = BigInt(this.#nowMs()) * NS_PER_MS;
    const monotonicNs = this.#monotonicNs();
    const exactNs = this.#offsetNs === undefined ? undefined : monotonicNs + this.#offsetNs;
    if (exactNs !== undefined && exactNs >= fromNs && exactNs < fromNs + NS_PER_MS) return exactNs;
    this.#offsetNs = fromNs - monotonicNs;
    return fromNs;
  }
}
