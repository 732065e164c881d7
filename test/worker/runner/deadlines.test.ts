import { describe, expect, test } from "vitest";
import { systemClock } from "../../../src/base/system-clock.ts";
import { Deadlines } from "../../../src/worker/runner/deadlines.ts";
import { describeClock } from "../../support/clock-contract.ts";
import { ManualClock } from "../../support/manual-clock.ts";

describeClock("deadlines on the system's clock", () => {
  return { clock: new Deadlines(systemClock), until: (promise) => promise };
});

describe("deadlines", () => {
  test("take one timer, however many there are", () => {
    const clock = new ManualClock();
    using deadlines = new Deadlines(clock);
    for (const delayMs of [500, 300, 400, 100, 200]) deadlines.setTimer(delayMs, () => {});
    expect(clock.pendingTimers).toBe(1);
    expect(clock.nextTimerInMs).toBe(100);
  });

  test("leave the timer where it is when the first is dropped, and find the next from there", () => {
    const clock = new ManualClock();
    using deadlines = new Deadlines(clock);
    const fired: string[] = [];
    const first = deadlines.setTimer(100, () => fired.push("first"));
    deadlines.setTimer(150, () => fired.push("second"));
    first[Symbol.dispose]();
    expect(clock.nextTimerInMs).toBe(100);
    clock.advance(149);
    expect(fired).toEqual([]);
    clock.advance(1);
    expect(fired).toEqual(["second"]);
    expect(clock.pendingTimers).toBe(0);
  });

  test("fire in the order of their times, and not at all what an earlier one has dropped", () => {
    const clock = new ManualClock();
    using deadlines = new Deadlines(clock);
    const fired: string[] = [];
    const late = deadlines.setTimer(20, () => fired.push("late"));
    deadlines.setTimer(10, () => {
      fired.push("early");
      late[Symbol.dispose]();
    });
    clock.advance(50);
    expect(fired).toEqual(["early"]);
  });

  test("leave no timer when they are disposed", () => {
    const clock = new ManualClock();
    const deadlines = new Deadlines(clock);
    deadlines.setTimer(10, () => expect.unreachable());
    deadlines[Symbol.dispose]();
    expect(clock.pendingTimers).toBe(0);
    clock.advance(100);
  });
});
