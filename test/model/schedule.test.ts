import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CATCHUP_RUNS_MAX } from "../../src/base/limits.ts";
import type { CronSchedule } from "../../src/model/cron.ts";
import { CATCHUPS, type SlotCursor, nextSlot } from "../../src/model/schedule.ts";

/** A slot every 10 ms, up to an end. */
function everyTen(end = Infinity): CronSchedule {
  const next = (after: number): number | undefined => {
    const slot = (Math.floor(after / 10) + 1) * 10;
    return slot > end ? undefined : slot;
  };
  return {
    next,
    latest: (until, count) => {
      const last = Math.floor(Math.min(until, end) / 10);
      return Array.from({ length: count }, (_, index) => (last - count + 1 + index) * 10);
    },
  };
}

function slotsBetween(after: number, until: number): number[] {
  const slots: number[] = [];
  for (let slot = (Math.floor(after / 10) + 1) * 10; slot <= until; slot += 10) slots.push(slot);
  return slots;
}

const FRESH: SlotCursor = { takenUntil: 1_000, owedUntil: 0 };

describe("nextSlot", () => {
  test.each(CATCHUPS)("takes slot after slot while somebody is there, with %s", (catchup) => {
    const moment = { now: 1_035, missedBefore: 1_000 };
    expect(nextSlot(everyTen(), catchup, FRESH, moment)).toEqual({ slot: 1_010, owedUntil: 0 });
    expect(nextSlot(everyTen(), catchup, { ...FRESH, takenUntil: 1_030 }, moment)).toEqual({
      slot: 1_040,
      owedUntil: 0,
    });
  });

  const back = { now: 2_005, missedBefore: 1_995 };

  test("takes the latest slot only, where others were missed", () => {
    expect(nextSlot(everyTen(), "latest", FRESH, back)).toEqual({ slot: 2_000, owedUntil: 0 });
  });

  test("leaves out what was missed, and not what has come since", () => {
    expect(nextSlot(everyTen(), "none", FRESH, back)).toEqual({ slot: 2_000, owedUntil: 0 });
    expect(nextSlot(everyTen(), "none", FRESH, { now: 2_005, missedBefore: 2_000 })?.slot).toBe(2_000);
    expect(nextSlot(everyTen(), "none", FRESH, { now: 2_005, missedBefore: 2_000.5 })?.slot).toBe(2_010);
  });

  test("makes up for all that was missed, one after the other, though more time passes meanwhile", () => {
    const first = nextSlot(everyTen(), "all", FRESH, back);
    expect(first).toEqual({ slot: 1_010, owedUntil: 2_005 });
    const second = nextSlot(
      everyTen(),
      "all",
      { takenUntil: 1_010, owedUntil: 2_005 },
      { now: 9_000, missedBefore: 8_990 },
    );
    expect(second).toEqual({ slot: 1_020, owedUntil: 2_005 });
  });

  test("makes up for the latest so many at most", () => {
    const now = 1_000 + 10 * (CATCHUP_RUNS_MAX + 500);
    const choice = nextSlot(everyTen(), "all", FRESH, { now, missedBefore: now });
    expect(choice).toEqual({ slot: now - 10 * (CATCHUP_RUNS_MAX - 1), owedUntil: now });
  });

  test("looks back no further than it has to, to find all that were missed", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: CATCHUP_RUNS_MAX + 100 }), (missed) => {
        const asked: number[] = [];
        const schedule = everyTen();
        const counted: CronSchedule = {
          next: (after) => schedule.next(after),
          latest: (until, count) => {
            asked.push(count);
            return schedule.latest(until, count);
          },
        };
        const now = 1_000 + 10 * missed;
        const choice = nextSlot(counted, "all", FRESH, { now, missedBefore: now });
        expect(choice).toEqual({ slot: Math.max(1_010, now - 10 * (CATCHUP_RUNS_MAX - 1)), owedUntil: now });
        if (missed < 4) expect(asked).toEqual([4]);
        expect(Math.max(...asked)).toBeLessThanOrEqual(Math.min(CATCHUP_RUNS_MAX, 16 * (missed + 1)));
      }),
    );
  });

  test("waits for a slot that is to come, though the clock was put back since it was chosen", () => {
    const cursor = { takenUntil: 5_000, owedUntil: 5_000 };
    for (const catchup of CATCHUPS) {
      expect(nextSlot(everyTen(), catchup, cursor, { now: 1_000, missedBefore: 1_000 })?.slot).toBe(5_010);
    }
  });

  test.each(CATCHUPS)("has none where the schedule has none, with %s", (catchup) => {
    expect(nextSlot(everyTen(1_000), catchup, FRESH, back)).toBeUndefined();
  });

  test("never takes a slot twice or goes back, over any restarts and jumps of the clock, and takes all that are served", () => {
    const step = fc.record({
      /** How the clock moves, and whether somebody was there meanwhile. */
      ms: fc.oneof(fc.integer({ min: 0, max: 30 }), fc.integer({ min: -3_000, max: 3_000 })),
      isServed: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), fc.constantFrom(...CATCHUPS), (steps, catchup) => {
        let cursor: SlotCursor = { takenUntil: 10_000, owedUntil: 0 };
        let now = 10_000;
        let missedBefore = now;
        for (const { ms, isServed } of steps) {
          const before = now;
          const takenBefore = cursor.takenUntil;
          now += ms;
          if (!isServed || ms < 0) missedBefore = now;
          const taken: number[] = [];
          for (;;) {
            const choice = nextSlot(everyTen(), catchup, cursor, { now, missedBefore });
            if (choice === undefined || choice.slot > now) break;
            expect(choice.slot).toBeGreaterThan(cursor.takenUntil);
            taken.push(choice.slot);
            cursor = { takenUntil: choice.slot, owedUntil: choice.owedUntil };
          }
          if (!isServed && catchup === "latest") expect(taken.length).toBeLessThanOrEqual(1);
          // All that came while somebody was there.
          const served = isServed && ms >= 0 ? slotsBetween(Math.max(before, takenBefore), now) : [];
          expect(taken).toEqual(expect.arrayContaining(served));
        }
      }),
    );
  });
});
