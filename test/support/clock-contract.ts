/** What every Clock keeps to. */
import { describe, expect, test } from "vitest";
import { type Clock, sleep } from "../../src/base/clock.ts";

export interface ClockSubject {
  readonly clock: Clock;
  /** Lets time pass until the promise is settled. */
  readonly until: <T>(promise: Promise<T>) => Promise<T>;
}

/** What a timer may be early by: the system's timers count whole milliseconds, its monotonic clock does not. */
const EARLY_MS_MAX = 1;

export function describeClock(name: string, open: () => ClockSubject): void {
  describe(`${name} as a clock`, () => {
    test("fires a timer once its delay has passed by the monotonic clock", async () => {
      const { clock, until } = open();
      const startedMs = clock.monotonicMs();
      await until(sleep(clock, 20));
      expect(clock.monotonicMs() - startedMs).toBeGreaterThanOrEqual(20 - EARLY_MS_MAX);
    });

    test.each([0, -5])("fires a timer of %d ms, and not before setTimer has returned", async (delayMs) => {
      const { clock, until } = open();
      const seen: string[] = [];
      await until(
        new Promise<void>((resolve) => {
          clock.setTimer(delayMs, () => {
            seen.push("fired");
            resolve();
          });
          seen.push("returned");
        }),
      );
      expect(seen).toEqual(["returned", "fired"]);
    });

    test("fires timers in the order of their due times, equal ones in the order in which they were set", async () => {
      const { clock, until } = open();
      const fired: string[] = [];
      clock.setTimer(40, () => fired.push("late"));
      clock.setTimer(5, () => fired.push("early, first"));
      clock.setTimer(5, () => fired.push("early, second"));
      await until(sleep(clock, 60));
      expect(fired).toEqual(["early, first", "early, second", "late"]);
    });

    test("never fires a timer that was disposed", async () => {
      const { clock, until } = open();
      const fired: string[] = [];
      const timer = clock.setTimer(5, () => fired.push("disposed"));
      timer[Symbol.dispose]();
      timer[Symbol.dispose]();
      await until(sleep(clock, 20));
      expect(fired).toEqual([]);
    });

    test("takes no harm from disposing a timer that has fired", async () => {
      const { clock, until } = open();
      const fired: string[] = [];
      const timer = clock.setTimer(1, () => fired.push("once"));
      await until(sleep(clock, 10));
      timer[Symbol.dispose]();
      await until(sleep(clock, 10));
      expect(fired).toEqual(["once"]);
    });

    test("sets timers from inside a timer", async () => {
      const { clock, until } = open();
      const fired: number[] = [];
      await until(
        new Promise<void>((resolve) => {
          const again = (): void => {
            fired.push(fired.length);
            if (fired.length === 3) resolve();
            else clock.setTimer(1, again);
          };
          clock.setTimer(1, again);
        }),
      );
      expect(fired).toEqual([0, 1, 2]);
    });

    test("moves wall clock and monotonic clock forward together", async () => {
      const { clock, until } = open();
      const nowBefore = clock.now();
      const monotonicBefore = clock.monotonicMs();
      await until(sleep(clock, 20));
      expect(clock.monotonicMs()).toBeGreaterThan(monotonicBefore);
      expect(clock.now()).toBeGreaterThan(nowBefore);
    });

    test("ends a sleep with the reason of its signal", async () => {
      const { clock, until } = open();
      const abort = new AbortController();
      const reason = new Error("enough");
      const sleeping = sleep(clock, 3_600_000, { signal: abort.signal });
      clock.setTimer(1, () => abort.abort(reason));
      await expect(until(sleeping)).rejects.toBe(reason);
      await expect(sleep(clock, 1, { signal: abort.signal })).rejects.toBe(reason);
    });
  });
}
