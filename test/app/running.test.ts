import { expect, test } from "vitest";
import { type RunningInit, runningApp } from "../../src/app/running.ts";
import type { RunningApp } from "../../src/app/app.ts";
import { DRAIN_ENDING_MS_MIN } from "../../src/base/limits.ts";
import { silentLog } from "../../src/base/log.ts";
import { ManualClock, settlePromises } from "../support/manual-clock.ts";
import { SeededRandom } from "../support/seeded-random.ts";

/** An app whose drain and closing end when the test says so, with what happened to it and when. */
class Setup {
  readonly clock = new ManualClock();
  readonly happened: string[] = [];
  readonly drained = Promise.withResolvers<void>();
  readonly closed = Promise.withResolvers<void>();
  readonly app: RunningApp;

  constructor(graceMs: number, given: Partial<Pick<RunningInit, "drain">> = {}) {
    const stack = new AsyncDisposableStack();
    stack.defer(() => {
      this.#note("closing");
      return this.closed.promise;
    });
    const { clock } = this;
    this.app = runningApp({
      ready: { event: "ready", role: "worker", peerId: "W", addrs: [] },
      stack,
      graceMs,
      drain: ({ signal, handBackMs }) => {
        this.#note("draining");
        signal.addEventListener("abort", () => this.#note(`guests end, ${handBackMs} ms to hand back`));
        return this.drained.promise;
      },
      powers: { clock, random: new SeededRandom(1), log: silentLog, env: {} },
      ...given,
    });
    void this.app.finished.then(() => this.#note("finished"));
  }

  /** SIGTERM. */
  async stop(): Promise<void> {
    void this.app.drain().then(() => this.#note("ended"));
    await settlePromises();
  }

  #note(what: string): void {
    this.happened.push(`${this.clock.monotonicMs()}: ${what}`);
  }
}

test("a drain that is done early is over early, and leaves no timer", async () => {
  const setup = new Setup(30_000);
  await setup.stop();
  await setup.clock.run(1_000);
  setup.drained.resolve();
  await setup.clock.run(100);
  setup.closed.resolve();
  await settlePromises();
  expect(setup.happened).toEqual(["0: draining", "1000: closing", "1100: finished", "1100: ended"]);
  expect(setup.clock.pendingTimers).toBe(0);
});

test.each([
  [30_000, ["27000: guests end, 1500 ms to hand back", "28500: closing", "30000: finished", "30000: ended"]],
  [2_000, ["1000: guests end, 500 ms to hand back", "1500: closing", "2000: finished", "2000: ended"]],
  [100, ["0: guests end, 125 ms to hand back", "125: closing", "250: finished", "250: ended"]],
  [0, ["0: guests end, 125 ms to hand back", "125: closing", "250: finished", "250: ended"]],
])("nothing makes a drain longer than its grace of %i ms", async (graceMs, happens) => {
  const setup = new Setup(graceMs);
  await setup.stop();
  await setup.clock.run(Math.max(graceMs, DRAIN_ENDING_MS_MIN) - 1);
  expect(setup.happened).toEqual(["0: draining", ...happens.slice(0, 2)]);
  await setup.clock.run(1);
  expect(setup.happened).toEqual(["0: draining", ...happens]);
  expect(setup.clock.pendingTimers).toBe(0);
});

test("closing has all that the drain has left of the grace", async () => {
  const setup = new Setup(10_000);
  setup.drained.resolve();
  await setup.stop();
  await setup.clock.run(9_999);
  expect(setup.happened).toEqual(["0: draining", "0: closing", "7000: guests end, 1500 ms to hand back"]);
  await setup.clock.run(1);
  expect(setup.happened.slice(3)).toEqual(["10000: finished", "10000: ended"]);
});

test("a drain that fails is closed all the same", async () => {
  const setup = new Setup(10_000, { drain: () => Promise.reject(new Error("no")) });
  setup.closed.resolve();
  await setup.stop();
  expect(setup.happened).toEqual(["0: closing", "0: finished", "0: ended"]);
});

test("who drains it twice drains it once", async () => {
  const setup = new Setup(10_000);
  await Promise.all([setup.stop(), setup.stop()]);
  await setup.clock.run(4_000);
  await setup.stop();
  await setup.clock.run(6_000);
  expect(setup.happened.filter((each) => each.endsWith("draining"))).toEqual(["0: draining"]);
  expect(setup.happened.slice(-4)).toEqual(["10000: finished", "10000: ended", "10000: ended", "10000: ended"]);
});

test("stopping it at once ends a drain, and closes what it would have closed", async () => {
  const setup = new Setup(10_000);
  await setup.stop();
  await setup.clock.run(2_000);
  setup.app.abort();
  setup.closed.resolve();
  setup.drained.resolve();
  await setup.app.finished;
  await settlePromises();
  expect(setup.happened).toEqual(["0: draining", "2000: closing", "2000: finished", "2000: ended"]);
  expect(setup.clock.pendingTimers).toBe(0);
});
