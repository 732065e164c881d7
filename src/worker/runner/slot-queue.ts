/** A number of slots, and those who wait for one in the order they came. */
export class SlotQueue {
  readonly #slots: number;
  readonly #waiting = new Set<(isGranted: boolean) => void>();
  #busy = 0;
  #isClosed = false;

  constructor(slots: number) {
    this.#slots = slots;
  }

  get busy(): number {
    return this.#busy;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /** Takes a slot that is free. False: there is none. */
  tryAcquire(): boolean {
    if (this.#isClosed || this.#busy >= this.#slots) return false;
    this.#busy++;
    return true;
  }

  /**
   * Takes a slot, waiting for one if need be. False when the signal was aborted, or the queue closed, first: no slot was
   * taken.
   */
  async acquire(signal: AbortSignal): Promise<boolean> {
    if (signal.aborted || this.#isClosed) return false;
    if (this.tryAcquire()) return true;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const onAbort = (): void => {
      // A slot that was granted in this very tick stays granted: its owner checks the signal again.
      if (this.#waiting.delete(resolve)) resolve(false);
    };
    this.#waiting.add(resolve);
    signal.addEventListener("abort", onAbort, { once: true });
    const isGranted = await promise;
    signal.removeEventListener("abort", onAbort);
    return isGranted;
  }

  /** Gives a slot back: to the one who has waited longest, if anybody does. */
  release(): void {
    const next = this.#waiting.values().next().value;
    if (next === undefined) {
      this.#busy--;
      return;
    }
    this.#waiting.delete(next);
    next(true);
  }

  /** Nobody gets a slot any more: not those who wait, nor those who come. */
  close(): void {
    this.#isClosed = true;
    for (const waiting of this.#waiting) waiting(false);
    this.#waiting.clear();
  }
}
