/** Reads a body that is small enough to be held, as it comes and no further than its limit. */
import type { IncomingMessage } from "node:http";
import { UPLOAD_IDLE_MS_MAX } from "../../base/limits.ts";
import { tooManyUploads } from "./form-upload.ts";
import { ClientGone, type Refusal } from "./problem.ts";

export interface BodyOptions {
  readonly bytesMax: number;
  readonly tooLarge: () => Refusal;
  /** Counts the bytes as they come, and says whether there is room for more. Default: there is. */
  readonly take?: ((bytes: number) => boolean) | undefined;
}

/**
 * The whole body. Rejects with a Refusal, or with ClientGone; the request is left as it is then, so that it can be
 * answered. Whoever waits for leave to send has been given it.
 */
export async function readBody(request: IncomingMessage, { bytesMax, tooLarge, take }: BodyOptions): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  const onData = (piece: Uint8Array): void => {
    bytes += piece.length;
    const isTaken = take?.(piece.length) ?? true;
    if (bytes > bytesMax) reject(tooLarge());
    else if (!isTaken) reject(tooManyUploads());
    else pieces.push(piece);
  };
  const onEnd = (): void => resolve(Buffer.concat(pieces));
  const onGone = (): void => {
    if (!request.complete) reject(new ClientGone());
  };
  const onIdle = (): void => void request.destroy();
  request.on("data", onData).on("end", onEnd).on("close", onGone).on("error", onGone);
  request.setTimeout(UPLOAD_IDLE_MS_MAX, onIdle);
  try {
    return await promise;
  } finally {
    request.off("data", onData).off("end", onEnd).off("close", onGone).off("timeout", onIdle);
    request.setTimeout(0);
    request.pause();
  }
}
