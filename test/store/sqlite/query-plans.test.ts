/** No operation goes through a whole table, however large it grows: SQLite's own plans say so. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { SUBMISSION_KEPT_MS } from "../../../src/base/limits.ts";
import { Database } from "../../../src/store/sqlite/database.ts";
import { purge } from "../../../src/store/sqlite/forgetting.ts";
import { type Operations } from "../../../src/store/sqlite/messages.ts";
import { operationsOn } from "../../../src/store/sqlite/operations.ts";
import { encodeNewTask } from "../../../src/store/sqlite/wire.ts";
import { INSPECTION, LOST, T0, WORKER_A, attemptEnd, bytesOf, digest, taskId, taskSpec } from "../store-samples.ts";

test("finds every row by an index", () => {
  const folder = mkdtempSync(join(tmpdir(), "capmesh-plans-"));
  try {
    using db = Database.open(join(folder, "capmesh.db"));
    useEverything(operationsOn(db));
    purge(db, 100);
    const statements = db.statements.filter((sql) => /^\s*(SELECT|UPDATE|DELETE)/.test(sql));
    expect(statements.length).toBeGreaterThan(35);
    expect(statements.flatMap((sql) => scansOf(db, sql))).toEqual([]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

/** `runs_leased` has what is running, and no more; `graves` is read one at a time. Steps that go through a table, or through a task's runs from the first on, where an index would do. */
function scansOf(db: Database, sql: string): readonly string[] {
  const steps = db.all(`EXPLAIN QUERY PLAN ${sql}`).map((row) => String(row.detail));
  return steps
    .filter((step) => /^SCAN (?!\w+ USING INDEX runs_leased)(?!graves|json_each|\(subquery)/.test(step))
    .concat(sql.includes("outcome IS NULL") ? steps.filter((step) => !step.includes("runs_open")) : [])
    .map((step) => `${step}: ${sql}`);
}

/** Calls every operation once at least, each branch that has a statement of its own. */
function useEverything(store: Operations): void {
  const create = (id: string, changes = {}) => {
    store.createTask({ task: encodeNewTask(taskSpec(id, changes), INSPECTION), now: T0, key: undefined });
  };
  const now = T0 + 100;
  create("t", { retries: 1, require: { zone: "eu" }, repeats: 3, firstDueAt: T0 + 10, delayMs: 10 });
  store.promoteDue({ now, limit: 10, missedBefore: now });
  create("dependency");
  create("dependent", { after: [taskId("dependency")] });
  store.deleteTask({ id: taskId("dependency") });
  store.promoteDue({ now, limit: 10, missedBefore: now });
  create("x", { firstDueAt: T0 + 1_000_000 });
  create("y", { after: [taskId("x")] });
  store.cancelTask({ id: taskId("x"), reason: "enough", now });
  store.promoteDue({ now, limit: 10, missedBefore: now });
  store.inspectTask({ id: taskId("y"), now });
  store.retryTask({ id: taskId("x"), now });
  store.retryTask({ id: taskId("y"), now });
  store.deleteTask({ id: taskId("y") });
  create("cron", { cron: "* * * * * *", repeats: 0, catchup: "none" });
  create("endless", { cron: "* * * * * *", repeats: 0 });
  const endless = store.getTask({ id: taskId("endless") });
  store.promoteDue({ now: T0 + 3_000, limit: 10, missedBefore: -Infinity });
  for (const run of [1, 2]) {
    const id = { task: taskId("endless"), serial: endless?.serial ?? 0, run, attempt: 1 };
    store.lease({ id, worker: WORKER_A, now, leaseUntil: now });
    store.settle({ id, end: attemptEnd(), now, backoffJitter: 0, isBlameless: false, isSpecKnown: false });
  }
  expect(store.forgetRuns({ endedFrom: T0, endedBefore: T0 + 10_000, limit: 10, after: 0 }).forgotten).toBe(1);
  store.deleteTask({ id: taskId("endless") });
  const key = { submitter: "local", key: "k", fingerprint: "f" };
  for (const at of [T0, T0 + SUBMISSION_KEPT_MS]) {
    store.createTasks({ tasks: [encodeNewTask(taskSpec(`keyed${at}`), INSPECTION)], now: at, key });
    store.deleteTask({ id: taskId(`keyed${at}`) });
    store.findSubmission({ key, now: at });
  }
  store.createTask({
    task: encodeNewTask(taskSpec("later"), INSPECTION),
    now: T0 + 2 * SUBMISSION_KEPT_MS,
    key: { ...key, key: "later" },
  });
  store.deleteTask({ id: taskId("later") });
  store.measureQueue({});
  store.promoteDue({ now: now + 5_000, limit: 10, missedBefore: now + 5_000 });
  const id = { task: taskId("t"), serial: 1, run: 1, attempt: 1 };
  const settle = { now, backoffJitter: 0, isBlameless: false, isSpecKnown: false };
  store.lease({ id, worker: WORKER_A, now, leaseUntil: now });
  store.renew({ ids: [id], worker: WORKER_A, leaseUntil: now });
  store.extendAllLeases({ leaseUntil: now });
  store.listRunning({ worker: undefined });
  store.listRunning({ worker: WORKER_A });
  store.listExpired({ now: now + 1, limit: 10 });
  for (const offset of [0, 1]) store.appendOutput({ id, offset, stream: "stdout", bytes: bytesOf("x") });
  store.listTasks({ state: undefined, limit: 10, belowSerial: 1e9 });
  store.listTasks({ state: "running", limit: 10, belowSerial: 1e9 });
  store.settle({ id, end: LOST, ...settle });
  const second = { ...id, attempt: 2 };
  store.inspectTask({ id: id.task, now });
  store.listReady({ now, limit: 10 });
  store.listReady({ now, limit: 10, after: { priority: 0, dueAt: now, serial: 1, index: 1 } });
  store.nextDueAt({});
  store.nextBackoffEnd({ now });
  store.lease({ id: second, worker: WORKER_A, now, leaseUntil: now });
  const file = { path: "a", digest: digest("1"), bytes: 1 };
  store.keepFile({ id: second, file, hasBytes: false });
  store.keepFile({ id: second, file, hasBytes: true });
  store.settle({ id: second, end: attemptEnd(), ...settle });
  store.findKeptFile({ task: id.task, path: "a", run: undefined });
  store.findKeptFile({ task: id.task, path: "a", run: 1, dependent: 2 });
  store.isBlobUsed({ digest: digest("f") });
  store.readOutput({ task: id.task, run: 1, stream: undefined, offset: 0, bytesMax: 10 });
  store.getTask({ id: id.task });
  store.listRuns({ id: id.task, fromIndex: 1, limit: 10 });
  store.getLatestStartedRun({ id: id.task });
  store.getModule({ digest: digest() });
  const held = { digest: digest(), inspection: JSON.stringify(INSPECTION) };
  for (const at of [T0, T0 + 1]) store.holdModule({ ...held, now: at });
  store.holdModule({ ...held, digest: digest("e"), now: T0 });
  store.listModules({ limit: 10, below: undefined });
  store.listModules({ limit: 1, below: { createdAt: now, digest: digest() } });
  store.releaseModules({ heldFrom: -Infinity, heldBefore: now, limit: 10, now });
  store.isBlobUsed({ digest: digest() });
  store.setAdmission({ peer: WORKER_A, admission: "barred", now });
  store.getAdmission({ peer: WORKER_A });
  store.setDrained({ peer: WORKER_A, isDrained: true, now });
  store.setDrained({ peer: WORKER_A, isDrained: false, now });
  store.forgetFinished({ endedBefore: now, limit: 10, after: undefined });
  store.look({});
  store.probe({});
  store.cancelTask({ id: id.task, reason: "enough", now });
  store.retryTask({ id: id.task, now });
  store.deleteTask({ id: id.task });
}
