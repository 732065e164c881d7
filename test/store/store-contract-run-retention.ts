/** The store's contract: which runs of tasks without end are forgotten, and what goes with them. */
import { expect, test } from "vitest";
import { assert } from "../../src/base/errors.ts";
import { type Digest, parseDigest } from "../../src/base/ids.ts";
import { KEPT_FILES_MAX, STORE_FORGET_OUTPUT_BYTES, STORE_FREED_BLOBS_MAX } from "../../src/base/limits.ts";
import {
  EVERY_SECOND,
  LATER,
  NONE_FREED,
  carryOut,
  createEndless,
  end,
  get,
  indexes,
  keptFile,
  lease,
  live,
  slot,
} from "./endless-tasks.ts";
import type { OpenStore } from "./store-harness.ts";
import {
  FAILED,
  LOST,
  T0,
  attemptEnd,
  attemptOf,
  create,
  createRunning,
  digest,
  taskId,
  taskSpec,
} from "./store-samples.ts";

export function describeRunRetention(open: OpenStore): void {
  test("forgets the old runs of a task without end, and goes on counting them", async () => {
    await using harness = await open();
    const { store } = harness;
    const task = await createEndless(store, "t", 5);
    const [before, openRuns] = [await get(store, "t"), await store.countOpenRuns()];
    expect(before).toMatchObject({ firstRun: 1, counts: { succeeded: 5, scheduled: 1 } });
    expect(await store.forgetRuns(LATER, 10, 0)).toEqual({ forgotten: 4, freed: NONE_FREED, next: undefined });
    expect(await get(store, "t")).toEqual({ ...before, firstRun: 5 });
    expect((await store.listTasks({ limit: 10 })).tasks).toEqual([{ ...before, firstRun: 5 }]);
    expect((await store.inspectTask(taskId("t"), LATER))?.task.firstRun).toBe(5);
    expect(await store.countOpenRuns()).toEqual(openRuns);
    for (const run of [1, 4]) {
      expect(await store.getRun(taskId("t"), run)).toBeUndefined();
      expect(await store.readOutput(taskId("t"), run, { offset: 0, bytesMax: 10 })).toBeUndefined();
    }
    expect(await store.readOutput(taskId("t"), 5, { offset: 0, bytesMax: 10 })).toMatchObject({ outputBytes: 5 });
    expect(await store.getLatestStartedRun(taskId("t"))).toMatchObject({ index: 5, serial: task.serial });
    expect(await store.forgetRuns(LATER, 10, 0)).toEqual({ forgotten: 0, freed: NONE_FREED, next: undefined });
  });

  test("lists runs from the first one that is known", async () => {
    await using harness = await open();
    const { store } = harness;
    await createEndless(store, "t", 5);
    await store.forgetRuns(slot(4), 10, 0);
    expect(await indexes(store, "t", 1, 10)).toEqual([4, 5, 6]);
    expect(await indexes(store, "t", 1, 2)).toEqual([4, 5]);
    expect(await indexes(store, "t", 3, 1)).toEqual([4]);
    expect(await indexes(store, "t", 4, 1)).toEqual([4]);
    expect(await indexes(store, "t", 6, 10)).toEqual([6]);
    expect(await indexes(store, "t", 7, 10)).toEqual([]);
  });

  test.each(["ready", "running"])("stops at a run that is %s", async (state) => {
    await using harness = await open();
    const { store } = harness;
    const task = await create(store, taskSpec("t", EVERY_SECOND));
    await store.promoteDue(slot(6), 10);
    for (const run of [1, 2, 4, 5]) await carryOut(store, task, run);
    if (state === "running") await lease(store, task, 3);
    expect(await store.forgetRuns(LATER, 10, 0)).toMatchObject({ forgotten: 2 });
    expect(await indexes(store, "t", 1, 10)).toEqual([3, 4, 5, 6, 7]);
    if (state === "ready") await lease(store, task, 3);
    await end(store, task, 3);
    await carryOut(store, task, 6);
    expect(await store.forgetRuns(LATER, 10, 0)).toMatchObject({ forgotten: 3 });
    expect(await indexes(store, "t", 1, 10)).toEqual([6, 7]);
  });

  test("stops at a run that was due then or later, or ended then or later", async () => {
    await using harness = await open();
    const { store } = harness;
    await createEndless(store, "t", 5);
    const endedAt = slot(3) + 100;
    for (const [before, firstRun] of [
      [slot(1), 1],
      [slot(3), 3],
      [slot(3) + 1, 3],
      [endedAt, 3],
      [endedAt + 1, 4],
      [slot(2), 4],
    ] as const) {
      await store.forgetRuns(before, 10, 0);
      expect((await get(store, "t")).firstRun).toBe(firstRun);
    }
  });

  test("stops at a run that was over before some time, where that is asked for", async () => {
    await using harness = await open();
    const { store } = harness;
    await createEndless(store, "t", 5);
    const endedAt = slot(1) + 100;
    expect(await store.forgetRuns(LATER, 10, 0, endedAt + 1)).toMatchObject({ forgotten: 0 });
    expect(await store.forgetRuns(slot(3), 10, 0, endedAt)).toMatchObject({ forgotten: 2 });
    expect(await store.forgetRuns(LATER, 10, 0, slot(4))).toMatchObject({ forgotten: 0 });
    expect(await indexes(store, "t", 1, 10)).toEqual([3, 4, 5, 6]);
  });

  test("a run was over when it was due, or its last attempt ended, whatever was later", async () => {
    await using harness = await open();
    const { store } = harness;
    const task = await create(store, taskSpec("t", EVERY_SECOND));
    await store.promoteDue(slot(4), 10);
    await lease(store, task, 1);
    await end(store, task, 1, { how: LOST, at: slot(9) });
    await carryOut(store, task, 1, { attempt: 2 });
    // By a clock that was behind then.
    await carryOut(store, task, 2, { at: T0 + 1 });
    for (const run of [3, 4]) await carryOut(store, task, run);
    expect(await store.forgetRuns(LATER, 10, 0, slot(9) + 1)).toMatchObject({ forgotten: 0 });
    expect(await store.forgetRuns(LATER, 10, 0, slot(9))).toMatchObject({ forgotten: 1 });
    expect(await store.forgetRuns(LATER, 10, 0, slot(2) + 1)).toMatchObject({ forgotten: 0 });
    expect(await store.forgetRuns(LATER, 10, 0, slot(2))).toMatchObject({ forgotten: 2 });
  });

  test("stops at a run that was due then or later by a clock that was put back since", async () => {
    await using harness = await open();
    const { store } = harness;
    const task = await create(store, taskSpec("t", EVERY_SECOND));
    await store.promoteDue(slot(4), 10);
    for (const run of [1, 2, 3, 4]) await carryOut(store, task, run, { at: T0 + 1 });
    expect(await store.forgetRuns(slot(2), 10, 0)).toMatchObject({ forgotten: 1 });
    expect(await store.forgetRuns(slot(2) + 1, 10, 0)).toMatchObject({ forgotten: 1 });
  });

  test("keeps what is older behind a run that ended late, by any of its attempts", async () => {
    await using harness = await open();
    const { store } = harness;
    const task = await create(store, taskSpec("t", EVERY_SECOND));
    await store.promoteDue(slot(4), 10);
    await lease(store, task, 1);
    // By a clock that was ahead then.
    await end(store, task, 1, { how: LOST, at: slot(60) });
    await carryOut(store, task, 1, { attempt: 2 });
    for (const run of [2, 3, 4]) await carryOut(store, task, run);
    expect(await store.forgetRuns(slot(60), 10, 0)).toMatchObject({ forgotten: 0 });
    expect(await store.forgetRuns(slot(60) + 1, 10, 0)).toMatchObject({ forgotten: 3 });
  });

  test("keeps the run that ended last, whose result the task shows", async () => {
    await using harness = await open();
    const { store } = harness;
    const task = await create(store, taskSpec("t", EVERY_SECOND));
    await store.promoteDue(slot(4), 10);
    for (const run of [1, 2, 3, 4]) await lease(store, task, run);
    for (const run of [1, 3, 4]) await end(store, task, run);
    await end(store, task, 2, { how: attemptEnd({ kind: "exited", code: 0 }, { value: "two" }) });
    expect(await store.forgetRuns(LATER, 10, 0)).toMatchObject({ forgotten: 1 });
    expect((await get(store, "t")).result).toMatchObject({ value: "two" });
    expect(await indexes(store, "t", 1, 10)).toEqual([2, 3, 4, 5]);
  });

  test("keeps the run that started last", async () => {
    await using harness = await open();
    const { store } = harness;
    const task = await create(store, taskSpec("t", EVERY_SECOND));
    await store.promoteDue(slot(4), 10);
    for (const run of [1, 3, 4, 2]) await lease(store, task, run);
    for (const run of [1, 2, 3, 4]) await end(store, task, run);
    expect(await store.forgetRuns(LATER, 10, 0)).toMatchObject({ forgotten: 1 });
    expect(await store.getLatestStartedRun(taskId("t"))).toMatchObject({ index: 2 });
  });

  test("leaves tasks alone that have an end, or have come to theirs", async () => {
    await using harness = await open();
    const { store } = harness;
    const slots = await create(store, taskSpec("slots", { ...EVERY_SECOND, repeats: 4 }));
    const delays = await create(store, taskSpec("delays", { firstDueAt: slot(1), delayMs: 1_000, repeats: 4 }));
    const cancelled = await create(store, taskSpec("cancelled", EVERY_SECOND));
    await create(store, taskSpec("waiting", { ...EVERY_SECOND, after: [taskId("delays")] }));
    await store.promoteDue(slot(3), 10);
    for (const task of [slots, delays, cancelled]) for (const run of [1, 2, 3]) await carryOut(store, task, run);
    await store.cancelTask(taskId("cancelled"), "enough", slot(4));
    expect(await store.forgetRuns(LATER, 10, 0)).toEqual({ forgotten: 0, freed: NONE_FREED, next: undefined });
    for (const id of ["slots", "delays", "cancelled"]) expect(await indexes(store, id, 1, 10)).toEqual([1, 2, 3, 4]);
  });

  test("passes a task over whose runs an operator has tried again, until all of them are", async () => {
    await using harness = await open();
    const { store } = harness;
    const task = await create(store, taskSpec("t", { ...EVERY_SECOND, overlap: "forbid" }));
    await live(store, task, [1, 2, 3], FAILED);
    await store.cancelTask(taskId("t"), "enough", slot(3) + 200);
    await store.retryTask(taskId("t"), slot(3) + 300);
    for (const run of [1, 2]) await carryOut(store, task, run, { attempt: 2 });
    expect(await store.forgetRuns(LATER, 10, 0)).toMatchObject({ forgotten: 0 });
    await carryOut(store, task, 3, { attempt: 2 });
    await live(store, task, [4]);
    expect(await store.forgetRuns(LATER, 10, 0)).toMatchObject({ forgotten: 3 });
    expect(await get(store, "t")).toMatchObject({ firstRun: 4, counts: { succeeded: 4, scheduled: 1 } });
  });

  test("looks at so many tasks, in their order, and forgets so many runs of all of them", async () => {
    await using harness = await open();
    const { store } = harness;
    const [a, b, c] = [
      await create(store, taskSpec("a", EVERY_SECOND)),
      await create(store, taskSpec("b", EVERY_SECOND)),
      await create(store, taskSpec("c", EVERY_SECOND)),
    ];
    await store.promoteDue(slot(4), 100);
    for (const task of [a, b, c]) for (const run of [1, 2, 3, 4]) await carryOut(store, task, run);
    const firstRuns = async () =>
      (await store.listTasks({ limit: 10 })).tasks.map(({ firstRun }) => firstRun).toReversed();
    expect(await store.forgetRuns(LATER, 5, 0)).toEqual({ forgotten: 5, freed: NONE_FREED, next: b.serial - 1 });
    expect(await firstRuns()).toEqual([4, 3, 1]);
    expect(await store.forgetRuns(LATER, 10, b.serial)).toEqual({ forgotten: 3, freed: NONE_FREED, next: undefined });
    expect(await firstRuns()).toEqual([4, 3, 4]);
    expect(await store.forgetRuns(LATER, 2, a.serial - 1)).toMatchObject({ forgotten: 1, next: b.serial });
    expect(await firstRuns()).toEqual([4, 4, 4]);
    for (const [after, next] of [
      [0, a.serial],
      [a.serial, b.serial],
      [b.serial, c.serial],
      [c.serial, undefined],
    ] as const) {
      expect(await store.forgetRuns(LATER, 1, after)).toEqual({ forgotten: 0, freed: NONE_FREED, next });
    }
  });

  test("forgets a run at a time where that is wanted, and comes to the end of it", async () => {
    await using harness = await open();
    const { store } = harness;
    for (const id of ["a", "b"]) await createEndless(store, id, 3);
    let forgotten = 0;
    let after: number | undefined = 0;
    for (let calls = 0; after !== undefined && calls < 20; calls += 1) {
      const step = await store.forgetRuns(LATER, 1, after);
      forgotten += step.forgotten;
      after = step.next;
    }
    expect([forgotten, after]).toEqual([4, undefined]);
  });

  test("stops with the run whose log makes it enough", async () => {
    await using harness = await open();
    const { store } = harness;
    const task = await create(store, taskSpec("t", { ...EVERY_SECOND, outputBytesMax: STORE_FORGET_OUTPUT_BYTES }));
    await store.promoteDue(slot(5), 10);
    for (const run of [1, 2, 3, 4, 5]) {
      await lease(store, task, run);
      const output = new Uint8Array(run < 3 ? STORE_FORGET_OUTPUT_BYTES / 2 : 1);
      await store.appendOutput(attemptOf(task, run), 0, "stdout", output);
      await end(store, task, run);
    }
    expect(await store.forgetRuns(LATER, 10, 0)).toMatchObject({ forgotten: 2, next: task.serial - 1 });
    expect(await store.forgetRuns(LATER, 10, task.serial - 1)).toMatchObject({ forgotten: 2, next: undefined });
  });

  test("frees the files kept of the runs, each once, whether something else refers to them or not", async () => {
    await using harness = await open();
    const { store } = harness;
    const input = { path: "in", digest: digest("4"), bytes: 1 };
    const task = await create(store, taskSpec("t", { ...EVERY_SECOND, files: [input] }));
    const other = await createRunning(store, taskSpec("other"));
    await store.keepFile(other.attempt, keptFile("o", "3"), { hasBytes: true });
    await store.settle(other.attempt, attemptEnd(), { now: T0, backoffJitter: 0 });
    await store.promoteDue(slot(4), 10);
    await carryOut(store, task, 1, { files: [keptFile("x", "1"), keptFile("y", "2"), keptFile("z", "4")] });
    await carryOut(store, task, 2, { files: [keptFile("x", "1")] });
    await carryOut(store, task, 3, { files: [keptFile("x", "3"), keptFile("z", "5")] });
    await carryOut(store, task, 4, { files: [keptFile("x", "1")] });
    const { forgotten, freed } = await store.forgetRuns(slot(3), 10, 0);
    expect([forgotten, freed.digests.toSorted(), freed.hasMore]).toEqual([2, ["1", "2", "4"].map(digest), false]);
    // Of its fourth run, nobody, an input file.
    expect(await Promise.all(freed.digests.toSorted().map((each) => store.isBlobUsed(each)))).toEqual([
      true,
      false,
      true,
    ]);
    expect(await store.findKeptFile(taskId("t"), "x", 1)).toBeUndefined();
    expect(await store.findKeptFile(taskId("t"), "y")).toBeUndefined();
    expect(await store.findKeptFile(taskId("t"), "z")).toMatchObject({ digest: digest("5"), run: 3 });
    const more = await store.forgetRuns(LATER, 10, 0);
    expect([more.forgotten, more.freed.digests.toSorted()]).toEqual([1, ["3", "5"].map(digest)]);
    expect([await store.isBlobUsed(digest("3")), await store.isBlobUsed(digest("5"))]).toEqual([true, false]);
    expect(await store.findKeptFile(taskId("t"), "x")).toEqual({ ...keptFile("x", "1"), run: 4 });
    expect(await store.findKeptFile(taskId("t"), "z")).toBeUndefined();
  });

  test("says of many blobs that there are more", async () => {
    await using harness = await open();
    const { store } = harness;
    const task = await create(store, taskSpec("t", EVERY_SECOND));
    const runs = Array.from(
      { length: Math.ceil((STORE_FREED_BLOBS_MAX + 1) / KEPT_FILES_MAX) },
      (_, index) => index + 1,
    );
    await store.promoteDue(slot(runs.length + 1), 10);
    for (const run of runs) {
      await lease(store, task, run);
      const kept = Array.from({ length: KEPT_FILES_MAX }, (_, index) => {
        const file = { path: `f${index}`, digest: digestOf(run * KEPT_FILES_MAX + index), bytes: 1 };
        return store.keepFile(attemptOf(task, run), file, { hasBytes: true });
      });
      await Promise.all(kept);
      await end(store, task, run);
    }
    await carryOut(store, task, runs.length + 1);
    const { forgotten, freed } = await store.forgetRuns(LATER, 10, 0);
    expect([forgotten, new Set(freed.digests).size, freed.hasMore]).toEqual([runs.length, STORE_FREED_BLOBS_MAX, true]);
  });
}

function digestOf(number: number): Digest {
  const parsed = parseDigest(number.toString(16).padStart(64, "0"));
  assert(parsed !== undefined, `${number} is a number`);
  return parsed;
}
