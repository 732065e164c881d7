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
  #start = 0;
  #end = 0;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** The next frame, its bytes the caller's own; undefined when the pool has closed the pipe, or is dead. */
  next(): Frame | undefined {
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
      const into = isBulk ? taken.subarray(filled) : this.#buffer;
      const count = readSync(this.#fd, into);
      if (count === 0) return undefined;
      if (isBulk) {
        filled += count;
      } else {
        this.#start = 0;
        this.#end = count;
      }
    }
    return taken;
  }
}

export class ControlWriter {
  readonly #fd: number;
  #buffer = new Uint8Array(BUFFER_BYTES + FRAME_HEADER_BYTES);

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Sends one frame, whole, with one system call where the pipe has room. At most 64 KiB. */
  send(kind: number, payload: Uint8Array): void {
    const length = FRAME_HEADER_BYTES + payload.length;
    if (length > this.#buffer.length) this.#buffer = new Uint8Array(length);
    this.#buffer[0] = kind;
    new DataView(this.#buffer.buffer).setUint32(1, payload.length, true);
    this.#buffer.set(payload, FRAME_HEADER_BYTES);
    for (let sent = 0; sent < length;) sent += writeSync(this.#fd, this.#buffer, sent, length - sent);
  }
}
