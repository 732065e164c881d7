/** Damages frames, in the ways that parsers of this format have been broken by. Same seed, same damage. */
import { type SeededRandom } from "../support/seeded-random.ts";

/** Words that mean something where a pointer, a size or an id is expected. */
const WORDS: readonly (readonly [number, number])[] = [
  [0, 0],
  [0xffffffff, 0xffffffff],
  [0xfffffffc, 0x00010001],
  [0, 0xffffffff],
  [1, 0xffffffff],
  [1, 0xfffffff8],
  [0xfffffffd, 0x00000007],
  [2, 0],
  [2, 1],
  [6, 0],
  [6, 1],
  [0xfffffffa, 0],
  [3, 0],
  [3, 0xffffffff],
  [0x7ffffffc, 0xffff0000],
];

export class FrameMutator {
  readonly #random: SeededRandom;

  constructor(random: SeededRandom) {
    this.#random = random;
  }

  /** A whole number below `limit`. */
  below(limit: number): number {
    return Math.floor(this.#random.next() * limit);
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new Error("there is something to pick from");
    return item;
  }

  /** A damaged copy of a frame; or, rarely, of another one of `frames`. */
  mutant(frame: Uint8Array, frames: readonly Uint8Array[]): Uint8Array {
    let bytes = Uint8Array.from(this.below(16) === 0 ? this.pick(frames) : frame);
    const times = 1 + (this.below(3) === 0 ? this.below(4) : 0);
    for (let i = 0; i < times; i++) {
      // The segment table is damaged now and then; damage to it mostly ends the conversation.
      const from = this.below(20) === 0 ? 0 : 8;
      if (bytes.byteLength >= 16) bytes = this.#damage(bytes, from, bytes.byteLength, frames);
    }
    return bytes;
  }

  /**
   * A copy whose message is as it was, with damaged content; undefined when there is no content. The vat writes content
   * before the message that it travels in, to which the first word points.
   */
  mutantContent(frame: Uint8Array, frames: readonly Uint8Array[]): Uint8Array | undefined {
    const bytes = Uint8Array.from(frame);
    const view = new DataView(bytes.buffer);
    const end = 16 + (view.getInt32(8, true) >> 2) * 8;
    if (view.getUint32(0, true) !== 0 || end <= 16) return undefined;
    const times = 1 + this.below(4);
    for (let i = 0; i < times; i++) this.#damageWords(bytes, 16, end, frames);
    return bytes;
  }

  #damage(
    bytes: Uint8Array<ArrayBuffer>,
    from: number,
    to: number,
    frames: readonly Uint8Array[],
  ): Uint8Array<ArrayBuffer> {
    switch (this.below(8)) {
      case 0:
        return this.#truncated(bytes);
      case 1:
        return this.#inSegments(bytes);
      default:
        this.#damageWords(bytes, from, to, frames);
        return bytes;
    }
  }

  #damageWords(bytes: Uint8Array<ArrayBuffer>, from: number, to: number, frames: readonly Uint8Array[]): void {
    const view = new DataView(bytes.buffer);
    const at = from + this.below(to - from);
    const word = from + this.below((to - from) >> 3) * 8;
    switch (this.below(7)) {
      case 0:
        bytes[at] = (bytes[at] ?? 0) ^ (1 << this.below(8));
        return;
      case 1:
        bytes[at] = this.below(256);
        return;
      case 2:
      case 3: {
        const [low, high] = this.pick(WORDS);
        view.setUint32(word, low, true);
        view.setUint32(word + 4, high, true);
        return;
      }
      case 4:
        view.setUint32(word + 4 * this.below(2), this.below(8), true);
        return;
      case 5: {
        // A word from elsewhere.
        const source = this.pick(frames);
        const sourceAt = this.below(source.byteLength >> 3) * 8;
        bytes.set(source.subarray(sourceAt, sourceAt + 8), word);
        return;
      }
      default:
        // A far pointer, single or double, to somewhere.
        view.setUint32(word, (this.below(bytes.byteLength >> 3) << 3) | 2 | (this.below(2) << 2), true);
        view.setUint32(word + 4, this.below(3), true);
    }
  }

  /** Shorter than before, and says so; the rest of the conversation is read as before. */
  #truncated(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
    const words = this.below(bytes.byteLength >> 3);
    const cut = bytes.slice(0, 8 + words * 8);
    if (this.below(10) > 0) new DataView(cut.buffer).setUint32(4, words, true);
    return cut;
  }

  /** The same words, as several segments. */
  #inSegments(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
    const words = (bytes.byteLength >> 3) - 1;
    const count = 2 + this.below(this.below(20) === 0 ? 600 : 6);
    const headerBytes = (4 + count * 4 + 7) & ~7;
    const cut = new Uint8Array(headerBytes + words * 8);
    cut.set(bytes.subarray(8), headerBytes);
    const view = new DataView(cut.buffer);
    view.setUint32(0, count - 1, true);
    let left = words;
    for (let i = 0; i < count; i++) {
      const size = i === count - 1 ? left : this.below(left + 1);
      view.setUint32(4 + i * 4, size, true);
      left -= size;
    }
    return cut;
  }
}
