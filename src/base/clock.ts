/**
 * Time, handed in. Nothing below `app/` asks the system for the time, so that a simulation can own it.
 */

/** A pending callback. Disposing it cancels it; disposing it again does nothing. */
export interface Timer extends Disposable {}

export interface Clock {
  /** Wall-clock time in milliseconds since the Unix epoch. It may jump, either way. */
  now(): number;
  /** Milliseconds since some fixed moment. Never goes back. */
  monotonicMs(): number;
  /** Calls `callback` once, after `delayMs` by the monotonic clock, and never before this call has returned. */
  setTimer(delayMs: number, callback: () => void): Timer;
}

/** Resolves after `delayMs`; rejects with the signal's reason as soon as it is aborted. */
export function sleep(
  clock: Clock,
  delayMs: number,
  { signal }: { signal?: AbortSignal | undefined } = {},
): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const timer = clock.setTimer(delayMs, () => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    });
    const onAbort = () => {
      timer[Symbol.dispose]();
      reject(signal?.reason);
    };
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}
