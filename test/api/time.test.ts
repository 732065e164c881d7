import { describe, expect, test } from "vitest";
import { TIME_MAX, formatOptionalTime, formatTime, parseTime } from "../../src/api/time.ts";
import { fc } from "../support/properties.ts";

describe("a time", () => {
  test("survives being written and read", () => {
    fc.assert(
      fc.property(fc.integer({ min: -62_167_219_200_000, max: TIME_MAX }), (time) => {
        expect(parseTime(formatTime(time))).toBe(time);
      }),
    );
  });

  test("means the same in every zone", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 4_000_000_000_000 }),
        fc.integer({ min: -14 * 60, max: 14 * 60 }),
        (time, zoneMinutes) => {
          const local = formatTime(time + zoneMinutes * 60_000).replace("Z", "");
          const minutes = Math.abs(zoneMinutes);
          const pad = (number: number): string => String(number).padStart(2, "0");
          const zone = `${zoneMinutes < 0 ? "-" : "+"}${pad(Math.floor(minutes / 60))}:${pad(minutes % 60)}`;
          expect(parseTime(`${local}${zone}`)).toBe(time);
        },
      ),
    );
  });

  test.each([
    ["2030-01-31T12:00:00Z", Date.UTC(2030, 0, 31, 12)],
    ["2030-01-31t12:00:00z", Date.UTC(2030, 0, 31, 12)],
    ["2030-01-31 12:00:00.5+02:00", Date.UTC(2030, 0, 31, 10, 0, 0, 500)],
    ["2030-01-31T12:00:00.123456789Z", Date.UTC(2030, 0, 31, 12, 0, 0, 123)],
    ["2016-12-31T23:59:60Z", Date.UTC(2017, 0, 1)],
    ["2028-02-29T00:00:00Z", Date.UTC(2028, 1, 29)],
    ["0099-01-01T00:00:00Z", new Date("0099-01-01T00:00:00Z").getTime()],
  ])("%s is understood", (text, time) => expect(parseTime(text)).toBe(time));

  test.each([
    "",
    "now",
    "2030-01-31",
    "2030-01-31T12:00:00",
    "2030-02-30T00:00:00Z",
    "2030-13-01T00:00:00Z",
    "2030-00-01T00:00:00Z",
    "2030-01-01T24:00:00Z",
    "2030-01-01T00:60:00Z",
    "2030-01-01T00:00:00+24:00",
    "+12030-01-01T00:00:00Z",
    "9999-12-31T23:59:59-01:00",
    "Thu, 01 Jan 2030 00:00:00 GMT",
  ])("%j is refused", (text) => expect(parseTime(text)).toBeUndefined());

  test("that there is not yet is null", () => expect(formatOptionalTime(undefined)).toBeNull());
});
