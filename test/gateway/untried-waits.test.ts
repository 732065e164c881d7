import { expect, test } from "vitest";
import { UNTRIED_WAITS_MAX, UNTRIED_WAIT_FIRST_MS, UNTRIED_WAIT_MAX_MS } from "../../src/base/limits.ts";
import { type LostRun, UntriedWaits } from "../../src/gateway/untried-waits.ts";
import type { WorkerState } from "../../src/model/worker.ts";
import { WORKER_A, WORKER_B, taskSpec } from "../store/store-samples.ts";
import { ManualClock } from "../support/manual-clock.ts";

const STATE: WorkerState = { slots: 1, busy: 0, labels: {}, weight: 1, version: "0", cachedModules: [] };

function setUp() {
  const clock = new ManualClock();
  const waits = new UntriedWaits({ clock, usable: () => [WORKER_A, WORKER_B].map((peer) => ({ peer, state: STATE })) });
  /** How many of these may go to the worker again that has lost them. */
  const mayRepeat = (runs: readonly LostRun[]) => {
    const round = waits.round();
    return runs.filter((run) => round.mayRepeat(run)).length;
  };
  return { clock, mayRepeat };
}

function lostRuns(count: number, firstSerial = 1): readonly LostRun[] {
  const spec = taskSpec("t");
  return Array.from({ length: count }, (_, at) => ({
    spec,
    serial: firstSerial + at,
    index: 1,
    nextAttempt: 2,
    lostOn: [WORKER_A],
  }));
}

test("every wait ends, however many runs have been lost", () => {
  const { clock, mayRepeat } = setUp();
  const runs = lostRuns(UNTRIED_WAITS_MAX + 10);
  // There is no room for the last ten to wait.
  expect(mayRepeat(runs)).toBe(10);
  clock.advance(UNTRIED_WAIT_FIRST_MS - 1);
  expect(mayRepeat(runs)).toBe(10);
  clock.advance(1);
  expect(mayRepeat(runs)).toBe(runs.length);
});

test("waits of runs that were not heard of again make room for others", () => {
  const { clock, mayRepeat } = setUp();
  expect(mayRepeat(lostRuns(UNTRIED_WAITS_MAX))).toBe(0);
  const others = lostRuns(10, 1_000_000);
  expect(mayRepeat(others)).toBe(10);
  clock.advance(UNTRIED_WAIT_FIRST_MS + UNTRIED_WAIT_MAX_MS);
  expect(mayRepeat(others)).toBe(0);
});
