/** The store's contract: runs at the slots of a cron expression, and runs that may not overlap. */
import { expect, test } from "vitest";
import { CATCHUP_RUNS_MAX, OPEN_RUNS_PER_TASK_MAX } from "../../src/base/limits.ts";
import { CATCHUPS } from "../../src/model/schedule.ts";
import type { Store } from "../../src/store/store.ts";
import type { OpenStore } from "./store-harness.ts";
import { T0, WORKER_A, attemptEnd, attemptOf, create, taskId, taskSpec } from "./store-samples.ts";
import { fc } from "../support/properties.ts";

const MINUTE = 60_000;
/** T0 is a whole minute. */
const EVERY_MINUTE = { cron: "* * * * *", repeats: 0 };
const SECOND = 1_000;
const EVERY_SECOND = { cron: "* * * * * *", repeats: 0 };

export function describeCron(open: OpenStore): void {
  test("a task with cron has its first run at the first slot behind its creation, and no end", async () => {
    await using harness = await open();
    const { store } = harness;
    const task = await create(store, taskSpec("t", EVERY_MINUTE), T0 + 1);
    expect(task).toMatchObject({ state: "scheduled", nextRunAt: T0 + MINUTE, counts: { scheduled: 1 } });
    expect(await store.promoteDue(T0 + MINUTE, 10)).toMatchObject({
      promoted: [{ index: 1 }],
      nextDueAt: T0 + 2 * MINUTE,
    });
    await end(store, 1, T0 + MINUTE);
    expect(await store.getTask(taskId("t"))).toMatchObject({
      state: "scheduled",
      counts: { succeeded: 1, scheduled: 1 },
    });
    expect(await slots(store)).toEqual([1, 2].map((each) => T0 + each * MINUTE));
  });

  test("repeats limits the number of slots", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("t", { ...EVERY_MINUTE, repeats: 2 }));
    for (const run of [1, 2]) {
      await store.promoteDue(T0 + run * MINUTE, 10);
      await end(store, run, T0 + run * MINUTE);
    }
    const task = await store.getTask(taskId("t"));
    expect(task).toMatchObject({ state: "succeeded", counts: { succeeded: 2 } });
    expect(task?.nextRunAt).toBeUndefined();
  });

  test("slots are by the clocks of the task's time zone", async () => {
    await using harness = await open();
    const { store } = harness;
    const before = Date.parse("2027-03-27T12:00:00Z");
    await create(store, taskSpec("t", { cron: "30 2 * * *", timezone: "Europe/Berlin", repeats: 0 }), before);
    for (const at of ["2027-03-28T01:00:00Z", "2027-03-29T00:30:00Z"]) {
      expect((await store.promoteDue(Date.parse(at) - 1, 10)).nextDueAt).toBe(Date.parse(at));
      expect((await store.promoteDue(Date.parse(at), 10)).promoted).toHaveLength(1);
    }
  });

  test("all slots that come late are taken, where somebody was there", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("t", { ...EVERY_SECOND, catchup: "none" }));
    const { promoted } = await store.promoteDue(T0 + 4_500, 10, T0);
    expect(promoted.map(({ index }) => index)).toEqual([1, 2, 3, 4]);
    expect(await slots(store)).toEqual([1, 2, 3, 4, 5].map((each) => T0 + each * SECOND));
  });

  test("catchup=latest takes the latest of the slots that were missed", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("t", EVERY_MINUTE));
    const now = T0 + 100 * MINUTE + 1;
    expect(await store.promoteDue(now, 10, now - 1_000)).toMatchObject({
      promoted: [{ index: 1 }],
      nextDueAt: T0 + 101 * MINUTE,
    });
    expect(await slots(store)).toEqual([T0 + 100 * MINUTE, T0 + 101 * MINUTE]);
  });

  test("catchup=none puts a missed run off to the next slot", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("t", { ...EVERY_MINUTE, catchup: "none" }));
    const now = T0 + 100.5 * MINUTE;
    expect(await store.promoteDue(now, 10, now)).toMatchObject({
      promoted: [],
      changedTasks: [],
      nextDueAt: T0 + 101 * MINUTE,
    });
    expect(await store.getTask(taskId("t"))).toMatchObject({ state: "scheduled", nextRunAt: T0 + 101 * MINUTE });
    expect(await slots(store)).toEqual([T0 + 101 * MINUTE]);
  });

  test("catchup=all takes each of them, in batches, and none twice", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("t", { ...EVERY_MINUTE, catchup: "all" }));
    const now = T0 + 40.5 * MINUTE;
    let missedBefore = now;
    for (let page = await store.promoteDue(now, 7, now); page.nextDueAt === now; missedBefore += MINUTE) {
      page = await store.promoteDue(now, 7, missedBefore);
    }
    expect(await slots(store)).toEqual(Array.from({ length: 41 }, (_, index) => T0 + (index + 1) * MINUTE));
  });

  test("catchup=all makes up for the latest so many at most", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("t", { ...EVERY_SECOND, catchup: "all" }));
    const now = T0 + (CATCHUP_RUNS_MAX + 500) * SECOND;
    await store.promoteDue(now, 10, now);
    expect((await slots(store))[0]).toBe(now - (CATCHUP_RUNS_MAX - 1) * SECOND);
  });

  test("catchup=all makes up for what was missed when that was found out, however long it takes", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("t", { ...EVERY_SECOND, catchup: "all" }));
    const now = T0 + (CATCHUP_RUNS_MAX + 500) * SECOND;
    const first = now - (CATCHUP_RUNS_MAX - 1) * SECOND;
    await store.promoteDue(now, 10, now);
    // Later, so many have been missed since that the first of them are no longer among the latest.
    const later = now + 300 * SECOND;
    await store.promoteDue(later, 10, later);
    const found = await slots(store);
    expect(found.length).toBeGreaterThan(10);
    expect(found).toEqual(found.map((_, index) => first + index * SECOND));
  });

  test("catchup=all keeps to that where runs may not overlap, too", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("t", { ...EVERY_SECOND, catchup: "all", overlap: "forbid" }));
    await store.promoteDue(T0 + SECOND, 10, T0);
    const ended = T0 + (CATCHUP_RUNS_MAX + 500) * SECOND;
    const first = ended - (CATCHUP_RUNS_MAX - 1) * SECOND;
    await end(store, 1, ended);
    await end(store, 2, ended + 300 * SECOND);
    await end(store, 3, ended + 600 * SECOND);
    expect(await slots(store)).toEqual([T0 + SECOND, first, first + SECOND, first + 2 * SECOND]);
  });

  test("counting what many tasks have missed is shared out over batches", async () => {
    await using harness = await open();
    const { store } = harness;
    const ids = ["a", "b", "c", "d"];
    for (const id of ids) await create(store, taskSpec(id, { ...EVERY_MINUTE, catchup: "all" }));
    const now = T0 + 1.5 * MINUTE;
    const batches: number[] = [];
    for (let page = await store.promoteDue(now, 150, now); ; page = await store.promoteDue(now, 150, now)) {
      batches.push(page.promoted.length);
      if (page.nextDueAt !== now) break;
    }
    expect(batches.reduce((sum, each) => sum + each, 0)).toBe(ids.length);
    expect(Math.max(...batches)).toBeLessThan(ids.length);
  });

  test("without room for more runs, slots that come are missed", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("t", EVERY_SECOND));
    const full = T0 + OPEN_RUNS_PER_TASK_MAX * SECOND;
    while ((await store.promoteDue(full, 1_000)).nextDueAt === full);
    const later = full + 60 * SECOND;
    await store.promoteDue(later, 1_000);
    await end(store, 1, later);
    const run = await store.getRun(taskId("t"), OPEN_RUNS_PER_TASK_MAX + 1);
    expect(run).toMatchObject({ state: "ready", dueAt: later });
  });

  test("cancelling ends a task without end", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("t", { ...EVERY_MINUTE, overlap: "forbid" }));
    await store.promoteDue(T0 + MINUTE, 10);
    const cancelled = await store.cancelTask(taskId("t"), "enough", T0 + MINUTE);
    expect(cancelled).toMatchObject({ kind: "cancelled", task: { state: "cancelled", nextRunAt: undefined } });
    expect(await store.promoteDue(T0 + 9 * MINUTE, 10)).toMatchObject({ promoted: [], changedTasks: [] });
    expect((await store.measureQueue()).tasks).toBe(0);
  });

  test("overlap=forbid makes a run ready at the later of its due time and the end of the one before", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("t", { delayMs: 100, repeats: 4, overlap: "forbid" }));
    expect(await store.getTask(taskId("t"))).toMatchObject({ counts: { ready: 1, scheduled: 0 }, nextRunAt: T0 + 100 });
    // The first takes longer than the delay: two wait for it.
    expect(await store.promoteDue(T0 + 250, 10)).toMatchObject({ promoted: [] });
    expect(await end(store, 1, T0 + 250)).toMatchObject({ ready: [2] });
    expect(await end(store, 2, T0 + 260)).toMatchObject({ ready: [3] });
    // The third one is done before the fourth is due.
    expect(await end(store, 3, T0 + 270)).toMatchObject({ ready: [], task: { nextRunAt: T0 + 300 } });
    expect(await store.promoteDue(T0 + 300, 10)).toMatchObject({ promoted: [{ index: 4 }] });
    const last = await end(store, 4, T0 + 300);
    expect(last).toMatchObject({ task: { state: "succeeded", nextRunAt: undefined } });
    expect(await slots(store)).toEqual([T0, T0 + 100, T0 + 200, T0 + 300]);
  });

  test("overlap=forbid waits for a run's retries too", async () => {
    await using harness = await open();
    const { store } = harness;
    const spec = taskSpec("t", { repeats: 2, overlap: "forbid", retries: 1, backoffMs: 10 });
    const task = await create(store, spec);
    await store.lease(attemptOf(task), WORKER_A, T0, T0 + 1_000);
    const failed = attemptEnd({ kind: "exited", code: 1 });
    await store.settle(attemptOf(task), failed, { now: T0, backoffJitter: 0 });
    expect(await store.promoteDue(T0 + 50, 10)).toMatchObject({ promoted: [] });
    await store.lease(attemptOf(task, 1, 2), WORKER_A, T0, T0 + 1_000);
    const settled = await store.settle(attemptOf(task, 1, 2), failed, { now: T0 + 60, backoffJitter: 0 });
    expect(settled).toMatchObject({ run: { state: "failed" }, ready: [2] });
  });

  test("overlap=forbid with delay 0 runs one after the other, and without it all at once", async () => {
    await using harness = await open();
    const { store } = harness;
    expect((await create(store, taskSpec("one", { repeats: 5, overlap: "forbid" }))).counts.ready).toBe(1);
    expect((await create(store, taskSpec("all", { repeats: 5 }))).counts.ready).toBe(5);
  });

  test.each([
    ["latest", [5]],
    ["all", [2, 3, 4, 5]],
    ["none", [6]],
  ] as const)("overlap=forbid with catchup=%s: slots that come while a run is under way", async (catchup, next) => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("t", { ...EVERY_SECOND, overlap: "forbid", catchup }));
    await store.promoteDue(T0 + SECOND, 10, T0);
    const finishedAt = T0 + 5_500;
    expect(await store.promoteDue(finishedAt, 10, T0)).toMatchObject({ promoted: [] });
    for (const [index, slot] of next.entries()) {
      await end(store, index + 1, finishedAt);
      expect((await slots(store)).at(-1)).toBe(T0 + slot * SECOND);
    }
    expect(await store.getTask(taskId("t"))).toMatchObject(
      catchup === "none" ? { state: "scheduled", nextRunAt: T0 + 6 * SECOND } : { state: "ready" },
    );
  });

  const noneTwice = "no slot is taken twice, whatever the clock does, who restarts when, and what runs";
  test(noneTwice, { timeout: 300_000 }, async () => {
    await using harness = await open();
    let taken = 0;
    const step = fc.record({
      ms: fc.oneof(fc.integer({ min: 0, max: 3_000 }), fc.integer({ min: -20_000, max: 20_000 })),
      isServed: fc.boolean(),
      isReopened: fc.boolean(),
      settles: fc.integer({ min: 0, max: 8 }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 12 }),
        fc.constantFrom(...CATCHUPS),
        fc.constantFrom("allow", "forbid"),
        async (steps, catchup, overlap) => {
          taken += 1;
          const id = `p${taken}`;
          const task = await create(harness.store, taskSpec(id, { ...EVERY_SECOND, catchup, overlap }));
          let now = T0;
          for (const { ms, isServed, isReopened, settles } of steps) {
            now += ms;
            if (isReopened) await harness.reopen?.();
            const { store } = harness;
            while ((await store.promoteDue(now, 40, isServed ? -Infinity : now)).nextDueAt === now);
            const ready = (await store.listReady(now, 1_000)).filter((run) => run.spec.id === id).slice(0, settles);
            for (const run of ready) {
              const attempt = attemptOf(task, run.index);
              await store.lease(attempt, WORKER_A, now, now + 1_000);
              await store.settle(attempt, attemptEnd(), { now, backoffJitter: 0 });
            }
            const found = await slots(store, id);
            expect(found).toEqual([...new Set(found)]);
            const { counts } = (await store.getTask(task.spec.id)) ?? task;
            expect(counts.scheduled).toBeLessThanOrEqual(1);
            if (overlap === "forbid") expect(counts.scheduled + counts.ready + counts.running).toBeLessThanOrEqual(1);
          }
          await harness.store.deleteTask(task.spec.id);
        },
      ),
      { numRuns: 15 },
    );
  });
}

async function slots(store: Store, id = "t"): Promise<readonly number[]> {
  const found: number[] = [];
  for (;;) {
    const page = (await store.listRuns(taskId(id), { fromIndex: found.length + 1, limit: 1_000 })) ?? [];
    if (page.length === 0) return found;
    found.push(...page.map((run) => run.dueAt));
  }
}

/** Leases a run of the task `t` and settles it as a success. */
async function end(store: Store, run: number, now: number) {
  const task = await store.getTask(taskId("t"));
  if (task === undefined) throw new Error("no task");
  expect(await store.lease(attemptOf(task, run), WORKER_A, now, now + 15_000)).toBe(true);
  return store.settle(attemptOf(task, run), attemptEnd(), { now, backoffJitter: 0 });
}
