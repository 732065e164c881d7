/**
 * A log's bytes as server-sent events. What many readers are sent is made once: readers that are given the same chunks
 * while they are in the middle of the same are given the same bytes.
 *
 * Writes that follow each other without a gap become one event: a reader that is behind, however little, catches up in
 * fewer and larger ones.
 */
import { type LogTextJson, formatLogPosition } from "../../api/log-event.ts";
import { type SseEventInit, formatSse } from "../../api/sse.ts";
import { SSE_WRITE_BYTES_MAX } from "../../base/limits.ts";
import type { OutputChunk } from "../../store/store.ts";
import type { LogText, LogTextReader, LogTextState } from "./log-text.ts";

interface Encoded {
  /** Whole events, in pieces that a reader is to take one by one. */
  readonly pieces: readonly Uint8Array[];
  readonly after: LogTextState;
}

export class LogEvents {
  /** By the chunks, as an array that readers share, then by what a reader is in the middle of. */
  readonly #known = new WeakMap<readonly OutputChunk[], Map<string, Encoded>>();

  /** `reader` goes on behind the chunks. `run` is theirs. */
  encode(run: number, reader: LogTextReader, chunks: readonly OutputChunk[]): readonly Uint8Array[] {
    let byState = this.#known.get(chunks);
    if (byState === undefined) {
      byState = new Map();
      this.#known.set(chunks, byState);
    }
    const key = reader.stateKey;
    const known = byState.get(key);
    if (known !== undefined) {
      reader.goTo(known.after);
      return known.pieces;
    }
    const texts = joined(chunks).flatMap((chunk) => reader.push(chunk));
    const pieces = inPieces(texts.map((text) => formatSse(textEvent(run, text))));
    byState.set(key, { pieces, after: reader.state });
    return pieces;
  }
}

export function textEvent(run: number, { attempt, offset, text, stream, next }: LogText): SseEventInit {
  const content: LogTextJson = { run, attempt, offset, text };
  return { event: stream, data: JSON.stringify(content), id: formatLogPosition({ run, ...next }) };
}

/** Chunks of one attempt and stream that lie next to each other are one. */
function joined(chunks: readonly OutputChunk[]): readonly OutputChunk[] {
  const groups: OutputChunk[][] = [];
  for (const chunk of chunks) {
    const group = groups.at(-1);
    const last = group?.at(-1);
    const isNext =
      last?.attempt === chunk.attempt &&
      last.stream === chunk.stream &&
      last.offset + last.bytes.length === chunk.offset;
    if (isNext) group?.push(chunk);
    else groups.push([chunk]);
  }
  return groups.flatMap((group) => {
    const [first] = group;
    if (first === undefined || group.length === 1) return group;
    return { ...first, bytes: Buffer.concat(group.map(({ bytes }) => bytes)) };
  });
}

function inPieces(events: readonly string[]): readonly Uint8Array[] {
  const pieces: Buffer[] = [];
  let gathered: string[] = [];
  let length = 0;
  const close = (): void => {
    if (gathered.length > 0) pieces.push(Buffer.from(gathered.join("")));
    gathered = [];
    length = 0;
  };
  for (const event of events) {
    if (length + event.length > SSE_WRITE_BYTES_MAX) close();
    gathered.push(event);
    length += event.length;
  }
  close();
  return pieces;
}
