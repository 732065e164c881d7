/** A deadline by the given clock, joined with a caller's signal. */
import type { Clock } from "../base/clock.ts";
import { disconnected } from "../base/errors.ts";

export interface TimeoutSignal extends Disposable {
  readonly signal: AbortSignal;
}

/** Aborted after `timeoutMs`, or with `outer`. Disposing it stops the clock; the signal then stays as it is. */
export function timeoutSignal(clock: Clock, timeoutMs: number, outer: AbortSignal | undefined): TimeoutSignal {
  const controller = new AbortController();
  const timer = clock.setTimer(timeoutMs, () =>
    controller.abort(disconnected(`no answer within ${timeoutMs} ms`, { code: "timed-out" })),
  );
  const signal = outer === undefined ? controller.signal : AbortSignal.any([controller.signal, outer]);
  return { signal, [Symbol.dispose]: () => timer[Symbol.dispose]() };
}
