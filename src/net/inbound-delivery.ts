/**
 * The receiving half that all byte streams share: it stands between a source of bytes (a socket, a libp2p stream) and
 * the receiver, and keeps the promises of `ByteStreamReceiver` whatever the source does.
 *
 * - Bytes are delivered in order, only while started and not paused, never from inside `start` or `resume`.
 * - `onEnd` comes once and last: a clean end after all bytes, an error at once, dropping what was not delivered.
 * - What is held while paused is what the source had already handed over; bounding that is the source's part, which
 *   is told through `SourceControl`.
 */
import { failed, messageOf, type ClusterError } from "../base/errors.ts";
import type { ByteStreamReceiver } from "../rpc/byte-stream.ts";

/** How the delivery slows its source down. Both may be called in any state, any number of times. */
export interface SourceControl {
  pauseSource(): void;
  resumeSource(): void;
  /** The receiver threw. The source ends the stream with this reason. */
  onReceiverFault(reason: ClusterError): void;
}

export class InboundDelivery {
  readonly #source: SourceControl;
  #receiver: ByteStreamReceiver | undefined;
  #isPaused = true;
  #isDelivering = false;
  #hasResumeScheduled = false;
  #chunks: Uint8Array[] = [];
  #end: { readonly error: ClusterError | undefined } | undefined;
  #hasEnded = false;
  #isCut = false;

  constructor(source: SourceControl) {
    this.#source = source;
  }

  /** True once `onEnd` was called. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  start(receiver: ByteStreamReceiver): void {
    if (this.#receiver !== undefined) throw new Error("assertion failed: a byte stream is started once");
    this.#receiver = receiver;
    this.resume();
  }

  pause(): void {
    if (this.#isPaused) return;
    this.#isPaused = true;
    this.#source.pauseSource();
  }

  resume(): void {
    if (!this.#isPaused || this.#receiver === undefined) return;
    this.#isPaused = false;
    if (this.#hasResumeScheduled) return;
    this.#hasResumeScheduled = true;
    queueMicrotask(() => {
      this.#hasResumeScheduled = false;
      this.#deliver();
      // The receiver may have paused again meanwhile, or everything may be over.
      if (!this.#isPaused && !this.#hasEnded) this.#source.resumeSource();
    });
  }

  /** Takes bytes from the source. Empty pieces, and bytes after the end, are dropped. */
  push(bytes: Uint8Array): void {
    if (bytes.byteLength === 0 || this.#end !== undefined) return;
    this.#chunks.push(bytes);
    // While a resume is scheduled the bytes wait for it, so that none arrives from inside `resume`'s caller.
    if (!this.#hasResumeScheduled) this.#deliver();
  }

  /**
   * The source has ended, cleanly or because it was lost. The first call counts: bytes that were followed by a clean end
   * are complete, and are delivered whatever happens to the source afterwards.
   */
  end(error?: ClusterError): void {
    if (this.#end !== undefined) return;
    this.#end = { error };
    if (error !== undefined) this.#chunks = [];
    queueMicrotask(() => this.#deliver());
  }

  /** Our own side gives up: `onEnd` gets the first reason next, unless it was called before. */
  cut(reason: ClusterError): void {
    if (this.#hasEnded || this.#isCut) return;
    this.#isCut = true;
    this.#end = { error: reason };
    this.#chunks = [];
    queueMicrotask(() => this.#deliver());
  }

  #deliver(): void {
    const receiver = this.#receiver;
    if (receiver === undefined || this.#isDelivering || this.#hasEnded) return;
    this.#isDelivering = true;
    try {
      let chunk = this.#isPaused ? undefined : this.#chunks.shift();
      while (chunk !== undefined) {
        receiver.onBytes(chunk);
        chunk = this.#isPaused ? undefined : this.#chunks.shift();
      }
      if (this.#end !== undefined && this.#chunks.length === 0) {
        this.#hasEnded = true;
        receiver.onEnd(this.#end.error);
      }
    } catch (thrown) {
      this.#source.onReceiverFault(failed(`the stream's receiver threw: ${messageOf(thrown)}`, { cause: thrown }));
    } finally {
      this.#isDelivering = false;
    }
  }
}
