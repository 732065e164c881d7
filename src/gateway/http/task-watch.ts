/** Waits for changes of one task. Begin to watch, then read, then wait: nothing that happens between is missed. */
import type { TaskId } from "../../base/ids.ts";
import type { EventHub } from "../events.ts";

export class TaskWatch implements Disposable {
  readonly #subscription: Disposable;
  #hasChanged = false;
  #wake: (() => void) | undefined;

  constructor(events: EventHub, task: TaskId) {
    this.#subscription = events.subscribeTask(task, () => {
      this.#hasChanged = true;
      this.#wake?.();
    });
  }

  /** Resolves at the first change since the last one that was waited for. Rejects with the signal's reason. */
  async changed({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    signal.throwIfAborted();
    if (!this.#hasChanged) {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const onAbort = (): void => reject(signal.reason);
      signal.addEventListener("abort", onAbort, { once: true });
      this.#wake = resolve;
      try {
        await promise;
      } finally {
        this.#wake = undefined;
        signal.removeEventListener("abort", onAbort);
      }
    }
    this.#hasChanged = false;
  }

  [Symbol.dispose](): void {
    this.#subscription[Symbol.dispose]();
  }
}
