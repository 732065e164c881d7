/**
 * Waiting that can be given up, and signals that follow others without being held by them: a signal that lives as long
 * as the process keeps nothing of what once followed it.
 */

/** What `promise` gives; rejects with the signal's reason as soon as that is aborted. */
export function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    const unlisten = () => signal.removeEventListener("abort", onAbort);
    promise.then(resolve, reject).finally(unlisten);
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
  });
}

/** Disposing it lets go of the signals it follows; it is not aborted by that. */
export interface FollowingAbort extends Disposable {
  readonly signal: AbortSignal;
  abort(reason: unknown): void;
}

/** Aborted with the first of `sources`, and by itself. */
export function followAborts(sources: readonly AbortSignal[]): FollowingAbort {
  const controller = new AbortController();
  const unlisteners = sources.map((source) => {
    const onAbort = () => controller.abort(source.reason);
    if (source.aborted) onAbort();
    else source.addEventListener("abort", onAbort, { once: true });
    return () => source.removeEventListener("abort", onAbort);
  });
  return {
    signal: controller.signal,
    abort: (reason) => controller.abort(reason),
    [Symbol.dispose]: () => {
      for (const unlisten of unlisteners) unlisten();
    },
  };
}
