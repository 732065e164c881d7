/** The end of a stream that still has something to say, within bounds. */
import type { Clock } from "../base/clock.ts";
import { disconnected } from "../base/errors.ts";
import { CLOSE_FLUSH_MS_MAX } from "../base/limits.ts";
import type { ByteStream } from "./byte-stream.ts";

/** Closes the stream, and cuts it off when that takes longer than the signal, or else a short time, allows. */
export async function closeStream(stream: ByteStream, clock: Clock, signal: AbortSignal | undefined): Promise<void> {
  const cut = (): void => stream.abort(disconnected("closing took too long", { code: "close-timeout" }));
  if (signal) {
    await stream.close({ signal });
    if (signal.aborted) cut();
    return;
  }
  using _timer = clock.setTimer(CLOSE_FLUSH_MS_MAX, cut);
  await stream.close();
}
