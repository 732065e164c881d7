/** The store's contract: which finished tasks are forgotten, and what goes with them. */
import { expect, test } from "vitest";
import type { Store } from "../../src/store/store.ts";
import type { OpenStore } from "./store-harness.ts";
import {
  T0,
  WORKER_A,
  attemptEnd,
  attemptOf,
  bytesOf,
  create,
  createRunning,
  digest,
  taskId,
  taskSpec,
} from "./store-samples.ts";

export function describeRetention(open: OpenStore): void {
  test("forgets what finished before, the oldest first, and nothing else", async () => {
    await using harness = await open();
    const { store } = harness;
    for (const [id, endedAt] of Object.entries({ third: 30, first: 10, second: 20, young: 40 })) {
      await finish(store, id, T0 + endedAt);
    }
    await create(store, taskSpec("scheduled", { firstDueAt: T0 + 100 }));
    await createRunning(store, taskSpec("running"));
    const one = await store.forgetFinished(T0 + 40, 1);
    expect(one).toMatchObject({ forgotten: ["first"], next: { finishedAt: T0 + 10 } });
    expect(await store.forgetFinished(T0 + 40, 10, one.next)).toMatchObject({
      forgotten: ["second", "third"],
      next: undefined,
    });
    const left = await store.listTasks({ limit: 10 });
    expect(left.tasks.map(({ spec }) => spec.id)).toEqual(["running", "scheduled", "young"]);
    expect((await store.measureQueue()).tasks).toBe(2);
  });

  test("forgets what finished at some time or later, if it is told to look behind that", async () => {
    await using harness = await open();
    const { store } = harness;
    for (const [id, endedAt] of Object.entries({ before: 19, at: 20, after: 21, young: 30 })) {
      await finish(store, id, T0 + endedAt);
    }
    const { forgotten } = await store.forgetFinished(T0 + 30, 10, { finishedAt: T0 + 20, serial: 0 });
    expect(forgotten).toEqual(["at", "after"]);
    const left = await store.listTasks({ limit: 10 });
    expect(left.tasks.map(({ spec }) => spec.id)).toEqual(["young", "before"]);
  });

  test("frees the id, and the blobs that nothing else refers to", async () => {
    await using harness = await open();
    const { store } = harness;
    await finish(store, "a", T0);
    const { freed } = await store.forgetFinished(T0 + 1, 10);
    expect(freed).toEqual({ digests: [digest()], hasMore: false });
    expect(await store.isBlobUsed(digest())).toBe(false);
    expect(await store.readOutput(taskId("a"), 1, { offset: 0, bytesMax: 10 })).toBeUndefined();
    await create(store, taskSpec("a"));
    expect(await store.readOutput(taskId("a"), 1, { offset: 0, bytesMax: 10 })).toMatchObject({ outputBytes: 0 });
  });

  test("keeps what an unfinished task runs after, and looks behind it", async () => {
    await using harness = await open();
    const { store } = harness;
    const dependency = await createRunning(store, taskSpec("dependency"));
    const dependent = await create(store, taskSpec("dependent", { after: [taskId("dependency")] }));
    await store.settle(dependency.attempt, attemptEnd(), { now: T0 + 10, backoffJitter: 0 });
    await finish(store, "other", T0 + 20);
    await store.promoteDue(T0 + 20, 10);
    const one = await store.forgetFinished(T0 + 100, 1);
    expect(one.forgotten).toEqual([]);
    expect((await store.forgetFinished(T0 + 100, 1, one.next)).forgotten).toEqual(["other"]);
    await store.lease(attemptOf(dependent), WORKER_A, T0 + 30, T0 + 60);
    await store.settle(attemptOf(dependent), attemptEnd(), { now: T0 + 50, backoffJitter: 0 });
    expect((await store.forgetFinished(T0 + 100, 10)).forgotten).toEqual(["dependency", "dependent"]);
  });
}

/** A task with some output whose run ends at `endedAt`. */
async function finish(store: Store, id: string, endedAt: number): Promise<void> {
  const { attempt } = await createRunning(store, taskSpec(id));
  await store.appendOutput(attempt, 0, "stdout", bytesOf("output"));
  await store.settle(attempt, attemptEnd(), { now: endedAt, backoffJitter: 0 });
}
