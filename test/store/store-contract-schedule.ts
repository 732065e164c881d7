/** The store's contract: when runs fall due, and which rows of them there are. */
import { isDeepStrictEqual } from "node:util";
import { expect, test } from "vitest";
import { assert } from "../../src/base/errors.ts";
import { OPEN_RUNS_PER_TASK_MAX } from "../../src/base/limits.ts";
import { dueAt, totalRuns } from "../../src/model/task.ts";
import type { Store } from "../../src/store/store.ts";
import type { OpenStore } from "./store-harness.ts";
import {
  INSPECTION,
  T0,
  WORKER_A,
  WORKER_B,
  attemptEnd,
  attemptOf,
  create,
  createRunning,
  taskId,
  taskSpec,
} from "./store-samples.ts";
import { fc } from "../support/properties.ts";

const SETTLED = { now: T0, backoffJitter: 0 };

export function describeSchedule(open: OpenStore): void {
  test("makes the runs that are due and the next one", async () => {
    await using harness = await open();
    const { store } = harness;
    const spec = taskSpec("t", { firstDueAt: T0 - 2_500, delayMs: 1_000, repeats: 10 });
    const task = await create(store, spec);
    expect(await rows(store)).toEqual([
      [1, "ready", T0 - 2_500],
      [2, "ready", T0 - 1_500],
      [3, "ready", T0 - 500],
      [4, "scheduled", T0 + 500],
    ]);
    expect(task).toMatchObject({ state: "ready", nextRunAt: T0 + 500, counts: { ready: 3, scheduled: 1 } });
  });

  test("knows when the first of the scheduled runs is due, also when that is past", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("ready"));
    expect(await store.nextDueAt()).toBeUndefined();
    await create(store, taskSpec("later", { firstDueAt: T0 + 2_000 }));
    await create(store, taskSpec("soon", { firstDueAt: T0 + 1_000 }));
    expect(await store.nextDueAt()).toBe(T0 + 1_000);
    await store.promoteDue(T0 + 1_500, 10);
    expect(await store.nextDueAt()).toBe(T0 + 2_000);
    await store.cancelTask(taskId("later"), "enough", T0 + 1_500);
    expect(await store.nextDueAt()).toBeUndefined();
  });

  test("is scheduled until its first run is due, at that moment ready", async () => {
    await using harness = await open();
    const { store } = harness;
    const task = await create(store, taskSpec("t", { firstDueAt: T0 + 100 }));
    expect(task).toMatchObject({ state: "scheduled", nextRunAt: T0 + 100 });
    expect(await store.promoteDue(T0 + 99, 10)).toMatchObject({ promoted: [], changedTasks: [], nextDueAt: T0 + 100 });
    expect(await store.promoteDue(T0 + 100, 10)).toMatchObject({
      promoted: [{ task: "t", serial: task.serial, index: 1 }],
      changedTasks: [{ task: "t", state: "ready" }],
      nextDueAt: undefined,
    });
    const after = await store.getTask(taskId("t"));
    expect(after?.state).toBe("ready");
    expect(after?.nextRunAt).toBeUndefined();
  });

  test("names every run that it makes ready, and the tasks whose state that changes", async () => {
    await using harness = await open();
    const { store } = harness;
    const spec = taskSpec("t", { delayMs: 10, repeats: OPEN_RUNS_PER_TASK_MAX + 3, firstDueAt: T0 - 10 });
    expect(await store.createTask(spec, INSPECTION, T0)).toMatchObject({ ready: [1, 2] });
    // One that has a ready run already is as it was.
    expect(await store.promoteDue(T0 + 10, 10)).toMatchObject({ promoted: [{ index: 3 }], changedTasks: [] });
    const task = await store.getTask(spec.id);
    if (task === undefined) throw new Error("no task");
    await store.lease(attemptOf(task, 1), WORKER_A, T0, T0 + 1_000);
    const now = T0 + 1_000_000;
    const { promoted } = await store.promoteDue(now, 1_000);
    expect(promoted.map(({ index }) => index)).toEqual(Array.from({ length: 253 }, (_, each) => each + 4));
    const lost = await store.settle(attemptOf(task, 1), attemptEnd({ kind: "lost", reason: "gone" }), {
      ...SETTLED,
      now,
    });
    expect(lost).toMatchObject({ kind: "settled", run: { state: "ready" }, ready: [] });
    await store.lease(attemptOf(task, 1, 2), WORKER_A, now, now + 1_000);
    const settled = await store.settle(attemptOf(task, 1, 2), attemptEnd(), { ...SETTLED, now });
    expect(settled).toMatchObject({ kind: "settled", ready: [257] });
  });

  test("makes a run's successor when it becomes ready, whatever the run then does", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("t", { firstDueAt: T0 + 10, delayMs: 10, repeats: 3 }));
    expect((await store.promoteDue(T0 + 10, 10)).nextDueAt).toBe(T0 + 20);
    expect((await store.promoteDue(T0 + 20, 10)).nextDueAt).toBe(T0 + 30);
    expect((await store.promoteDue(T0 + 30, 10)).nextDueAt).toBeUndefined();
    expect((await rows(store)).map(([, state]) => state)).toEqual(["ready", "ready", "ready"]);
  });

  test("makes up for missed due times in batches, with their nominal times", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("t", { firstDueAt: T0 + 10, delayMs: 10, repeats: 100 }));
    const indexes: number[] = [];
    const now = T0 + 10_000;
    for (let page = await store.promoteDue(now, 7); ; page = await store.promoteDue(now, 7)) {
      expect(page.promoted.length).toBeLessThanOrEqual(7);
      indexes.push(...page.promoted.map((run) => run.index));
      if (page.nextDueAt === undefined) break;
      expect(page.nextDueAt).toBe(now);
    }
    expect(indexes).toEqual(Array.from({ length: 100 }, (_, index) => index + 1));
    const runs = await store.listRuns(taskId("t"), { fromIndex: 1, limit: 200 });
    expect(runs?.map((run) => run.dueAt)).toEqual(indexes.map((index) => T0 + index * 10));
  });

  test("shares a batch out by due time over the tasks", async () => {
    await using harness = await open();
    const { store } = harness;
    for (const [id, due] of [
      ["late", 30],
      ["early", 10],
      ["middle", 20],
    ] as const) {
      await create(store, taskSpec(id, { firstDueAt: T0 + due }));
    }
    const first = await store.promoteDue(T0 + 30, 2);
    expect(first.promoted.map((run) => run.task)).toEqual(["early", "middle"]);
    expect(first.nextDueAt).toBe(T0 + 30);
  });

  test("makes no more ready than it is told, however many of several tasks are due", async () => {
    await using harness = await open();
    const { store } = harness;
    for (const id of ["a", "b", "c"]) {
      await create(store, taskSpec(id, { firstDueAt: T0 + 10, delayMs: 10, repeats: 3 }));
    }
    const names: string[] = [];
    const now = T0 + 1_000;
    for (let page = await store.promoteDue(now, 4); ; page = await store.promoteDue(now, 4)) {
      expect(page.promoted.length).toBeLessThanOrEqual(4);
      names.push(...page.promoted.map(({ task, index }) => `${task}${index}`));
      if (page.nextDueAt !== now) break;
    }
    expect(names.toSorted()).toEqual(["a1", "a2", "a3", "b1", "b2", "b3", "c1", "c2", "c3"]);
  });

  test("says when to call again: at what comes first, the next due time or the end of a back-off", async () => {
    await using harness = await open();
    const { store } = harness;
    const { attempt } = await createRunning(store, taskSpec("retried", { retries: 1, backoffMs: 200 }));
    await store.settle(attempt, attemptEnd({ kind: "exited", code: 1 }), SETTLED);
    expect((await store.promoteDue(T0, 10)).nextDueAt).toBe(T0 + 100);
    await create(store, taskSpec("later", { firstDueAt: T0 + 150 }));
    expect((await store.promoteDue(T0, 10)).nextDueAt).toBe(T0 + 100);
    await create(store, taskSpec("sooner", { firstDueAt: T0 + 50 }));
    expect((await store.promoteDue(T0, 10)).nextDueAt).toBe(T0 + 50);
  });

  test("holds no more open rows than it may, and makes the next as runs settle", async () => {
    await using harness = await open();
    const { store } = harness;
    const task = await create(store, taskSpec("huge", { repeats: 1_000_000_000 }));
    expect(task.counts).toMatchObject({ ready: OPEN_RUNS_PER_TASK_MAX, scheduled: 0 });
    expect(await store.promoteDue(T0 + 1, 1_000)).toMatchObject({
      promoted: [],
      changedTasks: [],
      nextDueAt: undefined,
    });
    for (const run of [5, 1]) {
      await store.lease(attemptOf(task, run), WORKER_A, T0, T0 + 1_000);
      await store.settle(attemptOf(task, run), attemptEnd(), SETTLED);
    }
    expect(await store.getTask(task.spec.id)).toMatchObject({
      state: "ready",
      counts: { ready: OPEN_RUNS_PER_TASK_MAX, succeeded: 2 },
    });
    const next = await store.getRun(task.spec.id, OPEN_RUNS_PER_TASK_MAX + 2);
    expect(next).toMatchObject({ state: "ready", dueAt: T0 });
    expect(await store.getRun(task.spec.id, OPEN_RUNS_PER_TASK_MAX + 3)).toBeUndefined();
  });

  test("makes the next row scheduled when a run settles before it is due", async () => {
    await using harness = await open();
    const { store } = harness;
    const repeats = OPEN_RUNS_PER_TASK_MAX + 2;
    const firstDueAt = T0 - (OPEN_RUNS_PER_TASK_MAX - 1) * 1_000;
    const task = await create(store, taskSpec("t", { firstDueAt, delayMs: 1_000, repeats }));
    expect(task.counts).toMatchObject({ ready: OPEN_RUNS_PER_TASK_MAX, scheduled: 0 });
    await store.lease(attemptOf(task), WORKER_A, T0, T0 + 1_000);
    const settled = await store.settle(attemptOf(task), attemptEnd(), SETTLED);
    expect(settled).toMatchObject({ task: { counts: { scheduled: 1 }, nextRunAt: T0 + 1_000 } });
    expect((await store.promoteDue(T0, 10)).nextDueAt).toBe(T0 + 1_000);
  });

  test("lists ready runs by priority, then due time, then age", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("low", { priority: -100, firstDueAt: T0 - 99 }));
    await create(store, taskSpec("b", { firstDueAt: T0 - 1, repeats: 2 }));
    await create(store, taskSpec("c", { firstDueAt: T0 - 1 }));
    await create(store, taskSpec("a", { firstDueAt: T0 - 2 }));
    await create(store, taskSpec("high", { priority: 5 }));
    await create(store, taskSpec("not-due", { priority: 100, firstDueAt: T0 + 1 }));
    const all = await store.listReady(T0, 10);
    expect(all.map((run) => [run.spec.id, run.index])).toEqual([
      ["high", 1],
      ["a", 1],
      ["b", 1],
      ["b", 2],
      ["c", 1],
      ["low", 1],
    ]);
    expect(all[0]).toMatchObject({ dueAt: T0, nextAttempt: 1, triedWorkers: [], lostOn: [] });
    expect((await store.listReady(T0, 2)).map((run) => run.spec.id)).toEqual(["high", "a"]);
    for (const [at, run] of all.entries())
      expect(await store.listReady(T0, 10, { after: run })).toEqual(all.slice(at + 1));
    expect(await store.listReady(T0, 2, { after: all[1] })).toEqual(all.slice(2, 4));
  });

  test("says on which workers a ready run failed or was lost, and on which of them it was lost", async () => {
    await using harness = await open();
    const { store } = harness;
    const task = await create(store, taskSpec("t", { retries: 1, backoffMs: 0 }));
    await store.lease(attemptOf(task), WORKER_A, T0, T0 + 1_000);
    await store.settle(attemptOf(task), attemptEnd({ kind: "exited", code: 1 }), { now: T0, backoffJitter: 0 });
    await store.lease(attemptOf(task, 1, 2), WORKER_B, T0, T0 + 1_000);
    const lost = attemptEnd({ kind: "lost", reason: "gone" });
    await store.settle(attemptOf(task, 1, 2), lost, { now: T0, backoffJitter: 0 });
    const [run] = await store.listReady(T0, 10);
    expect(run?.triedWorkers.toSorted()).toEqual([WORKER_A, WORKER_B]);
    expect(run?.lostOn).toEqual([WORKER_B]);
  });

  test("goes on behind a ready run that is ready no longer, and keeps to the order where some were backing off", async () => {
    await using harness = await open();
    const { store } = harness;
    for (const id of ["a", "b", "c"]) {
      const spec = taskSpec(id, { retries: 1, backoffMs: 10 });
      const { attempt } = await createRunning(store, spec);
      await store.settle(attempt, attemptEnd({ kind: "exited", code: 1 }), { now: T0, backoffJitter: 0 });
    }
    await create(store, taskSpec("d"));
    const all = await store.listReady(T0 + 1_000, 10);
    expect(all.map((run) => run.spec.id)).toEqual(["a", "b", "c", "d"]);
    const [, second] = all;
    assert(second !== undefined, "there are four");
    const id = { task: second.spec.id, serial: second.serial, run: second.index, attempt: second.nextAttempt };
    await store.lease(id, WORKER_A, T0, T0 + 15_000);
    expect(await store.listReady(T0 + 1_000, 10, { after: second })).toEqual(all.slice(2));
  });

  test("leaves out ready runs by what they require, and keeps to the order among the others", async () => {
    await using harness = await open();
    const { store } = harness;
    const requires = [{}, { zone: "eu" }, { zone: "us", gpu: "yes" }, { gpu: "yes", zone: "us" }];
    for (const [index, require] of [...requires, ...requires, ...requires].entries()) {
      await create(store, taskSpec(`t${index}`, { require, priority: index % 2, firstDueAt: T0 - (index % 3) }));
    }
    const all = await store.listReady(T0, 100);
    expect(all.map((run) => run.spec.id).join(" ")).toBe("t5 t11 t1 t7 t3 t9 t2 t8 t4 t10 t0 t6");
    const numberOf = (require: object) =>
      new Set(all.filter(({ spec }) => isDeepStrictEqual(spec.require, require)).map((run) => run.requirement));
    expect([...numberOf({})]).toEqual([0]);
    expect(numberOf({ zone: "eu" }).size).toBe(1);
    const [us] = numberOf({ zone: "us", gpu: "yes" });
    assert(us !== undefined, "some tasks require it");
    const others = all.filter((run) => run.requirement !== us);
    expect(others).toHaveLength(6);
    expect(await store.listReady(T0, 100, { except: [us] })).toEqual(others);
    expect(await store.listReady(T0, 2, { except: [us] })).toEqual(others.slice(0, 2));
    for (const [at, after] of others.entries()) {
      expect(await store.listReady(T0, 3, { except: [us], after })).toEqual(others.slice(at + 1, at + 4));
    }
    // Behind one that is left out itself.
    const first = all.findIndex((run) => run.requirement === us);
    const behind = all.slice(first).filter((run) => run.requirement !== us);
    expect(await store.listReady(T0, 100, { except: [us], after: all[first] })).toEqual(behind);
    const everything = [...new Set(all.map((run) => run.requirement))];
    expect(await store.listReady(T0, 100, { except: everything })).toEqual([]);
  });

  test("leaves out what has backed off by what it requires, and gives no number a second meaning", async () => {
    await using harness = await open();
    const { store } = harness;
    const { attempt } = await createRunning(
      store,
      taskSpec("a", { retries: 1, backoffMs: 10, require: { zone: "eu" } }),
    );
    await store.settle(attempt, attemptEnd({ kind: "exited", code: 1 }), { now: T0, backoffJitter: 0 });
    const [backedOff] = await store.listReady(T0 + 100, 10);
    assert(backedOff !== undefined, "it has backed off");
    expect(await store.listReady(T0 + 100, 10, { except: [backedOff.requirement] })).toEqual([]);
    await store.deleteTask(taskId("a"));
    await create(store, taskSpec("b", { require: { zone: "us" } }));
    expect((await store.listReady(T0, 10))[0]?.requirement).not.toBe(backedOff.requirement);
  });

  test("pages through runs by index", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("t", { repeats: 5 }));
    const page = await store.listRuns(taskId("t"), { fromIndex: 2, limit: 2 });
    expect(page?.map((run) => run.index)).toEqual([2, 3]);
    expect(await store.listRuns(taskId("t"), { fromIndex: 6, limit: 2 })).toEqual([]);
    expect((await store.getRun(taskId("t"), 5))?.index).toBe(5);
    expect(await store.getRun(taskId("t"), 6)).toBeUndefined();
  });

  test("knows the run that started last", async () => {
    await using harness = await open();
    const { store } = harness;
    const { task, attempt } = await createRunning(store, taskSpec("t", { repeats: 3 }));
    await store.lease(attemptOf(task, 3), WORKER_A, T0 + 1, T0 + 1_000);
    expect((await store.getLatestStartedRun(task.spec.id))?.index).toBe(3);
    await store.settle(attempt, attemptEnd({ kind: "lost", reason: "gone" }), SETTLED);
    await store.lease({ ...attempt, attempt: 2 }, WORKER_A, T0 + 2, T0 + 1_000);
    expect((await store.getLatestStartedRun(task.spec.id))?.index).toBe(1);
  });

  test(
    "settles each run of any schedule exactly once, at its nominal time or later",
    { timeout: 120_000 },
    async () => {
      await using harness = await open();
      const { store } = harness;
      let taken = 0;
      await fc.assert(
        fc.asyncProperty(
          fc.record({
            startMs: fc.integer({ min: -500, max: 500 }),
            delayMs: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 200 }), fc.constant(0.25)),
            repeats: fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 250, max: 300 })),
            limit: fc.integer({ min: 1, max: 50 }),
            steps: fc.array(
              fc.record({ ms: fc.integer({ min: 0, max: 900 }), settles: fc.integer({ min: 0, max: 60 }) }),
            ),
          }),
          async ({ startMs, delayMs, repeats, limit, steps }) => {
            taken += 1;
            const spec = taskSpec(`p${taken}`, { firstDueAt: T0 + startMs, delayMs, repeats });
            await runToItsEnd(store, spec, limit, steps);
          },
        ),
        { numRuns: 40 },
      );
      expect((await store.measureQueue()).tasks).toBe(0);
    },
  );
}

async function rows(store: Store): Promise<readonly (readonly [number, string, number])[]> {
  const runs = await store.listRuns(taskId("t"), { fromIndex: 1, limit: 1_000 });
  return runs?.map((run) => [run.index, run.state, run.dueAt] as const) ?? [];
}

/** Plays gateway for one task: time passes by `steps`, then until everything is settled. */
async function runToItsEnd(
  store: Store,
  spec: ReturnType<typeof taskSpec>,
  limit: number,
  steps: readonly { readonly ms: number; readonly settles: number }[],
): Promise<void> {
  const task = await create(store, spec);
  const total = totalRuns(spec);
  const settled: number[] = [];
  let now = T0;
  const play = async (settles: number): Promise<void> => {
    while ((await store.promoteDue(now, limit)).nextDueAt === now);
    const ready = await store.listReady(now, settles);
    const results = ready.map(async (run) => {
      expect(run.dueAt).toBe(dueAt(spec, run.index));
      expect(run.dueAt).toBeLessThanOrEqual(now);
      const attempt = attemptOf(task, run.index);
      const leased = store.lease(attempt, WORKER_A, now, now + 1_000);
      const result = await store.settle(attempt, attemptEnd(), { now, backoffJitter: 0 });
      expect([await leased, result.kind]).toEqual([true, "settled"]);
      settled.push(run.index);
    });
    await Promise.all(results);
    const { counts } = (await store.getTask(spec.id)) ?? task;
    expect(counts.scheduled).toBeLessThanOrEqual(1);
    expect(counts.scheduled + counts.ready + counts.running).toBeLessThanOrEqual(OPEN_RUNS_PER_TASK_MAX);
    expect(counts.succeeded).toBe(settled.length);
  };
  for (const step of steps) {
    now += step.ms;
    await play(step.settles);
  }
  now = Math.max(now, dueAt(spec, total));
  while (settled.length < total) await play(100);
  expect(settled.toSorted((a, b) => a - b)).toEqual(Array.from({ length: total }, (_, index) => index + 1));
  expect(await store.getTask(spec.id)).toMatchObject({ state: "succeeded", counts: { succeeded: total } });
}
