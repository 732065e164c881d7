/**
 * A ByteStream within one process: two ends, joined. How the bytes are cut on their way, and how much an end takes before
 * it asks the writer to wait, can be set, since that is what the users of a stream get wrong.
 */
import { disconnected, type ClusterError } from "../../src/base/errors.ts";
import type { ByteStream, ByteStreamReceiver } from "../../src/rpc/byte-stream.ts";

export interface MemoryStreamOptions {
  /** The size of the next piece to deliver, of `available` bytes. Default: all of them, as they were written. */
  readonly cut?: (available: number) => number;
  /** Bytes on their way in one direction, above which `write` returns false. Default: 1 MiB. */
  readonly highWaterBytes?: number;
}

export interface MemoryStreamPair extends AsyncDisposable {
  readonly a: MemoryByteStream;
  readonly b: MemoryByteStream;
}

export function memoryStreamPair(options: MemoryStreamOptions = {}): MemoryStreamPair {
  const a = new MemoryByteStream("memory:a", options);
  const b = new MemoryByteStream("memory:b", options);
  a.join(b);
  b.join(a);
  return {
    a,
    b,
    [Symbol.asyncDispose]: async () => {
      a.abort(disconnected("the test is over"));
      b.abort(disconnected("the test is over"));
    },
  };
}

export class MemoryByteStream implements ByteStream {
  readonly label: string;
  readonly #options: MemoryStreamOptions;
  #other: MemoryByteStream | undefined;
  #receiver: ByteStreamReceiver | undefined;
  /** Bytes on their way to this end. */
  readonly #incoming: Uint8Array[] = [];
  #incomingBytes = 0;
  #isPaused = false;
  #isDelivering = false;
  /** This end writes no more. */
  #isClosed = false;
  /** The other end writes no more. */
  #isOtherClosed = false;
  #isOver = false;
  #endError: ClusterError | undefined;
  #waiters: (() => void)[] = [];
  /** Number of writes, for tests of coalescing. */
  writes = 0;

  constructor(label: string, options: MemoryStreamOptions) {
    this.label = label;
    this.#options = options;
  }

  join(other: MemoryByteStream): void {
    this.#other = other;
  }

  start(receiver: ByteStreamReceiver): void {
    this.#receiver = receiver;
    this.#schedule();
  }

  write(bytes: Uint8Array): boolean {
    if (this.#isClosed || this.#isOver) return true;
    this.writes++;
    this.#other?.take(bytes);
    return this.#hasRoom();
  }

  drained(): Promise<void> {
    if (this.#hasRoom() || this.#isOver) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    this.#schedule();
  }

  async close({ signal }: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    if (!this.#isClosed) {
      this.#isClosed = true;
      this.#other?.closed();
    }
    while (this.#other && this.#other.#incomingBytes > 0 && !this.#isOver && !signal?.aborted) {
      await new Promise<void>((resolve) => {
        this.#waiters.push(resolve);
        signal?.addEventListener("abort", () => resolve(), { once: true });
      });
    }
  }

  abort(reason: ClusterError): void {
    if (this.#isOver) return;
    this.#isClosed = true;
    this.#other?.cut();
    this.#finish(reason);
  }

  /** Bytes that this end has written and the other has not been given. */
  get underWayBytes(): number {
    return this.#other ? this.#other.#incomingBytes : 0;
  }

  private take(bytes: Uint8Array): void {
    if (this.#isOver || bytes.byteLength === 0) return;
    this.#incoming.push(bytes);
    this.#incomingBytes += bytes.byteLength;
    this.#schedule();
  }

  private closed(): void {
    this.#isOtherClosed = true;
    this.#schedule();
  }

  /** The other end was aborted: what was on its way is lost. */
  private cut(): void {
    this.#incoming.length = 0;
    this.#incomingBytes = 0;
    this.#isOtherClosed = true;
    this.wake();
    this.#schedule();
  }

  #hasRoom(): boolean {
    return this.underWayBytes <= (this.#options.highWaterBytes ?? 1024 * 1024);
  }

  #schedule(): void {
    if (this.#isDelivering) return;
    this.#isDelivering = true;
    setImmediate(() => this.#deliver());
  }

  #deliver(): void {
    this.#isDelivering = false;
    while (this.#receiver && !this.#isPaused && !this.#isOver) {
      const bytes = this.#next();
      if (bytes === undefined) break;
      this.#other?.wake();
      this.#receiver.onBytes(bytes);
    }
    if (this.#receiver && !this.#isPaused && this.#isOtherClosed && this.#incomingBytes === 0) this.#finish(undefined);
  }

  #next(): Uint8Array | undefined {
    const first = this.#incoming[0];
    if (first === undefined) return undefined;
    const wanted = Math.max(1, this.#options.cut?.(this.#incomingBytes) ?? first.byteLength);
    const piece = first.subarray(0, wanted);
    if (piece.byteLength === first.byteLength) this.#incoming.shift();
    else this.#incoming[0] = first.subarray(wanted);
    this.#incomingBytes -= piece.byteLength;
    // The receiver owns its bytes: writers that change theirs, and readers that keep theirs, are found out.
    return Uint8Array.from(piece);
  }

  #finish(error: ClusterError | undefined): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#endError = error;
    this.wake();
    this.#other?.wake();
    setImmediate(() => this.#receiver?.onEnd(this.#endError));
  }

  private wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const wake of waiters) wake();
  }
}
