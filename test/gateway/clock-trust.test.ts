/** By what time things may be old, in lives of a gateway whose clocks say what they like. */
import { expect, test } from "vitest";
import { RETAIN_CLOCK_MARK_EVERY_MS, RETAIN_CLOCK_OFF_MS_MAX } from "../../src/base/limits.ts";
import { silentLog } from "../../src/base/log.ts";
import { ClockTrust } from "../../src/gateway/clock-trust.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { fc } from "../support/properties.ts";
import { T0 } from "../store/store-samples.ts";

const DAY_MS = 86_400_000;

/** How far a clock is put, or wrong: more than is overlooked, or not at all. */
const offMs = fc.oneof(
  fc.constant(0),
  fc.integer({ min: RETAIN_CLOCK_OFF_MS_MAX + 1, max: 400 * DAY_MS }),
  fc.integer({ min: -400 * DAY_MS, max: -RETAIN_CLOCK_OFF_MS_MAX - 1 }),
);
/** Between two looks at the clock: something ends before the clock is put and after it. */
const step = fc.record({ waitMs: fc.integer({ min: 1, max: 2 * RETAIN_CLOCK_MARK_EVERY_MS }), jumpMs: offMs });
const life = fc.record({ aheadMs: offMs, steps: fc.array(step, { minLength: 1, maxLength: 6 }) });
const lives = fc.array(life, { minLength: 1, maxLength: 6 });

test("nothing is said to be older than it is, of what has ended since then by a clock that may be wrong", async () => {
  await fc.assert(
    fc.asyncProperty(lives, async (all) => {
      const world = new World();
      for (const each of all) await world.live(each);
    }),
  );
});

test("where one of two lives in a row has its clock right, no time is believed that has not come", async () => {
  await fc.assert(
    fc.asyncProperty(fc.boolean(), lives, async (isFirstRight, all) => {
      const world = new World();
      for (const [index, each] of all.entries()) {
        const isRight = (index % 2 === 0) === isFirstRight;
        const steps = isRight ? each.steps.map(({ waitMs }) => ({ waitMs, jumpMs: 0 })) : each.steps;
        for (const now of await world.live({ aheadMs: isRight ? 0 : each.aheadMs, steps })) {
          // Of the first one's clock nobody has said anything.
          if (index > 0) expect(now).toBeLessThanOrEqual(0);
        }
      }
    }),
  );
});

test("a mark is as far on as the process that has found it is old", async () => {
  const world = new World();
  await world.live({ aheadMs: 0, steps: [{ waitMs: RETAIN_CLOCK_MARK_EVERY_MS, jumpMs: 0 }] });
  const waits = [0, 1_000, RETAIN_CLOCK_MARK_EVERY_MS, RETAIN_CLOCK_MARK_EVERY_MS];
  const late = await world.live({ aheadMs: DAY_MS, steps: waits.map((waitMs) => ({ waitMs, jumpMs: 0 })) });
  expect(late).toEqual([0, 0, 0, 0]);
});

interface Life {
  readonly aheadMs: number;
  readonly steps: readonly { readonly waitMs: number; readonly jumpMs: number }[];
}

/** What is so, and what clocks have said of it. */
class World {
  /** The time that it is. */
  #at = T0;
  #mark: number | undefined;
  readonly #ended: { readonly at: number; readonly said: number }[] = [];

  /** By how much the times were ahead that were believed of what ended at any time. */
  async live({ aheadMs, steps }: Life): Promise<readonly number[]> {
    const clock = new ManualClock({ now: this.#at + aheadMs });
    const trust = new ClockTrust({
      trustedAfterMs: Infinity,
      trustMs: Infinity,
      store: { getClockMark: async () => this.#mark, setClockMark: async (at) => void (this.#mark = at) },
      clock,
      log: silentLog,
    });
    const end = (): void => void this.#ended.push({ at: this.#at, said: clock.now() });
    const ahead: number[] = [];
    end();
    for (const { waitMs, jumpMs } of steps) {
      this.#at += waitMs;
      clock.advance(waitMs);
      end();
      clock.jump(jumpMs);
      end();
      for (const { from, now } of await trust.believed()) {
        if (from === -Infinity) ahead.push(now - this.#at);
        else this.#checkAges(from, now);
      }
    }
    return ahead;
  }

  #checkAges(from: number, now: number): void {
    for (const { at, said } of this.#ended) {
      if (said >= from) expect(now - said).toBeLessThanOrEqual(this.#at - at);
    }
  }
}
