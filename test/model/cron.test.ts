import { describe, expect, test } from "vitest";
import { assert } from "../../src/base/errors.ts";
import { CRON_LENGTH_MAX, CRON_SCHEDULES_MAX } from "../../src/base/limits.ts";
import { type CronSchedule, CronSchedules, hasSlots, parseCron } from "../../src/model/cron.ts";
import { fc } from "../support/properties.ts";

function schedule(expression: string, timezone = "UTC"): CronSchedule {
  const result = parseCron(expression, timezone);
  assert(result.ok, `${expression} can be read`);
  return result.schedule;
}

/** The first slots after `from`, as UTC times without seconds. */
function slots(expression: string, timezone: string, from: string, count: number): readonly string[] {
  const cron = schedule(expression, timezone);
  const found: string[] = [];
  let at: number | undefined = Date.parse(from);
  for (let each = 0; each < count; each++) {
    at = cron.next(at);
    if (at === undefined) break;
    found.push(new Date(at).toISOString().replace(/:00\.000Z$/, "Z"));
  }
  return found;
}

describe("parseCron", () => {
  test.each([
    ["* * * * *", ["2027-01-01T00:01Z", "2027-01-01T00:02Z"]],
    ["*/20 * * * * *", ["2027-01-01T00:00:20.000Z", "2027-01-01T00:00:40.000Z", "2027-01-01T00:01Z"]],
    ["  0   12 1 * * ", ["2027-01-01T12:00Z", "2027-02-01T12:00Z"]],
    ["0 0 * * MON-FRI", ["2027-01-04T00:00Z", "2027-01-05T00:00Z"]],
    ["0 0 * jan,Jul sun", ["2027-01-03T00:00Z", "2027-01-10T00:00Z"]],
    ["0 0 * * 7", ["2027-01-03T00:00Z"]],
    ["0 0 L * *", ["2027-01-31T00:00Z", "2027-02-28T00:00Z"]],
    ["0 0 LW * *", ["2027-01-29T00:00Z", "2027-02-26T00:00Z"]],
    ["0 0 15W * *", ["2027-01-15T00:00Z", "2027-02-15T00:00Z"]],
    ["0 0 * * 5L", ["2027-01-29T00:00Z", "2027-02-26T00:00Z"]],
    ["0 0 * * FRI#2", ["2027-01-08T00:00Z", "2027-02-12T00:00Z"]],
    ["1-10/4 0 ? * ?", ["2027-01-01T00:01Z", "2027-01-01T00:05Z", "2027-01-01T00:09Z", "2027-01-02T00:01Z"]],
    ["0 0 29 2 *", ["2028-02-29T00:00Z", "2032-02-29T00:00Z"]],
    // Either of the two days, as cron has it.
    ["0 0 13 * FRI", ["2027-01-08T00:00Z", "2027-01-13T00:00Z", "2027-01-15T00:00Z"]],
    ["@daily", ["2027-01-02T00:00Z"]],
    ["@Hourly", ["2027-01-01T01:00Z"]],
  ])("reads %s", (expression, expected) => {
    expect(slots(expression, "UTC", "2027-01-01T00:00:00Z", expected.length)).toEqual(expected);
  });

  test.each([
    "",
    "* * * *",
    "* * * * * * *",
    "60 * * * *",
    "* 24 * * *",
    "* * 32 * *",
    "* * * 13 *",
    "* * * * 8",
    "5-1 * * * *",
    "/5 * * * *",
    "5/5 * * * *",
    "*/0 * * * *",
    "* 1-2/3/4 * * *",
    ", * * * *",
    "a b c d e",
    "@reboot",
    "2027-01-01T00:00:00",
    "0 0 +13 * FRI",
    "*".repeat(CRON_LENGTH_MAX + 1),
  ])("refuses %j, and says why", (expression) => {
    const result = parseCron(expression, "UTC");
    expect(result.ok ? "accepted" : result.reason).toMatch(/^(is|cannot be read) /);
  });

  test("takes whatever it is given, and never throws", () => {
    const piece = fc.oneof(
      fc.constantFrom("*", "?", "L", "W", "#", "/", "-", ",", "MON", "JAN", "LW", "@daily"),
      fc.integer({ min: -5, max: 99 }).map(String),
    );
    const field = fc.array(piece, { maxLength: 5 }).map((pieces) => pieces.join(""));
    fc.assert(
      fc.property(fc.array(field, { minLength: 4, maxLength: 7 }), (fields) => {
        const result = parseCron(fields.join(" "), "Europe/Berlin");
        if (!result.ok) expect(result.reason).not.toBe("");
        else result.schedule.next(Date.UTC(2027, 0, 1));
      }),
      { numRuns: 500 },
    );
  });

  test("says of what never comes that there is no slot", () => {
    expect(slots("0 0 30 2 *", "Europe/Berlin", "2027-01-01T00:00:00Z", 1)).toEqual([]);
    expect(slots("0 0 31 4,6,9,11 *", "UTC", "2027-01-01T00:00:00Z", 1)).toEqual([]);
  });
});

describe("hasSlots", () => {
  const from = Date.UTC(2027, 0, 1);

  test.each([
    ["0 0 30 2 *", false],
    ["0 0 31 4,6,9,11 *", false],
    // The last weekday of a month is no Sunday, the first of January no second Monday.
    ["0 0 LW * +SUN", false],
    ["0 0 1 1 +MON#2", false],
    ["59 59 23 31 12 +SUN#1", false],
    ["0 0 29 2 *", true],
    ["0 0 29 2 +MON#5", true],
    ["0 0 31 12 +SUN", true],
    ["  * * * * * *", true],
    ["@yearly", true],
  ])("tells of %s what looking for one finds", (expression, expected) => {
    for (const timezone of ["UTC", "Pacific/Kiritimati", "America/New_York"]) {
      expect(hasSlots(expression, timezone, from)).toBe(expected);
      expect(schedule(expression, timezone).next(from) !== undefined).toBe(expected);
    }
  });

  test("finds every day that there is, across a century without its leap year", () => {
    const century = Date.UTC(2096, 1, 29, 12);
    for (const day of ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]) {
      expect(hasSlots(`0 0 29 2 +${day}`, "UTC", century)).toBe(true);
    }
  });
});

describe("a schedule that is asked often", () => {
  test("answers as one that is asked for the first time", () => {
    const asked = schedule("30 2 * * *", "Europe/Berlin");
    const moment = fc.integer({ min: Date.UTC(2027, 2, 26), max: Date.UTC(2027, 2, 30) });
    fc.assert(
      fc.property(moment, (after) => {
        expect(asked.next(after)).toBe(schedule("30 2 * * *", "Europe/Berlin").next(after));
      }),
    );
  });
});

describe("what is wrong with an expression", () => {
  test.each([
    ["0 0 32 * *", "day: 32"],
    ["0 0 0 * *", "day: 0"],
    ["0 0 * 13 *", "month: 13"],
    ["60 0 * * *", "minute: 60"],
    ["0 0 * * 8", "dayOfWeek: 8"],
  ])("is told of %s in its own numbers", (expression, expected) => {
    const result = parseCron(expression, "UTC");
    expect(result.ok ? "accepted" : result.reason).toContain(`(Invalid value for ${expected})`);
  });
});

describe("where clocks are put forward", () => {
  test.each([
    [
      "a time in the gap has its slot at its end",
      "30 2 * * *",
      "Europe/Berlin",
      "2027-03-27T12:00:00Z",
      ["2027-03-28T01:00Z", "2027-03-29T00:30Z"],
    ],
    [
      "all times in the gap have one slot together",
      "*/15 2 * * *",
      "Europe/Berlin",
      "2027-03-28T00:00:00Z",
      ["2027-03-28T01:00Z", "2027-03-29T00:00Z"],
    ],
    [
      "also with one that is named at its end",
      "0 2,3 * * *",
      "Europe/Berlin",
      "2027-03-28T00:00:00Z",
      ["2027-03-28T01:00Z", "2027-03-29T00:00Z"],
    ],
    ["New York", "30 2 * * *", "America/New_York", "2027-03-13T12:00:00Z", ["2027-03-14T07:00Z", "2027-03-15T06:30Z"]],
    [
      "half an hour",
      "15 2 * * *",
      "Australia/Lord_Howe",
      "2026-10-03T00:00:00Z",
      ["2026-10-03T15:30Z", "2026-10-04T15:15Z"],
    ],
    ["at midnight", "10 0 * * *", "Africa/Cairo", "2027-04-29T12:00:00Z", ["2027-04-29T22:00Z", "2027-04-30T21:10Z"]],
    [
      "every half hour goes on",
      "*/30 * * * *",
      "Europe/Berlin",
      "2027-03-28T00:00:00Z",
      ["2027-03-28T00:30Z", "2027-03-28T01:00Z", "2027-03-28T01:30Z"],
    ],
    [
      "every hour goes on",
      "0 0-23 * * *",
      "America/New_York",
      "2027-03-14T05:30:00Z",
      ["2027-03-14T06:00Z", "2027-03-14T07:00Z", "2027-03-14T08:00Z"],
    ],
  ])("%s", (_name, expression, timezone, from, expected) => {
    expect(slots(expression, timezone, from, expected.length)).toEqual(expected);
  });
});

describe("where clocks are put back", () => {
  test.each([
    [
      "a time that comes twice has one slot, the first",
      "30 2 * * *",
      "Europe/Berlin",
      "2026-10-24T12:00:00Z",
      ["2026-10-25T00:30Z", "2026-10-26T01:30Z"],
    ],
    [
      "so has each of several",
      "*/30 1 * * *",
      "America/New_York",
      "2026-11-01T00:00:00Z",
      ["2026-11-01T05:00Z", "2026-11-01T05:30Z", "2026-11-02T06:00Z"],
    ],
    [
      "so has one of every second hour",
      "0 */2 * * *",
      "Europe/Berlin",
      "2026-10-24T21:30:00Z",
      ["2026-10-24T22:00Z", "2026-10-25T00:00Z", "2026-10-25T03:00Z"],
    ],
    [
      "half an hour",
      "45 1 * * *",
      "Australia/Lord_Howe",
      "2026-04-04T00:00:00Z",
      ["2026-04-04T14:45Z", "2026-04-05T15:15Z"],
    ],
    [
      "every half hour goes on",
      "*/30 * * * *",
      "Europe/Berlin",
      "2026-10-25T00:00:00Z",
      ["2026-10-25T00:30Z", "2026-10-25T01:00Z", "2026-10-25T01:30Z", "2026-10-25T02:00Z"],
    ],
  ])("%s", (_name, expression, timezone, from, expected) => {
    expect(slots(expression, timezone, from, expected.length)).toEqual(expected);
  });
});

const EXPRESSIONS = [
  "*/15 * * * *",
  "30 2 * * *",
  "*/20 1-3 * * *",
  "0 */2 * * *",
  "0,59 23,0 * * *",
  "45 1 L * *",
  "*/7 2 * * SUN",
  "15 30 2 * 3,4,10,11 *",
  "30 * 1-5 * *",
] as const;
const ZONES = [
  "Europe/Berlin",
  "America/New_York",
  "Australia/Lord_Howe",
  "UTC",
  "Africa/Cairo",
  "Asia/Kolkata",
  "America/Santiago",
];
const DAY_MS = 86_400_000;

const anywhere = fc.record({
  expression: fc.constantFrom(...EXPRESSIONS),
  timezone: fc.constantFrom(...ZONES),
  from: fc.integer({ min: Date.UTC(2026, 0, 1), max: Date.UTC(2028, 0, 1) }),
});

describe("the slots of an expression", () => {
  test("strictly increase, and are the same from wherever one begins", () => {
    fc.assert(
      fc.property(
        anywhere,
        fc.array(fc.nat({ max: 30 }), { maxLength: 5 }),
        ({ expression, timezone, from }, stops) => {
          const cron = schedule(expression, timezone);
          const all: number[] = [];
          let at: number | undefined = from;
          for (let each = 0; each < 30; each++) {
            const next = cron.next(at);
            assert(next !== undefined, "these never end");
            expect(next).toBeGreaterThan(at);
            all.push(next);
            at = next;
          }
          for (const stop of stops) {
            // A process that begins anew, between two slots or at one, goes on with the same ones.
            const before = all[stop - 1] ?? from;
            const after = all[stop] ?? before;
            const moment = before + Math.floor((after - before) / 2);
            const anew = schedule(expression, timezone);
            expect(anew.next(before)).toBe(all[stop] ?? anew.next(before));
            if (moment < after) expect(anew.next(moment)).toBe(after);
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  test("are the same looked at backwards", () => {
    fc.assert(
      fc.property(anywhere, fc.integer({ min: 1, max: 40 }), ({ expression, timezone, from }, count) => {
        const cron = schedule(expression, timezone);
        const back = cron.latest(from, count);
        expect(back.length).toBe(count);
        const [first] = back;
        assert(first !== undefined, "there is one at least");
        const forth: number[] = [];
        for (let at = cron.next(first - 1); at !== undefined && at <= from; at = cron.next(at)) forth.push(at);
        expect(forth).toEqual(back);
      }),
      { numRuns: 60 },
    );
  });

  test("are what a look at every minute's clock face gives", () => {
    fc.assert(
      fc.property(
        fc.record({
          minutes: fc.uniqueArray(fc.integer({ min: 0, max: 59 }), { minLength: 1, maxLength: 3 }),
          hours: fc.uniqueArray(fc.integer({ min: 0, max: 23 }), { minLength: 1, maxLength: 4 }),
          timezone: fc.constantFrom(...ZONES),
          from: fc.constantFrom(
            "2026-03-28",
            "2026-10-24",
            "2026-03-07",
            "2026-10-31",
            "2026-04-04",
            "2026-10-03",
            "2026-04-23",
            "2026-10-29",
            "2026-09-05",
            "2026-06-01",
          ),
        }),
        ({ minutes, hours, timezone, from }) => {
          const start = Date.parse(`${from}T00:00:00Z`);
          const cron = schedule(`${minutes.join(",")} ${hours.join(",")} * * *`, timezone);
          const found: number[] = [];
          for (let at = cron.next(start - 1); at !== undefined && at < start + 3 * DAY_MS; at = cron.next(at))
            found.push(at);
          expect(found).toEqual(namedTimes(minutes, hours, timezone, start, start + 3 * DAY_MS));
        },
      ),
      { numRuns: 40 },
    );
  });
});

/** Goes through the minutes one by one: the rule, as plainly as it can be written. */
function namedTimes(
  minutes: readonly number[],
  hours: readonly number[],
  timezone: string,
  from: number,
  to: number,
): readonly number[] {
  const format = new Intl.DateTimeFormat("en-GB", {
    timeZone: timezone,
    hour: "2-digit",
    minute: "2-digit",
    day: "2-digit",
    hourCycle: "h23",
  });
  const face = (at: number) => {
    const parts = new Map(format.formatToParts(at).map(({ type, value }) => [type, Number(value)]));
    return { day: parts.get("day") ?? 0, minute: (parts.get("hour") ?? 0) * 60 + (parts.get("minute") ?? 0) };
  };
  const wanted = hours.flatMap((hour) => minutes.map((minute) => hour * 60 + minute));
  const seen = new Set<string>();
  const slotTimes = new Set<number>();
  let last = face(from - DAY_MS - 60_000);
  for (let at = from - DAY_MS; at < to; at += 60_000) {
    const now = face(at);
    const isNewDay = now.day !== last.day;
    // What the clock passes over from the last minute to this one, this one included.
    const passed = isNewDay
      ? wanted.filter((minute) => minute <= now.minute || minute > last.minute)
      : wanted.filter((minute) => minute > last.minute && minute <= now.minute);
    for (const minute of passed) {
      const day = isNewDay && minute > now.minute ? last.day : now.day;
      const name = `${day} ${minute}`;
      if (seen.has(name)) continue;
      seen.add(name);
      if (at >= from) slotTimes.add(at);
    }
    last = now;
  }
  return Array.from(slotTimes);
}

test("keeps the schedules that were asked for lately, and no more", () => {
  const schedules = new CronSchedules();
  const first = schedules.find("0 0 * * *", "UTC");
  expect(schedules.find("0 0 * * *", "UTC")).toBe(first);
  expect(schedules.find("0 0 * * *", "Europe/Berlin")).not.toBe(first);
  for (let each = 0; each < CRON_SCHEDULES_MAX; each++)
    schedules.find(`${each % 60} ${Math.floor(each / 60) % 24} ${1 + Math.floor(each / 1_440)} * *`, "UTC");
  expect(schedules.find("0 0 * * *", "UTC")).not.toBe(first);
});
