/**
 * What goes out on a connection's stream, in order. Frames are written straight into a buffer; at the end of the tick all
 * of it is one write. While the stream has enough, frames are kept here.
 *
 * Invariant: the buffers are zeroed memory, so a writer sets only what is not zero.
 */
import type { ByteStream } from "./byte-stream.ts";

const BUFFER_BYTES_MIN = 4 * 1024;
/** Above this size a buffer is not made larger, but followed by another. */
const BUFFER_BYTES_MAX = 1024 * 1024;

interface Chunk {
  readonly bytes: Uint8Array;
  readonly callBytes: number;
}

export class Outbox {
  readonly #stream: ByteStream;
  readonly #onRelief: () => void;
  #bytes = new Uint8Array(0);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;
  #lastFlushBytes = 0;
  /** Bytes of calls in the buffer being filled. */
  #callBytes = 0;
  /** Full buffers, before the one being filled. */
  #full: Chunk[] = [];
  #fullBytes = 0;
  #fullCallBytes = 0;
  #isFlushing = false;
  #isBlocked = false;
  #isClosed = false;

  /** `onRelief` is called after queued bytes have gone to the stream that had to wait for it. */
  constructor(stream: ByteStream, onRelief: () => void) {
    this.#stream = stream;
    this.#onRelief = onRelief;
  }

  /** Bytes that the stream has not been given. */
  get queuedBytes(): number {
    return this.#fullBytes + this.#length;
  }

  /** Those of them that are no calls of ours, but answers and whatever else the peer's messages cause. */
  get queuedAnswerBytes(): number {
    return this.queuedBytes - this.#fullCallBytes - this.#callBytes;
  }

  /** Room for a frame of at most `bytesMax` bytes: write at `offset` of `view`, then `commit`, with nothing in between. */
  reserve(bytesMax: number): { readonly view: DataView; readonly bytes: Uint8Array; readonly offset: number } {
    if (this.#length + bytesMax > this.#bytes.byteLength) this.#makeRoom(bytesMax);
    return { view: this.#view, bytes: this.#bytes, offset: this.#length };
  }

  /** The frame reserved last ends at `end`. */
  commit(end: number, { isCall = false } = {}): void {
    if (isCall) this.#callBytes += end - this.#length;
    this.#length = this.#isClosed ? 0 : end;
    if (this.#isFlushing || this.#isClosed) return;
    this.#isFlushing = true;
    // From a microtask, `nextTick` waits until the microtask queue is empty, so that answers to calls that came in together
    // go out together. From elsewhere it would run before it.
    queueMicrotask(() => process.nextTick(() => this.#flush()));
  }

  /** Hands everything to the stream, whether it has enough or not. For last words. */
  flushNow(): void {
    this.#isBlocked = false;
    this.#write();
    this.close();
  }

  /** Drops what is queued and takes no more. */
  close(): void {
    this.#isClosed = true;
    this.#take();
  }

  #makeRoom(bytesMax: number): void {
    const wanted = Math.max(this.#length + bytesMax, this.#bytes.byteLength * 2, BUFFER_BYTES_MIN);
    if (this.#length > 0 && wanted > BUFFER_BYTES_MAX) {
      this.#keep({ bytes: this.#bytes.subarray(0, this.#length), callBytes: this.#callBytes });
      this.#callBytes = 0;
      this.#replace(Math.max(bytesMax, BUFFER_BYTES_MIN));
      return;
    }
    const filled = this.#bytes.subarray(0, this.#length);
    const expected = this.#length === 0 ? Math.min(this.#lastFlushBytes + 256, BUFFER_BYTES_MAX) : 0;
    const length = this.#length;
    this.#replace(Math.max(wanted, expected));
    this.#bytes.set(filled);
    this.#length = length;
  }

  #replace(byteLength: number): void {
    this.#bytes = new Uint8Array((byteLength + 7) & ~7);
    this.#view = new DataView(this.#bytes.buffer);
    this.#length = 0;
  }

  #flush(): void {
    this.#isFlushing = false;
    if (!this.#isBlocked) this.#write();
  }

  #write(): void {
    if (this.#isClosed) return;
    for (const chunk of this.#take()) {
      if (this.#isBlocked) this.#keep(chunk);
      else if (!this.#stream.write(chunk.bytes)) this.#waitForStream();
    }
  }

  /** Empties the queue. */
  #take(): Chunk[] {
    const chunks = this.#full;
    if (this.#length > 0) chunks.push({ bytes: this.#bytes.subarray(0, this.#length), callBytes: this.#callBytes });
    this.#lastFlushBytes = this.#length;
    this.#full = [];
    this.#fullBytes = 0;
    this.#fullCallBytes = 0;
    this.#callBytes = 0;
    this.#replace(0);
    return chunks;
  }

  #keep(chunk: Chunk): void {
    this.#full.push(chunk);
    this.#fullBytes += chunk.bytes.byteLength;
    this.#fullCallBytes += chunk.callBytes;
  }

  #waitForStream(): void {
    this.#isBlocked = true;
    void this.#stream.drained().then(() => {
      this.#isBlocked = false;
      this.#write();
      this.#onRelief();
    });
  }
}
