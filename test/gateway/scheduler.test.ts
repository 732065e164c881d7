/** When the store is asked what is due, and since when somebody is said to have served slots: the scheduler alone. */
import { describe, expect, test } from "vitest";
import { failed } from "../../src/base/errors.ts";
import { CLOCK_CHECK_EVERY_MS, SLOT_LATE_MS_MAX, SLOT_STALL_MS_MAX } from "../../src/base/limits.ts";
import { silentLog } from "../../src/base/log.ts";
import { EventHub } from "../../src/gateway/events.ts";
import { Scheduler } from "../../src/gateway/scheduler.ts";
import type { PromoteResult } from "../../src/store/store.ts";
import { T0 } from "../store/store-samples.ts";
import { ManualClock, settlePromises } from "../support/manual-clock.ts";

const SECOND = 1_000;
const HOUR = 3_600_000;

describe("the store is asked", () => {
  test("when the first thing is due, whatever is due later", async () => {
    using setup = new Setup();
    setup.scheduler.wake(T0 + 3 * SECOND);
    setup.scheduler.wake(T0 + 2 * SECOND);
    setup.scheduler.wake(T0 + 5 * SECOND);
    await setup.pass(2 * SECOND - 1);
    expect(setup.askedAt).toEqual([]);
    await setup.pass(1);
    expect(setup.askedAt).toEqual([2 * SECOND]);
    await setup.pass(10 * SECOND);
    expect(setup.askedAt).toHaveLength(1);
  });

  test("again when it says so", async () => {
    using setup = new Setup();
    setup.nextDueAt = T0 + 3 * SECOND;
    setup.scheduler.wake(T0);
    await setup.pass(0);
    setup.nextDueAt = undefined;
    await setup.pass(10 * SECOND);
    expect(setup.askedAt).toEqual([0, 3 * SECOND]);
  });

  test.each([
    ["what came up while it was asked", 2 * SECOND, 9 * SECOND],
    ["what it answered", 9 * SECOND, 2 * SECOND],
  ])("once at a time, and then at the earlier of two times: %s", async (_, wakeMs, answerMs) => {
    using setup = new Setup();
    const answered = Promise.withResolvers<void>();
    setup.answering = answered.promise;
    setup.nextDueAt = T0 + answerMs;
    setup.scheduler.wake(T0);
    await setup.pass(0);
    setup.nextDueAt = undefined;
    setup.scheduler.wake(T0 + wakeMs);
    answered.resolve();
    await setup.pass(5 * SECOND);
    expect(setup.askedAt).toEqual([0, 2 * SECOND]);
  });

  test("once at a time, also if something is due while it is asked", async () => {
    using setup = new Setup();
    const answered = Promise.withResolvers<void>();
    setup.answering = answered.promise;
    setup.scheduler.wake(T0);
    await setup.pass(0);
    setup.scheduler.wake(T0);
    await setup.pass(SECOND);
    expect(setup.askedAt).toEqual([0]);
    setup.nextDueAt = T0 + 9 * SECOND;
    answered.resolve();
    await settlePromises();
    await setup.pass(5 * SECOND);
    expect(setup.askedAt).toEqual([0, SECOND]);
  });

  test("soon after it has failed, later each time, and soon again once it has not", async () => {
    using setup = new Setup();
    const failures = async (ms: number) => {
      const before = setup.askedAt.length;
      setup.isBroken = true;
      setup.scheduler.wake(setup.clock.now());
      await setup.pass(ms, 10);
      return setup.askedAt.length - before;
    };
    const first = await failures(SECOND);
    expect(first).toBeGreaterThan(2);
    await setup.pass(10 * SECOND, 10);
    expect(await failures(SECOND)).toBeLessThanOrEqual(2);
    setup.isBroken = false;
    await setup.pass(10 * SECOND, 10);
    expect(await failures(SECOND)).toBeGreaterThan(2);
  });

  test("at once when the store is well again, and not if it was well all the time", async () => {
    using setup = new Setup();
    setup.scheduler.storeIsWell();
    await setup.pass(0);
    expect(setup.askedAt).toEqual([]);
    setup.isBroken = true;
    setup.scheduler.wake(T0);
    await setup.pass(10 * SECOND, 10);
    setup.isBroken = false;
    const before = setup.askedAt.length;
    setup.scheduler.storeIsWell();
    await setup.pass(0);
    expect(setup.askedAt).toHaveLength(before + 1);
    setup.scheduler.storeIsWell();
    await setup.pass(0);
    expect(setup.askedAt).toHaveLength(before + 1);
  });

  test("no more once it is closed", async () => {
    using setup = new Setup();
    setup.scheduler.close();
    setup.scheduler.wake(T0);
    expect(setup.clock.pendingTimers).toBe(0);
  });

  test("no more when it is closed while it asks", async () => {
    using setup = new Setup();
    const answered = Promise.withResolvers<void>();
    setup.answering = answered.promise;
    setup.nextDueAt = T0 + SECOND;
    setup.scheduler.wake(T0);
    await setup.pass(0);
    setup.scheduler.close();
    setup.scheduler.wake(T0);
    answered.resolve();
    await settlePromises();
    setup.scheduler.wake(T0);
    expect(setup.clock.pendingTimers).toBe(0);
  });
});

describe("slots count as missed that lie before", () => {
  test("the longest time that one may be put off, while all goes well", async () => {
    using setup = new Setup();
    await setup.ask(30 * SECOND);
    expect(setup.missedBefore.at(-1)).toBe(30 * SECOND - SLOT_STALL_MS_MAX);
  });

  test("the start, but for a little", async () => {
    using setup = new Setup();
    await setup.ask(2 * SECOND);
    expect(setup.missedBefore.at(-1)).toBe(-SLOT_LATE_MS_MAX);
  });

  test.each([HOUR, -HOUR])("the moment at which the clock was set by %i ms, and no later one", async (jumpMs) => {
    using setup = new Setup();
    setup.nextDueAt = T0 + 1_000 * HOUR;
    setup.scheduler.wake(T0);
    await setup.pass(20 * SECOND);
    setup.clock.jump(jumpMs);
    await setup.pass(CLOCK_CHECK_EVERY_MS);
    const sinceMs = (setup.missedBefore.at(-1) ?? 0) + SLOT_LATE_MS_MAX - jumpMs;
    // It is noticed within one look at the clock.
    expect(sinceMs).toBeGreaterThanOrEqual(20 * SECOND);
    expect(sinceMs).toBeLessThanOrEqual(20 * SECOND + CLOCK_CHECK_EVERY_MS);
    await setup.ask(30 * SECOND);
    expect(setup.missedBefore.at(-1)).toBe(setup.clock.now() - T0 - SLOT_STALL_MS_MAX);
  });

  test("the end of a standstill of the process", async () => {
    using setup = new Setup();
    setup.scheduler.wake(T0 + 15 * SECOND);
    await setup.pass(SECOND);
    setup.clock.stall(12 * SECOND);
    await setup.pass(2 * SECOND);
    expect(setup.missedBefore).toEqual([13 * SECOND - SLOT_LATE_MS_MAX]);
  });

  test("the end of a standstill of the store", async () => {
    using setup = new Setup();
    const answered = Promise.withResolvers<void>();
    setup.answering = answered.promise;
    setup.scheduler.wake(T0);
    await setup.pass(12 * SECOND);
    answered.resolve();
    await settlePromises();
    await setup.pass(SECOND);
    await setup.ask(2 * SECOND);
    expect(setup.missedBefore.at(-1)).toBe(12 * SECOND - SLOT_LATE_MS_MAX);
  });

  test("the moment at which the store took something again, and no later one", async () => {
    using setup = new Setup();
    setup.isBroken = true;
    setup.scheduler.wake(T0);
    await setup.pass(5 * SECOND);
    setup.isBroken = false;
    setup.scheduler.storeIsWell();
    await setup.pass(0);
    await setup.ask(2 * SECOND);
    expect(setup.missedBefore.at(-1)).toBe(5 * SECOND - SLOT_LATE_MS_MAX);
  });
});

class Setup implements Disposable {
  readonly clock = new ManualClock({ now: T0 });
  /** When the store was asked, and before when slots were said to be missed, after T0. */
  readonly askedAt: number[] = [];
  readonly missedBefore: number[] = [];
  nextDueAt: number | undefined;
  isBroken = false;
  answering = Promise.resolve();
  readonly scheduler = new Scheduler({
    store: { promoteDue: (now, _limit, missedBefore = 0) => this.#promote(now, missedBefore) },
    events: new EventHub(),
    clock: this.clock,
    random: { next: () => 0.5 },
    log: silentLog,
    onReady: () => {},
  });

  async pass(ms: number, stepMs = 100): Promise<void> {
    let left = ms;
    do {
      const passed = Math.min(stepMs, left);
      this.clock.advance(passed);
      await settlePromises();
      left -= passed;
    } while (left > 0);
  }

  /** Has the store be asked after this time. */
  async ask(ms: number): Promise<void> {
    this.scheduler.wake(this.clock.now() + ms);
    await this.pass(ms);
  }

  [Symbol.dispose](): void {
    this.scheduler.close();
    expect(this.clock.pendingTimers).toBe(0);
  }

  async #promote(now: number, missedBefore: number): Promise<PromoteResult> {
    this.askedAt.push(now - T0);
    this.missedBefore.push(missedBefore - T0);
    const { nextDueAt } = this;
    await this.answering;
    if (this.isBroken) throw failed("the disk is full");
    return { promoted: [], changedTasks: [], hasEndedBackoffs: false, nextDueAt };
  }
}
