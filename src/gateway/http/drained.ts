/** Waiting for a reader that is slower than what is written to it, and not for ever for one that takes nothing. */
import type { ServerResponse } from "node:http";
import type { Clock } from "../../base/clock.ts";
import { SSE_STALL_MS_MAX } from "../../base/limits.ts";

export interface DrainedOptions {
  readonly clock: Clock;
  /** Aborted when the reader has gone. */
  readonly signal: AbortSignal;
  /** Called when the reader has taken nothing for too long; it ends the response, and aborts `signal` by that. */
  readonly onStall: () => void;
}

/** Resolves when the reader has taken enough for more, or has gone. Never rejects. */
export async function drained(response: ServerResponse, { clock, signal, onStall }: DrainedOptions): Promise<void> {
  if (!response.writableNeedDrain || signal.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const onGone = (): void => resolve();
  using _ = clock.setTimer(SSE_STALL_MS_MAX, onStall);
  response.once("drain", resolve);
  signal.addEventListener("abort", onGone, { once: true });
  await promise;
  response.off("drain", resolve);
  signal.removeEventListener("abort", onGone);
}
