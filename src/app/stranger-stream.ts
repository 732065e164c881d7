/**
 * A stream of which little is read until its peer has logged in: what a stranger may have this process hold is bounded,
 * however large the message is that it begins. Afterwards it is the stream as it is.
 */
import type { ClusterError } from "../base/errors.ts";
import { STRANGER_BYTES_MAX } from "../base/limits.ts";
import type { ByteStream, ByteStreamReceiver } from "../rpc/byte-stream.ts";

export class StrangerStream implements ByteStream {
  readonly #stream: ByteStream;
  #bytesLeft = STRANGER_BYTES_MAX;
  #isPausedByReceiver = false;

  /** Takes the stream over. */
  constructor(stream: ByteStream) {
    this.#stream = stream;
  }

  get label(): string {
    return this.#stream.label;
  }

  /** Reads without bounds from now on. Idempotent. */
  trust(): void {
    this.#bytesLeft = Infinity;
    if (!this.#isPausedByReceiver) this.#stream.resume();
  }

  start(receiver: ByteStreamReceiver): void {
    this.#stream.start({
      onBytes: (bytes) => {
        this.#bytesLeft -= bytes.byteLength;
        if (this.#bytesLeft <= 0) this.#stream.pause();
        receiver.onBytes(bytes);
      },
      onEnd: (error) => receiver.onEnd(error),
    });
  }

  write(bytes: Uint8Array): boolean {
    return this.#stream.write(bytes);
  }

  drained(): Promise<void> {
    return this.#stream.drained();
  }

  pause(): void {
    this.#isPausedByReceiver = true;
    this.#stream.pause();
  }

  resume(): void {
    this.#isPausedByReceiver = false;
    if (this.#bytesLeft > 0) this.#stream.resume();
  }

  close(options?: { signal?: AbortSignal | undefined }): Promise<void> {
    return this.#stream.close(options);
  }

  abort(reason: ClusterError): void {
    this.#stream.abort(reason);
  }
}
