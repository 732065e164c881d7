/** The store's contract: the files that tasks are given, and those that are kept of their runs. */
import { expect, test } from "vitest";
import { KEPT_FILES_BYTES_MAX, KEPT_FILES_MAX } from "../../src/base/limits.ts";
import type { Outcome } from "../../src/model/outcome.ts";
import type { Task } from "../../src/model/task.ts";
import type { FileContent } from "../../src/model/task-file.ts";
import type { OpenStore } from "./store-harness.ts";
import {
  LOST,
  T0,
  WORKER_A,
  attemptEnd,
  attemptOf,
  create,
  createRunning,
  digest,
  taskId,
  taskSpec,
} from "./store-samples.ts";

const SETTLED = { now: T0 + 100, backoffJitter: 0 };
const NONE_FREED = { digests: [], hasMore: false };
const WITH_BYTES = { hasBytes: true };

function file(path: string, digit = "1", bytes = 10): FileContent {
  return { path, digest: digest(digit), bytes };
}

export function describeFiles(open: OpenStore): void {
  test("gives a task's files and globs back as they were submitted", async () => {
    await using harness = await open();
    const from = { task: taskId("other"), run: 2, path: "x" };
    const files = [file("a/é"), { ...file("b", "2", 0), from }, { path: "c", from: { ...from, run: undefined } }];
    const task = await create(harness.store, taskSpec("t", { files, outputs: ["**/*.txt"] }));
    const found = await harness.store.getTask(task.spec.id);
    expect(found?.spec.files).toEqual(files);
    expect(found?.spec.outputs).toEqual(["**/*.txt"]);
  });

  test("keeps what has arrived of an attempt with its settlement, and not before", async () => {
    await using harness = await open();
    const { store } = harness;
    const { attempt } = await createRunning(store, taskSpec("t"));
    for (const each of [file("out/b", "2"), file("out/a"), file("z", "3", 0)]) {
      expect(await store.keepFile(attempt, each, WITH_BYTES)).toBe("kept");
    }
    expect((await store.getRun(attempt.task, 1))?.files).toEqual([]);
    expect(await store.findKeptFile(attempt.task, "z")).toBeUndefined();
    const settled = await store.settle(attempt, attemptEnd({ kind: "exited", code: 3 }), SETTLED);
    const files = [file("out/a"), file("out/b", "2"), file("z", "3", 0)];
    expect(settled).toMatchObject({ kind: "settled", run: { files }, freed: NONE_FREED });
    expect((await store.getRun(attempt.task, 1))?.files).toEqual(files);
    expect((await store.listRuns(attempt.task, { fromIndex: 1, limit: 10 }))?.[0]?.files).toEqual(files);
    expect(await store.findKeptFile(attempt.task, "z")).toEqual({ ...file("z", "3", 0), run: 1 });
    expect(await store.findKeptFile(attempt.task, "out")).toBeUndefined();
    expect(await store.findKeptFile(taskId("other"), "z")).toBeUndefined();
  });

  test("keeps a file once, however often it comes, and no other one in its place", async () => {
    await using harness = await open();
    const { attempt } = await createRunning(harness.store, taskSpec("t"));
    const keep = (each: FileContent, hasBytes = true) => harness.store.keepFile(attempt, each, { hasBytes });
    expect(await keep(file("a"))).toBe("kept");
    expect(await keep(file("a"))).toBe("kept");
    expect(await keep(file("a"), false)).toBe("kept");
    expect(await keep(file("a", "2"))).toBe("conflict");
    expect(await keep(file("a", "1", 11))).toBe("conflict");
  });

  test("asks for the bytes of what the attempt cannot be known to have", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("other", { files: [file("x", "5")], firstDueAt: T0 + 1_000 }));
    const { attempt } = await createRunning(store, taskSpec("t", { files: [file("given", "4", 7)] }));
    const keep = (each: FileContent) => store.keepFile(attempt, each, { hasBytes: false });
    expect(await keep(file("new"))).toBe("needs-bytes");
    expect(await keep(file("of another", "5"))).toBe("needs-bytes");
    expect(await keep(file("the module", "a"))).toBe("needs-bytes");
    expect(await keep(file("given", "4", 7))).toBe("kept");
    expect(await store.keepFile(attempt, file("new"), WITH_BYTES)).toBe("kept");
    expect(await keep(file("again"))).toBe("kept");
  });

  test("takes no more files, and no more bytes, than are kept of a run", async () => {
    await using harness = await open();
    const { store } = harness;
    const { attempt } = await createRunning(store, taskSpec("bytes"));
    expect(await store.keepFile(attempt, file("a", "1", KEPT_FILES_BYTES_MAX - 1), WITH_BYTES)).toBe("kept");
    expect(await store.keepFile(attempt, file("b", "2", 2), WITH_BYTES)).toBe("too-many");
    expect(await store.keepFile(attempt, file("b", "2", 1), WITH_BYTES)).toBe("kept");
    const { attempt: other } = await createRunning(store, taskSpec("count"));
    const paths = Array.from({ length: KEPT_FILES_MAX + 1 }, (_, index) => file(`f${index}`, "1", 0));
    const results = await Promise.all(paths.map((each) => store.keepFile(other, each, WITH_BYTES)));
    expect(results.filter((result) => result === "kept")).toHaveLength(KEPT_FILES_MAX);
    expect(results.at(-1)).toBe("too-many");
  });

  test("takes nothing of an attempt that is over, is not the one under way, or has not begun", async () => {
    await using harness = await open();
    const { store } = harness;
    const { task, attempt } = await createRunning(store, taskSpec("t", { retries: 1, backoffMs: 0 }));
    const keep = (id = attempt) => store.keepFile(id, file("a"), WITH_BYTES);
    expect(await keep({ ...attempt, attempt: 2 })).toBe("stale");
    expect(await keep({ ...attempt, run: 2 })).toBe("stale");
    expect(await keep({ ...attempt, serial: attempt.serial + 1 })).toBe("stale");
    await store.settle(attempt, LOST, SETTLED);
    expect(await keep()).toBe("stale");
    await store.lease(attemptOf(task, 1, 2), WORKER_A, T0, T0 + 15_000);
    expect(await keep()).toBe("stale");
    expect(await keep(attemptOf(task, 1, 2))).toBe("kept");
  });

  test("forgets what an attempt that is not accepted has handed over, and says so", async () => {
    await using harness = await open();
    const { store } = harness;
    const { task, attempt } = await createRunning(store, taskSpec("t", { retries: 1, backoffMs: 0 }));
    const freed: unknown[] = [];
    const run = async (number: number, digit: string, end = attemptEnd()) => {
      const id = attemptOf(task, 1, number);
      if (number > 1) await store.lease(id, WORKER_A, T0, T0 + 15_000);
      await store.keepFile(id, file(`by-${number}`, digit), WITH_BYTES);
      await store.keepFile(id, file(`also-by-${number}`, digit), WITH_BYTES);
      const settled = await store.settle(id, end, SETTLED);
      freed.push(settled.kind === "settled" ? settled.freed.digests : settled.kind);
    };
    await run(1, "1", LOST);
    await run(2, "2", attemptEnd({ kind: "exited", code: 1 }));
    await run(3, "3");
    expect(freed).toEqual([[digest("1")], [digest("2")], []]);
    expect((await store.getRun(attempt.task, 1))?.files.map(({ path }) => path)).toEqual(["also-by-3", "by-3"]);
    expect(await Promise.all(["1", "2", "3"].map((digit) => store.isBlobUsed(digest(digit))))).toEqual([
      false,
      false,
      true,
    ]);
  });

  test.each([
    { kind: "trapped", reason: "unreachable" },
    { kind: "timed-out", reason: "it took long" },
    { kind: "output-exceeded" },
  ] as const)("keeps nothing of a guest that has ended otherwise: $kind", async (outcome) => {
    await using harness = await open();
    const { attempt } = await createRunning(harness.store, taskSpec("t"));
    await harness.store.keepFile(attempt, file("a"), WITH_BYTES);
    const settled = await harness.store.settle(attempt, attemptEnd(outcome), SETTLED);
    expect(settled).toMatchObject({ run: { files: [] }, freed: { digests: [digest("1")], hasMore: false } });
  });

  test("replaces what a run had kept when it is over once more", async () => {
    await using harness = await open();
    const { store } = harness;
    const { task, attempt } = await createRunning(store, taskSpec("t"));
    const settle = async (number: number, digit: string, outcome: Outcome) => {
      const id = attemptOf(task, 1, number);
      if (number > 1) {
        await store.retryTask(attempt.task, T0);
        await store.lease(id, WORKER_A, T0, T0 + 15_000);
      }
      await store.keepFile(id, file("out", digit), WITH_BYTES);
      const settled = await store.settle(id, attemptEnd(outcome), SETTLED);
      const files = (await store.getRun(attempt.task, 1))?.files.map(({ digest: found }) => found);
      return [files, settled.kind === "settled" ? settled.freed.digests.toSorted() : settled.kind];
    };
    const failure: Outcome = { kind: "exited", code: 1 };
    expect(await settle(1, "1", failure)).toEqual([[digest("1")], []]);
    expect(await settle(2, "2", failure)).toEqual([[digest("2")], [digest("1")]]);
    expect(await settle(3, "3", { kind: "trapped", reason: "no" })).toEqual([[], [digest("2"), digest("3")]]);
  });

  test("tells what a run has kept while it is tried again, too", async () => {
    await using harness = await open();
    const { store } = harness;
    const { task, attempt } = await createRunning(store, taskSpec("t"));
    await store.keepFile(attempt, file("out"), WITH_BYTES);
    await store.settle(attempt, attemptEnd({ kind: "exited", code: 1 }), SETTLED);
    await store.retryTask(task.spec.id, T0 + 200);
    const again = attemptOf(task, 1, 2);
    await store.lease(again, WORKER_A, T0 + 200, T0 + 9_000);
    const settled = await store.settle(again, LOST, SETTLED);
    expect(settled).toMatchObject({ kind: "settled", run: { state: "ready", files: [file("out")] } });
    expect(await store.getRun(task.spec.id, 1)).toEqual(settled.kind === "settled" && settled.run);
  });

  test("finds the latest run that has kept a file, or the one that is named", async () => {
    await using harness = await open();
    const { store } = harness;
    const task = await create(store, taskSpec("t", { repeats: 3 }));
    const keepIn = async (run: number, ...files: readonly FileContent[]) => {
      const id = attemptOf(task, run);
      await store.lease(id, WORKER_A, T0, T0 + 15_000);
      for (const each of files) await store.keepFile(id, each, WITH_BYTES);
      await store.settle(id, attemptEnd(), SETTLED);
    };
    await keepIn(3);
    await keepIn(2, file("a", "2"));
    await keepIn(1, file("a", "1"), file("b", "1"));
    const find = async (path: string, run?: number) => (await store.findKeptFile(task.spec.id, path, run))?.run;
    expect(await Promise.all([find("a"), find("b"), find("a", 1), find("a", 3), find("a", 4)])).toEqual([
      2,
      1,
      1,
      undefined,
      undefined,
    ]);
  });

  test("finds, for a task that runs after another, what that very one has kept", async () => {
    await using harness = await open();
    const { store } = harness;
    const keep = async (): Promise<Task> => {
      const made = await createRunning(store, taskSpec("t"));
      await store.keepFile(made.attempt, file("out", "1"), WITH_BYTES);
      await store.settle(made.attempt, attemptEnd(), SETTLED);
      return made.task;
    };
    const { spec } = await keep();
    const dependent = await create(store, taskSpec("after", { after: [spec.id] }));
    const stranger = await create(store, taskSpec("stranger"));
    const find = (serial?: number) => store.findKeptFile(spec.id, "out", undefined, serial);
    expect(await find(dependent.serial)).toMatchObject({ run: 1 });
    expect(await find(stranger.serial)).toBeUndefined();
    await store.deleteTask(spec.id);
    expect(await find(dependent.serial)).toBeUndefined();
    // Another task has its id now.
    await keep();
    expect(await find(dependent.serial)).toBeUndefined();
    expect(await find()).toMatchObject({ run: 1 });
  });

  test("knows which blobs are referred to, until the last reference is gone", async () => {
    await using harness = await open();
    const { store } = harness;
    const used = () => Promise.all(["a", "1", "2", "3"].map((digit) => store.isBlobUsed(digest(digit))));
    const { attempt } = await createRunning(store, taskSpec("t", { files: [file("in", "1")] }));
    expect(await used()).toEqual([true, true, false, false]);
    await store.keepFile(attempt, file("out", "2"), WITH_BYTES);
    expect(await used()).toEqual([true, true, true, false]);
    await store.settle(attempt, attemptEnd(), SETTLED);
    await create(store, taskSpec("u", { files: [file("in", "2"), file("too", "2")] }));
    const deleted = await store.deleteTask(attempt.task);
    const freed = deleted.kind === "deleted" ? deleted.freed : undefined;
    expect(freed?.digests.toSorted()).toEqual([digest("1"), digest("2"), digest("a")]);
    expect(await used()).toEqual([true, false, true, false]);
    await store.deleteTask(taskId("u"));
    expect(await used()).toEqual([false, false, false, false]);
  });

  test("a cancelled task lets go of what its attempts have handed over, and keeps what was kept", async () => {
    await using harness = await open();
    const { store } = harness;
    const task = await create(store, taskSpec("t", { repeats: 2, files: [file("in", "3")] }));
    for (const run of [1, 2]) {
      await store.lease(attemptOf(task, run), WORKER_A, T0, T0 + 15_000);
      await store.keepFile(attemptOf(task, run), file("out", String(run)), WITH_BYTES);
    }
    await store.settle(attemptOf(task, 1), attemptEnd(), SETTLED);
    const cancelled = await store.cancelTask(task.spec.id, "enough", T0);
    expect(cancelled).toMatchObject({ freed: { digests: [digest("2")], hasMore: false } });
    expect(await store.keepFile(attemptOf(task, 2), file("late"), WITH_BYTES)).toBe("stale");
    expect(await store.findKeptFile(task.spec.id, "out")).toMatchObject({ run: 1 });
  });

  test("a run that is cancelled while it runs again lets go of what it had kept", async () => {
    await using harness = await open();
    const { store } = harness;
    const { attempt } = await createRunning(store, taskSpec("t"));
    await store.keepFile(attempt, file("out", "2"), WITH_BYTES);
    await store.settle(attempt, attemptEnd({ kind: "exited", code: 1 }), SETTLED);
    await store.retryTask(attempt.task, T0);
    expect(await store.findKeptFile(attempt.task, "out")).toMatchObject({ run: 1 });
    const cancelled = await store.cancelTask(attempt.task, "enough", T0);
    expect(cancelled).toMatchObject({ freed: { digests: [digest("2")], hasMore: false } });
    expect(await store.findKeptFile(attempt.task, "out")).toBeUndefined();
    expect(await store.getRun(attempt.task, 1)).toMatchObject({ state: "cancelled", files: [] });
  });
}
