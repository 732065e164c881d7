/**
 * The runner's end of its pipes to the pool. Both are blocking: reading waits for the next order, and writing waits for
 * a pool that is slow to read, which is how a guest that prints too fast is slowed down.
 */
import { readSync, writeSync } from "node:fs";
import { FRAME_HEADER_BYTES } from "../wire.ts";

export interface Frame {
  readonly kind: number;
  readonly payload: Uint8Array<ArrayBuffer>;
}

const BUFFER_BYTES = 65_536;

export class ControlReader {
  readonly #fd: number;
  readonly #buffer = new Uint8Array(BUFFER_BYTES);
  readonly #view = new DataView(this.#buffer.buffer);
  #start = 0;
  #end = 0;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** The next frame, its bytes the caller's own; undefined when the pool has closed the pipe, or is dead. */
  next(): Frame | undefined {
    if (this.#start === this.#end && !this.#refill()) return undefined;
    return this.#nextBuffered() ?? this.#nextInPieces();
  }

  /** Most frames are small, and are here whole. */
  #nextBuffered(): Frame | undefined {
    if (this.#end - this.#start < FRAME_HEADER_BYTES) return undefined;
    const start = this.#start + FRAME_HEADER_BYTES;
    const end = start + this.#view.getUint32(this.#start + 1, true);
    if (end > this.#end) return undefined;
    const frame = { kind: this.#view.getUint8(this.#start), payload: this.#buffer.slice(start, end) };
    this.#start = end;
    return frame;
  }

  #nextInPieces(): Frame | undefined {
    const header = this.#take(FRAME_HEADER_BYTES);
    if (header === undefined) return undefined;
    const length = new DataView(header.buffer).getUint32(1, true);
    const payload = this.#take(length);
    return payload === undefined ? undefined : { kind: header[0] ?? 0, payload };
  }

  #take(length: number): Uint8Array<ArrayBuffer> | undefined {
    const taken = new Uint8Array(length);
    let filled = 0;
    while (filled < length) {
      const buffered = this.#buffer.subarray(this.#start, Math.min(this.#end, this.#start + length - filled));
      taken.set(buffered, filled);
      filled += buffered.length;
      this.#start += buffered.length;
      if (filled === length) break;
      // The buffer is empty now. Bulk goes straight to where it belongs.
      const isBulk = length - filled >= BUFFER_BYTES;
      if (!isBulk) {
        if (!this.#refill()) return undefined;
        continue;
      }
      const count = readSync(this.#fd, taken.subarray(filled));
      if (count === 0) return undefined;
      filled += count;
    }
    return taken;
  }

  /** Fills the empty buffer, waiting for at least a byte. False at the end. */
  #refill(): boolean {
    this.#start = 0;
    this.#end = readSync(this.#fd, this.#buffer);
    return this.#end > 0;
  }
}

export class ControlWriter {
  readonly #fd: number;
  readonly #buffer = new Uint8Array(FRAME_HEADER_BYTES + BUFFER_BYTES);
  readonly #view = new DataView(this.#buffer.buffer);

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Sends one frame, whole, with one system call where the pipe has room. At most 64 KiB. */
  send(kind: number, payload: Uint8Array): void {
    const length = FRAME_HEADER_BYTES + payload.length;
    this.#view.setUint8(0, kind);
    this.#view.setUint32(1, payload.length, true);
    this.#buffer.set(payload, FRAME_HEADER_BYTES);
    for (let sent = 0; sent < length;) sent += writeSync(this.#fd, this.#buffer, sent, length - sent);
  }
}
