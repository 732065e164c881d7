/**
 * A sandboxed process's end of its pipes to its owner. Both are blocking: reading waits for the next order, and writing
 * waits for an owner that is slow to read, which is how a guest that prints too fast is slowed down.
 */
import { readSync, writeSync } from "node:fs";
import { FRAME_HEADER_BYTES } from "../frame.ts";

export interface Frame {
  readonly kind: number;
  /** Its bytes, until the next frame is asked for. */
  readonly payload: Uint8Array<ArrayBuffer>;
  /** Nobody else uses those bytes: they may be kept. */
  readonly isOwn: boolean;
}

const BUFFER_BYTES = 65_536;
const encoder = new TextEncoder();

export class ControlReader {
  readonly #fd: number;
  readonly #buffer = new Uint8Array(BUFFER_BYTES);
  readonly #view = new DataView(this.#buffer.buffer);
  #start = 0;
  #end = 0;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** The next frame; undefined when the owner has closed the pipe, or is dead. */
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
    const kind = this.#view.getUint8(this.#start);
    this.#start = end;
    return { kind, payload: this.#buffer.subarray(start, end), isOwn: false };
  }

  #nextInPieces(): Frame | undefined {
    const header = this.#take(FRAME_HEADER_BYTES);
    if (header === undefined) return undefined;
    const length = new DataView(header.buffer).getUint32(1, true);
    const payload = this.#take(length);
    return payload === undefined ? undefined : { kind: header[0] ?? 0, payload, isOwn: true };
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
  readonly #room = this.#buffer.subarray(FRAME_HEADER_BYTES);

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Sends one frame, whole, with one system call where the pipe has room. At most 64 KiB. */
  send(kind: number, payload: Uint8Array): void {
    this.#buffer.set(payload, FRAME_HEADER_BYTES);
    this.#write(kind, payload.length);
  }

  /** The same with a text of at most a third as many characters. */
  sendText(kind: number, text: string): void {
    this.#write(kind, encoder.encodeInto(text, this.#room).written);
  }

  #write(kind: number, payloadBytes: number): void {
    const length = FRAME_HEADER_BYTES + payloadBytes;
    this.#view.setUint8(0, kind);
    this.#view.setUint32(1, payloadBytes, true);
    for (let sent = 0; sent < length;) sent += writeSync(this.#fd, this.#buffer, sent, length - sent);
  }
}
