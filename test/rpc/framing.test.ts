import { describe, expect, test } from "vitest";
import { FRAME_BYTES_MAX, FRAME_SEGMENTS_MAX } from "../../src/base/limits.ts";
import { FrameReader } from "../../src/rpc/framing.ts";
import { fc } from "../support/properties.ts";

/** A message of segments of these many words, each word telling where it is. */
function frameOf(segmentWords: readonly number[]): Uint8Array {
  const tableBytes = (4 + segmentWords.length * 4 + 7) & ~7;
  const words = segmentWords.reduce((sum, count) => sum + count, 0);
  const view = new DataView(new ArrayBuffer(tableBytes + words * 8));
  view.setUint32(0, segmentWords.length - 1, true);
  segmentWords.forEach((count, index) => view.setUint32(4 + index * 4, count, true));
  for (let word = 0; word < words; word++) view.setUint32(tableBytes + word * 8, word + 1, true);
  return new Uint8Array(view.buffer);
}

function header(segmentCount: number, segmentWords: readonly number[]): Uint8Array {
  const view = new DataView(new ArrayBuffer((4 + segmentWords.length * 4 + 7) & ~7));
  view.setUint32(0, segmentCount - 1, true);
  segmentWords.forEach((count, index) => view.setUint32(4 + index * 4, count, true));
  return new Uint8Array(view.buffer);
}

function readAll(reader: FrameReader): number[][] {
  const messages: number[][] = [];
  for (let frame = reader.next(); frame; frame = reader.next()) {
    messages.push(frame.segments.map((segment) => segment.byteLength / 8));
  }
  return messages;
}

describe("the frame reader", () => {
  test("finds the same messages however the bytes are split", () => {
    const messages = fc.array(fc.array(fc.nat(20), { minLength: 1, maxLength: 9 }), { maxLength: 12 });
    fc.assert(
      fc.property(messages, fc.infiniteStream(fc.integer({ min: 1, max: 90 })), (sent, sizes) => {
        const bytes = Uint8Array.from(sent.flatMap((segmentWords) => [...frameOf(segmentWords)]));
        const reader = new FrameReader();
        const received: number[][] = [];
        for (let offset = 0; offset < bytes.byteLength;) {
          const size: number = sizes.next().value;
          reader.push(bytes.slice(offset, offset + size));
          offset += size;
          received.push(...readAll(reader));
        }
        expect(received).toEqual(sent);
        expect(reader.bufferedBytes).toBe(0);
      }),
    );
  });

  test("puts a large message together from pieces, whatever stands before and behind it", () => {
    const wordsOf = (count: number) => fc.constantFrom([count], [count, 1], [1, count]);
    const large = fc.integer({ min: 1_900, max: 9_000 }).chain(wordsOf);
    const small = fc.array(fc.nat(3), { minLength: 1, maxLength: 3 });
    const messages = fc.array(fc.oneof(large, small), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(messages, fc.infiniteStream(fc.integer({ min: 1, max: 30_000 })), (sent, sizes) => {
        const bytes = Buffer.concat(sent.map(frameOf));
        const reader = new FrameReader();
        const received: number[][] = [];
        const wrongWords: number[] = [];
        for (let offset = 0; offset < bytes.byteLength;) {
          const size: number = sizes.next().value;
          reader.push(Uint8Array.from(bytes.subarray(offset, offset + size)));
          offset += size;
          for (let frame = reader.next(); frame; frame = reader.next()) {
            received.push(frame.segments.map((segment) => segment.byteLength / 8));
            let word = 1;
            for (const segment of frame.segments) {
              for (let at = 0; at < segment.byteLength; at += 8) {
                if (segment.getUint32(at, true) !== word++) wrongWords.push(at);
              }
            }
          }
        }
        expect(received).toEqual(sent);
        expect(wrongWords).toEqual([]);
        expect(reader.bufferedBytes).toBe(0);
      }),
      { numRuns: 30 },
    );
  });

  test("gives each segment its own bytes", () => {
    const reader = new FrameReader();
    reader.push(frameOf([2, 0, 3]));
    const frame = reader.next();
    const firstWords = frame?.segments.map((segment) => (segment.byteLength ? segment.getUint32(0, true) : 0));
    expect(firstWords).toEqual([1, 0, 3]);
  });

  test.each([
    ["2^32 segments", 2 ** 32, [0]],
    ["2^28 segments", 2 ** 28, [1]],
    ["one segment too many", FRAME_SEGMENTS_MAX + 1, [1]],
    ["a segment of 2^32 - 1 words", 1, [2 ** 32 - 1]],
    ["a frame of a word too many", 1, [FRAME_BYTES_MAX / 8]],
    ["segments too large together", 3, [FRAME_BYTES_MAX / 16, FRAME_BYTES_MAX / 16, 1]],
  ])("refuses %s on its header alone", (_name, segmentCount, segmentWords) => {
    const reader = new FrameReader();
    reader.push(header(segmentCount, segmentWords));
    expect(() => reader.next()).toThrow(expect.objectContaining({ code: "malformed-message" }));
  });

  test("takes the largest frame that is allowed", () => {
    const reader = new FrameReader();
    reader.push(header(1, [FRAME_BYTES_MAX / 8 - 1]));
    expect(reader.next()).toBeUndefined();
    reader.push(new Uint8Array(FRAME_BYTES_MAX - 8));
    expect(reader.next()?.bytes).toBe(FRAME_BYTES_MAX);
  });

  test("holds no more than what came in, whatever a header claims", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const reader = new FrameReader();
        reader.push(bytes);
        try {
          readAll(reader);
        } catch (error) {
          expect(error).toMatchObject({ code: "malformed-message" });
        }
        expect(reader.bufferedBytes).toBeLessThanOrEqual(bytes.byteLength);
      }),
    );
  });
});
