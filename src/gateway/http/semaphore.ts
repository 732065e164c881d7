/** Lets so many do something at once; the others wait in line, first come, first served. */
export class Semaphore {
  #free: number;
  readonly #waiting = new Set<() => void>();

  constructor(places: number) {
    this.#free = places;
  }

  /**
   * Calls `work` when there is a place for it. Resolves and rejects as it does. Rejects with the signal's reason where that
   * is aborted before; `work` is then never called.
   */
  async run<T>(work: () => Promise<T>, { signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<T> {
    signal?.throwIfAborted();
    if (this.#free > 0) this.#free--;
    else await this.#place(signal);
    try {
      return await work();
    } finally {
      const [next] = this.#waiting;
      if (next === undefined) this.#free++;
      else next();
    }
  }

  /** Resolves with the place of one who is done. Whoever gives up leaves the line, and never has a place. */
  #place(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const give = (): void => {
        leave();
        resolve();
      };
      const giveUp = (): void => {
        leave();
        reject(signal?.reason);
      };
      const leave = (): void => {
        this.#waiting.delete(give);
        signal?.removeEventListener("abort", giveUp);
      };
      this.#waiting.add(give);
      signal?.addEventListener("abort", giveUp, { once: true });
    });
  }
}
