import { describe, expect, test } from "vitest";
import { sleep } from "../../src/base/clock.ts";
import { systemClock } from "../../src/base/system-clock.ts";
import { describeClock } from "../support/clock-contract.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { SeededRandom } from "../support/seeded-random.ts";

describeClock("the system clock", () => ({ clock: systemClock, until: (promise) => promise }));

describeClock("the manual clock", () => {
  const clock = new ManualClock();
  const until = async <T>(promise: Promise<T>): Promise<T> => {
    const settled = promise.then(
      () => true,
      () => true,
    );
    while (!(await Promise.race([settled, clock.run(1).then(() => false)])));
    return promise;
  };
  return { clock, until };
});

describe("ManualClock", () => {
  test("stands still until it is moved", () => {
    const clock = new ManualClock({ now: 1_000 });
    expect([clock.now(), clock.monotonicMs()]).toEqual([1_000, 0]);
    clock.advance(250);
    expect([clock.now(), clock.monotonicMs()]).toEqual([1_250, 250]);
  });

  test("fires each timer at its own time", () => {
    const clock = new ManualClock();
    const seenMs: number[] = [];
    for (const delayMs of [30, 10, 20, 31]) clock.setTimer(delayMs, () => seenMs.push(clock.monotonicMs()));
    clock.advance(30);
    expect(seenMs).toEqual([10, 20, 30]);
    expect([clock.pendingTimers, clock.nextTimerInMs]).toEqual([1, 1]);
  });

  test("goes round a loop of sleeps as often as time allows", async () => {
    const clock = new ManualClock();
    const stop = new AbortController();
    let rounds = 0;
    const loop = (async () => {
      for (;;) {
        await sleep(clock, 10, { signal: stop.signal });
        rounds++;
      }
    })();
    await clock.run(105);
    expect(rounds).toBe(10);
    stop.abort(new Error("stopped"));
    await expect(loop).rejects.toThrow("stopped");
    expect(clock.pendingTimers).toBe(0);
  });

  test("jumps the wall clock without moving timers", () => {
    const clock = new ManualClock({ now: 1_000 });
    clock.setTimer(10, () => {});
    clock.jump(-500);
    expect([clock.now(), clock.monotonicMs(), clock.nextTimerInMs]).toEqual([500, 0, 10]);
  });
});

describe("SeededRandom", () => {
  test("repeats itself from the same seed, and not from another", () => {
    const draw = (seed: number): number[] => {
      const random = new SeededRandom(seed);
      return Array.from({ length: 5 }, () => random.next());
    };
    expect(draw(7)).toEqual(draw(7));
    expect(draw(7)).not.toEqual(draw(8));
  });

  test("is uniform in [0, 1)", () => {
    const random = new SeededRandom(1);
    const counts = Array.from({ length: 10 }, () => 0);
    for (let draws = 0; draws < 10_000; draws++) {
      const value = random.next();
      expect(value >= 0 && value < 1).toBe(true);
      const bucket = Math.floor(value * 10);
      counts[bucket] = (counts[bucket] ?? 0) + 1;
    }
    for (const count of counts) expect(Math.abs(count - 1_000)).toBeLessThan(150);
  });

  test("forks into a generator that the parent's later draws do not change", () => {
    const parent = new SeededRandom(3);
    const child = parent.fork();
    const same = new SeededRandom(3).fork();
    parent.next();
    expect(child.next()).toBe(same.next());
  });
});
