/** The store's contract: tasks, modules, admissions. */
import { expect, test } from "vitest";
import { completions } from "../../src/model/task.ts";
import type { OpenStore } from "./store-harness.ts";
import {
  INSPECTION,
  T0,
  WORKER_A,
  WORKER_B,
  attemptEnd,
  attemptOf,
  bytesOf,
  create,
  createRunning,
  digest,
  peerId,
  taskId,
  taskSpec,
} from "./store-samples.ts";

export function describeTasks(open: OpenStore): void {
  test("gives a task back as it was submitted", async () => {
    await using harness = await open();
    const { store } = harness;
    const spec = taskSpec("full", {
      submitter: "token:someone",
      description: "näme \u0000 \ud800 ✓",
      entry: "run",
      input: -5,
      difficulty: 3,
      args: ["a b", ""],
      env: { KEY: "VALUE", __proto__x: "1" },
      stdin: new Uint8Array([0, 255, 1]),
      complete: 7,
      delayMs: 0.5,
      repeats: 4,
      retryOn: ["trapped"],
      require: { os: "linux" },
    });
    const task = await create(store, spec);
    expect(task.spec).toEqual(spec);
    expect(await store.getTask(spec.id)).toEqual(task);
    expect(task).toMatchObject({ createdAt: T0, isCancelled: false, state: "ready", runningSince: [] });
    expect(completions(task)).toBe(7);
  });

  test("says that an id is taken, and changes nothing", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("one", { description: "first" }));
    const second = await store.createTask(taskSpec("one", { module: digest("b") }), INSPECTION, T0);
    expect(second).toEqual({ kind: "id-taken" });
    expect((await store.getTask(taskId("one")))?.spec.description).toBe("first");
    expect(await store.getModule(digest("b"))).toBeUndefined();
    expect((await store.measureQueue()).tasks).toBe(1);
  });

  test("gives one of many tasks with the same id its place", async () => {
    await using harness = await open();
    const tries = Array.from({ length: 20 }, () => harness.store.createTask(taskSpec("same"), INSPECTION, T0));
    const kinds = (await Promise.all(tries)).map((result) => result.kind);
    expect(kinds.filter((kind) => kind === "created")).toHaveLength(1);
  });

  test("finds tasks by their ids, and which have no end", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("a"));
    await create(store, taskSpec("b", { cron: "* * * * *", repeats: 0 }));
    const gone = await create(store, taskSpec("gone"));
    await store.deleteTask(gone.spec.id);
    const found = await store.findTasks(["gone", "b", "a", "never"].map(taskId));
    expect(found.toSorted((one, other) => (one.id < other.id ? -1 : 1))).toEqual([
      { id: "a", isEndless: false },
      { id: "b", isEndless: true },
    ]);
    expect(await store.findTasks([])).toEqual([]);
  });

  test("knows nothing of what is not there", async () => {
    await using harness = await open();
    const { store } = harness;
    const none = taskId("none");
    expect(await store.getTask(none)).toBeUndefined();
    expect(await store.listRuns(none, { fromIndex: 1, limit: 10 })).toBeUndefined();
    expect(await store.getRun(none, 1)).toBeUndefined();
    expect(await store.getLatestStartedRun(none)).toBeUndefined();
    expect(await store.readOutput(none, 1, { offset: 0, bytesMax: 10 })).toBeUndefined();
    expect(await store.cancelTask(none, "why", T0)).toEqual({ kind: "no-such-task" });
    expect(await store.deleteTask(none)).toEqual({ kind: "no-such-task" });
    expect(await store.listTasks({ limit: 10 })).toEqual({ tasks: [] });
  });

  test("reads what was called before, without waiting for its answer", async () => {
    await using harness = await open();
    const { store } = harness;
    void store.createTask(taskSpec("early"), INSPECTION, T0);
    expect((await store.getTask(taskId("early")))?.spec.id).toBe("early");
  });

  test("lists tasks newest first, page by page", async () => {
    await using harness = await open();
    const { store } = harness;
    for (let index = 1; index <= 7; index += 1) await create(store, taskSpec(`t${index}`));
    const pages: string[][] = [];
    let cursor: string | undefined;
    do {
      const page = await store.listTasks({ limit: 3, cursor });
      pages.push(page.tasks.map((task) => task.spec.id));
      cursor = page.cursor;
      if (pages.length === 1) await create(store, taskSpec("newer"));
    } while (cursor !== undefined);
    expect(pages).toEqual([["t7", "t6", "t5"], ["t4", "t3", "t2"], ["t1"]]);
  });

  test("gives no cursor when a page ends with the last task", async () => {
    await using harness = await open();
    for (const id of ["a", "b"]) await create(harness.store, taskSpec(id));
    expect((await harness.store.listTasks({ limit: 2 })).cursor).toBeUndefined();
  });

  test.each(["", "x", "dGFza3M6LTE", "dGFza3M6MQ=="])("refuses the cursor %j", async (cursor) => {
    await using harness = await open();
    await expect(harness.store.listTasks({ limit: 1, cursor })).rejects.toMatchObject({ code: "invalid-cursor" });
  });

  test("lists the tasks in a state, and no others", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("later", { firstDueAt: T0 + 1_000 }));
    await create(store, taskSpec("ready"));
    const { attempt } = await createRunning(store, taskSpec("done"));
    await store.settle(attempt, attemptEnd(), { now: T0, backoffJitter: 0 });
    await createRunning(store, taskSpec("running"));
    for (const state of ["scheduled", "ready", "running", "succeeded", "failed"] as const) {
      const { tasks } = await store.listTasks({ state, limit: 10 });
      expect(tasks.map((task) => task.state)).toEqual(state === "failed" ? [] : [state]);
    }
    const running = await store.listTasks({ state: "running", limit: 10 });
    expect(running.tasks[0]?.runningSince).toEqual([T0]);
  });

  test("pages through a state", async () => {
    await using harness = await open();
    const { store } = harness;
    for (let index = 1; index <= 4; index += 1) {
      await create(store, taskSpec(`r${index}`));
      await create(store, taskSpec(`s${index}`, { firstDueAt: T0 + 1_000 }));
    }
    const first = await store.listTasks({ state: "ready", limit: 3 });
    expect(first.tasks.map((task) => task.spec.id)).toEqual(["r4", "r3", "r2"]);
    const second = await store.listTasks({ state: "ready", limit: 3, cursor: first.cursor });
    expect(second.tasks.map((task) => task.spec.id)).toEqual(["r1"]);
    expect(second.cursor).toBeUndefined();
  });

  test("ends a page early rather than give too many bytes", async () => {
    await using harness = await open();
    const { store } = harness;
    for (let index = 0; index < 4; index += 1) {
      await create(store, taskSpec(`big${index}`, { stdin: new Uint8Array(8 * 1024 * 1024).fill(index) }));
    }
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await store.listTasks({ limit: 100, cursor });
      expect(page.tasks.length).toBeLessThan(4);
      seen.push(...page.tasks.map((task) => `${task.spec.id} ${task.spec.stdin.length} ${task.spec.stdin[0]}`));
      cursor = page.cursor;
    } while (cursor !== undefined);
    expect(seen).toEqual([3, 2, 1, 0].map((index) => `big${index} 8388608 ${index}`));
  });

  test("counts unfinished tasks", async () => {
    await using harness = await open();
    const { store } = harness;
    const { attempt } = await createRunning(store, taskSpec("a"));
    await create(store, taskSpec("b"));
    await create(store, taskSpec("c"));
    await create(store, taskSpec("d", { repeats: 2 }));
    const counts = [(await store.measureQueue()).tasks];
    await store.settle(attempt, attemptEnd(), { now: T0, backoffJitter: 0 });
    counts.push((await store.measureQueue()).tasks);
    await store.cancelTask(taskId("b"), "enough", T0);
    counts.push((await store.measureQueue()).tasks);
    expect(await store.deleteTask(taskId("b"))).toMatchObject({ wasUnfinished: false });
    expect(await store.deleteTask(taskId("c"))).toMatchObject({ wasUnfinished: true });
    counts.push((await store.measureQueue()).tasks);
    expect(counts).toEqual([4, 3, 2, 1]);
  });

  test("cancels each open run and those that are not made", async () => {
    await using harness = await open();
    const { store } = harness;
    const { attempt } = await createRunning(store, taskSpec("many", { repeats: 3, delayMs: 1_000 }), T0);
    const result = await store.cancelTask(attempt.task, "asked to", T0 + 5);
    expect(result).toMatchObject({
      kind: "cancelled",
      running: [attempt],
      runs: [
        { index: 1, attempt: 1 },
        { index: 2, attempt: 0 },
      ],
      task: { state: "cancelled", isCancelled: true, reason: "asked to", finishedAt: T0 + 5 },
    });
    const runs = await store.listRuns(attempt.task, { fromIndex: 1, limit: 10 });
    expect(runs?.map((run) => [run.index, run.state, run.outcome])).toEqual([
      [1, "cancelled", { kind: "cancelled", reason: "asked to" }],
      [2, "cancelled", { kind: "cancelled", reason: "asked to" }],
    ]);
    expect(runs?.[0]?.attempts).toMatchObject([{ number: 1, state: "cancelled", finishedAt: T0 + 5 }]);
    expect(await store.promoteDue(T0 + 60_000, 10)).toMatchObject({ promoted: [], changedTasks: [] });
    expect(await store.listReady(T0 + 60_000, 10)).toEqual([]);
    expect(await store.listRunning()).toEqual([]);
  });

  test("does not cancel what is finished", async () => {
    await using harness = await open();
    const { store } = harness;
    await create(store, taskSpec("a"));
    await store.cancelTask(taskId("a"), "first", T0);
    const again = await store.cancelTask(taskId("a"), "second", T0 + 1);
    expect(again).toMatchObject({ kind: "already-finished", task: { reason: "first", finishedAt: T0 } });
  });

  test("forgets a deleted task, and frees its id", async () => {
    await using harness = await open();
    const { store } = harness;
    const { task, attempt } = await createRunning(store, taskSpec("again", { repeats: 3, delayMs: 10 }));
    await store.appendOutput(attempt, 0, "stdout", bytesOf("old"));
    expect(await store.deleteTask(task.spec.id)).toEqual({
      kind: "deleted",
      wasUnfinished: true,
      running: [attempt],
      hasDependents: false,
      freed: { digests: [digest()], hasMore: false },
    });
    expect(await store.getTask(task.spec.id)).toBeUndefined();
    expect(await store.listRunning()).toEqual([]);
    const second = await create(store, taskSpec("again"));
    expect(second.serial).not.toBe(task.serial);
    expect(await store.readOutput(task.spec.id, 1, { offset: 0, bytesMax: 10 })).toMatchObject({ outputBytes: 0 });
    expect(await store.lease(attemptOf(second), WORKER_A, T0, T0 + 1_000)).toBe(true);
    expect(await store.settle(attempt, attemptEnd(), { now: T0, backoffJitter: 0 })).toEqual({ kind: "stale" });
    expect(await store.appendOutput(attempt, 3, "stdout", bytesOf("x"))).toEqual({ kind: "stale" });
    expect(await store.renew([attempt], WORKER_A, T0 + 9_000)).toEqual([attempt]);
  });

  test("never gives a serial a second time", async () => {
    await using harness = await open();
    const serials: number[] = [];
    for (let round = 0; round < 3; round += 1) {
      serials.push((await create(harness.store, taskSpec("t"))).serial);
      await harness.store.deleteTask(taskId("t"));
      await harness.reopen?.();
    }
    expect(new Set(serials).size).toBe(3);
  });

  test("removes a task with very many runs and goes on meanwhile", async () => {
    await using harness = await open();
    const { store } = harness;
    const task = await create(store, taskSpec("long", { repeats: 1_500 }));
    for (let run = 1; run <= 1_500; run += 1) {
      const attempt = attemptOf(task, run);
      void store.lease(attempt, WORKER_A, T0, T0 + 1_000);
      void store.appendOutput(attempt, 0, "stdout", bytesOf("out"));
      void store.settle(attempt, attemptEnd(), { now: T0, backoffJitter: 0 });
    }
    expect(await store.getTask(task.spec.id)).toMatchObject({ state: "succeeded", counts: { succeeded: 1_500 } });
    expect(await store.deleteTask(task.spec.id)).toMatchObject({ kind: "deleted", running: [] });
    expect(await store.listRuns(task.spec.id, { fromIndex: 1, limit: 10 })).toBeUndefined();
    const next = await create(store, taskSpec("long"));
    expect(await store.listRuns(next.spec.id, { fromIndex: 1, limit: 10 })).toHaveLength(1);
  });

  test("keeps a module's inspection with the first task that brings it", async () => {
    await using harness = await open();
    const { store } = harness;
    expect(await store.getModule(digest())).toBeUndefined();
    await create(store, taskSpec("a"), T0);
    await create(store, taskSpec("b"), T0 + 5);
    expect(await store.getModule(digest())).toEqual({ digest: digest(), inspection: INSPECTION, createdAt: T0 });
  });

  test("knows whether a task refers to a module", async () => {
    await using harness = await open();
    const { store } = harness;
    const used = [await store.isBlobUsed(digest())];
    await create(store, taskSpec("a"));
    await create(store, taskSpec("b"));
    await store.deleteTask(taskId("a"));
    used.push(await store.isBlobUsed(digest()));
    await store.deleteTask(taskId("b"));
    used.push(await store.isBlobUsed(digest()));
    expect(used).toEqual([false, true, false]);
  });

  test("keeps the latest word on a worker's admission", async () => {
    await using harness = await open();
    const { store } = harness;
    const peer = peerId("P");
    expect(await store.getAdmission(peer)).toBeUndefined();
    await store.setAdmission(peer, "admitted", T0);
    expect(await store.getAdmission(peer)).toBe("admitted");
    await store.setAdmission(peer, "barred", T0 + 1);
    expect(await store.getAdmission(peer)).toBe("barred");
    expect(await store.getAdmission(peerId("Q"))).toBeUndefined();
  });

  test("keeps which workers are drained, until that is taken back", async () => {
    await using harness = await open();
    const { store } = harness;
    await store.setDrained(WORKER_A, true, T0);
    await store.setDrained(WORKER_B, true, T0);
    await store.setDrained(WORKER_A, true, T0 + 1);
    expect((await store.listDrained()).toSorted()).toEqual([WORKER_A, WORKER_B]);
    await store.setDrained(WORKER_A, false, T0 + 2);
    await store.setDrained(WORKER_A, false, T0 + 3);
    expect(await store.listDrained()).toEqual([WORKER_B]);
    expect(await store.getAdmission(WORKER_B)).toBeUndefined();
  });

  test("finishes what was called before it closes, and takes no more", async () => {
    await using harness = await open();
    const { store } = harness;
    const created = store.createTask(taskSpec("last"), INSPECTION, T0);
    const closed = store.close();
    expect((await created).kind).toBe("created");
    await Promise.all([closed, store.close()]);
    await expect(store.getTask(taskId("last"))).rejects.toMatchObject({ type: "failed", code: "store-closed" });
  });

  test("has everything after it was opened again", async () => {
    await using harness = await open();
    if (harness.reopen === undefined) return;
    const { task, attempt } = await createRunning(harness.store, taskSpec("kept", { repeats: 2, delayMs: 60_000 }));
    await harness.store.appendOutput(attempt, 0, "stderr", bytesOf("kept too"));
    await harness.store.setAdmission(WORKER_A, "admitted", T0);
    const before = await harness.store.getTask(task.spec.id);
    await harness.reopen();
    const { store } = harness;
    expect(await store.getTask(task.spec.id)).toEqual(before);
    expect(await store.listRunning()).toMatchObject([{ id: attempt, outputBytes: 8 }]);
    expect(await store.getAdmission(WORKER_A)).toBe("admitted");
    expect(await store.settle(attempt, attemptEnd(), { now: T0, backoffJitter: 0 })).toMatchObject({
      kind: "settled",
      run: { result: { stderr: "kept too" } },
    });
  });
}
