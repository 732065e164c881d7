/** The store's contract: an operator has the runs of a finished task tried again. */
import { expect, test } from "vitest";
import { LEASE_MS_MAX, LOST_ATTEMPTS_MAX, OPEN_RUNS_PER_TASK_MAX } from "../../src/base/limits.ts";
import type { AttemptEnd } from "../../src/model/outcome.ts";
import type { Task } from "../../src/model/task.ts";
import type { Store } from "../../src/store/store.ts";
import type { OpenStore } from "./store-harness.ts";
import {
  FAILED,
  LOST,
  T0,
  WORKER_A,
  attemptEnd,
  attemptOf,
  create,
  createRunning,
  taskId,
  taskSpec,
} from "./store-samples.ts";

export function describeRetry(open: OpenStore): void {
  test("runs what failed again, leaves what succeeded, and attempt numbers go on", async () => {
    await using harness = await open();
    const { store } = harness;
    const task = await create(store, taskSpec("t", { repeats: 3 }));
    await settle(store, 1, 1, FAILED);
    await settle(store, 2, 1, attemptEnd());
    await settle(store, 3, 1, FAILED);
    const before = await get(store);
    expect(before).toMatchObject({ state: "failed", counts: { failed: 2, succeeded: 1 } });
    const result = await store.retryTask(task.spec.id, T0 + 100);
    expect(result).toMatchObject({
      kind: "retried",
      task: { state: "ready", counts: { ready: 2, failed: 0, succeeded: 1 }, finishedAt: undefined, reason: undefined },
      ready: [
        { index: 1, attempt: 1 },
        { index: 3, attempt: 1 },
      ],
    });
    expect((await store.measureQueue()).tasks).toBe(1);
    expect(await store.getRun(task.spec.id, 1)).toMatchObject({
      state: "ready",
      dueAt: T0,
      outcome: undefined,
      result: undefined,
      usage: undefined,
      attempts: [{ number: 1, state: "failed" }],
    });
    const ready = await store.listReady(T0 + 100, 10);
    expect(ready.map(({ index, nextAttempt }) => [index, nextAttempt])).toEqual([
      [1, 2],
      [3, 2],
    ]);
    await settle(store, 1, 2, attemptEnd());
    await settle(store, 3, 2, attemptEnd());
    expect(await get(store)).toMatchObject({ state: "succeeded", counts: { succeeded: 3 }, reason: undefined });
    expect((await store.getRun(task.spec.id, 1))?.attempts.map(({ state }) => state)).toEqual(["failed", "succeeded"]);
    expect((await store.measureQueue()).tasks).toBe(0);
  });

  test("says which runs wait for their time again, and not which are made anew", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("t", { firstDueAt: T0 + 100_000, delayMs: 1_000, repeats: 3 }));
    await store.cancelTask(taskId("t"), "enough", T0);
    expect(await store.retryTask(taskId("t"), T0 + 1)).toMatchObject({
      task: { state: "scheduled", counts: { scheduled: 1, cancelled: 0 } },
      ready: [],
      scheduled: [{ index: 1, attempt: 0 }],
    });
    await store.promoteDue(T0 + 100_000, 10);
    await settle(store, 1, 1, FAILED);
    await store.cancelTask(taskId("t"), "enough", T0 + 100_100);
    expect(await store.retryTask(taskId("t"), T0 + 100_200)).toMatchObject({
      ready: [{ index: 1, attempt: 1 }],
      scheduled: [{ index: 2, attempt: 0 }],
    });
  });

  test("gives a run its retries back, and its patience with lost workers", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("t"));
    for (let attempt = 1; attempt <= LOST_ATTEMPTS_MAX; attempt++) await settle(store, 1, attempt, LOST);
    expect(await get(store)).toMatchObject({ state: "failed", reason: "poisoned" });
    await store.retryTask(taskId("t"), T0);
    await settle(store, 1, LOST_ATTEMPTS_MAX + 1, LOST);
    expect(await get(store)).toMatchObject({ state: "ready" });
  });

  test("refuses what has not finished, what has succeeded, and what there is not", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("t"));
    expect(await store.retryTask(taskId("t"), T0)).toMatchObject({ kind: "not-finished", task: { state: "ready" } });
    await settle(store, 1, 1, attemptEnd());
    expect(await store.retryTask(taskId("t"), T0)).toMatchObject({ kind: "nothing-to-retry" });
    expect(await store.retryTask(taskId("u"), T0)).toEqual({ kind: "no-such-task" });
    expect(await get(store)).toMatchObject({ state: "succeeded" });
  });

  test("runs a cancelled task on: what was open is open again, and what was to come is to come", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("t", { delayMs: 1_000, repeats: 4, firstDueAt: T0 - 1_000 }));
    await settle(store, 1, 1, attemptEnd());
    await store.cancelTask(taskId("t"), "enough", T0);
    // Its third run was scheduled for the future, and is again; the fourth was never made.
    const early = await store.retryTask(taskId("t"), T0 + 500);
    expect(early).toMatchObject({
      task: { state: "ready", isCancelled: false, counts: { succeeded: 1, ready: 1, scheduled: 1, cancelled: 0 } },
      ready: [{ index: 2, attempt: 0 }],
    });
    expect(await get(store)).toMatchObject({ nextRunAt: T0 + 1_000 });
    await store.cancelTask(taskId("t"), "enough", T0 + 600);
    const late = await store.retryTask(taskId("t"), T0 + 5_000);
    expect(late).toMatchObject({ ready: [{ index: 2 }, { index: 3 }, { index: 4 }] });
  });

  test("runs a task without end on, from its next slots", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("t", { cron: "* * * * * *", repeats: 0, catchup: "none" }));
    await store.promoteDue(T0 + 1_000, 10);
    await settle(store, 1, 1, attemptEnd());
    await store.cancelTask(taskId("t"), "enough", T0 + 1_500);
    const result = await store.retryTask(taskId("t"), T0 + 60_500);
    expect(result).toMatchObject({ kind: "retried", task: { state: "scheduled", nextRunAt: T0 + 61_000 }, ready: [] });
  });

  test("runs whose slots had come keep them, begun or not", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("t", { cron: "* * * * * *", repeats: 0 }));
    await store.promoteDue(T0 + 2_000, 10);
    await store.cancelTask(taskId("t"), "enough", T0 + 2_500);
    // The first two were ready; the third was still to come, and has been missed since.
    const result = await store.retryTask(taskId("t"), T0 + 60_500);
    expect(result).toMatchObject({ ready: [{ index: 1 }, { index: 2 }, { index: 3 }] });
    const runs = await store.listRuns(taskId("t"), { fromIndex: 1, limit: 3 });
    expect(runs?.map(({ dueAt }) => dueAt)).toEqual([T0 + 1_000, T0 + 2_000, T0 + 60_000]);
  });

  test("a run that backed off when it was cancelled does not go on backing off", async () => {
    await using harness = await open();
    const { store } = harness;
    const task = await create(store, taskSpec("t", { retries: 1, backoffMs: 60_000 }));
    await settle(store, 1, 1, FAILED);
    await store.cancelTask(task.spec.id, "enough", T0 + 10);
    await store.retryTask(task.spec.id, T0 + 20);
    expect(await store.nextBackoffEnd(T0 + 20)).toBeUndefined();
    expect(await store.listReady(T0 + 20, 10)).toMatchObject([{ index: 1, nextAttempt: 2 }]);
  });

  test("the last run keeps its slot once it has begun", async () => {
    await using harness = await open();
    const { store } = harness;
    const task = await create(store, taskSpec("t", { cron: "* * * * * *", repeats: 0, overlap: "forbid" }));
    await store.promoteDue(T0 + 1_000, 10);
    await store.lease(attemptOf(task), WORKER_A, T0 + 1_000, T0 + 9_000);
    await store.cancelTask(taskId("t"), "enough", T0 + 2_500);
    expect(await store.retryTask(taskId("t"), T0 + 60_500)).toMatchObject({ ready: [{ index: 1, attempt: 1 }] });
    expect(await store.getRun(taskId("t"), 1)).toMatchObject({ dueAt: T0 + 1_000 });
  });

  test("takes up very many runs as there is room, and each once", { timeout: 60_000 }, async () => {
    await using harness = await open();
    const { store } = harness;
    const total = OPEN_RUNS_PER_TASK_MAX + 40;
    await create(store, taskSpec("t", { repeats: total }));
    await settleAll(store, 1, FAILED);
    expect(await get(store)).toMatchObject({ state: "failed", counts: { failed: total } });
    const result = await store.retryTask(taskId("t"), T0);
    expect(result).toMatchObject({
      task: { state: "ready", counts: { ready: OPEN_RUNS_PER_TASK_MAX, failed: total - OPEN_RUNS_PER_TASK_MAX } },
    });
    // Every other one fails again, and is not taken up a second time.
    await settleAll(store, 2, attemptEnd(), FAILED);
    expect(await get(store)).toMatchObject({ state: "failed", counts: { failed: total / 2, succeeded: total / 2 } });
  });

  test("one run at a time, where overlap is forbidden", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("t", { repeats: 3, overlap: "forbid" }));
    for (const run of [1, 2, 3]) await settle(store, run, 1, FAILED);
    expect(await store.retryTask(taskId("t"), T0)).toMatchObject({ ready: [{ index: 1 }] });
    for (const run of [1, 2, 3]) {
      expect((await store.listReady(T0, 10)).map(({ index }) => index)).toEqual([run]);
      await settle(store, run, 2, attemptEnd());
    }
    expect(await get(store)).toMatchObject({ state: "succeeded" });
  });

  test("binds a task again to those it runs after", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("a"));
    await create(store, taskSpec("t", { after: [taskId("a")] }));
    await settle(store, 1, 1, FAILED, "a");
    await store.promoteDue(T0, 10);
    const refused = await store.retryTask(taskId("t"), T0);
    expect(refused).toMatchObject({
      kind: "dependency-broken",
      task: { reason: expect.stringMatching(/^it runs after a/) },
      by: { id: "a", state: "failed" },
    });
    await store.retryTask(taskId("a"), T0);
    expect(await store.retryTask(taskId("t"), T0)).toMatchObject({
      kind: "retried",
      task: { state: "scheduled" },
      ready: [],
    });
    const settled = await settle(store, 1, 2, attemptEnd(), "a");
    expect(settled).toMatchObject({ hasDependents: true });
    expect(await store.promoteDue(T0, 10)).toMatchObject({ promoted: [{ task: "t" }] });
  });

  test("says which of those it runs after stands in the way now, whatever it was before", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("a"));
    await create(store, taskSpec("b"));
    await create(store, taskSpec("t", { after: [taskId("a"), taskId("b")] }));
    await settle(store, 1, 1, FAILED, "a");
    await store.promoteDue(T0, 10);
    await store.cancelTask(taskId("b"), "enough", T0);
    await store.retryTask(taskId("a"), T0);
    const broken = { kind: "dependency-broken", by: { id: "b", state: "cancelled" } };
    expect(await store.retryTask(taskId("t"), T0)).toMatchObject(broken);
    const unmet = await store.inspectTask(taskId("t"), T0);
    expect(unmet?.waitsFor).toEqual([
      { id: "b", state: "cancelled" },
      { id: "a", state: "ready" },
    ]);
    await store.deleteTask(taskId("b"));
    expect(await store.retryTask(taskId("t"), T0)).toMatchObject({ by: { id: undefined, state: "deleted" } });
  });

  test("a task after one that has succeeded meanwhile is ready at once", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("a"));
    await create(store, taskSpec("t", { after: [taskId("a")] }));
    await store.cancelTask(taskId("t"), "enough", T0);
    await settle(store, 1, 1, attemptEnd(), "a");
    await store.promoteDue(T0, 10);
    expect(await store.retryTask(taskId("t"), T0 + 10)).toMatchObject({
      task: { state: "ready" },
      ready: [{ index: 1 }],
    });
  });

  test("a task is ready at once after one that has failed, and has succeeded since", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("a"));
    await create(store, taskSpec("t", { after: [taskId("a")] }));
    await settle(store, 1, 1, FAILED, "a");
    await store.promoteDue(T0, 10);
    await store.retryTask(taskId("a"), T0);
    await settle(store, 1, 2, attemptEnd(), "a");
    expect(await store.retryTask(taskId("t"), T0 + 10)).toMatchObject({ kind: "retried", ready: [{ index: 1 }] });
  });

  test("an end that was not seen to is taken back", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("a"));
    await create(store, taskSpec("t", { after: [taskId("a")] }));
    expect(await settle(store, 1, 1, FAILED, "a")).toMatchObject({ hasDependents: true });
    await store.retryTask(taskId("a"), T0);
    expect(await store.promoteDue(T0, 10)).toMatchObject({ promoted: [], changedTasks: [] });
    await settle(store, 1, 2, attemptEnd(), "a");
    expect(await store.promoteDue(T0, 10)).toMatchObject({ promoted: [{ task: "t" }] });
  });

  test("does not give a run out before the lease of its cancelled attempt has ended", async () => {
    await using harness = await open();
    const { store } = harness;
    const { task } = await createRunning(store, taskSpec("t", { repeats: 2 }));
    await store.cancelTask(task.spec.id, "enough", T0 + 1_000);
    const result = await store.retryTask(task.spec.id, T0 + 2_000);
    expect(result).toMatchObject({ ready: [{ index: 1, attempt: 1 }, { index: 2 }], heldUntil: T0 + 15_000 });
    const readyAt = async (now: number) => (await store.listReady(now, 10)).map(({ index }) => index);
    expect(await readyAt(T0 + 14_999)).toEqual([2]);
    expect(await store.nextBackoffEnd(T0 + 2_000)).toBe(T0 + 15_000);
    expect((await store.inspectTask(task.spec.id, T0 + 2_000))?.openRuns).toMatchObject([
      { index: 1, state: "ready", notBefore: T0 + 15_000, cancelledOn: WORKER_A },
      { index: 2, notBefore: 0, cancelledOn: undefined },
    ]);
    expect(await readyAt(T0 + 15_000)).toEqual([1, 2]);
    expect(await store.promoteDue(T0 + 15_000, 10)).toMatchObject({ hasEndedBackoffs: true });
    expect(await readyAt(T0 + 1_000)).toEqual([1, 2]);
    await settle(store, 1, 2, attemptEnd());
  });

  test("cancelled and wanted again once more, it waits for the same lease", async () => {
    await using harness = await open();
    const { store } = harness;
    const { task } = await createRunning(store, taskSpec("t"));
    await store.cancelTask(task.spec.id, "enough", T0);
    await store.retryTask(task.spec.id, T0);
    await store.cancelTask(task.spec.id, "enough", T0 + 1);
    expect(await store.retryTask(task.spec.id, T0 + 2)).toMatchObject({ heldUntil: T0 + 15_000 });
    expect(await store.listReady(T0 + 14_999, 10)).toEqual([]);
    await store.cancelTask(task.spec.id, "enough", T0 + 3);
    expect(await store.retryTask(task.spec.id, T0 + 15_000)).toMatchObject({ heldUntil: undefined });
    expect(await store.listReady(T0 + 15_000, 10)).toHaveLength(1);
  });

  test("waits no longer once the guest is known to have ended, before or after it was wanted again", async () => {
    await using harness = await open();
    const { store } = harness;
    const { task, attempt } = await createRunning(store, taskSpec("t"));
    expect(await store.noteEnded([attempt])).toBe(false);
    await store.cancelTask(task.spec.id, "enough", T0);
    expect(await store.noteEnded([{ ...attempt, attempt: 2 }])).toBe(false);
    expect(await store.noteEnded([attempt])).toBe(false);
    expect(await store.retryTask(task.spec.id, T0)).toMatchObject({ heldUntil: undefined });
    const second = { ...attempt, attempt: 2 };
    expect(await store.lease(second, WORKER_A, T0, T0 + 15_000)).toBe(true);
    await store.cancelTask(task.spec.id, "enough", T0);
    expect(await store.retryTask(task.spec.id, T0)).toMatchObject({ heldUntil: T0 + 15_000 });
    expect(await store.noteEnded([attempt])).toBe(false);
    expect(await store.listReady(T0, 10)).toEqual([]);
    expect(await store.noteEnded([second, second])).toBe(true);
    expect(await store.listReady(T0, 10)).toMatchObject([{ index: 1, nextAttempt: 3 }]);
    expect((await store.inspectTask(task.spec.id, T0))?.openRuns).toMatchObject([{ cancelledOn: undefined }]);
    await store.deleteTask(task.spec.id);
    expect(await store.noteEnded([second])).toBe(false);
  });

  test("waits for a lease from now, where the clock was set", async () => {
    await using harness = await open();
    const { store } = harness;
    const { task } = await createRunning(store, taskSpec("t"));
    await store.cancelTask(task.spec.id, "enough", T0);
    await store.retryTask(task.spec.id, T0);
    await store.extendAllLeases(T0 + 20_000);
    expect(await store.nextBackoffEnd(T0)).toBe(T0 + 20_000);
    await store.extendAllLeases(T0 - 3_600_000 + 15_000);
    expect(await store.listReady(T0 - 3_600_000 + 14_999, 10)).toEqual([]);
    expect(await store.listReady(T0 - 3_600_000 + 15_000, 10)).toHaveLength(1);
  });

  test("waits no longer than any lease is, where the clock that gave it was ahead", async () => {
    await using harness = await open();
    const { store } = harness;
    const { task } = await createRunning(store, taskSpec("t"));
    await store.cancelTask(task.spec.id, "enough", T0);
    const now = T0 - 365 * 24 * 3_600_000;
    expect(await store.retryTask(task.spec.id, now)).toMatchObject({ heldUntil: now + LEASE_MS_MAX });
  });

  test("a run whose attempt has ended by itself waits for no lease", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("t"));
    await settle(store, 1, 1, FAILED);
    expect(await store.retryTask(taskId("t"), T0)).toMatchObject({ heldUntil: undefined });
    expect(await store.listReady(T0, 10)).toHaveLength(1);
  });
}

async function get(store: Store, id = "t"): Promise<Task> {
  const task = await store.getTask(taskId(id));
  if (task === undefined) throw new Error(`no task ${id}`);
  return task;
}

async function settle(store: Store, run: number, attempt: number, end: AttemptEnd, id = "t") {
  const named = attemptOf(await get(store, id), run, attempt);
  expect(await store.lease(named, WORKER_A, T0, T0 + 15_000)).toBe(true);
  return store.settle(named, end, { now: T0, backoffJitter: 0 });
}

/** Settles what is ready and what then becomes so, with these ends in turn. */
async function settleAll(store: Store, attempt: number, ...ends: readonly AttemptEnd[]): Promise<void> {
  const task = await get(store);
  for (let ready = await store.listReady(T0, 1_000); ready.length > 0; ready = await store.listReady(T0, 1_000)) {
    await Promise.all(
      ready.map(async ({ index, nextAttempt }) => {
        expect(nextAttempt).toBe(attempt);
        const named = attemptOf(task, index, attempt);
        const leased = store.lease(named, WORKER_A, T0, T0 + 15_000);
        const end = ends[index % ends.length];
        if (end === undefined) throw new Error("no ends");
        await Promise.all([leased, store.settle(named, end, { now: T0, backoffJitter: 0 })]);
      }),
    );
  }
}
