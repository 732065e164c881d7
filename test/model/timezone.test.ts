import { expect, test } from "vitest";
import { parseTimezone, timezoneNames } from "../../src/model/timezone.ts";

test.each([
  ["Europe/Berlin", "Europe/Berlin"],
  ["europe/berlin", "Europe/Berlin"],
  ["UTC", "UTC"],
  ["utc", "UTC"],
  ["America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"],
  ["US/Eastern", "US/Eastern"],
])("knows %s", (name, expected) => {
  expect(parseTimezone(name)).toBe(expected);
});

test.each(["", "Berlin", "Europe/Brelin", "+02:00", "-0530", "Mars/Olympus", " UTC", `Europe/${"x".repeat(1_000)}`])(
  "knows no %j",
  (name) => {
    expect(parseTimezone(name)).toBeUndefined();
  },
);

test("lists zones that it knows", () => {
  const names = timezoneNames();
  expect(names).toContain("Europe/Berlin");
  expect(names.filter((name) => parseTimezone(name) === undefined)).toEqual([]);
});
