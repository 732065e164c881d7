/** The store's contract: tasks that run after others. */
import { expect, test } from "vitest";
import { DEPENDENCY_REASON_LENGTH_MAX } from "../../src/base/limits.ts";
import type { Task, TaskSpec } from "../../src/model/task.ts";
import type { Store } from "../../src/store/store.ts";
import type { OpenStore } from "./store-harness.ts";
import { FAILED, INSPECTION, T0, WORKER_A, attemptEnd, attemptOf, create, taskId, taskSpec } from "./store-samples.ts";
import { fc } from "../support/properties.ts";

export function describeDependencies(open: OpenStore): void {
  test("a task waits without runs until those it runs after have succeeded, and counts its start from then", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("a"));
    await create(store, taskSpec("b"));
    const task = await create(store, after(["a", "b"], { start: 5, delayMs: 1_000, repeats: 2 }));
    expect(task).toMatchObject({ state: "scheduled", counts: { scheduled: 0, ready: 0 }, firstDueAt: undefined });
    expect(await end(store, "a", T0 + 10)).toBe(true);
    expect(await store.promoteDue(T0 + 10, 10)).toMatchObject({ promoted: [], changedTasks: [] });
    expect(await end(store, "b", T0 + 20)).toBe(true);
    expect(await store.promoteDue(T0 + 30, 10)).toMatchObject({
      promoted: [],
      changedTasks: [],
      nextDueAt: T0 + 20 + 5_000,
    });
    expect(await get(store, "t")).toMatchObject({ state: "scheduled", firstDueAt: T0 + 5_020, nextRunAt: T0 + 5_020 });
    await store.promoteDue(T0 + 6_020, 10);
    const runs = await store.listRuns(taskId("t"), { fromIndex: 1, limit: 9 });
    expect(runs?.map((run) => [run.state, run.dueAt])).toEqual([
      ["ready", T0 + 5_020],
      ["ready", T0 + 6_020],
    ]);
  });

  test("a task is ready as soon as what it waits for has been seen to", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("a"));
    const task = await create(store, after(["a"]));
    await end(store, "a", T0 + 10);
    expect(await store.promoteDue(T0 + 11, 10)).toMatchObject({
      promoted: [{ task: "t", serial: task.serial, index: 1 }],
      changedTasks: [{ task: "t", state: "ready" }],
    });
  });

  test("a start that is a time stays one", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("a"));
    const at = new Date(T0 + 500).toISOString();
    await create(store, after(["a"], { start: at, firstDueAt: T0 + 500 }));
    await end(store, "a", T0 + 10);
    expect((await store.promoteDue(T0 + 10, 10)).nextDueAt).toBe(T0 + 500);
  });

  test("slots of cron count from the end of what a task waits for", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("a"));
    await create(store, after(["a"], { cron: "* * * * * *", repeats: 2, catchup: "all" }));
    await end(store, "a", T0 + 10_500);
    expect((await store.promoteDue(T0 + 10_600, 10)).nextDueAt).toBe(T0 + 11_000);
  });

  test("a task after those that have succeeded already counts from its creation", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("a"));
    await end(store, "a", T0 + 10);
    const task = await create(store, after(["a"], { firstDueAt: T0 + 50 }), T0 + 50);
    expect(task).toMatchObject({ state: "ready", firstDueAt: T0 + 50 });
  });

  test.each(["failed", "cancelled", "deleted"] as const)(
    "a task is cancelled with the reason when one that it waits for is %s",
    async (how) => {
      await using harness = await open();
      const { store } = harness;
      await create(store, taskSpec("a"));
      await create(store, taskSpec("other"));
      await create(store, after(["other", "a"]));
      if (how === "failed") expect(await end(store, "a", T0 + 10, "failure")).toBe(true);
      else if (how === "cancelled") {
        const cancelled = await store.cancelTask(taskId("a"), "enough", T0 + 10);
        expect(cancelled).toMatchObject({ hasDependents: true });
      } else expect(await store.deleteTask(taskId("a"))).toMatchObject({ kind: "deleted", hasDependents: true });
      expect(await store.promoteDue(T0 + 20, 10)).toMatchObject({
        promoted: [],
        changedTasks: [{ task: "t", state: "cancelled" }],
      });
      const reason = {
        failed: "it runs after a, which failed: exited with code 3",
        cancelled: "it runs after a, which was cancelled: enough",
        deleted: "it runs after a, which was deleted",
      }[how];
      expect(await get(store, "t")).toMatchObject({ state: "cancelled", reason, finishedAt: T0 + 20 });
      // What the other one does has no say any more.
      expect(await end(store, "other", T0 + 30)).toBe(true);
      expect(await store.promoteDue(T0 + 30, 10)).toMatchObject({ promoted: [], changedTasks: [] });
    },
  );

  test("a task after one that has failed already is cancelled at once", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("a"));
    await end(store, "a", T0, "failure");
    const result = await store.createTask(after(["a"]), INSPECTION, T0 + 1);
    expect(result).toMatchObject({
      kind: "created",
      task: { state: "cancelled", finishedAt: T0 + 1, reason: "it runs after a, which failed: exited with code 3" },
      ready: [],
    });
    expect((await store.measureQueue()).tasks).toBe(0);
  });

  test("all that wait for a task that waits in vain are cancelled, down to the last", async () => {
    await using harness = await open();
    const { store } = harness;
    const length = 30;
    await create(store, taskSpec("c0"));
    for (let each = 1; each <= length; each++)
      await create(store, taskSpec(`c${each}`, { after: [taskId(`c${each - 1}`)] }));
    await end(store, "c0", T0, "failure");
    const changed = await promoteAll(store, T0 + 1, 7);
    expect(changed).toEqual(Array.from({ length }, (_, index) => [`c${index + 1}`, "cancelled"]));
    const last = await get(store, `c${length}`);
    expect(last.reason).toMatch(/^it runs after c29, which was cancelled: .*which failed: exited with code 3$/);
    expect(last.reason?.length).toBeLessThanOrEqual(DEPENDENCY_REASON_LENGTH_MAX);
  });

  test("refuses what there is not, and what never ends, by name, and stores nothing then", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("a"));
    await create(store, taskSpec("endless", { cron: "* * * * *", repeats: 0 }));
    const spec = after(["a", "nobody", "endless", "t"]);
    const refused = { kind: "bad-dependencies", unknown: ["nobody", "t"], endless: ["endless"] };
    expect(await store.createTask(spec, INSPECTION, T0)).toEqual(refused);
    expect(await store.getTask(taskId("t"))).toBeUndefined();
    expect((await store.measureQueue()).tasks).toBe(2);
    await create(store, taskSpec("t"));
    expect(await store.createTask(after(["nobody"]), INSPECTION, T0)).toEqual({ kind: "id-taken" });
  });

  test("an id that is used again is another task, which nobody waits for", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("a"));
    await create(store, after(["a"]));
    await store.deleteTask(taskId("a"));
    await create(store, taskSpec("a"));
    expect(await end(store, "a", T0 + 10)).toBe(false);
    await store.promoteDue(T0 + 10, 10);
    expect(await get(store, "t")).toMatchObject({ state: "cancelled", reason: "it runs after a, which was deleted" });
  });

  test("one that has succeeded may be deleted before its end was seen to", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("a"));
    await create(store, after(["a"]));
    await end(store, "a", T0 + 10);
    await store.deleteTask(taskId("a"));
    expect(await store.promoteDue(T0 + 10, 10)).toMatchObject({ promoted: [{ task: "t" }] });
  });

  test("who waits may be cancelled or deleted meanwhile", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("a"));
    await create(store, taskSpec("x", { after: [taskId("a")] }));
    await create(store, taskSpec("y", { after: [taskId("a")] }));
    expect(await store.cancelTask(taskId("x"), "enough", T0 + 1)).toMatchObject({ runs: [], hasDependents: false });
    expect(await store.deleteTask(taskId("y"))).toMatchObject({ kind: "deleted" });
    await end(store, "a", T0 + 10);
    expect(await store.promoteDue(T0 + 10, 10)).toMatchObject({ promoted: [], changedTasks: [] });
    expect(await get(store, "x")).toMatchObject({ state: "cancelled", reason: "enough" });
  });

  test("what was not seen to is seen to by the next process", async () => {
    await using harness = await open();
    await create(harness.store, taskSpec("a"));
    await create(harness.store, after(["a"]));
    await end(harness.store, "a", T0 + 10);
    await harness.reopen?.();
    expect(await harness.store.promoteDue(T0 + 20, 10)).toMatchObject({ promoted: [{ task: "t" }] });
  });

  test("sees to many that wait in bounded batches, each once", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("a"));
    const count = 100;
    const specs = Array.from({ length: count }, (_, index) => taskSpec(`t${index}`, { after: [taskId("a")] }));
    await Promise.all(specs.map((spec) => store.createTask(spec, INSPECTION, T0)));
    await end(store, "a", T0 + 10);
    const ready = await promoteAll(store, T0 + 10, 7);
    expect(ready).toEqual(specs.map(({ id }) => [id, "ready"]));
    expect(await store.listReady(T0 + 10, 1_000)).toHaveLength(count);
  });

  test("makes runs ready that are due while many that wait for one task are seen to", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("a"));
    for (let index = 0; index < 20; index++) await create(store, after(["a"], { id: taskId(`t${index}`) }));
    await create(store, taskSpec("other", { firstDueAt: T0 + 10 }));
    await end(store, "a", T0 + 10);
    const { promoted, nextDueAt } = await store.promoteDue(T0 + 10, 10);
    expect(promoted.map(({ task }) => task)).toEqual(["t0", "t1", "t2", "t3", "t4", "other"]);
    expect(nextDueAt).toBe(T0 + 10);
    expect(await promoteAll(store, T0 + 10, 10)).toHaveLength(15);
  });

  test("makes no more runs ready than it is told, where those that waited have many", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("a"));
    for (const id of ["x", "y"]) await create(store, after(["a"], { id: taskId(id), repeats: 10 }));
    await end(store, "a", T0 + 10);
    await promoteAll(store, T0 + 10, 4);
    expect(await store.listReady(T0 + 10, 100)).toHaveLength(20);
  });

  test("the first that has failed of those it runs after is the reason", async () => {
    await using harness = await open();
    const { store } = harness;
    for (const id of ["a", "b"]) {
      await create(store, taskSpec(id));
      await end(store, id, T0, "failure");
    }
    await create(store, after(["b", "a"]));
    expect((await get(store, "t")).reason).toMatch(/^it runs after b, which failed/);
  });

  test(
    "in any graph, a task runs once all before it have succeeded, and is cancelled once one has not",
    { timeout: 60_000 },
    async () => {
      await using harness = await open();
      const { store } = harness;
      let taken = 0;
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.record({ after: fc.array(fc.nat({ max: 9 }), { maxLength: 3 }), fails: fc.boolean() }), {
            minLength: 1,
            maxLength: 10,
          }),
          fc.integer({ min: 1, max: 5 }),
          async (steps, limit) => {
            taken += 1;
            const name = (index: number) => taskId(`g${taken}-${index}`);
            const before = steps.map((step, index) => [...new Set(step.after.filter((each) => each < index))]);
            for (const [index, each] of before.entries())
              await create(store, taskSpec(name(index), { after: each.map(name) }));
            const isGood: boolean[] = [];
            for (const [index, each] of before.entries()) {
              await promoteAll(store, T0, limit);
              const task = await get(store, name(index));
              const mayRun = each.every((other) => isGood[other]);
              expect(task.state).toBe(mayRun ? "ready" : "cancelled");
              const fails = steps[index]?.fails === true;
              if (mayRun) await end(store, name(index), T0, fails ? "failure" : "success");
              isGood.push(mayRun && !fails);
            }
            await promoteAll(store, T0, limit);
          },
        ),
        { numRuns: 20 },
      );
      expect((await store.measureQueue()).tasks).toBe(0);
    },
  );
}

function after(ids: readonly string[], changes: Partial<TaskSpec> = {}): TaskSpec {
  return taskSpec("t", { after: ids.map(taskId), ...changes });
}

async function get(store: Store, id: string): Promise<Task> {
  const task = await store.getTask(taskId(id));
  if (task === undefined) throw new Error(`no task ${id}`);
  return task;
}

/** Runs a task's only run to its end. Whether others wait for that. */
async function end(store: Store, id: string, now: number, how: "success" | "failure" = "success"): Promise<boolean> {
  const task = await get(store, id);
  expect(await store.lease(attemptOf(task), WORKER_A, now, now + 15_000)).toBe(true);
  const settled = await store.settle(attemptOf(task), how === "success" ? attemptEnd() : FAILED, {
    now,
    backoffJitter: 0,
  });
  if (settled.kind === "stale") throw new Error("stale");
  return settled.hasDependents;
}

/** In batches of `limit`, until nothing is left to do now; the tasks whose state that has changed, in order. */
async function promoteAll(store: Store, now: number, limit: number): Promise<readonly (readonly [string, string])[]> {
  const changed: (readonly [string, string])[] = [];
  for (;;) {
    const { promoted, changedTasks, nextDueAt } = await store.promoteDue(now, limit);
    expect(promoted.length).toBeLessThanOrEqual(limit);
    expect(changedTasks.length).toBeLessThanOrEqual(limit);
    changed.push(...changedTasks.map(({ task, state }) => [task, state] as const));
    if (nextDueAt !== now) return changed;
  }
}
