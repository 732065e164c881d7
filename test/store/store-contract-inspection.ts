/** The store's contract: what it knows of where a task is. */
import { expect, test } from "vitest";
import { EXPLAINED_AHEAD_MAX, EXPLAINED_ITEMS_MAX } from "../../src/base/limits.ts";
import type { OpenStore } from "./store-harness.ts";
import {
  FAILED,
  INSPECTION,
  LOST,
  T0,
  WORKER_A,
  WORKER_B,
  attemptEnd,
  attemptOf,
  create,
  taskId,
  taskSpec,
} from "./store-samples.ts";

export function describeInspection(open: OpenStore): void {
  test("knows the open runs of a task, with what has become of them so far", async () => {
    await using harness = await open();
    const { store } = harness;
    const spec = taskSpec("t", { repeats: 4, delayMs: 1_000, firstDueAt: T0 - 2_500, retries: 1, backoffMs: 100 });
    const task = await create(store, spec);
    await store.lease(attemptOf(task, 1), WORKER_A, T0, T0 + 1_000);
    await store.settle(attemptOf(task, 1), LOST, { now: T0, backoffJitter: 0 });
    await store.lease(attemptOf(task, 1, 2), WORKER_B, T0 + 5, T0 + 1_000);
    await store.lease(attemptOf(task, 2), WORKER_A, T0, T0 + 1_000);
    await store.settle(attemptOf(task, 2), FAILED, { now: T0, backoffJitter: 0 });
    const inspection = await store.inspectTask(spec.id, T0 + 10);
    expect(inspection).toEqual({
      task: await store.getTask(spec.id),
      openRuns: [
        {
          index: 1,
          state: "running",
          dueAt: T0 - 2_500,
          notBefore: 0,
          attempt: 2,
          lost: 1,
          lostOn: [WORKER_A],
          worker: WORKER_B,
          startedAt: T0 + 5,
          lastOutcome: undefined,
        },
        {
          index: 2,
          state: "ready",
          dueAt: T0 - 1_500,
          notBefore: T0 + 50,
          attempt: 1,
          lost: 0,
          lostOn: [],
          worker: undefined,
          startedAt: undefined,
          lastOutcome: { kind: "exited", code: 3 },
        },
        expect.objectContaining({ index: 3, state: "ready", attempt: 0 }),
        expect.objectContaining({ index: 4, state: "scheduled", dueAt: T0 + 500 }),
      ],
      waitsFor: [],
      unmetCount: 0,
      readyAhead: 0,
      isMoreAhead: false,
    });
    expect(await store.inspectTask(taskId("u"), T0)).toBeUndefined();
  });

  test("knows which tasks it waits for, and how they stand", async () => {
    await using harness = await open();
    const { store } = harness;
    const ids = Array.from({ length: EXPLAINED_ITEMS_MAX + 5 }, (_, each) => taskId(`d${each}`));
    for (const id of ids) await create(store, taskSpec(id));
    await create(store, taskSpec("t", { after: ids }));
    await store.deleteTask(taskId("d1"));
    const inspection = await store.inspectTask(taskId("t"), T0);
    expect(inspection?.waitsFor).toHaveLength(EXPLAINED_ITEMS_MAX);
    expect(inspection?.unmetCount).toBe(ids.length);
    expect(inspection?.waitsFor.slice(0, 3)).toEqual([
      { id: undefined, state: "deleted" },
      { id: "d0", state: "ready" },
      { id: "d2", state: "ready" },
    ]);
  });

  test("of many tasks that it waits for, those come first that keep it from running, and last those that do not", async () => {
    await using harness = await open();
    const { store } = harness;
    const ids = Array.from({ length: EXPLAINED_ITEMS_MAX + 5 }, (_, each) => taskId(`d${each}`));
    const [first, ...others] = ids;
    const [last = "", deleted = ""] = ids.toReversed();
    if (first === undefined) throw new Error("no tasks");
    const done = await create(store, taskSpec(first));
    for (const id of others) await create(store, taskSpec(id));
    await create(store, taskSpec("t", { after: ids }));
    await store.cancelTask(taskId("t"), "enough", T0);
    await store.lease(attemptOf(done), WORKER_A, T0, T0 + 1_000);
    await store.settle(attemptOf(done), attemptEnd(), { now: T0, backoffJitter: 0 });
    await store.cancelTask(taskId(last), "enough", T0);
    await store.deleteTask(taskId(deleted));
    const inspection = await store.inspectTask(taskId("t"), T0);
    expect(inspection?.waitsFor.slice(0, 3)).toEqual([
      { id: undefined, state: "deleted" },
      { id: last, state: "cancelled" },
      { id: "d1", state: "ready" },
    ]);
    expect(inspection?.waitsFor).toHaveLength(EXPLAINED_ITEMS_MAX);
    expect(inspection?.waitsFor).not.toContainEqual({ id: first, state: "succeeded" });
  });

  test("counts the ready runs that come before its first one, as far as that is worth it", async () => {
    await using harness = await open();
    const { store } = harness;
    const ahead = async () => {
      const inspection = await store.inspectTask(taskId("t"), T0 + 10);
      return [inspection?.readyAhead, inspection?.isMoreAhead];
    };
    await create(store, taskSpec("t", { firstDueAt: T0 + 5 }), T0 + 5);
    await create(store, taskSpec("later", { firstDueAt: T0 + 6 }), T0 + 6);
    await create(store, taskSpec("elsewhere", { require: { zone: "eu" }, priority: 9 }));
    expect(await ahead()).toEqual([0, false]);
    await create(store, taskSpec("earlier"));
    await create(store, taskSpec("higher", { priority: 5, firstDueAt: T0 + 9, repeats: 3 }), T0 + 9);
    await create(store, taskSpec("lower", { priority: -5 }));
    expect(await ahead()).toEqual([4, false]);
    const many = Array.from({ length: 4 }, (_, each) => taskSpec(`many${each}`, { repeats: 256 }));
    for (const spec of many) await store.createTask(spec, INSPECTION, T0);
    expect(await ahead()).toEqual([EXPLAINED_AHEAD_MAX, true]);
  });
}
