/** What every role's RunningApp shares: one drain, one abort, one end. */
import type { Log } from "../base/log.ts";
import type { Powers, ReadyLine, RunningApp } from "./app.ts";
import { drainMsMax, drainTimes } from "./drain-times.ts";

export interface RunningInit {
  readonly ready: ReadyLine;
  /** Everything that is open, to be closed in reverse. Taken over. */
  readonly stack: AsyncDisposableStack;
  readonly graceMs: number;
  /** Takes no more work, lets what is under way end, and hands back what has not. Waited for no longer than the options say. */
  readonly drain: (options: DrainOptions) => Promise<void>;
  readonly powers: Powers;
}

export interface DrainOptions {
  /** Aborted when what is under way has had its time. */
  readonly signal: AbortSignal;
  /** How long it may take from then on to hand back, and to answer, what is left. */
  readonly handBackMs: number;
}

export function runningApp({ ready, stack, graceMs, drain, powers }: RunningInit): RunningApp {
  const { clock, log } = powers;
  const finished = Promise.withResolvers<void>();
  let draining: Promise<void> | undefined;
  let closing: Promise<void> | undefined;
  const close = () => (closing ??= closeAll(stack, log).then(finished.resolve));
  const drainAndClose = async () => {
    const { guestsMs, handBackMs } = drainTimes(graceMs);
    const grace = new AbortController();
    const toClose = Promise.withResolvers<void>();
    const toEnd = Promise.withResolvers<void>();
    using _guests = clock.setTimer(guestsMs, () => grace.abort(new Error("the grace time is over")));
    using _handBack = clock.setTimer(guestsMs + handBackMs, toClose.resolve);
    using _close = clock.setTimer(drainMsMax(graceMs), () => {
      log.warn("the grace time is over: ending without having closed everything");
      toEnd.resolve();
    });
    log.info("draining: taking no more work", { graceMs });
    const drained = drain({ signal: grace.signal, handBackMs }).catch((error: unknown) => {
      log.error("draining failed", { error });
    });
    await Promise.race([drained, toClose.promise]);
    await Promise.race([close(), toEnd.promise]);
    finished.resolve();
    log.info("stopped");
  };
  return {
    ready,
    finished: finished.promise,
    drain: () => (draining ??= drainAndClose()),
    abort: () => void close(),
  };
}

async function closeAll(stack: AsyncDisposableStack, log: Log): Promise<void> {
  try {
    await stack.disposeAsync();
  } catch (error) {
    log.error("closing failed", { error });
  }
}
