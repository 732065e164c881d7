/**
 * Reads Cap'n Proto pointers and structs straight from received segments: for the headers of RPC messages, and for finding
 * the capability at a path of pointers. It never writes, never allocates more than the answer, and checks every
 * bound: hostile bytes end in a ClusterError with code `malformed-message`. What users read goes through capnp-es.
 */
import { type ClusterError, failed } from "../base/errors.ts";

/** A message's segments, in order. */
export type Segments = readonly DataView[];

export function malformed(what: string): ClusterError {
  return failed(`malformed message: ${what}`, { code: "malformed-message" });
}

/** Where a pointer leads, far pointers followed. `high` is the upper half of the word that describes the target. */
export type Target =
  | { readonly kind: "null" }
  | { readonly kind: "capability"; readonly index: number }
  | { readonly kind: "struct" | "list"; readonly segment: number; readonly offset: number; readonly high: number };

const NULL_TARGET: Target = { kind: "null" };
const KIND_STRUCT = 0;
const KIND_LIST = 1;
const KIND_FAR = 2;

/** The place of a pointer: a segment's index and a byte offset in it. */
export interface Slot {
  readonly segment: number;
  readonly offset: number;
}

function segmentAt(segments: Segments, index: number): DataView {
  const view = segments[index];
  if (view === undefined) throw malformed("a pointer into a segment that is not there");
  return view;
}

function checkWord(view: DataView, offset: number): void {
  if (offset < 0 || offset + 8 > view.byteLength) throw malformed("a pointer out of bounds");
}

/** Follows the pointer at `slot`. */
export function followPointer(segments: Segments, slot: Slot): Target {
  const view = segmentAt(segments, slot.segment);
  checkWord(view, slot.offset);
  const low = view.getUint32(slot.offset, true);
  const high = view.getUint32(slot.offset + 4, true);
  if ((low & 3) !== KIND_FAR) return nearTarget(low, high, slot.segment, slot.offset);
  const pad = segmentAt(segments, high);
  const padOffset = (low >>> 3) * 8;
  checkWord(pad, padOffset);
  const padLow = pad.getUint32(padOffset, true);
  const padHigh = pad.getUint32(padOffset + 4, true);
  if ((low & 4) === 0) {
    if ((padLow & 3) === KIND_FAR) throw malformed("a far pointer to a far pointer");
    return nearTarget(padLow, padHigh, high, padOffset);
  }
  checkWord(pad, padOffset + 8);
  if ((padLow & 7) !== KIND_FAR) throw malformed("a double-far pointer without its landing pad");
  const tagKind = pad.getUint32(padOffset + 8, true) & 3;
  if (tagKind !== KIND_STRUCT && tagKind !== KIND_LIST) throw malformed("a double-far pointer to no object");
  const kind = tagKind === KIND_STRUCT ? "struct" : "list";
  return { kind, segment: padHigh, offset: (padLow >>> 3) * 8, high: pad.getUint32(padOffset + 12, true) };
}

function nearTarget(low: number, high: number, segment: number, offset: number): Target {
  if (low === 0 && high === 0) return NULL_TARGET;
  const kind = low & 3;
  if (kind === KIND_STRUCT || kind === KIND_LIST) {
    const target = offset + 8 + (low >> 2) * 8;
    return { kind: kind === KIND_STRUCT ? "struct" : "list", segment, offset: target, high };
  }
  if (low !== 3) throw malformed("a pointer of an unknown kind");
  return { kind: "capability", index: high };
}

/** Reads one struct. Fields past its end, as an older sender leaves them out, read as zero and null. */
export class StructReader {
  readonly #segments: Segments;
  readonly #segment: number;
  readonly #view: DataView;
  readonly #offset: number;
  readonly #dataBytes: number;
  readonly #pointerCount: number;

  private constructor(segments: Segments, segment: number, offset: number, dataBytes: number, pointerCount: number) {
    const view = segmentAt(segments, segment);
    if (offset < 0 || offset + dataBytes + pointerCount * 8 > view.byteLength)
      throw malformed("a struct out of bounds");
    this.#segments = segments;
    this.#segment = segment;
    this.#view = view;
    this.#offset = offset;
    this.#dataBytes = dataBytes;
    this.#pointerCount = pointerCount;
  }

  /** The struct that the pointer at `slot` leads to; a null pointer reads as an empty one. */
  static at(segments: Segments, slot: Slot): StructReader {
    const target = followPointer(segments, slot);
    if (target.kind === "null") return new StructReader(segments, slot.segment, slot.offset, 0, 0);
    if (target.kind !== "struct") throw malformed("a struct was expected");
    return new StructReader(segments, target.segment, target.offset, (target.high & 0xffff) * 8, target.high >>> 16);
  }

  uint16(offset: number): number {
    return offset + 2 <= this.#dataBytes ? this.#view.getUint16(this.#offset + offset, true) : 0;
  }

  uint32(offset: number): number {
    return offset + 4 <= this.#dataBytes ? this.#view.getUint32(this.#offset + offset, true) : 0;
  }

  uint64(offset: number): bigint {
    return offset + 8 <= this.#dataBytes ? this.#view.getBigUint64(this.#offset + offset, true) : 0n;
  }

  bit(bitOffset: number): boolean {
    const offset = bitOffset >>> 3;
    return offset < this.#dataBytes && ((this.#view.getUint8(this.#offset + offset) >>> (bitOffset & 7)) & 1) === 1;
  }

  /** The place of a pointer field; undefined when the sender's struct ends before it. */
  slot(index: number): Slot | undefined {
    if (index >= this.#pointerCount) return undefined;
    return { segment: this.#segment, offset: this.#offset + this.#dataBytes + index * 8 };
  }

  isNull(index: number): boolean {
    const slot = this.slot(index);
    return slot === undefined || followPointer(this.#segments, slot).kind === "null";
  }

  struct(index: number): StructReader {
    const slot = this.slot(index);
    return slot
      ? StructReader.at(this.#segments, slot)
      : new StructReader(this.#segments, this.#segment, this.#offset, 0, 0);
  }

  /** A text field, cut to at most `bytesMax` bytes of UTF-8. */
  text(index: number, bytesMax: number): string {
    const slot = this.slot(index);
    const target = slot && followPointer(this.#segments, slot);
    if (target === undefined || target.kind === "null") return "";
    if (target.kind !== "list" || (target.high & 7) !== 2) throw malformed("a text was expected");
    const view = segmentAt(this.#segments, target.segment);
    const length = target.high >>> 3;
    if (length === 0 || target.offset < 0 || target.offset + length > view.byteLength)
      throw malformed("a text out of bounds");
    return new TextDecoder().decode(
      new Uint8Array(view.buffer, view.byteOffset + target.offset, Math.min(length - 1, bytesMax)),
    );
  }

  /** The elements of a list of structs, at most `countMax` of them: more is malformed. */
  structList(index: number, countMax: number): StructReader[] {
    const slot = this.slot(index);
    const target = slot && followPointer(this.#segments, slot);
    if (target === undefined || target.kind === "null") return [];
    if (target.kind !== "list" || (target.high & 7) !== 7) throw malformed("a list of structs was expected");
    const view = segmentAt(this.#segments, target.segment);
    checkWord(view, target.offset);
    const count = view.getUint32(target.offset, true) >>> 2;
    const sizes = view.getUint32(target.offset + 4, true);
    if (count > countMax) throw malformed(`a list of ${count} elements`);
    const dataBytes = (sizes & 0xffff) * 8;
    const pointerCount = sizes >>> 16;
    const elements: StructReader[] = [];
    for (let i = 0; i < count; i++) {
      const offset = target.offset + 8 + i * (dataBytes + pointerCount * 8);
      elements.push(new StructReader(this.#segments, target.segment, offset, dataBytes, pointerCount));
    }
    return elements;
  }
}
