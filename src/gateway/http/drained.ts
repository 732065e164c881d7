/** Waiting for a reader that is slower than what is written to it, and not for ever for one that takes nothing. */
import type { ServerResponse } from "node:http";
import type { Clock } from "../../base/clock.ts";
import { SSE_STALL_MS_MAX } from "../../base/limits.ts";

export interface DrainedOptions {
  readonly clock: Clock;
  /** Of an answer that may be compressed. Default: what the response itself knows. */
  readonly writing?: Writing | undefined;
  /** Aborted when the reader has gone. */
  readonly signal: AbortSignal;
  /** Called when the reader has taken nothing for too long; it ends the response, and aborts `signal` by that. */
  readonly onStall: () => void;
}

/** How the writing goes of an answer that may be compressed: the response does not know what waits to be. */
export interface Writing {
  /** What the last write returned. */
  readonly isTaken: boolean;
  /** Calls this at the next `drain`, and no one that it was given before. */
  readonly onceDrained: (resume: () => void) => void;
}

/** Resolves when the reader has taken enough for more, or has gone. Never rejects. */
export async function drained(response: ServerResponse, options: DrainedOptions): Promise<void> {
  const { clock, signal, onStall, writing } = options;
  if ((writing?.isTaken ?? !response.writableNeedDrain) || signal.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const onGone = (): void => resolve();
  using _ = clock.setTimer(SSE_STALL_MS_MAX, onStall);
  if (writing === undefined) response.once("drain", resolve);
  else writing.onceDrained(resolve);
  signal.addEventListener("abort", onGone, { once: true });
  await promise;
  response.off("drain", resolve);
  signal.removeEventListener("abort", onGone);
}
