import { describe, expect, test } from "vitest";
import { CATCHUP_RUNS_MAX, SLOTS_LOOKED_AT_MAX, SLOTS_LOOKED_AT_PER_PROMOTE } from "../../src/base/limits.ts";
import type { CronSchedule } from "../../src/model/cron.ts";
import {
  CATCHUPS,
  type Catchup,
  type SlotChoice,
  type SlotCursor,
  type SlotMoment,
  nextSlot,
  slotsFrom,
} from "../../src/model/schedule.ts";
import { fc } from "../support/properties.ts";

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

const FRESH: SlotCursor = slotsFrom(1_000);

/** The slot for a task whose other runs have these; the rest of the arguments is nextSlot's. */
function choose(
  catchup: Catchup,
  cursor: SlotCursor,
  moment: SlotMoment,
  fired: readonly number[] = [],
  schedule = everyTen(),
): SlotChoice | undefined {
  return nextSlot(schedule, catchup, cursor, moment, (slot) => fired.includes(slot));
}

describe("nextSlot", () => {
  test.each(CATCHUPS)("takes slot after slot while somebody is there, with %s", (catchup) => {
    const moment = { now: 1_035, missedBefore: 1_000 };
    expect(choose(catchup, FRESH, moment)).toMatchObject({ slot: 1_010, hasFired: false, work: 1 });
    expect(choose(catchup, { ...FRESH, takenUntil: 1_030 }, moment)).toMatchObject({
      slot: 1_040,
      cursor: { takenUntil: 1_040, owedUntil: 0, seatedAt: 1_035, reachedAt: 1_035 },
    });
  });

  const back = { now: 2_005, missedBefore: 1_995 };

  test("takes the latest slot only, where others were missed", () => {
    expect(choose("latest", FRESH, back)?.slot).toBe(2_000);
  });

  test("leaves out what was missed, and not what has come since", () => {
    expect(choose("none", FRESH, back)?.slot).toBe(2_000);
    expect(choose("none", FRESH, { now: 2_005, missedBefore: 2_000 })?.slot).toBe(2_000);
    expect(choose("none", FRESH, { now: 2_005, missedBefore: 2_000.5 })?.slot).toBe(2_010);
  });

  test("a slot at the very moment from which somebody was there was not missed", () => {
    const there = { now: 2_005, missedBefore: 1_010 };
    for (const catchup of CATCHUPS) {
      expect(choose(catchup, FRESH, there)).toMatchObject({ slot: 1_010, cursor: { owedUntil: 0 } });
    }
  });

  test("owes a slot at the very moment when what was missed was counted", () => {
    const later = { now: 1_000_000, missedBefore: 1_000_000 };
    expect(choose("all", { ...FRESH, takenUntil: 1_990, owedUntil: 2_000 }, later)?.slot).toBe(2_000);
  });

  test("makes up for all that was missed, one after the other, though more time passes meanwhile", () => {
    const first = choose("all", FRESH, back);
    expect(first).toMatchObject({ slot: 1_010, cursor: { owedUntil: 2_005 } });
    const second = choose("all", first?.cursor ?? FRESH, { now: 9_000, missedBefore: 8_990 });
    expect(second).toMatchObject({ slot: 1_020, cursor: { owedUntil: 2_005 } });
  });

  test("makes up for the latest so many at most", () => {
    const now = 1_000 + 10 * (CATCHUP_RUNS_MAX + 500);
    const choice = choose("all", FRESH, { now, missedBefore: now });
    expect(choice).toMatchObject({ slot: now - 10 * (CATCHUP_RUNS_MAX - 1), cursor: { owedUntil: now } });
  });

  test("looks back no further than it has to, to find all that were missed", () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: CATCHUP_RUNS_MAX + 100 }), (missed) => {
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
        const choice = choose("all", FRESH, { now, missedBefore: now }, [], counted);
        expect(choice?.slot).toBe(Math.max(1_010, now - 10 * (CATCHUP_RUNS_MAX - 1)));
        if (missed < 4) expect(asked).toEqual([4]);
        expect(Math.max(...asked)).toBeLessThanOrEqual(Math.min(CATCHUP_RUNS_MAX, 16 * (missed + 1)));
      }),
    );
  });

  test.each(CATCHUPS)("has none where the schedule has none, with %s", (catchup) => {
    expect(choose(catchup, FRESH, back, [], everyTen(1_000))).toBeUndefined();
  });
});

describe("nextSlot, after the clock was put back", () => {
  const ahead: SlotCursor = { takenUntil: 5_000, owedUntil: 5_000, seatedAt: 4_995, reachedAt: 4_995 };

  test.each(CATCHUPS)("goes on with the first slot after now, however far ahead the clock was, with %s", (catchup) => {
    const choice = choose(catchup, ahead, { now: 1_003, missedBefore: 1_003 });
    expect(choice).toMatchObject({ slot: 1_010, cursor: { owedUntil: 1_003, seatedAt: 1_003 } });
  });

  test.each(CATCHUPS)("takes no slot that has fired, with %s", (catchup) => {
    const fired = [1_010, 1_020, 1_040];
    expect(choose(catchup, ahead, { now: 1_003, missedBefore: 1_003 }, fired)?.slot).toBe(1_030);
    // The clock lives through it again.
    expect(choose(catchup, { ...FRESH, takenUntil: 1_030 }, { now: 1_035, missedBefore: 0 }, fired)?.slot).toBe(1_050);
  });

  test.each(CATCHUPS)("makes up later for what is missed from then on, with %s", (catchup) => {
    const cursor = choose(catchup, ahead, { now: 1_003, missedBefore: 1_003 })?.cursor ?? ahead;
    const expected = { latest: 1_500, all: 1_010, none: 1_510 }[catchup];
    const retaken = { ...cursor, takenUntil: 1_009 };
    expect(choose(catchup, retaken, { now: 1_505, missedBefore: 1_505 })?.slot).toBe(expected);
  });

  test.each(CATCHUPS)("makes up for nothing that was decided upon, when it is set right again, with %s", (catchup) => {
    // The task was made at 4 990; for a while the clock says 1 003.
    const cursor = choose(catchup, ahead, { now: 1_003, missedBefore: 1_003 })?.cursor ?? ahead;
    const retaken = { ...cursor, takenUntil: 1_009 };
    const right = { now: 5_025, missedBefore: 5_025 };
    const expected = { latest: 5_020, all: 5_010, none: 5_030 }[catchup];
    expect(choose(catchup, retaken, right, [5_000])?.slot).toBe(expected);
    expect(choose(catchup, retaken, { now: 4_996, missedBefore: 4_996 }, [5_000])?.slot).toBe(5_010);
  });

  test("does not make up for the latest slot that has come if it has fired", () => {
    const cursor = { ...FRESH, reachedAt: 1_000 };
    expect(choose("latest", cursor, { now: 1_055, missedBefore: 1_055 }, [1_050])?.slot).toBe(1_060);
  });

  test("looks at so many slots at once and not at more: it goes on from one that has fired", () => {
    const fired = Array.from({ length: 1.5 * SLOTS_LOOKED_AT_MAX }, (_, index) => 10 * (index + 1));
    const first = choose("latest", ahead, { now: 0, missedBefore: 0 }, fired);
    expect(first).toMatchObject({ slot: 10 * SLOTS_LOOKED_AT_MAX, hasFired: true });
    expect(first?.work).toBeGreaterThan(SLOTS_LOOKED_AT_MAX / SLOTS_LOOKED_AT_PER_PROMOTE);
    const waited = { ...(first?.cursor ?? ahead), takenUntil: (first?.slot ?? 0) - 1 };
    const now = first?.slot ?? 0;
    expect(choose("latest", waited, { now, missedBefore: 0 }, fired)).toMatchObject({
      slot: 10 * (1.5 * SLOTS_LOOKED_AT_MAX + 1),
      hasFired: false,
    });
  });

  test("takes no slot twice, over any restarts and jumps of the clock, all that are served, and never stands still", () => {
    const step = fc.record({
      /** How the clock moves, and whether somebody was there meanwhile. */
      ms: fc.oneof(fc.integer({ min: 0, max: 30 }), fc.integer({ min: -3_000, max: 3_000 })),
      isServed: fc.boolean(),
    });
    // As many slots as are looked at in one go fire; the clock is put back to before a free one, and comes to the last of them.
    const passingOverVeryMany = [2_000, -2_001, 2_001].map((ms, index) => ({ ms, isServed: index === 2 }));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), fc.constantFrom(...CATCHUPS), (steps, catchup) => {
        const fired: number[] = [];
        let cursor: SlotCursor = slotsFrom(10_000);
        let now = 10_000;
        let missedBefore = now;
        for (const { ms, isServed } of steps) {
          const before = now;
          now += ms;
          if (!isServed || ms < 0) missedBefore = now;
          const taken: number[] = [];
          for (;;) {
            const choice = choose(catchup, cursor, { now, missedBefore }, fired);
            if (choice === undefined) break;
            if (choice.slot > now) {
              // The next run is seated here, and may be at the first slot that is free.
              expect(slotsBetween(now, choice.slot - 1).filter((slot) => !fired.includes(slot))).toEqual([]);
              cursor = { ...choice.cursor, takenUntil: choice.slot - 1 };
              break;
            }
            if (choice.hasFired) {
              // Very many have: the run goes on from this one, and is not ready.
              expect(choice.slot).toBeGreaterThan(cursor.takenUntil + 1);
              cursor = { ...choice.cursor, takenUntil: choice.slot - 1 };
              continue;
            }
            expect(fired).not.toContain(choice.slot);
            fired.push(choice.slot);
            taken.push(choice.slot);
            ({ cursor } = choice);
          }
          if (!isServed && catchup === "latest") expect(taken.length).toBeLessThanOrEqual(1);
          // All that came while somebody was there.
          const served = isServed && ms >= 0 ? slotsBetween(before, now) : [];
          expect(fired).toEqual(expect.arrayContaining(served));
        }
      }),
      { examples: [[passingOverVeryMany, "all"]] },
    );
  });
});
