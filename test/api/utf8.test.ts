import { describe, expect, test } from "vitest";
import { decodeText, decodeWhole, incompleteTail } from "../../src/api/utf8.ts";
import { fc } from "../support/properties.ts";

/** Bytes that are likely to break off in the middle of a character, sound and unsound. */
const trickyBytes = fc
  .array(
    fc.oneof(
      fc.string({ unit: "grapheme" }).map((text) => [...Buffer.from(text)]),
      fc.constantFrom(
        [0xc3],
        [0xe2],
        [0xe2, 0x82],
        [0xf0, 0x9f],
        [0xf0, 0x9f, 0x98],
        [0xe0, 0x80],
        [0xed, 0xa0],
        [0xff],
        [0x80],
      ),
      fc.array(fc.integer({ min: 0, max: 255 }), { maxLength: 6 }),
    ),
    { maxLength: 8 },
  )
  .map((pieces) => Uint8Array.from(pieces.flat()));

describe("cutting bytes where a character ends", () => {
  test("gives the same text in two pieces as in one, wherever they are cut", () => {
    fc.assert(
      fc.property(trickyBytes, fc.nat(), (bytes, at) => {
        const cut = bytes.length === 0 ? 0 : at % (bytes.length + 1);
        const head = bytes.subarray(0, cut);
        const whole = head.length - incompleteTail(head);
        expect(decodeText(bytes.subarray(0, whole)) + decodeText(bytes.subarray(whole))).toBe(decodeText(bytes));
      }),
      { numRuns: 2_000 },
    );
  });

  test("holds back no more than the beginning of a character", () => {
    fc.assert(
      fc.property(trickyBytes, (bytes) => {
        const tail = incompleteTail(bytes);
        expect(tail).toBeLessThanOrEqual(3);
        const isSound = Buffer.from(decodeText(bytes)).equals(bytes);
        if (isSound) expect(tail).toBe(0);
      }),
    );
  });

  test("keeps a byte order mark: it is part of what was written", () => {
    expect(decodeText(Uint8Array.of(0xef, 0xbb, 0xbf, 0x61))).toBe("\ufeffa");
  });

  test("shortens text to whole characters", () => {
    expect(decodeWhole(Buffer.from("aé€"), 2)).toBe("a");
    expect(decodeWhole(Buffer.from("aé€"), 3)).toBe("aé");
    expect(decodeWhole(Buffer.from("aé€"), 6)).toBe("aé€");
  });
});
