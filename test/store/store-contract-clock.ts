/** The store's contract: what becomes of the slots of cron when the wall clock is put back, and the clock's mark. */
import { expect, test } from "vitest";
import type { Store } from "../../src/store/store.ts";
import type { OpenStore } from "./store-harness.ts";
import { T0, WORKER_A, attemptEnd, attemptOf, create, taskId, taskSpec } from "./store-samples.ts";

const MINUTE = 60_000;
const YEAR = 365 * 24 * 60 * MINUTE;
/** T0 is a whole minute. */
const EVERY_MINUTE = { cron: "* * * * *", repeats: 0 };

export function describeClock(open: OpenStore): void {
  test("a cron task goes on from now when the clock is put back that was a year ahead", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("t", EVERY_MINUTE));
    await promote(store, T0 + YEAR, T0 + YEAR);
    expect(await slots(store)).toEqual([T0 + YEAR, T0 + YEAR + MINUTE]);
    expect(await store.promoteDue(T0 + 30_000, 10)).toMatchObject({
      promoted: [],
      changedTasks: [],
      nextDueAt: T0 + MINUTE,
    });
    expect(await store.getTask(taskId("t"))).toMatchObject({ nextRunAt: T0 + MINUTE });
    await promote(store, T0 + 2 * MINUTE);
    expect(await slots(store)).toEqual([T0 + YEAR, T0 + MINUTE, T0 + 2 * MINUTE, T0 + 3 * MINUTE]);
  });

  test("a task that was made by a clock that was ahead does not wait for that time", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("t", EVERY_MINUTE), T0 + YEAR);
    expect(await store.promoteDue(T0, 10)).toMatchObject({ nextDueAt: T0 + MINUTE });
  });

  test("a slot that has fired does not fire again, whatever has become of its run", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("t", { ...EVERY_MINUTE, retries: 0 }));
    await promote(store, T0 + 3 * MINUTE);
    await end(store, 1, T0 + 3 * MINUTE);
    await end(store, 2, T0 + 3 * MINUTE, 1);
    await promote(store, T0);
    expect(await store.getTask(taskId("t"))).toMatchObject({ nextRunAt: T0 + 4 * MINUTE });
    expect((await promote(store, T0 + 3.5 * MINUTE)).promoted).toEqual([]);
    expect((await promote(store, T0 + 4 * MINUTE)).promoted).toHaveLength(1);
    expect(await slots(store)).toEqual([1, 2, 3, 4, 5].map((each) => T0 + each * MINUTE));
  });

  test("slots that the clock has left out when it was put forward fire when it comes to them", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("t", EVERY_MINUTE));
    await promote(store, T0 + MINUTE);
    await promote(store, T0 + 4.5 * MINUTE, T0 + 4.5 * MINUTE);
    await promote(store, T0 + 1.5 * MINUTE);
    for (const minutes of [2, 3, 4, 5]) await promote(store, T0 + minutes * MINUTE);
    const minutes = (await slots(store)).map((slot) => (slot - T0) / MINUTE);
    expect(minutes).toEqual([1, 4, 2, 3, 5, 6]);
  });

  test.each([
    ["latest", [10]],
    ["all", [10]],
    ["none", []],
  ] as const)("a clock that was behind for a while has missed nothing more, catchup=%s", async (catchup, madeUpFor) => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("t", { ...EVERY_MINUTE, catchup }), T0 + 8.5 * MINUTE);
    await promote(store, T0 + 9 * MINUTE);
    await promote(store, T0 - YEAR);
    expect(await store.getTask(taskId("t"))).toMatchObject({ nextRunAt: T0 - YEAR + MINUTE });
    const right = T0 + 10.5 * MINUTE;
    await promote(store, right, right);
    expect((await slots(store)).map((slot) => (slot - T0) / MINUTE)).toEqual([9, ...madeUpFor, 11]);
  });

  test("where the next run waits for the one before, it is known at once when it is due, and comes then", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("t", { ...EVERY_MINUTE, overlap: "forbid" }));
    await promote(store, T0 + YEAR, T0 + YEAR);
    expect(await store.getTask(taskId("t"))).toMatchObject({ nextRunAt: T0 + YEAR + MINUTE });
    await promote(store, T0 + 30_000);
    expect(await store.getTask(taskId("t"))).toMatchObject({ nextRunAt: T0 + MINUTE });
    expect(await end(store, 1, T0 + 45_000)).toMatchObject({ task: { nextRunAt: T0 + MINUTE } });
    expect((await promote(store, T0 + MINUTE)).promoted).toMatchObject([{ index: 2 }]);
  });

  test("a run that ends before it was seen that the clock was put back is followed by the next slot from now", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("t", { ...EVERY_MINUTE, overlap: "forbid" }));
    await promote(store, T0 + YEAR, T0 + YEAR);
    expect(await end(store, 1, T0 + 45_000)).toMatchObject({ task: { nextRunAt: T0 + MINUTE } });
  });

  test("a task that is retried goes on from now, whatever the clock said when it was cancelled", async () => {
    await using harness = await open();
    const { store } = harness;
    for (const [id, overlap] of [
      ["t", "allow"],
      ["u", "forbid"],
    ] as const) {
      await create(store, taskSpec(id, { ...EVERY_MINUTE, overlap }));
      await promote(store, T0 + YEAR, T0 + YEAR);
      await store.cancelTask(taskId(id), "enough", T0 + YEAR);
      await store.retryTask(taskId(id), T0 + 30_000);
      const { nextRunAt } = (await store.getTask(taskId(id))) ?? {};
      expect(nextRunAt).toBe(T0 + MINUTE);
    }
  });

  test("a task whose dependency has ended by a clock that was ahead begins now", async () => {
    await using harness = await open();
    const { store } = harness;
    const first = await create(store, taskSpec("first"));
    await create(store, taskSpec("t", { ...EVERY_MINUTE, after: [taskId("first")] }));
    await store.lease(attemptOf(first), WORKER_A, T0 + YEAR, T0 + YEAR + 1_000);
    await store.settle(attemptOf(first), attemptEnd(), { now: T0 + YEAR, backoffJitter: 0 });
    await promote(store, T0 + 30_000);
    expect(await store.getTask(taskId("t"))).toMatchObject({ nextRunAt: T0 + MINUTE });
  });

  test("it is seen to in batches, also over a restart, and repeats counts what has fired by the clock that was ahead", async () => {
    await using harness = await open();
    const ids = Array.from({ length: 25 }, (_, index) => `t${index}`);
    for (const id of ids) await create(harness.store, taskSpec(id, { ...EVERY_MINUTE, repeats: 2 }));
    await promote(harness.store, T0 + YEAR, T0 + YEAR);
    await harness.reopen?.();
    const { store } = harness;
    const moved = async () => {
      const all = await Promise.all(ids.map((id) => store.getTask(taskId(id))));
      return all.filter((task) => task?.nextRunAt === T0 + MINUTE).length;
    };
    expect(await store.promoteDue(T0 + 30_000, 10)).toMatchObject({ promoted: [], nextDueAt: T0 + 30_000 });
    expect(await moved()).toBe(10);
    expect((await promote(store, T0 + 30_000, -Infinity, 10)).nextDueAt).toBe(T0 + MINUTE);
    expect(await moved()).toBe(25);
    await promote(store, T0 + 10 * MINUTE);
    expect(await slots(store, "t7")).toEqual([T0 + YEAR, T0 + MINUTE]);
  });

  test("very many slots that have fired are passed over step by step, and none of them fires", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("t", { cron: "* * * * * *", repeats: 0 }));
    const lived = 1_100;
    for (let until = 220; until <= lived; until += 220) {
      await promote(store, T0 + until * 1_000);
      const runs = Array.from({ length: 220 }, (_, index) => until - index);
      await Promise.all(runs.map((run) => end(store, run, T0 + until * 1_000)));
    }
    await promote(store, T0);
    // It waits at one that has fired, and looks further then.
    expect((await promote(store, T0 + (lived - 1) * 1_000)).promoted).toEqual([]);
    expect((await promote(store, T0 + lived * 1_000)).promoted).toEqual([]);
    expect((await promote(store, T0 + (lived + 1) * 1_000)).promoted).toMatchObject([{ index: lived + 1 }]);
    const found = await slots(store);
    expect(found).toEqual([...new Set(found)]);
  });

  test("passing over very many slots that have fired, to find the next one, is work too", async () => {
    await using harness = await open();
    const { store } = harness;
    const ids = ["t", "u", "v"];
    for (const id of ids) await create(store, taskSpec(id, { cron: "* * * * * *", repeats: 0 }));
    // Of the first twenty seconds only the last one's slot fires, and all of the forty behind it.
    await promote(store, T0 + 20_000, T0 + 20_000);
    await promote(store, T0 + 60_000);
    await promote(store, T0 + 18_500);
    const first = await store.promoteDue(T0 + 19_000, 10);
    expect(first.promoted).toMatchObject([{ task: "t" }]);
    expect(first.nextDueAt).toBe(T0 + 19_000);
    const rest = await promote(store, T0 + 19_000, -Infinity, 10);
    expect(rest.promoted).toMatchObject([{ task: "u" }, { task: "v" }]);
    expect(rest.nextDueAt).toBe(T0 + 61_000);
  });

  test("a back-off that was given by a clock that was a year ahead lasts as long as one may from now on, and is given once", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("t", { retries: 3, backoffMs: 4_000, repeats: 2 }));
    await end(store, 1, T0 + YEAR, 1);
    await end(store, 2, T0, 1);
    await harness.reopen?.();
    expect(await promote(harness.store, T0)).toMatchObject({ nextDueAt: T0 + 2_000 });
    expect(await waits(harness.store, T0)).toEqual([T0 + 4_000, T0 + 2_000]);
    expect((await promote(harness.store, T0 + 3_000)).nextDueAt).toBe(T0 + 4_000);
    expect(await harness.store.promoteDue(T0 + 4_000, 10)).toMatchObject({ hasEndedBackoffs: true });
    expect(await harness.store.listReady(T0 + 4_000, 10)).toMatchObject([{ index: 1 }, { index: 2 }]);
  });

  test("a back-off that is longer the more often a run was tried, or that was asked for, is not taken for one that is too long", async () => {
    await using harness = await open();
    const { store } = harness;
    const day = 24 * 60 * MINUTE;
    await create(store, taskSpec("t", { retries: 3, backoffMs: day }));
    await end(store, 1, T0 + 5, 1, { backoffJitter: 1 });
    expect(await promote(store, T0 + 5)).toMatchObject({ nextDueAt: T0 + 5 + day });
    await create(store, taskSpec("u", { retries: 3, backoffMs: 1_000 }));
    for (const [attempt, at] of [T0, T0 + 2_000, T0 + 5_000].entries()) {
      await end(store, 1, at, 1, { backoffJitter: 1, name: "u", attempt: attempt + 1 });
    }
    expect(await promote(store, T0 + 5_000)).toMatchObject({ nextDueAt: T0 + 9_000 });
    expect(await promote(store, T0 + 4_000)).toMatchObject({ nextDueAt: T0 + 8_000 });
  });

  test("back-offs of a clock that was ahead are seen to in batches, and those of one that went wrong again too", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("t", { retries: 5, backoffMs: 1_000, repeats: 15 }));
    for (let run = 1; run <= 15; run++) await end(store, run, T0 + YEAR, 1);
    expect(await store.promoteDue(T0, 10)).toMatchObject({ nextDueAt: T0 });
    expect((await waits(store, T0)).filter((until) => until === T0 + 1_000)).toHaveLength(10);
    expect((await promote(store, T0, -Infinity, 10)).nextDueAt).toBe(T0 + 1_000);
    expect(new Set(await waits(store, T0))).toEqual(new Set([T0 + 1_000]));
    expect((await promote(store, T0 - YEAR)).nextDueAt).toBe(T0 - YEAR + 1_000);
  });

  test("a run that waits for the lease of a cancelled attempt goes on waiting when the clock is put back", async () => {
    await using harness = await open();
    const { store } = harness;
    const task = await create(store, taskSpec("t", { backoffMs: 0 }));
    await store.lease(attemptOf(task), WORKER_A, T0, T0 + 15_000);
    await store.cancelTask(taskId("t"), "enough", T0);
    await store.retryTask(taskId("t"), T0);
    expect((await promote(store, T0 - 5_000)).nextDueAt).toBe(T0 + 15_000);
  });

  test("remembers the clock's mark, which may go back", async () => {
    await using harness = await open();
    expect(await harness.store.getClockMark()).toBeUndefined();
    await harness.store.setClockMark(T0 + 0.5);
    await harness.reopen?.();
    expect(await harness.store.getClockMark()).toBe(T0 + 0.5);
    await harness.store.setClockMark(T0 - 1);
    expect(await harness.store.getClockMark()).toBe(T0 - 1);
  });
}

/** All that is due; what the last call said. */
async function promote(store: Store, now: number, missedBefore = -Infinity, limit = 1_000) {
  const promoted: { readonly index: number }[] = [];
  for (;;) {
    const result = await store.promoteDue(now, limit, missedBefore);
    promoted.push(...result.promoted);
    if (result.nextDueAt !== now) return { promoted, nextDueAt: result.nextDueAt };
  }
}

async function slots(store: Store, id = "t"): Promise<readonly number[]> {
  const runs = (await store.listRuns(taskId(id), { fromIndex: 1, limit: 2_000 })) ?? [];
  return runs.map((run) => run.dueAt);
}

/** Until when the first runs of the task `t` wait. */
async function waits(store: Store, now: number): Promise<readonly number[]> {
  const { openRuns = [] } = (await store.inspectTask(taskId("t"), now)) ?? {};
  return openRuns.map(({ notBefore }) => notBefore);
}

/** Leases a run of a task (default: `t`) and settles it with this exit code. */
async function end(
  store: Store,
  run: number,
  now: number,
  code = 0,
  { backoffJitter = 0, name = "t", attempt = 1 }: { backoffJitter?: number; name?: string; attempt?: number } = {},
) {
  const task = await store.getTask(taskId(name));
  if (task === undefined) throw new Error("no task");
  expect(await store.lease(attemptOf(task, run, attempt), WORKER_A, now, now + 15_000)).toBe(true);
  return store.settle(attemptOf(task, run, attempt), attemptEnd({ kind: "exited", code }), { now, backoffJitter });
}
