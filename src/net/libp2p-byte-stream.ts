/**
 * ByteStream over a libp2p stream. One such stream lives as long as the connection between two vats.
 *
 * libp2p's streams have back-pressure, but not where one would look for it: `for await` reads without bound and
 * `onDrain` resolves at once after its first use. So this reads through `message` events with `pause` and `resume`, and
 * writes by the length of the write buffer and the `drain` and `idle` events.
 *
 * A peer that is killed ends its streams without an error. Only a peer that closed its side first (`remoteCloseWrite`)
 * counts as a clean end here; everything else is `disconnected`, with code `peer-silent` where libp2p has given the
 * connection up because a ping was not answered in time.
 */
import type { Stream } from "@libp2p/interface";
import { disconnected, messageOf, overloaded, type ClusterError } from "../base/errors.ts";
import { TRANSPORT_WRITE_BYTES_MAX, TRANSPORT_WRITE_HIGH_BYTES } from "../base/limits.ts";
import { type ByteStream, type ByteStreamReceiver, PEER_SILENT } from "../rpc/byte-stream.ts";
import { atEndOfTick } from "./end-of-tick.ts";
import { InboundDelivery } from "./inbound-delivery.ts";
import { untilAborted } from "./until-aborted.ts";

export interface Libp2pByteStreamInit {
  /** Open and negotiated; nobody else listens to its messages. The byte stream owns it. */
  readonly stream: Stream;
  readonly label: string;
}

/** Each `send` costs an encryption and several socket writes; pieces up to this many bytes in all leave as one. */
const BATCH_BYTES = 65_000;

export class Libp2pByteStream implements ByteStream {
  readonly label: string;
  readonly #stream: Stream;
  readonly #inbound: InboundDelivery;
  /** Written in this tick and not yet handed to libp2p. */
  #batch: Uint8Array[] = [];
  #batchBytes = 0;
  #hasFlushScheduled = false;
  #isResuming = false;
  #isClosed = false;
  #hasRemoteEnded = false;
  #closed: Promise<void> | undefined;
  #drainWaiters: (() => void)[] = [];

  constructor(init: Libp2pByteStreamInit) {
    this.label = init.label;
    this.#stream = init.stream;
    this.#inbound = new InboundDelivery({
      pauseSource: () => this.#pauseSource(),
      resumeSource: () => this.#resumeSource(),
      onReceiverFault: (reason) => this.abort(reason),
    });
    const { stream } = init;
    // Paused before anybody listens: else window updates keep the sender going, and a full read buffer is a reset.
    this.#pauseSource();
    stream.addEventListener("message", ({ data }) => {
      if (data instanceof Uint8Array) this.#inbound.push(data);
      else for (const bytes of data) this.#inbound.push(bytes);
    });
    stream.addEventListener("remoteCloseWrite", () => (this.#hasRemoteEnded = true));
    stream.addEventListener("end", () => this.#onReadableEnd());
    stream.addEventListener("close", ({ error, local }) => this.#onStreamClose(error, local === true));
    // libp2p sends what it holds one microtask after `drain`; looking two later sees the result.
    stream.addEventListener("drain", () => queueMicrotask(() => queueMicrotask(() => this.#wakeDrainWaiters())));
    stream.addEventListener("idle", () => this.#wakeDrainWaiters());
    if (stream.status !== "open") this.#onStreamClose(undefined, false);
  }

  start(receiver: ByteStreamReceiver): void {
    this.#inbound.start({
      onBytes: (bytes) => receiver.onBytes(bytes),
      onEnd: (error) => {
        if (error === undefined) void this.close();
        receiver.onEnd(error);
      },
    });
  }

  write(bytes: Uint8Array): boolean {
    if (this.#isClosed || bytes.byteLength === 0) return true;
    if (this.#batchBytes + bytes.byteLength > BATCH_BYTES) this.#flush();
    this.#batch.push(bytes);
    this.#batchBytes += bytes.byteLength;
    if (this.#batchBytes >= BATCH_BYTES) this.#flush();
    else if (!this.#hasFlushScheduled) {
      this.#hasFlushScheduled = true;
      atEndOfTick(() => {
        this.#hasFlushScheduled = false;
        this.#flush();
      });
    }
    const unsentBytes = this.#unsentBytes();
    if (unsentBytes > TRANSPORT_WRITE_BYTES_MAX) {
      this.abort(overloaded(`${this.label} does not read: ${unsentBytes} bytes are waiting`));
    }
    return unsentBytes <= TRANSPORT_WRITE_HIGH_BYTES;
  }

  drained(): Promise<void> {
    if (this.#isWriteWelcome()) return Promise.resolve();
    return new Promise((resolve) => this.#drainWaiters.push(resolve));
  }

  pause(): void {
    this.#inbound.pause();
  }

  resume(): void {
    this.#inbound.resume();
  }

  close({ signal }: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    this.#closed ??= this.#endWriting();
    return untilAborted(this.#closed, signal);
  }

  abort(reason: ClusterError): void {
    this.#isClosed = true;
    this.#batch = [];
    this.#batchBytes = 0;
    this.#inbound.cut(reason);
    this.#stream.abort(reason);
    this.#wakeDrainWaiters();
  }

  async #endWriting(): Promise<void> {
    this.#flush();
    this.#isClosed = true;
    try {
      await this.#stream.close();
    } catch {
      // The stream was lost before all was sent; `onEnd` says so, or has said so.
    }
  }

  #flush(): void {
    if (this.#batch.length === 0) return;
    const [first, ...rest] = this.#batch;
    const bytes = rest.length === 0 ? first : Buffer.concat(this.#batch, this.#batchBytes);
    this.#batch = [];
    this.#batchBytes = 0;
    if (bytes === undefined || this.#isClosed) return;
    try {
      this.#stream.send(bytes);
    } catch (error) {
      this.#isClosed = true;
      this.#inbound.end(disconnected(`cannot send to ${this.label}: ${messageOf(error)}`, { cause: error }));
    }
  }

  #pauseSource(): void {
    // Inside a dispatch that `resume` has caused, pausing would be undone when `resume` goes on; see `#resumeSource`.
    if (this.#isResuming || !this.#isReadable()) return;
    this.#stream.pause();
  }

  #resumeSource(): void {
    if (this.#isResuming || !this.#isReadable()) return;
    this.#isResuming = true;
    try {
      this.#stream.resume();
    } catch {
      // Resuming sends a window update, which fails once the connection is gone; the stream's `close` event says so.
    } finally {
      this.#isResuming = false;
    }
    if (this.#inbound.isPaused && this.#isReadable()) this.#stream.pause();
  }

  #isReadable(): boolean {
    return this.#stream.readStatus === "readable" || this.#stream.readStatus === "paused";
  }

  #unsentBytes(): number {
    return this.#batchBytes + this.#stream.writeBufferLength;
  }

  #isWriteWelcome(): boolean {
    return this.#isClosed || this.#unsentBytes() <= TRANSPORT_WRITE_HIGH_BYTES / 2;
  }

  #wakeDrainWaiters(): void {
    if (!this.#isWriteWelcome()) return;
    const waiters = this.#drainWaiters;
    this.#drainWaiters = [];
    for (const wake of waiters) wake();
  }

  /** All bytes were dispatched and no more will come. */
  #onReadableEnd(): void {
    if (this.#hasRemoteEnded || this.#stream.remoteWriteStatus !== "closed") this.#inbound.end();
  }

  #onStreamClose(error: Error | undefined, isOurs: boolean): void {
    const isClean = error === undefined && this.#hasRemoteEnded;
    // After our own close nobody waits for the rest, so losing it is no error. A clean end may still have bytes to deliver while paused; `end` follows when they are read.
    if (!isClean) {
      this.#isClosed = true;
      this.#inbound.end(this.#closed === undefined ? this.#lost(error, isOurs) : undefined);
    }
    this.#wakeDrainWaiters();
  }

  #lost(error: Error | undefined, isOurs: boolean): ClusterError {
    const reason = error === undefined ? "the peer is gone" : messageOf(error);
    return disconnected(`connection to ${this.label} lost: ${reason}`, {
      ...(isOurs && isTimeout(error) && { code: PEER_SILENT }),
      cause: error,
    });
  }
}

/** As the signals end that libp2p gives its pings, whatever it waited for. */
function isTimeout(error: Error | undefined): boolean {
  return error?.name === "TimeoutError" || error?.name === "AbortError";
}
