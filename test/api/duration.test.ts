import { describe, expect, test } from "vitest";
import { parseDuration, secondsOf } from "../../src/api/duration.ts";
import { fc } from "../support/properties.ts";

describe("a duration", () => {
  test.each([
    ["0", 0],
    ["1", 1_000],
    ["0.5", 500],
    [".5", 500],
    ["2.", 2_000],
    ["500ms", 500],
    ["2s", 2_000],
    ["1.5m", 90_000],
    ["1h", 3_600_000],
    ["1d", 86_400_000],
    ["0.0004", 0],
  ])("%s is %i ms", (text, durationMs) => expect(parseDuration(text)).toBe(durationMs));

  test.each([
    "",
    "abc",
    "-1",
    "+1",
    "1e3",
    " 1",
    "1 s",
    "1S",
    "s",
    ".",
    "1w",
    "1h30m",
    "NaN",
    "Infinity",
    "0x10",
    "1,5",
  ])("%j is refused", (text) => expect(parseDuration(text)).toBeUndefined());

  test("survives being echoed as seconds", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 366 * 86_400_000 }), (durationMs) => {
        expect(parseDuration(String(secondsOf(durationMs)))).toBe(durationMs);
      }),
    );
  });

  test("means the same in each unit that can say it", () => {
    fc.assert(
      fc.property(fc.nat(10_000), (minutes) => {
        const durationMs = parseDuration(`${minutes}m`);
        expect(parseDuration(`${minutes * 60}`)).toBe(durationMs);
        expect(parseDuration(`${minutes * 60}s`)).toBe(durationMs);
        expect(parseDuration(`${minutes * 60_000}ms`)).toBe(durationMs);
      }),
    );
  });

  test("is never negative, and never fractional", () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[0-9.]{1,12}(ms|s|m|h|d)?$/), (text) => {
        const durationMs = parseDuration(text);
        if (durationMs === undefined) return;
        expect(Number.isInteger(durationMs) || durationMs > Number.MAX_SAFE_INTEGER).toBe(true);
        expect(durationMs).toBeGreaterThanOrEqual(0);
      }),
    );
  });

  test("takes no time to refuse, however long", () => expect(parseDuration("1".repeat(1_000_000))).toBeUndefined());
});
