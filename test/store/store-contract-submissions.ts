/** The store's contract: several tasks at once, submissions that are made once, and the size of the queue. */
import { describe, expect, test } from "vitest";
import {
  BATCH_READY_RUNS_MAX,
  OPEN_RUNS_PER_TASK_MAX,
  SUBMISSION_KEPT_MS,
  SUBMISSION_PURGE_ROWS_MAX,
} from "../../src/base/limits.ts";
import type { TaskSpec } from "../../src/model/task.ts";
import type { NewTask, SubmissionKey } from "../../src/store/store.ts";
import type { OpenStore } from "./store-harness.ts";
import { INSPECTION, T0, WORKER_A, attemptEnd, attemptOf, create, digest, taskId, taskSpec } from "./store-samples.ts";

const KEY: SubmissionKey = { submitter: "local", key: "k1", fingerprint: "f1" };

export function describeSubmissions(open: OpenStore): void {
  describe("several tasks at once", () => {
    test("are made in their order, and one may run after those before it", async () => {
      await using harness = await open();
      const { store } = harness;
      const result = await store.createTasks([fresh("a"), fresh("b", { after: [taskId("a")] }), fresh("c")], T0);
      expect(result).toMatchObject({
        kind: "created",
        tasks: [
          { spec: { id: "a" }, state: "ready" },
          { spec: { id: "b" }, state: "scheduled" },
          { spec: { id: "c" }, state: "ready" },
        ],
        ready: [[1], [], [1]],
      });
      const { tasks } = await store.listTasks({ limit: 10 });
      expect(tasks.map(({ spec }) => spec.id)).toEqual(["c", "b", "a"]);
    });

    test("may run after later ones, and are told in their order all the same", async () => {
      await using harness = await open();
      const { store } = harness;
      const after = (...ids: string[]) => ({ after: ids.map(taskId) });
      const batch = [fresh("d", after("c", "a")), fresh("c", after("b")), fresh("a"), fresh("b", after("a"))];
      expect(await store.createTasks(batch, T0)).toMatchObject({
        kind: "created",
        tasks: [
          { spec: { id: "d" }, state: "scheduled" },
          { spec: { id: "c" }, state: "scheduled" },
          { spec: { id: "a" }, state: "ready" },
          { spec: { id: "b" }, state: "scheduled" },
        ],
        ready: [[], [], [1], []],
      });
      const { tasks } = await store.listTasks({ limit: 10 });
      expect(tasks.map(({ spec }) => spec.id)).toEqual(["b", "a", "c", "d"]);
      await harness.reopen?.();
      const order: string[] = [];
      for (let now = T0 + 1; order.length < 4; now += 1) {
        const [run] = await harness.store.listReady(now, 2);
        if (run === undefined) throw new Error(`only ${order.join(" ")}`);
        const attempt = { task: run.spec.id, serial: run.serial, run: run.index, attempt: run.nextAttempt };
        await harness.store.lease(attempt, WORKER_A, now, now + 1_000);
        await harness.store.settle(attempt, attemptEnd(), { now, backoffJitter: 0 });
        await harness.store.promoteDue(now, 10);
        order.push(run.spec.id);
      }
      expect(order).toEqual(["a", "b", "c", "d"]);
    });

    test("are cancelled with one before them that is, whichever comes first", async () => {
      await using harness = await open();
      const { store } = harness;
      await create(store, taskSpec("over"));
      await store.cancelTask(taskId("over"), "enough", T0);
      const after = (id: string) => ({ after: [taskId(id)] });
      const result = await store.createTasks(
        [fresh("c", after("b")), fresh("b", after("a")), fresh("a", after("over"))],
        T0,
      );
      expect(result).toMatchObject({
        kind: "created",
        tasks: ["c", "b", "a"].map((id) => ({ spec: { id }, state: "cancelled", finishedAt: T0 })),
      });
      expect((await store.getTask(taskId("c")))?.reason).toBe(
        "it runs after b, which was cancelled: it runs after a, which was cancelled: it runs after over, which was cancelled: enough",
      );
      expect((await store.measureQueue()).tasks).toBe(0);
    });

    test("are none where some run after each other: each cycle is named, at its first", async () => {
      await using harness = await open();
      const { store } = harness;
      await create(store, taskSpec("taken"));
      const after = (...ids: string[]) => ({ after: ids.map(taskId) });
      const batch = [
        fresh("x", after("b")),
        fresh("a", after("c", "nobody")),
        fresh("b", after("a")),
        fresh("c", after("b")),
        fresh("own", after("own")),
        // It is the one that is there that it runs after.
        fresh("taken", after("d")),
        fresh("d", after("taken")),
      ];
      expect(await store.createTasks(batch, T0, KEY)).toEqual({
        kind: "refused",
        refusals: [
          { index: 1, refusal: { kind: "bad-dependencies", unknown: ["nobody"], endless: [], cycle: ["a", "c", "b"] } },
          { index: 4, refusal: { kind: "bad-dependencies", unknown: [], endless: [], cycle: ["own"] } },
          { index: 5, refusal: { kind: "id-taken" } },
        ],
      });
      expect((await store.listTasks({ limit: 10 })).tasks.map(({ spec }) => spec.id)).toEqual(["taken"]);
      expect((await store.measureQueue()).tasks).toBe(1);
    });

    test("are all made or none, and every one that cannot be is named", async () => {
      await using harness = await open();
      const { store } = harness;
      await create(store, taskSpec("taken"));
      const batch = [
        fresh("a", { module: digest("b") }),
        fresh("taken"),
        fresh("b", { after: [taskId("c"), taskId("nobody"), taskId("endless")] }),
        fresh("c"),
        fresh("a"),
        fresh("endless", { cron: "* * * * *", repeats: 0 }),
      ];
      expect(await store.createTasks(batch, T0, KEY)).toEqual({
        kind: "refused",
        refusals: [
          { index: 1, refusal: { kind: "id-taken" } },
          { index: 2, refusal: { kind: "bad-dependencies", unknown: ["nobody"], endless: ["endless"] } },
          { index: 4, refusal: { kind: "id-taken" } },
        ],
      });
      expect((await store.measureQueue()).tasks).toBe(1);
      expect((await store.listTasks({ limit: 10 })).tasks).toHaveLength(1);
      expect(await store.listReady(T0, 10)).toHaveLength(1);
      expect(await store.getModule(digest("b"))).toBeUndefined();
      expect(await store.findSubmission(KEY, T0)).toBeUndefined();
    });

    test("have each a run ready that is due, and of all not too many at once", async () => {
      await using harness = await open();
      const { store } = harness;
      const many = { repeats: OPEN_RUNS_PER_TASK_MAX, delayMs: 0 };
      const count = Math.ceil(BATCH_READY_RUNS_MAX / OPEN_RUNS_PER_TASK_MAX) + 2;
      const batch = Array.from({ length: count }, (_, index) => fresh(`t${index}`, many));
      const result = await store.createTasks(batch, T0);
      const ready = result.kind === "created" ? result.ready.map((runs) => runs.length) : [];
      expect(Math.min(...ready)).toBe(1);
      expect(ready.reduce((sum, runs) => sum + runs, 0)).toBeLessThan(BATCH_READY_RUNS_MAX + count);
      const { nextDueAt } = await store.promoteDue(T0, 10_000);
      expect(nextDueAt).toBeUndefined();
      expect((await store.countOpenRuns()).ready).toBe(count * OPEN_RUNS_PER_TASK_MAX);
    });

    test("stand beside other operations of the same moment", async () => {
      await using harness = await open();
      const { store } = harness;
      const [one, batch, two] = await Promise.all([
        store.createTask(taskSpec("one"), INSPECTION, T0),
        store.createTasks([fresh("a"), fresh("one")], T0),
        store.createTask(taskSpec("a"), INSPECTION, T0),
      ]);
      expect([one.kind, batch.kind, two.kind]).toEqual(["created", "refused", "created"]);
    });

    test("none is a batch too", async () => {
      await using harness = await open();
      expect(await harness.store.createTasks([], T0, KEY)).toEqual({ kind: "created", tasks: [], ready: [] });
      expect(await harness.store.findSubmission(KEY, T0)).toEqual({ kind: "repeated", tasks: [] });
    });
  });

  describe("a submission with a key", () => {
    test("is made once, and told again as it was told first", async () => {
      await using harness = await open();
      const spec = taskSpec("t", { stdin: Uint8Array.of(1, 2, 3), repeats: 3, delayMs: 1_000 });
      const first = await harness.store.createTask(spec, INSPECTION, T0, KEY);
      if (first.kind !== "created") throw new Error(first.kind);
      const attempt = attemptOf(first.task);
      await harness.store.lease(attempt, WORKER_A, T0, T0 + 1_000);
      await harness.store.settle(attempt, attemptEnd(), { now: T0, backoffJitter: 0 });
      await harness.reopen?.();
      const again = await harness.store.createTask(taskSpec("other"), INSPECTION, T0 + 5, KEY);
      expect(again).toEqual({ kind: "repeated", task: first.task });
      expect(await harness.store.findSubmission(KEY, T0 + 5)).toEqual({ kind: "repeated", tasks: [first.task] });
      expect((await harness.store.measureQueue()).tasks).toBe(1);
    });

    test("is one task, however many come at once", async () => {
      await using harness = await open();
      const { store } = harness;
      const results = await Promise.all(
        Array.from({ length: 10 }, (_, each) => store.createTask(taskSpec(`t${each}`), INSPECTION, T0, KEY)),
      );
      expect(results.map(({ kind }) => kind)).toEqual(["created", ...Array<string>(9).fill("repeated")]);
      expect((await store.measureQueue()).tasks).toBe(1);
    });

    test("is refused for something else, by whatever way it comes", async () => {
      await using harness = await open();
      const { store } = harness;
      await store.createTask(taskSpec("t"), INSPECTION, T0, KEY);
      const other = { ...KEY, fingerprint: "f2" };
      expect(await store.createTask(taskSpec("u"), INSPECTION, T0, other)).toEqual({ kind: "key-mismatch" });
      expect(await store.createTasks([fresh("u")], T0, other)).toEqual({ kind: "key-mismatch" });
      expect(await store.findSubmission(other, T0)).toEqual({ kind: "key-mismatch" });
      expect(await store.getTask(taskId("u"))).toBeUndefined();
    });

    test("is its submitter's alone", async () => {
      await using harness = await open();
      const { store } = harness;
      await store.createTask(taskSpec("t"), INSPECTION, T0, KEY);
      const theirs = { ...KEY, submitter: "token:x", fingerprint: "f2" };
      expect(await store.createTask(taskSpec("u"), INSPECTION, T0, theirs)).toMatchObject({ kind: "created" });
    });

    test("is told again though its task was deleted, and its id used anew", async () => {
      await using harness = await open();
      const { store } = harness;
      const first = await store.createTask(taskSpec("t", { description: "the first" }), INSPECTION, T0, KEY);
      await store.deleteTask(taskId("t"));
      await create(store, taskSpec("t"));
      const again = await store.createTask(taskSpec("t"), INSPECTION, T0, KEY);
      expect(again).toMatchObject({ kind: "repeated", task: { spec: { description: "the first" } } });
      expect(first.kind === "created" && again.kind === "repeated" && again.task).toEqual(
        first.kind === "created" && first.task,
      );
    });

    test("is forgotten after a day, and the key free again", async () => {
      await using harness = await open();
      const { store } = harness;
      await store.createTask(taskSpec("t"), INSPECTION, T0, KEY);
      await store.deleteTask(taskId("t"));
      expect((await store.findSubmission(KEY, T0 + SUBMISSION_KEPT_MS - 1))?.kind).toBe("repeated");
      const later = T0 + SUBMISSION_KEPT_MS;
      expect(await store.findSubmission(KEY, later)).toBeUndefined();
      expect(await store.createTask(taskSpec("t"), INSPECTION, later, KEY)).toMatchObject({ kind: "created" });
      expect((await store.findSubmission(KEY, later))?.kind).toBe("repeated");
    });

    test("may be one of several tasks", async () => {
      await using harness = await open();
      const { store } = harness;
      const count = SUBMISSION_PURGE_ROWS_MAX + 10;
      const batch = Array.from({ length: count }, (_, each) => fresh(`t${each}`));
      const first = await store.createTasks(batch, T0, KEY);
      if (first.kind !== "created") throw new Error(first.kind);
      expect(await store.createTasks(batch, T0 + 1, KEY)).toEqual({ kind: "repeated", tasks: first.tasks });
      // What others submit a day later may remove it in pieces.
      for (const each of [1, 2, 3]) {
        const key = { ...KEY, key: `later${each}` };
        await store.createTask(taskSpec(`u${each}`), INSPECTION, T0 + SUBMISSION_KEPT_MS, key);
      }
      expect(await store.findSubmission(KEY, T0 + SUBMISSION_KEPT_MS)).toBeUndefined();
      expect((await store.listTasks({ limit: 1_000 })).tasks).toHaveLength(count + 3);
    });
  });

  describeSubmitterLimits(open);

  test("knows how many runs are open, by their states, and forgets those of deleted tasks", async () => {
    await using harness = await open();
    const { store } = harness;
    expect(await store.countOpenRuns()).toEqual({ scheduled: 0, ready: 0, running: 0 });
    await create(store, taskSpec("later", { firstDueAt: T0 + 1_000 }));
    await create(store, taskSpec("now", { repeats: 3, delayMs: 10 }));
    const under = await create(store, taskSpec("under-way"));
    await store.lease(attemptOf(under), WORKER_A, T0, T0 + 1_000);
    expect(await store.countOpenRuns()).toEqual({ scheduled: 2, ready: 1, running: 1 });
    await store.promoteDue(T0 + 1_000, 10);
    expect(await store.countOpenRuns()).toEqual({ scheduled: 0, ready: 4, running: 1 });
    await store.settle(attemptOf(under), attemptEnd(), { now: T0, backoffJitter: 0 });
    await store.cancelTask(taskId("later"), "enough", T0);
    expect(await store.countOpenRuns()).toEqual({ scheduled: 0, ready: 3, running: 0 });
    await store.retryTask(taskId("later"), T0 + 1_000);
    expect(await store.countOpenRuns()).toEqual({ scheduled: 0, ready: 4, running: 0 });
    await store.deleteTask(taskId("now"));
    await store.deleteTask(taskId("later"));
    expect(await store.countOpenRuns()).toEqual({ scheduled: 0, ready: 0, running: 0 });
  });

  test("knows how much is unfinished, in tasks and in bytes", async () => {
    await using harness = await open();
    const { store } = harness;
    expect(await store.measureQueue()).toEqual({ tasks: 0, bytes: 0 });
    await create(store, taskSpec("small"));
    const small = await store.measureQueue();
    const large = await create(store, taskSpec("large", { stdin: new Uint8Array(10_000) }));
    const both = await store.measureQueue();
    expect([small.tasks, both.tasks]).toEqual([1, 2]);
    expect(both.bytes - 2 * small.bytes).toBeGreaterThanOrEqual(10_000);
    expect(both.bytes - 2 * small.bytes).toBeLessThan(10_100);
    await store.lease(attemptOf(large), WORKER_A, T0, T0 + 1_000);
    await store.settle(attemptOf(large), attemptEnd(), { now: T0, backoffJitter: 0 });
    expect(await store.measureQueue()).toEqual(small);
    await store.deleteTask(taskId("large"));
    expect(await store.measureQueue()).toEqual(small);
    await store.deleteTask(taskId("small"));
    expect(await store.measureQueue()).toEqual({ tasks: 0, bytes: 0 });
  });
}

function describeSubmitterLimits(open: OpenStore): void {
  describe("a submitter's limit of unfinished tasks", () => {
    const submitter = "token:a";
    const limitOf = (unfinishedMax: number, ...others: readonly string[]) => ({
      submitter,
      limits: [{ submitters: [submitter, ...others], unfinishedMax }],
    });
    const limit = limitOf(2);
    const own = (id: string) => taskSpec(id, { submitter });

    test("holds for submissions of the same moment too, and for nobody else", async () => {
      await using harness = await open();
      const { store } = harness;
      await create(store, taskSpec("other", { submitter: "token:b" }));
      const results = await Promise.all(
        ["a", "b", "c"].map((id) => store.createTask(own(id), INSPECTION, T0, undefined, limit)),
      );
      expect(results.map(({ kind }) => kind)).toEqual(["created", "created", "submitter-full"]);
      expect(results[2]).toEqual({ kind: "submitter-full", unfinished: 2 });
      expect(await store.getTask(taskId("c"))).toBeUndefined();
      expect((await store.createTask(own("d"), INSPECTION, T0)).kind).toBe("created");
    });

    test("counts every task of a batch, and takes all of them or none", async () => {
      await using harness = await open();
      const { store } = harness;
      const batch = (...ids: string[]) => ids.map((id) => fresh(id, { submitter }));
      const refused = await store.createTasks(batch("a", "b", "c"), T0, KEY, limit);
      expect(refused).toEqual({ kind: "submitter-full", unfinished: 0 });
      expect((await store.measureQueue()).tasks).toBe(0);
      expect((await store.createTasks(batch("a", "b"), T0, KEY, limit)).kind).toBe("created");
      // The same submission again is no further one.
      expect((await store.createTasks(batch("a", "b"), T0, KEY, limit)).kind).toBe("repeated");
    });

    test("counts the tasks of all who share it", async () => {
      await using harness = await open();
      const { store } = harness;
      await create(store, taskSpec("theirs", { submitter: "token:b" }));
      const shared = { submitter, limits: [...limitOf(5).limits, ...limitOf(2, "token:b", "token:c").limits] };
      const submit = async (id: string) => store.createTask(own(id), INSPECTION, T0, undefined, shared);
      expect((await submit("a")).kind).toBe("created");
      expect(await submit("b")).toEqual({ kind: "submitter-full", unfinished: 2 });
    });

    test("leaves room again when a task ends, is cancelled or deleted, and takes it when one is retried", async () => {
      await using harness = await open();
      const { store } = harness;
      const one = limitOf(1);
      const submit = async (id: string) => (await store.createTask(own(id), INSPECTION, T0, undefined, one)).kind;
      const settled = await create(store, own("settled"));
      expect(await submit("x")).toBe("submitter-full");
      await store.lease(attemptOf(settled), WORKER_A, T0, T0 + 1_000);
      await store.settle(attemptOf(settled), attemptEnd(), { now: T0, backoffJitter: 0 });
      expect(await submit("cancelled")).toBe("created");
      await store.cancelTask(taskId("cancelled"), "enough", T0);
      expect(await submit("deleted")).toBe("created");
      expect(await store.retryTask(taskId("cancelled"), T0, one)).toEqual({ kind: "submitter-full", unfinished: 1 });
      await store.deleteTask(taskId("deleted"));
      const others = { submitter: "token:b", limits: [{ submitters: ["token:b"], unfinishedMax: 0 }] };
      expect((await store.retryTask(taskId("cancelled"), T0, others)).kind).toBe("retried");
      expect(await submit("y")).toBe("submitter-full");
      await store.deleteTask(taskId("cancelled"));
      expect(await submit("z")).toBe("created");
    });
  });
}

function fresh(id: string, changes: Partial<TaskSpec> = {}): NewTask {
  return { spec: taskSpec(id, changes), inspection: INSPECTION };
}
