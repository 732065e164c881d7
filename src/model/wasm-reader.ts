/**
 * A cursor over the bytes of a WebAssembly binary that never reads past the part it was given.
 *
 * The bytes are a stranger's. Each length is checked against what is left before it is used, and each count against a
 * named limit before anything is made for it. A breach is thrown as `MalformedModule`, which `inspectModule` alone
 * catches and turns into a refusal: the parsers between them would otherwise have to hand a result through each of
 * their steps.
 */
import { WASM_NAME_BYTES_MAX, WASM_READ_BYTES_MAX, WASM_SECTIONS_MAX } from "../base/limits.ts";

/** The message ends a sentence that begins with the module: "its code section is cut short". */
export class MalformedModule extends Error {
  override readonly name = "MalformedModule";
}

interface Span {
  readonly start: number;
  readonly end: number;
  /** What these bytes are, for messages: `type section`. */
  readonly where: string;
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export class WasmReader {
  readonly #bytes: Uint8Array;
  readonly #end: number;
  readonly #where: string;
  #position: number;

  constructor(bytes: Uint8Array, span: Span) {
    this.#bytes = bytes;
    this.#position = span.start;
    this.#end = span.end;
    this.#where = span.where;
  }

  get position(): number {
    return this.#position;
  }

  get remaining(): number {
    return this.#end - this.#position;
  }

  get isAtEnd(): boolean {
    return this.#position >= this.#end;
  }

  /** A reader of the same bytes, from `position` to this one's end. */
  at(position: number): WasmReader {
    return new WasmReader(this.#bytes, { start: position, end: this.#end, where: this.#where });
  }

  /** A reader of the next `size` bytes, which this one has then passed. The caller has checked `remaining`. */
  take(size: number, where: string): WasmReader {
    const start = this.#position;
    this.skip(size);
    return new WasmReader(this.#bytes, { start, end: start + size, where });
  }

  /** The error to throw for what is wrong with this part. */
  malformed(reason: string): MalformedModule {
    return new MalformedModule(`its ${this.#where} ${reason} (at byte ${this.#position})`);
  }

  skip(size: number): void {
    if (size > this.remaining) throw this.malformed("has less in it than it says");
    this.#position += size;
  }

  byte(): number {
    const value = this.#position < this.#end ? this.#bytes[this.#position] : undefined;
    if (value === undefined) throw this.malformed("has less in it than it says");
    this.#position += 1;
    return value;
  }

  peek(): number | undefined {
    return this.#position < this.#end ? this.#bytes[this.#position] : undefined;
  }

  u32(): number {
    return this.#unsigned(32);
  }

  /** A 64-bit count. Above 2^53 it is rounded, which is far above every limit. */
  u64(): number {
    return this.#unsigned(64);
  }

  /** A 33-bit signed number: the index of a type, or negative for a type that has a name. */
  s33(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.byte();
      value += (byte & 0x7f) * 2 ** shift;
      if ((byte & 0x80) === 0) return (byte & 0x40) === 0 ? value : value - 2 ** (shift + 7);
    }
    throw this.malformed("has a number that is too long");
  }

  /** Passes a signed number of up to `bits` bits without reading it. */
  skipSigned(bits: 32 | 64): void {
    const bytesMax = Math.ceil(bits / 7);
    for (let index = 0; index < bytesMax; index += 1) {
      if ((this.byte() & 0x80) === 0) return;
    }
    throw this.malformed("has a number that is too long");
  }

  /** The length of a list whose items take a byte each at least. `what` is their plural: `exports`. */
  count(what: string, max: number): number {
    const value = this.u32();
    if (value > max) throw new MalformedModule(`it has ${value} ${what}, and at most ${max} are taken`);
    if (value > this.remaining) throw this.malformed(`has less in it than the ${value} ${what} that it announces`);
    return value;
  }

  name(): string {
    const length = this.u32();
    if (length > WASM_NAME_BYTES_MAX) {
      throw this.malformed(`has a name of ${length} bytes, and at most ${WASM_NAME_BYTES_MAX} are taken`);
    }
    const start = this.#position;
    this.skip(length);
    try {
      return utf8.decode(this.#bytes.subarray(start, start + length));
    } catch {
      throw this.malformed("has a name that is not UTF-8");
    }
  }

  expectEnd(): void {
    if (!this.isAtEnd) throw this.malformed(`has ${this.remaining} bytes more in it than it says`);
  }

  #unsigned(bits: 32 | 64): number {
    const lastShift = bits === 32 ? 28 : 63;
    const lastMax = bits === 32 ? 0x0f : 0x01;
    let value = 0;
    for (let shift = 0; shift <= lastShift; shift += 7) {
      const byte = this.byte();
      if (shift === lastShift && byte > lastMax) throw this.malformed("has a number that is too long");
      value += (byte & 0x7f) * 2 ** shift;
      if ((byte & 0x80) === 0) return value;
    }
    throw this.malformed("has a number that is too long");
  }
}

/** Keeps the names of one module, taken together, below a limit. */
export class NameBudget {
  #remaining: number;

  constructor(bytesMax: number) {
    this.#remaining = bytesMax;
  }

  read(reader: WasmReader): string {
    const before = reader.position;
    const name = reader.name();
    this.#remaining -= reader.position - before;
    if (this.#remaining < 0) throw new MalformedModule("the names of its imports and exports are too long in all");
    return name;
  }
}

/** Keeps the work on one file, with everything inside it, below a limit, however its sections are cut. */
export class WorkBudget {
  #sections = WASM_SECTIONS_MAX;
  #bytes = WASM_READ_BYTES_MAX;

  spendSection(): void {
    this.#sections -= 1;
    if (this.#sections < 0) throw new MalformedModule(`it has more than ${WASM_SECTIONS_MAX} sections`);
  }

  /** Before a section is read item by item. */
  spendBytes(section: WasmReader): void {
    this.#bytes -= section.remaining;
    if (this.#bytes < 0) throw new MalformedModule("its types, imports, exports and globals take too much room");
  }
}
