/** What every role's RunningApp shares: one drain, one abort, one end. */
import type { Log } from "../base/log.ts";
import type { Powers, ReadyLine, RunningApp } from "./app.ts";

export interface RunningInit {
  readonly ready: ReadyLine;
  /** Everything that is open, to be closed in reverse. Taken over. */
  readonly stack: AsyncDisposableStack;
  readonly graceMs: number;
  /** Takes no more work and lets what is under way end, until the signal is aborted. */
  readonly drain: (options: { signal: AbortSignal }) => Promise<void>;
  readonly powers: Powers;
}

export function runningApp({ ready, stack, graceMs, drain, powers }: RunningInit): RunningApp {
  const { clock, log } = powers;
  const finished = Promise.withResolvers<void>();
  let draining: Promise<void> | undefined;
  let closing: Promise<void> | undefined;
  const close = () => (closing ??= closeAll(stack, log).then(finished.resolve));
  const drainAndClose = async () => {
    const grace = new AbortController();
    using _timer = clock.setTimer(graceMs, () => grace.abort(new Error("the grace time is over")));
    log.info("draining: taking no more work", { graceMs });
    await drain({ signal: grace.signal }).catch((error: unknown) => log.error("draining failed", { error }));
    await close();
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
