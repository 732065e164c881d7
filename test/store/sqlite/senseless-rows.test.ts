/**
 * Rows that SQLite can read and that make no sense. None of them is obeyed, and none is passed over in silence: whoever
 * meets one is told that the database is damaged, and the store says so from then on.
 */
import { copyFileSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { afterAll, beforeAll, expect, test } from "vitest";
import { assert } from "../../../src/base/errors.ts";
import type { SqliteStore } from "../../../src/store/sqlite/sqlite-store.ts";
import { UnreadableTask } from "../../../src/store/trouble.ts";
import { T0, attemptEnd, attemptOf, create, createRunning, taskId, taskSpec, WORKER_A } from "../store-samples.ts";
import { SqliteHarness } from "./sqlite-harness.ts";

const LATER = T0 + 100_000;
const NOW = { now: LATER, backoffJitter: 0 };
const ALL = { limit: 10 };

const get = (id: string) => (store: SqliteStore) => store.getTask(taskId(id));
const list = async (store: SqliteStore) => {
  for (let cursor: string | undefined, isFirst = true; isFirst || cursor !== undefined; isFirst = false) {
    ({ cursor } = await store.listTasks({ ...ALL, cursor }));
  }
};
const listRuns = (id: string) => (store: SqliteStore) => store.listRuns(taskId(id), { fromIndex: 1, limit: 10 });
const cancel = (id: string) => (store: SqliteStore) => store.cancelTask(taskId(id), "enough", LATER);
const promote = (store: SqliteStore) => store.promoteDue(LATER, 10);
const listReady = (store: SqliteStore) => store.listReady(T0, 10);
const settle = (store: SqliteStore) => store.settle(attemptOf({ ...RUNNING, serial: 2 }), attemptEnd(), NOW);
const leaseReady = async (store: SqliteStore) => {
  const [ready] = await listReady(store);
  const id = { task: taskId("ready"), serial: ready?.serial ?? 0, run: 1, attempt: ready?.nextAttempt ?? 0 };
  return store.lease(id, WORKER_A, T0, LATER);
};

const RUNNING = { spec: taskSpec("running") } as Parameters<typeof attemptOf>[0];

/** Counts that go with it. */
const RUNS_OF_3 = "UPDATE tasks SET scheduled = 0, running = 1, state = 'running' WHERE serial = 3";

/** Is only copied. */
let whole: SqliteHarness;
beforeAll(async () => {
  whole = await SqliteHarness.open();
  await fill(whole.store);
  await whole.store.close();
});
afterAll(() => whole[Symbol.asyncDispose]());

/** Serials 1 to 5. */
async function fill(store: SqliteStore): Promise<void> {
  await create(store, taskSpec("ready"));
  await createRunning(store, taskSpec("running"));
  await create(store, taskSpec("scheduled", { firstDueAt: T0 + 60_000, repeats: 3, delayMs: 60_000 }));
  await create(store, taskSpec("nightly", { cron: "* * * * *", repeats: 0 }));
  const { attempt } = await createRunning(store, taskSpec("done"));
  await store.settle(attempt, attemptEnd(), { now: T0, backoffJitter: 0 });
}

test.for<readonly [string, string, (store: SqliteStore) => Promise<unknown>]>([
  ["a spec that is an empty object", "UPDATE specs SET spec = '{}' WHERE serial = 1", listReady],
  ["a spec that is null", "UPDATE specs SET spec = 'null' WHERE serial = 1", get("ready")],
  ["a spec whose entry is none", "UPDATE specs SET spec = json_set(spec, '$.entry', 'NO') WHERE serial = 1", list],
  ["a spec of another task", "UPDATE specs SET spec = (SELECT spec FROM specs WHERE serial = 2)", get("ready")],
  ["a spec that is gone", "DELETE FROM specs WHERE serial = 1", listReady],
  ["JSON that SQLite cannot read", "UPDATE specs SET spec = '{' WHERE serial = 2", (store) => store.listRunning()],
  ["an unknown state of a run", "UPDATE runs SET state = 'bogus' WHERE task = 1", listRuns("ready")],
  ["an unknown state of a run that is cancelled", "UPDATE runs SET state = 'bogus' WHERE task = 1", cancel("ready")],
  ["a run that is over without an outcome", "UPDATE runs SET state = 'failed' WHERE task = 1", cancel("ready")],
  ["a negative number of attempts", "UPDATE runs SET attempt = -1 WHERE task = 1", leaseReady],
  ["a number that is too large", "UPDATE runs SET attempt = 9007199254740993 WHERE task = 2", settle],
  [
    "an attempt that has not begun",
    "UPDATE runs SET state = 'ready', attempt = 0 WHERE task = 2",
    async (store) => {
      const id = { task: taskId("running"), serial: 2, run: 1, attempt: 1 };
      return store.lease(id, WORKER_A, T0, LATER);
    },
  ],
  ["an unknown state of an attempt", "UPDATE attempts SET state = 'bogus'", listRuns("done")],
  ["a worker that is none", "UPDATE attempts SET worker = ''", listRuns("done")],
  ["a time that is none", "UPDATE attempts SET started_at = 1e300", listRuns("done")],
  ["a log that begins behind its end", "UPDATE runs SET attempt_offset = 9 WHERE task = 2", settle],
  ["an outcome of no kind", `UPDATE runs SET outcome = '{"kind":"x"}' WHERE task = 5`, listRuns("done")],
  ["a result that is null", "UPDATE runs SET result = 'null' WHERE task = 5", list],
  ["an inspection that is a list", "UPDATE modules SET inspection = '[]'", (store) => store.listModules(ALL)],
  ["a task's state that its runs do not have", "UPDATE tasks SET state = 'succeeded' WHERE serial = 1", list],
  ["counts that do not add up", "UPDATE tasks SET succeeded = 7 WHERE serial = 1", get("ready")],
  [
    "an end of a task that has not ended",
    "UPDATE tasks SET finished_at = 1 WHERE serial = 1",
    (store) => store.forgetFinished(T0, 10),
  ],
  ["an unknown policy", "UPDATE tasks SET overlap = 'bogus' WHERE serial = 3", promote],
  ["a negative delay", "UPDATE tasks SET delay_ms = -1 WHERE serial = 3", promote],
  ["a cron expression that is none", "UPDATE tasks SET cron = 'often' WHERE serial = 4", promote],
  ["a run without its task", "DELETE FROM tasks WHERE serial = 3", promote],
  ["a ready run without its task", "DELETE FROM tasks WHERE serial = 1", leaseReady],
  ["a running one without its task", "DELETE FROM tasks WHERE serial = 2", settle],
  ["runs that were not made", "UPDATE tasks SET made = 0, scheduled = 0 WHERE serial = 3", promote],
  ["a table that is gone", "DROP TABLE graves", (store) => store.deleteTask(taskId("ready"))],
])("%s is damage", { timeout: 60_000 }, async ([, sql, act]) => {
  await using harness = await SqliteHarness.open((path) => {
    copyFileSync(whole.path, path);
    using file = new DatabaseSync(path);
    file.exec(sql);
  });
  const { store } = harness;
  await expect(act(store)).rejects.toMatchObject({ type: "failed", code: "store-unavailable", trouble: "damaged" });
  const trouble = await store.check();
  expect(trouble).toMatchObject({ kind: "damaged", message: expect.stringContaining("restore it") });
  expect(trouble?.message.match(/damaged/g)).toHaveLength(1);
  await expect(create(store, taskSpec("more"))).rejects.toMatchObject({ code: "store-unavailable" });
  expect((await store.measureQueue()).tasks).toBeGreaterThan(0);
});

test.each([
  ["a row", "UPDATE tasks SET state = 'succeeded' WHERE serial = 3"],
  ["a spec", "UPDATE specs SET spec = '{}' WHERE serial = 3"],
  ["another's spec", "UPDATE specs SET spec = (SELECT spec FROM specs WHERE serial = 4) WHERE serial = 3"],
  ["a spec that is gone", "DELETE FROM specs WHERE serial = 3"],
  ["an attempt", "UPDATE runs SET state = 'running', started_at = 1e300 WHERE task = 3; " + RUNS_OF_3],
])("a list ends before a task of which %s cannot be read, names it, and goes on behind it", async (_, sql) => {
  await using harness = await SqliteHarness.open((path) => {
    copyFileSync(whole.path, path);
    using file = new DatabaseSync(path);
    file.exec(sql);
  });
  const { store } = harness;
  const { tasks, cursor } = await store.listTasks(ALL);
  expect(tasks.map(({ serial }) => serial)).toEqual([5, 4]);
  expect(await store.check()).toMatchObject({ kind: "damaged" });
  const unreadable = await store.listTasks({ ...ALL, cursor }).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  assert(unreadable instanceof UnreadableTask, "the damage is told");
  expect(unreadable).toMatchObject({ trouble: "damaged", code: "store-unavailable", task: "scheduled" });
  const rest = await store.listTasks({ ...ALL, cursor: unreadable.cursor });
  expect(rest).toEqual({ tasks: [expect.anything(), expect.anything()], cursor: undefined });
});

test("a time zone that this machine does not know is no damage, and holds no other task up", async () => {
  await using harness = await SqliteHarness.open((path) => {
    copyFileSync(whole.path, path);
    using file = new DatabaseSync(path);
    file.exec("UPDATE tasks SET timezone = 'Nowhere' WHERE serial = 4");
  });
  const { store } = harness;
  const { promoted } = await store.promoteDue(LATER, 100);
  expect(promoted.map(({ serial }) => serial)).toContain(3);
  expect(await store.check()).toBeUndefined();
});
