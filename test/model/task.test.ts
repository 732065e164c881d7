import { describe, expect, test } from "vitest";
import {
  type RunCounts,
  TASK_EVENTS,
  TASK_STANDINGS,
  TASK_STATES,
  type Task,
  type TaskEvent,
  type TaskStanding,
  completions,
  dueAt,
  isFinished,
  knownRuns,
  progress,
  settledRuns,
  taskState,
  taskTransition,
  totalRuns,
} from "../../src/model/task.ts";
import { T0, taskSpec } from "../store/store-samples.ts";
import { fc } from "../support/properties.ts";

const NONE: RunCounts = { scheduled: 0, ready: 0, running: 0, succeeded: 0, failed: 0, cancelled: 0 };

const counts: fc.Arbitrary<RunCounts> = fc.record({
  scheduled: fc.nat({ max: 1 }),
  ready: fc.nat({ max: 5 }),
  running: fc.nat({ max: 5 }),
  succeeded: fc.nat({ max: 9 }),
  failed: fc.nat({ max: 3 }),
  cancelled: fc.nat({ max: 3 }),
});

function task(changes: Partial<Task>): Task {
  return {
    spec: taskSpec("t"),
    serial: 1,
    createdAt: T0,
    counts: NONE,
    firstRun: 1,
    isCancelled: false,
    state: "scheduled",
    runningSince: [],
    ...changes,
  };
}

describe("taskState", () => {
  test.each([
    ["running", 3, { running: 1, ready: 1, failed: 1 }],
    ["ready", 3, { ready: 1, scheduled: 1, succeeded: 1 }],
    ["scheduled", 3, { scheduled: 1, failed: 2 }],
    ["scheduled", 3, { succeeded: 2 }],
    ["failed", 3, { succeeded: 1, failed: 1, cancelled: 1 }],
    ["cancelled", 3, { succeeded: 2, cancelled: 1 }],
    ["succeeded", 3, { succeeded: 3 }],
  ])("is %s of %i runs with %j", (state, total, changes) => {
    expect(taskState(total, { ...NONE, ...changes }, false)).toBe(state);
  });

  test("is cancelled as soon as the task is, whatever its runs do", () => {
    fc.assert(
      fc.property(
        counts,
        fc.integer({ min: 1, max: 30 }),
        (each, total) => taskState(total, each, true) === "cancelled",
      ),
    );
  });

  test("is final exactly when every run is settled", () => {
    fc.assert(
      fc.property(counts, fc.nat({ max: 9 }), (each, notMade) => {
        const open = each.scheduled + each.ready + each.running;
        const total = open + settledRuns(each) + notMade;
        fc.pre(total > 0);
        expect(isFinished(taskState(total, each, false))).toBe(open + notMade === 0);
      }),
    );
  });

  test("knows which states are final", () => {
    expect(TASK_STATES.filter(isFinished)).toEqual(["succeeded", "failed", "cancelled"]);
  });
});

/** The whole table: where a task stands by what happens, and where it goes or why not. */
const TABLE: Readonly<Record<TaskStanding, Readonly<Record<TaskEvent, string>>>> = {
  waiting: {
    "dependencies-met": "open",
    "dependency-broken": "cancelled",
    cancel: "cancelled",
    retry: "not-finished",
  },
  scheduled: open(),
  ready: open(),
  running: open(),
  succeeded: { ...over(), retry: "nothing-to-retry" },
  failed: { ...over(), retry: "open" },
  cancelled: { ...over(), retry: "open" },
};

function open(): Readonly<Record<TaskEvent, string>> {
  return {
    "dependencies-met": "not-waiting",
    "dependency-broken": "not-waiting",
    cancel: "cancelled",
    retry: "not-finished",
  };
}

function over(): Readonly<Omit<Record<TaskEvent, string>, "retry">> {
  return { "dependencies-met": "not-waiting", "dependency-broken": "not-waiting", cancel: "already-finished" };
}

describe("taskTransition", () => {
  for (const standing of TASK_STANDINGS) {
    for (const event of TASK_EVENTS) {
      const expected = TABLE[standing][event];
      test(`${standing}, ${event}: ${expected}`, () => {
        const change = taskTransition(standing, event);
        expect(change.kind === "changed" ? change.to : change.why).toBe(expected);
      });
    }
  }
});

test("a task without end has the progress of the run that is under way", () => {
  const endless = task({
    spec: taskSpec("t", { cron: "* * * * *", repeats: 0, durationMs: 1_000 }),
    counts: { ...NONE, succeeded: 9, running: 2 },
    runningSince: [T0 - 900, T0 - 250],
  });
  expect(progress(endless, T0)).toBe(0.25);
  expect(progress({ ...endless, runningSince: [] }, T0)).toBe(0);
});

test("a task's runs are known as far as their number is, or they were made", () => {
  const known = (changes: Partial<Task["spec"]>, made: number) =>
    knownRuns({ spec: taskSpec("t", changes), counts: { ...NONE, succeeded: made } });
  expect([known({ repeats: 5 }, 2), known({ repeats: 0 }, 0)]).toEqual([5, 1]);
  expect(known({ cron: "* * * * *", repeats: 5 }, 2)).toBe(5);
  expect([known({ cron: "* * * * *", repeats: 0 }, 0), known({ cron: "* * * * *", repeats: 0 }, 7)]).toEqual([1, 7]);
  // Whatever has become of them.
  const counts = { scheduled: 1, ready: 10, running: 100, succeeded: 1_000, failed: 10_000, cancelled: 100_000 };
  expect(knownRuns({ spec: taskSpec("t", { cron: "* * * * *", repeats: 0 }), counts })).toBe(111_111);
});

describe("progress", () => {
  test("counts settled runs, and of running ones what they have had of their time", () => {
    const half = task({
      spec: taskSpec("t", { repeats: 4, durationMs: 1_000 }),
      counts: { ...NONE, succeeded: 1, failed: 1, running: 1 },
      runningSince: [T0],
    });
    expect(progress(half, T0 + 500)).toBeCloseTo(2.5 / 4);
    expect(progress(half, T0 + 60_000)).toBeCloseTo(2.95 / 4);
    expect(progress(half, T0 - 60_000)).toBeCloseTo(2 / 4);
  });

  test("is 1 of a task that was cancelled, with all its runs, made or not", () => {
    const cancelled = { spec: taskSpec("t", { repeats: 4 }), counts: { ...NONE, succeeded: 1, cancelled: 1 } };
    expect(progress(task({ ...cancelled, isCancelled: true }), T0)).toBe(1);
    expect(progress(task({ ...cancelled, isCancelled: false }), T0)).toBe(0.5);
  });

  test("does not guess without an expected duration", () => {
    const running = task({ counts: { ...NONE, running: 1 }, runningSince: [T0] });
    expect(progress(running, T0 + 5_000)).toBe(0);
  });

  test("stays within 0 and 1, is 1 when all is settled, and grows with time", () => {
    fc.assert(
      fc.property(
        counts,
        fc.array(fc.integer({ min: -1_000, max: 1_000 }), { maxLength: 5 }),
        fc.integer({ min: 0, max: 2_000 }),
        fc.integer({ min: 0, max: 2_000 }),
        (each, since, durationMs, elapsedMs) => {
          const repeats = Math.max(1, settledRuns(each) + since.length);
          const some = task({
            spec: taskSpec("t", { repeats, durationMs }),
            counts: { ...each, running: since.length },
            runningSince: since.map((ms) => T0 + ms),
          });
          const before = progress(some, T0);
          const after = progress(some, T0 + elapsedMs);
          expect(before).toBeGreaterThanOrEqual(0);
          expect(after).toBeLessThanOrEqual(1);
          expect(after).toBeGreaterThanOrEqual(before);
          if (since.length === 0 && settledRuns(each) > 0) expect(after).toBe(1);
          else if (since.length > 0) expect(after).toBeLessThan(1);
        },
      ),
    );
  });
});

describe("dueAt", () => {
  test("is nominal: start for the first run, and delay more for each", () => {
    const spec = taskSpec("t", { firstDueAt: T0 + 1_000, delayMs: 2_000, repeats: 3 });
    expect([1, 2, 3].map((index) => dueAt(spec, index) - T0)).toEqual([1_000, 3_000, 5_000]);
  });

  test("never goes back, and does not drift", () => {
    fc.assert(
      fc.property(fc.nat({ max: 86_400_000 }), fc.integer({ min: 1, max: 1_000_000_000 }), (delayMs, index) => {
        const spec = { firstDueAt: T0, delayMs };
        fc.pre(dueAt(spec, index + 1) <= Number.MAX_SAFE_INTEGER);
        expect(dueAt(spec, index + 1) - dueAt(spec, index)).toBe(delayMs);
      }),
    );
  });
});

test("has one run where repeats is 0 or 1", () => {
  expect([0, 1, 2, 1e9].map((repeats) => totalRuns({ repeats }))).toEqual([1, 1, 2, 1e9]);
});

test("counts completions on from where the submission began", () => {
  expect(
    completions(task({ spec: taskSpec("t", { complete: 5 }), counts: { ...NONE, succeeded: 2, failed: 9 } })),
  ).toBe(7);
});
