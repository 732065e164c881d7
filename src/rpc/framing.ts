/**
 * Cuts a stream of bytes into messages: the standard stream framing, a table of segment sizes and then the segments.
 *
 * Invariants: nothing is allocated on the word of a header; a header beyond the limits ends the stream with an error
 * before any of its segments is waited for. However the bytes are split, the same messages come out.
 */
import { FRAME_BYTES_MAX, FRAME_SEGMENTS_MAX } from "../base/limits.ts";
import { malformed, type Segments } from "./wire-pointer.ts";

/** Room that a received segment gets, in a buffer of its own, for the defaults that reading it allocates. */
export const SEGMENT_SLACK_BYTES = 64;
/** From this size on a frame of one segment, as nearly all are, is put together as its reader wants it: copied once. */
const OWN_BUFFER_BYTES_MIN = 16 * 1024;

/**
 * One message as received: its segments are views of the bytes that came in or, of one that is large, of a buffer of its
 * own that ends in `SEGMENT_SLACK_BYTES` of zeros.
 */
export interface Frame {
  readonly segments: Segments;
  /** All of it, header included. */
  readonly bytes: number;
}

export class FrameReader {
  #chunks: Uint8Array[] = [];
  /** Bytes in all chunks together. */
  #available = 0;
  /** Bytes that must be there before anything more can be said. */
  #needed = 8;
  /** Bytes of the one segment of the large frame that is being waited for. */
  #largeSegmentBytes = 0;

  /** Bytes taken in that have not come out in a message. */
  get bufferedBytes(): number {
    return this.#available;
  }

  /** Takes the bytes over. */
  push(bytes: Uint8Array): void {
    if (bytes.byteLength === 0) return;
    this.#chunks.push(bytes);
    this.#available += bytes.byteLength;
  }

  /** The next message that is complete; undefined until more bytes come. Throws on a header beyond the limits. */
  next(): Frame | undefined {
    while (this.#available >= this.#needed) {
      if (this.#largeSegmentBytes > 0) return this.#takeLarge();
      const bytes = this.#front(this.#needed);
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      const segmentCount = view.getUint32(0, true) + 1;
      if (segmentCount > FRAME_SEGMENTS_MAX) throw malformed(`a frame of ${segmentCount} segments`);
      const headerBytes = (4 + segmentCount * 4 + 7) & ~7;
      if (this.#needed < headerBytes) {
        this.#needed = headerBytes;
        continue;
      }
      const frameBytes = frameLength(view, segmentCount, headerBytes);
      if (this.#needed < frameBytes) {
        this.#needed = frameBytes;
        if (segmentCount === 1 && frameBytes >= OWN_BUFFER_BYTES_MIN)
          this.#largeSegmentBytes = frameBytes - headerBytes;
        continue;
      }
      this.#consume(frameBytes);
      return { segments: cutSegments(bytes, view, segmentCount, headerBytes), bytes: frameBytes };
    }
    return undefined;
  }

  /** The large frame that has been waited for. */
  #takeLarge(): Frame {
    const frameBytes = this.#needed;
    const segmentBytes = this.#largeSegmentBytes;
    this.#largeSegmentBytes = 0;
    const buffer = new ArrayBuffer(segmentBytes + SEGMENT_SLACK_BYTES);
    const segment = new Uint8Array(buffer, 0, segmentBytes);
    this.#consume(frameBytes - segmentBytes);
    for (let filled = 0; filled < segmentBytes;) {
      const piece = this.#chunks[0]?.subarray(0, segmentBytes - filled);
      if (piece === undefined) break;
      segment.set(piece, filled);
      filled += piece.byteLength;
      this.#consume(piece.byteLength);
    }
    return { segments: [new DataView(buffer, 0, segmentBytes)], bytes: frameBytes };
  }

  /** The first chunk, made to hold at least `count` bytes. */
  #front(count: number): Uint8Array {
    const first = this.#chunks[0];
    if (first !== undefined && first.byteLength >= count) return first;
    const joined = new Uint8Array(this.#available);
    let offset = 0;
    for (const chunk of this.#chunks) {
      joined.set(chunk, offset);
      offset += chunk.byteLength;
    }
    this.#chunks = [joined];
    return joined;
  }

  #consume(count: number): void {
    const first = this.#chunks[0];
    if (first === undefined) return;
    if (first.byteLength === count) this.#chunks.shift();
    else this.#chunks[0] = first.subarray(count);
    this.#available -= count;
    this.#needed = 8;
  }
}

function frameLength(header: DataView, segmentCount: number, headerBytes: number): number {
  let total = headerBytes;
  for (let i = 0; i < segmentCount; i++) total += header.getUint32(4 + i * 4, true) * 8;
  if (total > FRAME_BYTES_MAX) throw malformed(`a frame of ${total} bytes`);
  return total;
}

function cutSegments(bytes: Uint8Array, header: DataView, segmentCount: number, headerBytes: number): Segments {
  const segments: DataView[] = [];
  let offset = bytes.byteOffset + headerBytes;
  for (let i = 0; i < segmentCount; i++) {
    const segmentBytes = header.getUint32(4 + i * 4, true) * 8;
    segments.push(new DataView(bytes.buffer, offset, segmentBytes));
    offset += segmentBytes;
  }
  return segments;
}
