/**
 * A run's log as pieces of text. A character whose bytes came in several writes is held until it is whole, so that each
 * piece is cut where a character ends. The two streams may interleave, so each holds its own beginning of a character.
 *
 * Bytes that are no UTF-8 become U+FFFD, and so does a beginning whose attempt ended: the next attempt is another guest.
 */
import type { HeldText } from "../../api/log-event.ts";
import { decodeText, incompleteTail } from "../../api/utf8.ts";
import type { OutputStream } from "../../model/output.ts";
import type { OutputChunk } from "../../store/store.ts";

export interface LogText {
  readonly attempt: number;
  readonly stream: OutputStream;
  /** Of the first byte, in the run's log. */
  readonly offset: number;
  readonly text: string;
  /** Where a reader that has seen this goes on, and what it has to be given before: see `LogPosition`. */
  readonly next: { readonly offset: number; readonly held: readonly HeldText[] };
}

interface Held {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** What a reader is in the middle of. Never changes. */
export interface LogTextState {
  readonly attempt: number;
  readonly end: number;
  readonly held: ReadonlyMap<OutputStream, Held>;
}

export class LogTextReader {
  #attempt: number;
  #end: number;
  #held = new Map<OutputStream, Held>();

  /** `resumed` is what a reader before this one held at `end`. */
  constructor(end: number, resumed: readonly OutputChunk[] = []) {
    this.#end = end;
    this.#attempt = resumed.at(-1)?.attempt ?? 0;
    for (const { stream, offset, bytes } of resumed) this.#held.set(stream, { offset, bytes });
  }

  get state(): LogTextState {
    return { attempt: this.#attempt, end: this.#end, held: new Map(this.#held) };
  }

  /** Two readers of one run's log in which this is the same make the same of the same chunks. */
  get stateKey(): string {
    if (this.#held.size === 0) return "";
    return `${this.#attempt}${Array.from(this.#held, ([stream, { offset }]) => ` ${stream}@${offset}`).join("")}`;
  }

  /** Goes on as a reader that came to this state. */
  goTo({ attempt, end, held }: LogTextState): void {
    this.#attempt = attempt;
    this.#end = end;
    this.#held = new Map(held);
  }

  /** Takes the next chunk. Its bytes are not kept, but for the beginning of a character. */
  push(chunk: OutputChunk): LogText[] {
    const texts = chunk.attempt === this.#attempt ? [] : this.flush();
    this.#attempt = chunk.attempt;
    const held = this.#held.get(chunk.stream);
    const offset = held?.offset ?? chunk.offset;
    const bytes = held === undefined ? chunk.bytes : joined(held.bytes, chunk.bytes);
    const tail = incompleteTail(bytes);
    this.#end = chunk.offset + chunk.bytes.length;
    if (tail === 0) this.#held.delete(chunk.stream);
    else {
      const tailOffset = tail > chunk.bytes.length ? offset : this.#end - tail;
      this.#held.set(chunk.stream, { offset: tailOffset, bytes: bytes.slice(bytes.length - tail) });
    }
    if (bytes.length > tail) {
      const text = decodeText(bytes.subarray(0, bytes.length - tail));
      texts.push({ attempt: chunk.attempt, stream: chunk.stream, offset, text, next: this.#next() });
    }
    return texts;
  }

  /** What is still held, in the order in which it came: no more of this attempt will come. */
  flush(): LogText[] {
    const held = [...this.#held].toSorted(([, one], [, other]) => one.offset - other.offset);
    return held.map(([stream, { offset, bytes }]) => {
      this.#held.delete(stream);
      return { attempt: this.#attempt, stream, offset, text: decodeText(bytes), next: this.#next() };
    });
  }

  #next(): LogText["next"] {
    const held = [...this.#held];
    const [first] = held;
    // The log's very end is held: whoever goes on there reads it again.
    if (held.length === 1 && first !== undefined && first[1].offset + first[1].bytes.length === this.#end) {
      return { offset: first[1].offset, held: [] };
    }
    return { offset: this.#end, held: held.map(([stream, { offset }]) => ({ stream, offset })) };
  }
}

function joined(head: Uint8Array, rest: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(head.length + rest.length);
  bytes.set(head);
  bytes.set(rest, head.length);
  return bytes;
}
