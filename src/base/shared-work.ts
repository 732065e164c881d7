/**
 * One piece of work for all who want what comes of it at the same time. It goes on while anybody waits for it, and is
 * told to stop when the last of them has given up.
 */
import { unlessAborted } from "./abort.ts";
import { overloaded } from "./errors.ts";

export class SharedWork<T> {
  readonly #stop = new AbortController();
  readonly #result: Promise<T>;
  #waiting = 0;

  /** Begins at once; `signal` is aborted when nobody waits any more, the work being done or not. */
  constructor(begin: (signal: AbortSignal) => Promise<T>) {
    this.#result = begin(this.#stop.signal);
    // Those who wait are told; it may have none left.
    this.#result.catch(() => {});
  }

  /** What comes of it, whoever waits. */
  get result(): Promise<T> {
    return this.#result;
  }

  /** It was told to stop: whoever comes now begins anew. */
  get isAbandoned(): boolean {
    return this.#stop.signal.aborted;
  }

  /** Waits for it. Rejects as the work does, and with the signal's reason. */
  async join(signal: AbortSignal): Promise<T> {
    this.#waiting++;
    try {
      return await unlessAborted(this.#result, signal);
    } finally {
      this.#waiting--;
      if (this.#waiting === 0) this.#stop.abort(overloaded("nobody waits for it any more", { code: "abandoned" }));
    }
  }
}
