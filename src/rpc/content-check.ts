/**
 * Holds content that came in against its own bytes, before capnp-es sees it: every pointer in bounds, no nesting without
 * end, no more content than the message has bytes for. capnp-es checks next to nothing of that by itself: it would believe
 * a list of half a billion elements that take no room, or follow the same list a thousand times.
 */
import { CONTENT_NESTING_MAX } from "../base/limits.ts";
import { followPointer, malformed, type Segments, type Slot } from "./wire-pointer.ts";

const WORD = 8;
/** What a message may hold by way of pointers to the same things, before it is called an amplification. */
const SLACK_WORDS = 1_024;
/** Bits of an element, by the size code of its list, up to eight bytes. */
const ELEMENT_BITS: readonly number[] = [0, 1, 8, 16, 32, 64];
const LIST_OF_POINTERS = 6;
const LIST_OF_STRUCTS = 7;

/** Throws a `malformed-message` unless all that the pointer at `slot` leads to is as it should be. */
export function checkContent(segments: Segments, slot: Slot): void {
  new ContentCheck(segments).pointer(slot.segment, slot.offset, 0);
}

class ContentCheck {
  readonly #segments: Segments;
  #wordsLeft: number;

  constructor(segments: Segments) {
    this.#segments = segments;
    this.#wordsLeft = segments.reduce((sum, segment) => sum + segment.byteLength / WORD, SLACK_WORDS);
  }

  pointer(segment: number, offset: number, depth: number): void {
    const target = followPointer(this.#segments, { segment, offset });
    if (target.kind === "null" || target.kind === "capability") return;
    if (depth >= CONTENT_NESTING_MAX) throw malformed("content is nested too deep");
    if (target.kind === "struct") {
      const dataWords = target.high & 0xffff;
      const pointers = target.high >>> 16;
      this.#take(target.segment, target.offset, dataWords + pointers);
      this.#pointers(target.segment, target.offset + dataWords * WORD, pointers, depth);
    } else {
      this.#list(target.segment, target.offset, target.high & 7, target.high >>> 3, depth);
    }
  }

  #list(segment: number, offset: number, sizeCode: number, count: number, depth: number): void {
    if (sizeCode === LIST_OF_STRUCTS) {
      this.#structs(segment, offset, count, depth);
    } else if (sizeCode === LIST_OF_POINTERS) {
      this.#take(segment, offset, count);
      this.#pointers(segment, offset, count, depth);
    } else {
      this.#take(segment, offset, Math.ceil((count * (ELEMENT_BITS[sizeCode] ?? 0)) / 64));
      // Elements that take no room cost as if each took a word: somebody may go through them.
      if (sizeCode === 0) this.#spend(count);
    }
  }

  #structs(segment: number, offset: number, words: number, depth: number): void {
    this.#take(segment, offset, words + 1);
    const view = this.#segments[segment];
    if (view === undefined) return;
    const tag = view.getUint32(offset, true);
    const sizes = view.getUint32(offset + 4, true);
    const count = tag >>> 2;
    const dataWords = sizes & 0xffff;
    const pointers = sizes >>> 16;
    const elementWords = dataWords + pointers;
    if ((tag & 3) !== 0 || count * elementWords > words) throw malformed("a list of structs that is not what it says");
    if (elementWords === 0) this.#spend(count);
    if (pointers === 0) return;
    for (let i = 0; i < count; i++) {
      this.#pointers(segment, offset + (1 + i * elementWords + dataWords) * WORD, pointers, depth);
    }
  }

  #pointers(segment: number, offset: number, count: number, depth: number): void {
    const view = this.#segments[segment];
    if (view === undefined) return;
    for (let at = offset; at < offset + count * WORD; at += WORD) {
      const isNull = view.getUint32(at, true) === 0 && view.getUint32(at + 4, true) === 0;
      if (!isNull) this.pointer(segment, at, depth + 1);
    }
  }

  #take(segment: number, offset: number, words: number): void {
    const view = this.#segments[segment];
    if (view === undefined || offset < 0 || offset + words * WORD > view.byteLength)
      throw malformed("content out of bounds");
    this.#spend(words);
  }

  #spend(words: number): void {
    this.#wordsLeft -= words;
    if (this.#wordsLeft < 0) throw malformed("more content than the message has bytes for");
  }
}
