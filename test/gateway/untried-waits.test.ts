import { expect, test } from "vitest";
import { UNTRIED_WAITS_MAX, UNTRIED_WAIT_FIRST_MS, UNTRIED_WAIT_MAX_MS } from "../../src/base/limits.ts";
import { type LostRun, UntriedWaits } from "../../src/gateway/untried-waits.ts";
import type { Entry } from "../../src/model/entry.ts";
import type { WorkerState } from "../../src/model/worker.ts";
import { WORKER_A, WORKER_B, taskSpec } from "../store/store-samples.ts";
import { ManualClock } from "../support/manual-clock.ts";

const STATE: WorkerState = { slots: 1, busy: 0, labels: {}, weight: 1, version: "0", cachedModules: [] };

function setUp(states: readonly Partial<WorkerState>[] = [{}, {}]) {
  const clock = new ManualClock();
  const usable = [WORKER_A, WORKER_B].map((peer, at) => ({ peer, state: { ...STATE, ...states[at] } }));
  const waits = new UntriedWaits({ clock, usable: () => usable });
  /** How many of these may go to the worker again that has lost them. */
  const mayRepeat = (runs: readonly LostRun[]) => {
    const round = waits.round();
    return runs.filter((run) => round.mayRepeat(run)).length;
  };
  return { clock, waits, mayRepeat };
}

function lostRuns(count: number, firstSerial = 1, changes: Partial<LostRun> = {}): readonly LostRun[] {
  const spec = taskSpec("t");
  return Array.from({ length: count }, (_, at) => ({
    spec,
    serial: firstSerial + at,
    index: 1,
    nextAttempt: 2,
    lostOn: [WORKER_A],
    ...changes,
  }));
}

test("a wait doubles with each attempt, up to a limit, and each attempt has its own", () => {
  const { clock, waits, mayRepeat } = setUp();
  const waitMs = (nextAttempt: number) => {
    const runs = lostRuns(1, 1, { nextAttempt });
    expect(mayRepeat(runs)).toBe(0);
    const endMs = waits.nextEndInMs() ?? 0;
    clock.advance(endMs);
    expect(mayRepeat(runs)).toBe(1);
    return endMs;
  };
  expect([2, 3, 4, 100].map(waitMs)).toEqual([
    UNTRIED_WAIT_FIRST_MS,
    2 * UNTRIED_WAIT_FIRST_MS,
    4 * UNTRIED_WAIT_FIRST_MS,
    UNTRIED_WAIT_MAX_MS,
  ]);
});

test("the end of the first wait is what is waited for, and none that has begun or was seen to end", () => {
  const { clock, waits, mayRepeat } = setUp();
  const [early, late] = [lostRuns(1), lostRuns(1, 2)];
  expect(waits.nextEndInMs()).toBeUndefined();
  mayRepeat(early);
  clock.advance(1_000);
  mayRepeat(late);
  expect(waits.nextEndInMs()).toBe(UNTRIED_WAIT_FIRST_MS - 1_000);
  const lookedAtMs = clock.monotonicMs();
  clock.advance(UNTRIED_WAIT_FIRST_MS - 1_000);
  expect(waits.nextEndInMs(lookedAtMs)).toBe(0);
  expect(waits.nextEndInMs()).toBe(1_000);
  for (const run of late) waits.began(run);
  expect(waits.nextEndInMs()).toBeUndefined();
});

test("a run waits for no worker that could not take it", () => {
  const { mayRepeat } = setUp([{ labels: { zone: "a" } }, { kinds: ["component"] }]);
  const run = (require: Readonly<Record<string, string>>, entry: Entry = "command") => ({
    spec: taskSpec("t", { require, entry }),
  });
  const wanted = [run({ zone: "a" }), run({ zone: "a" }, "component"), run({}, "component"), run({})];
  const runs = wanted.flatMap((each, at) => lostRuns(1, at, each));
  // Whichever is looked at first in a round. The other worker could take the third.
  expect([runs, runs.toReversed()].map(mayRepeat)).toEqual([3, 3]);
});

test("a run that all have lost waits for none", () => {
  const { mayRepeat } = setUp();
  expect(mayRepeat(lostRuns(1, 1, { lostOn: [WORKER_A, WORKER_B] }))).toBe(1);
});

test("every wait ends, however many runs have been lost", () => {
  const { clock, mayRepeat } = setUp();
  const runs = lostRuns(UNTRIED_WAITS_MAX + 10);
  // There is no room for the last ten to wait.
  expect(mayRepeat(runs)).toBe(10);
  clock.advance(UNTRIED_WAIT_FIRST_MS - 1);
  expect(mayRepeat(runs)).toBe(10);
  // One that has its place already keeps it.
  expect(mayRepeat(lostRuns(1, 1, { nextAttempt: 3 }))).toBe(0);
  clock.advance(1);
  expect(mayRepeat(runs.slice(1))).toBe(runs.length - 1);
});

test("waits of runs that were not heard of again make room for others", () => {
  const { clock, mayRepeat } = setUp();
  expect(mayRepeat(lostRuns(UNTRIED_WAITS_MAX))).toBe(0);
  const others = lostRuns(10, 1_000_000);
  expect(mayRepeat(others)).toBe(10);
  clock.advance(UNTRIED_WAIT_FIRST_MS + UNTRIED_WAIT_MAX_MS);
  expect(mayRepeat(others)).toBe(0);
});
