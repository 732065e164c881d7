import { describe, expect, test } from "vitest";
import { decodeText } from "../../../src/api/utf8.ts";
import { type LogText, LogTextReader } from "../../../src/gateway/http/log-text.ts";
import type { OutputChunk } from "../../../src/store/store.ts";
import { fc } from "../../support/properties.ts";

interface Write {
  readonly stream: "stdout" | "stderr";
  readonly bytes: Uint8Array;
}

/** A log of one attempt, from `from` on. */
function chunksOf(writes: readonly Write[], from = 0): OutputChunk[] {
  let offset = 0;
  const chunks: OutputChunk[] = [];
  for (const { stream, bytes } of writes) {
    const skipped = Math.min(bytes.length, Math.max(0, from - offset));
    const rest = bytes.subarray(skipped);
    if (rest.length > 0) chunks.push({ attempt: 1, stream, offset: offset + skipped, bytes: rest });
    offset += bytes.length;
  }
  return chunks;
}

function read(chunks: readonly OutputChunk[]): LogText[] {
  return readOn(new LogTextReader(0), chunks);
}

function readOn(reader: LogTextReader, chunks: readonly OutputChunk[]): LogText[] {
  return [...chunks.flatMap((chunk) => reader.push(chunk)), ...reader.flush()];
}

/** A reader for whoever has seen everything up to a piece of text. */
function resumed(log: readonly Write[], { offset, held }: LogText["next"]): LogTextReader {
  const before = held.map((text) => {
    const chunks = chunksOf(log, text.offset).filter((chunk) => chunk.stream === text.stream);
    const bytes = chunks.flatMap((chunk) => [...chunk.bytes.subarray(0, Math.max(0, offset - chunk.offset))]);
    return { attempt: 1, stream: text.stream, offset: text.offset, bytes: Uint8Array.from(bytes) };
  });
  return new LogTextReader(offset, before);
}

function textOf(texts: readonly LogText[], stream: string): string {
  return texts
    .filter((text) => text.stream === stream)
    .map(({ text }) => text)
    .join("");
}

function bytesOf(writes: readonly Write[], stream: string): Uint8Array {
  return Buffer.concat(writes.filter((write) => write.stream === stream).map(({ bytes }) => bytes));
}

const bytes = fc
  .array(
    fc.oneof(
      fc.string({ unit: "grapheme", maxLength: 3 }).map((text) => [...Buffer.from(text)]),
      fc.constantFrom([0xe2], [0x82, 0xac], [0xf0, 0x9f], [0x98, 0x80], [0xc3], [0xa9], [0xff], [0xed, 0xa0]),
    ),
    { maxLength: 4 },
  )
  .map((pieces) => Uint8Array.from(pieces.flat()));
const writes = fc.array(fc.record({ stream: fc.constantFrom("stdout" as const, "stderr" as const), bytes }), {
  maxLength: 8,
});

describe("a log's text", () => {
  test("is what each stream's bytes are as a whole, however they were written", () => {
    fc.assert(
      fc.property(writes, (log) => {
        const texts = read(chunksOf(log));
        for (const stream of ["stdout", "stderr"]) {
          expect(textOf(texts, stream)).toBe(decodeText(bytesOf(log, stream)));
        }
      }),
      { numRuns: 2_000 },
    );
  });

  test("goes on without a gap and without repeats wherever a reader stopped", () => {
    fc.assert(
      fc.property(writes, fc.nat(), (log, stop) => {
        const texts = read(chunksOf(log));
        const seen = texts.slice(0, stop % (texts.length + 1));
        const next = seen.at(-1)?.next ?? { offset: 0, held: [] };
        const rest = readOn(resumed(log, next), chunksOf(log, next.offset));
        for (const stream of ["stdout", "stderr"]) {
          expect(textOf(seen, stream) + textOf(rest, stream)).toBe(textOf(texts, stream));
        }
      }),
      { numRuns: 2_000 },
    );
  });

  test("is seen as a whole by whoever has the last piece", () => {
    fc.assert(
      fc.property(writes, (log) => {
        const texts = read(chunksOf(log));
        const total = log.reduce((sum, write) => sum + write.bytes.length, 0);
        if (texts.length > 0) expect(texts.at(-1)?.next).toEqual({ offset: total, held: [] });
      }),
    );
  });

  test("holds a character that the other stream broke in two", () => {
    const texts = read(
      chunksOf([
        { stream: "stdout", bytes: Uint8Array.of(0x61, 0xe2, 0x82) },
        { stream: "stderr", bytes: Uint8Array.of(0x62) },
        { stream: "stdout", bytes: Uint8Array.of(0xac) },
      ]),
    );
    expect(texts).toEqual([
      { attempt: 1, stream: "stdout", offset: 0, text: "a", next: { offset: 1, held: [] } },
      {
        attempt: 1,
        stream: "stderr",
        offset: 3,
        text: "b",
        next: { offset: 4, held: [{ stream: "stdout", offset: 1 }] },
      },
      { attempt: 1, stream: "stdout", offset: 1, text: "€", next: { offset: 5, held: [] } },
    ]);
  });

  test("does not join what two attempts wrote", () => {
    const reader = new LogTextReader(0);
    reader.push({ attempt: 1, stream: "stdout", offset: 0, bytes: Uint8Array.of(0xe2, 0x82) });
    const texts = reader.push({ attempt: 2, stream: "stdout", offset: 2, bytes: Uint8Array.of(0xac) });
    expect(texts.map(({ attempt, text }) => [attempt, text])).toEqual([
      [1, "\ufffd"],
      [2, "\ufffd"],
    ]);
  });
});
