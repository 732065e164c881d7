/**
 * The guest's linear memory as its host sees it. Every access is checked against the memory's size at that moment; what
 * lies outside fails the guest's call with EFAULT. Views are made anew after the memory has grown.
 *
 * Addresses and lengths are unsigned 32-bit numbers, already converted by the caller with `>>> 0`.
 */
import { ERRNO, refuse } from "../files/errno.ts";

const encoder = new TextEncoder();
const strictDecoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const NO_BYTES = new Uint8Array(0);

export class GuestMemory {
  #memory: WebAssembly.Memory | undefined;
  #bytes = NO_BYTES;
  #view = new DataView(NO_BYTES.buffer);

  /** Called once the guest is instantiated. Before that, and for a guest without memory, every pointer is EFAULT. */
  attach(memory: WebAssembly.Memory): void {
    this.#memory = memory;
  }

  /** Bytes now; a memory never shrinks, so at the end this is the peak. */
  get byteLength(): number {
    return this.#memory === undefined ? 0 : this.#memory.buffer.byteLength;
  }

  /** The bytes themselves, not a copy: valid until the guest runs again. */
  slice(address: number, length: number): Uint8Array {
    this.#check(address, length);
    return this.#bytes.subarray(address, address + length);
  }

  readText(address: number, length: number): string {
    const bytes = this.slice(address, length);
    try {
      return strictDecoder.decode(bytes);
    } catch {
      return refuse(ERRNO.ILSEQ);
    }
  }

  readU8(address: number): number {
    this.#check(address, 1);
    return this.#view.getUint8(address);
  }

  readU16(address: number): number {
    this.#check(address, 2);
    return this.#view.getUint16(address, true);
  }

  readU32(address: number): number {
    this.#check(address, 4);
    return this.#view.getUint32(address, true);
  }

  readU64(address: number): bigint {
    this.#check(address, 8);
    return this.#view.getBigUint64(address, true);
  }

  writeU8(address: number, value: number): void {
    this.#check(address, 1);
    this.#view.setUint8(address, value);
  }

  writeU16(address: number, value: number): void {
    this.#check(address, 2);
    this.#view.setUint16(address, value, true);
  }

  writeU32(address: number, value: number): void {
    this.#check(address, 4);
    this.#view.setUint32(address, value, true);
  }

  writeU64(address: number, value: bigint): void {
    this.#check(address, 8);
    this.#view.setBigUint64(address, value, true);
  }

  writeBytes(address: number, bytes: Uint8Array): void {
    this.#check(address, bytes.length);
    this.#bytes.set(bytes, address);
  }

  #check(address: number, length: number): void {
    if (this.#memory === undefined) refuse(ERRNO.FAULT);
    if (this.#bytes.buffer !== this.#memory.buffer) this.#refresh();
    if (address + length > this.#bytes.length) refuse(ERRNO.FAULT);
  }

  #refresh(): void {
    const buffer = this.#memory?.buffer ?? NO_BYTES.buffer;
    this.#bytes = new Uint8Array(buffer);
    this.#view = new DataView(buffer);
  }
}

export function encodeText(text: string): Uint8Array {
  return encoder.encode(text);
}
