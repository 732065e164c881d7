/** The store's contract: what becomes of a task some of whose runs were forgotten. */
import { expect, test } from "vitest";
import { assert } from "../../src/base/errors.ts";
import {
  EVERY_SECOND,
  LATER,
  NONE_FREED,
  carryOut,
  createEndless,
  get,
  indexes,
  keptFile,
  live,
  slot,
} from "./endless-tasks.ts";
import type { OpenStore } from "./store-harness.ts";
import {
  FAILED,
  INSPECTION,
  T0,
  WORKER_A,
  attemptEnd,
  attemptOf,
  bytesOf,
  create,
  digest,
  taskId,
  taskSpec,
} from "./store-samples.ts";

export function describeForgottenRuns(open: OpenStore): void {
  test("a task goes on whose old runs were forgotten, also in the next life of the store", async () => {
    await using harness = await open();
    const task = await createEndless(harness.store, "t", 3);
    expect(await harness.store.forgetRuns(LATER, 10, 0)).toMatchObject({ forgotten: 2 });
    await harness.reopen?.();
    const { store } = harness;
    expect(await get(store, "t")).toMatchObject({ firstRun: 3, counts: { succeeded: 3, scheduled: 1 } });
    await live(store, task, [4, 5]);
    expect(await get(store, "t")).toMatchObject({ firstRun: 3, counts: { succeeded: 5, scheduled: 1 } });
    const runs = await store.listRuns(taskId("t"), { fromIndex: 1, limit: 10 });
    expect(runs?.map(({ index, dueAt }) => [index, dueAt])).toEqual([3, 4, 5, 6].map((run) => [run, slot(run)]));
    expect(await store.forgetRuns(LATER, 10, 0)).toMatchObject({ forgotten: 2 });
    expect(await indexes(store, "t", 1, 10)).toEqual([5, 6]);
  });

  test("the slot of a run that was forgotten has never fired", async () => {
    await using harness = await open();
    const { store } = harness;
    await createEndless(store, "t", 4);
    expect(await store.forgetRuns(slot(3), 10, 0)).toMatchObject({ forgotten: 2 });
    expect(await store.promoteDue(slot(1), 10)).toMatchObject({ promoted: [], nextDueAt: slot(2) });
    expect((await store.promoteDue(slot(2), 10)).promoted).toMatchObject([{ index: 5 }]);
    // That of the third run has.
    expect((await get(store, "t")).nextRunAt).toBe(slot(5));
  });

  test("attempts of a run that was forgotten are known no more", async () => {
    await using harness = await open();
    const { store } = harness;
    const task = await createEndless(store, "t", 3);
    await store.forgetRuns(LATER, 10, 0);
    const before = await get(store, "t");
    const gone = attemptOf(task, 1);
    expect(await store.settle(gone, attemptEnd(), { now: LATER, backoffJitter: 0 })).toEqual({ kind: "stale" });
    expect(await store.appendOutput(gone, 0, "stdout", bytesOf("late"))).toEqual({ kind: "stale" });
    expect(await store.keepFile(gone, keptFile("x", "1"), { hasBytes: true })).toBe("stale");
    expect(await store.lease(attemptOf(task, 1, 2), WORKER_A, LATER, LATER + 1_000)).toBe(false);
    expect(await store.renew([gone], WORKER_A, LATER)).toEqual([gone]);
    expect(await store.noteEnded([gone])).toBe(false);
    expect(await get(store, "t")).toEqual(before);
    expect(await indexes(store, "t", 1, 10)).toEqual([3, 4]);
  });

  test("a submission that is repeated is told what it was told", async () => {
    await using harness = await open();
    const { store } = harness;
    const key = { submitter: "local", key: "k", fingerprint: "f" };
    const created = await store.createTask(taskSpec("t", EVERY_SECOND), INSPECTION, T0, key);
    assert(created.kind === "created", "the id is free");
    await live(store, created.task, [1, 2, 3]);
    expect(await store.forgetRuns(LATER, 10, 0)).toMatchObject({ forgotten: 2 });
    const again = await store.createTask(taskSpec("t", EVERY_SECOND), INSPECTION, slot(4), key);
    expect(again).toEqual({ kind: "repeated", task: created.task });
    expect(created.task.firstRun).toBe(1);
  });

  test("cancelled and tried again, only those runs are that are known", async () => {
    await using harness = await open();
    const { store } = harness;
    const task = await create(store, taskSpec("t", EVERY_SECOND));
    for (const run of [1, 2, 3, 4, 5]) await live(store, task, [run], run % 3 === 2 ? attemptEnd() : FAILED);
    expect(await store.forgetRuns(slot(4), 10, 0)).toMatchObject({ forgotten: 3 });
    expect(await store.cancelTask(taskId("t"), "enough", slot(5) + 200)).toMatchObject({
      kind: "cancelled",
      task: { state: "cancelled", firstRun: 4, counts: { succeeded: 2, failed: 3, cancelled: 1 } },
      runs: [{ index: 6, attempt: 0 }],
    });
    expect(await store.retryTask(taskId("t"), slot(5) + 300)).toMatchObject({
      kind: "retried",
      task: { state: "ready", firstRun: 4, counts: { succeeded: 2, failed: 2, cancelled: 0, ready: 1, scheduled: 1 } },
      ready: [{ index: 4, attempt: 1 }],
    });
    expect((await store.listReady(LATER, 10)).map(({ index }) => index)).toEqual([4]);
    await carryOut(store, task, 4, { attempt: 2 });
    await live(store, task, [6, 7]);
    expect(await get(store, "t")).toMatchObject({
      state: "scheduled",
      counts: { succeeded: 5, failed: 2, cancelled: 0, scheduled: 1 },
    });
    expect(await store.forgetRuns(LATER, 10, 0)).toMatchObject({ forgotten: 3 });
    expect(await indexes(store, "t", 1, 10)).toEqual([7, 8]);
  });

  test("deleted, it frees what was left, and its name begins anew", async () => {
    await using harness = await open();
    const { store } = harness;
    const task = await create(store, taskSpec("t", EVERY_SECOND));
    await store.promoteDue(slot(3), 10);
    for (const run of [1, 2, 3]) await carryOut(store, task, run, { files: [keptFile("x", String(run))] });
    await store.forgetRuns(slot(2), 10, 0);
    const deleted = await store.deleteTask(taskId("t"));
    assert(deleted.kind === "deleted", "it was there");
    expect(deleted.freed.digests.toSorted()).toEqual([digest("2"), digest("3"), digest()]);
    for (const each of ["1", "2", "3", "a"]) expect(await store.isBlobUsed(digest(each))).toBe(false);
    expect(await store.forgetRuns(LATER, 10, 0)).toEqual({ forgotten: 0, freed: NONE_FREED, next: undefined });
    expect(await create(store, taskSpec("t", EVERY_SECOND))).toMatchObject({ firstRun: 1, counts: { scheduled: 1 } });
    expect(await indexes(store, "t", 1, 10)).toEqual([1]);
  });

  test("cancelled, it is forgotten as others are", async () => {
    await using harness = await open();
    const { store } = harness;
    await createEndless(store, "t", 3);
    await store.forgetRuns(LATER, 10, 0);
    await store.cancelTask(taskId("t"), "enough", slot(4));
    expect(await store.forgetFinished(LATER, 10)).toMatchObject({ forgotten: ["t"], freed: { digests: [digest()] } });
    expect(await store.getTask(taskId("t"))).toBeUndefined();
    expect(await store.listRuns(taskId("t"), { fromIndex: 1, limit: 10 })).toBeUndefined();
  });
}
