/**
 * Values that are of their column's type and make no sense, and rows that are missing where others say that they are
 * there. As the store's thread meets them: each operation is carried out by itself, on a file of its own.
 */
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DamagedRow } from "../../../src/store/sqlite/damaged-row.ts";
import { Database } from "../../../src/store/sqlite/database.ts";
import type { Operations } from "../../../src/store/sqlite/messages.ts";
import { operationsOn } from "../../../src/store/sqlite/operations.ts";
import { encodeNewTask } from "../../../src/store/sqlite/wire.ts";
import { INSPECTION, T0, WORKER_A, attemptEnd, bytesOf, digest, taskId, taskSpec } from "../store-samples.ts";

const LATER = T0 + 100_000;
const KEY = { submitter: "local", key: "k", fingerprint: "f" };

const promote = (store: Operations) => store.promoteDue({ now: LATER, limit: 10, missedBefore: -Infinity });
const listRuns = (store: Operations) => store.listRuns({ id: taskId("done"), fromIndex: 1, limit: 10 });
const settle = (store: Operations) =>
  store.settle({
    id: { task: taskId("running"), serial: 2, run: 1, attempt: 1 },
    end: attemptEnd(),
    now: LATER,
    backoffJitter: 0,
    isBlameless: false,
    isSpecKnown: false,
  });
const cancel = (store: Operations) => store.cancelTask({ id: taskId("running"), reason: "enough", now: LATER });
const inspect = (store: Operations) => store.inspectTask({ id: taskId("dependent"), now: LATER });
const findSubmission = (store: Operations) => store.findSubmission({ key: KEY, now: T0 });
const readOutput = (store: Operations) =>
  store.readOutput({ task: taskId("done"), run: 1, stream: undefined, offset: 3, bytesMax: 100 });

const NEITHER_WAITS_NOR_NOT = "UPDATE dependencies SET state = 'perhaps' WHERE dependency = 2";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "capmesh-damaged-"));
  using db = Database.open(join(folder, "whole.db"));
  fill(operationsOn(db));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Serials 1 to 5. */
function fill(store: Operations): void {
  const create = (id: string, changes = {}, key?: typeof KEY) =>
    store.createTask({ task: encodeNewTask(taskSpec(id, changes), INSPECTION), now: T0, key });
  const begin = (serial: number, id: string) => {
    const attempt = { task: taskId(id), serial, run: 1, attempt: 1 };
    store.lease({ id: attempt, worker: WORKER_A, now: T0, leaseUntil: T0 + 15_000 });
    return attempt;
  };
  create("scheduled", { firstDueAt: T0 + 60_000 }, KEY);
  create("running");
  begin(2, "running");
  create("done", { outputs: ["*"] });
  const id = begin(3, "done");
  store.appendOutput({ id, offset: 0, stream: "stdout", bytes: bytesOf("head") });
  store.appendOutput({ id, offset: 4, stream: "stderr", bytes: bytesOf("tail") });
  store.keepFile({ id, file: { path: "a", digest: digest("b"), bytes: 3 }, hasBytes: true });
  store.settle({ id, end: attemptEnd(), now: T0, backoffJitter: 0, isBlameless: false, isSpecKnown: false });
  create("failed");
  const failed = begin(4, "failed");
  const end = attemptEnd({ kind: "trapped", reason: "unreachable" });
  store.settle({ id: failed, end, now: T0, backoffJitter: 0, isBlameless: false, isSpecKnown: false });
  create("dependent", { after: [taskId("scheduled"), taskId("running")] });
  store.holdModule({ digest: digest("c"), inspection: JSON.stringify(INSPECTION), now: T0 });
}

test("what all of these begin with is whole", () => {
  using db = open("whole", () => {});
  const store = operationsOn(db);
  for (const act of [listRuns, findSubmission, readOutput, inspect, promote, settle, cancel]) {
    expect(() => act(store)).not.toThrow();
  }
});

test.for<readonly [string, string, (store: Operations) => unknown]>([
  ["an attempt that is under way and not there", "DELETE FROM attempts WHERE task = 2", settle],
  ["one that is not there when it is cancelled", "DELETE FROM attempts WHERE task = 2", cancel],
  ["an attempt that is over while its run is not", "UPDATE attempts SET state = 'lost' WHERE task = 2", settle],
  ["a kept file without a digest", "UPDATE kept_files SET digest = 'b'", listRuns],
  ["a kept file of less than nothing", "UPDATE kept_files SET bytes = -1", listRuns],
  [
    "a file's digest when its task is deleted",
    "UPDATE kept_files SET digest = '../b'",
    (store) => store.deleteTask({ id: taskId("done") }),
  ],
  [
    "the digest of a module that is held",
    "UPDATE held_modules SET digest = '..'",
    (store) => store.releaseModules({ heldFrom: -Infinity, heldBefore: LATER, limit: 10, now: LATER }),
  ],
  [
    "a module's age",
    "UPDATE modules SET created_at = 1e300",
    (store) => store.listModules({ limit: 10, below: undefined }),
  ],
  [
    "how a task that others waited for has ended",
    "INSERT INTO dependency_ends (serial, id, ended) VALUES (1, 'scheduled', 'well')",
    promote,
  ],
  [
    "which task it was that others waited for",
    "INSERT INTO dependency_ends (serial, id, ended) VALUES (1, '', 'failed')",
    promote,
  ],
  ["whether a task still waits for one that ends", NEITHER_WAITS_NOR_NOT, settle],
  ["whether it does for one that is cancelled", NEITHER_WAITS_NOR_NOT, cancel],
  [
    "whether it does for one that is deleted",
    NEITHER_WAITS_NOR_NOT,
    (store) => store.deleteTask({ id: taskId("running") }),
  ],
  [
    "whether it does for one whose end is seen to",
    `${NEITHER_WAITS_NOR_NOT}; INSERT INTO dependency_ends (serial, id, ended) VALUES (2, 'running', 'succeeded')`,
    promote,
  ],
  [
    "whether it does for another one than that",
    NEITHER_WAITS_NOR_NOT.replace("= 2", "= 1"),
    (store) => [settle(store), promote(store)],
  ],
  ["what a task waits for, when that is explained", NEITHER_WAITS_NOR_NOT, inspect],
  ["what it waits for when there is nothing of that kind", "DELETE FROM dependencies", inspect],
  [
    "what it is to wait for again",
    NEITHER_WAITS_NOR_NOT,
    (store) => {
      store.cancelTask({ id: taskId("dependent"), reason: "enough", now: LATER });
      store.retryTask({ id: taskId("dependent"), now: LATER });
    },
  ],
  ["what a submission was told", `UPDATE submitted_tasks SET told = '{"serial":1,"counts":{}}'`, findSubmission],
  [
    "what a submission was told of a state",
    `UPDATE submitted_tasks SET told = replace(told, 'd"', '"')`,
    findSubmission,
  ],
  [
    "whether a worker is admitted",
    `INSERT INTO admissions (peer, admission, changed_at) VALUES ('${WORKER_A}', 'perhaps', 0)`,
    (store) => store.getAdmission({ peer: WORKER_A }),
  ],
  [
    "which worker is drained",
    "INSERT INTO drained_workers (peer, since) VALUES ('', 0)",
    (store) => store.listDrained({}),
  ],
  [
    "what was done, in the audit log",
    "INSERT INTO audit (at, actor, action, subject, detail) VALUES (0, '', 'something', '', '')",
    (store) => store.listAudit({ limit: 10, belowSeq: undefined }),
  ],
  ["what a token is for", tokenWith("can", "'read,write'"), (store) => store.listTokens({})],
  ["which token it is", tokenWith("id", "'?'"), (store) => store.listTokens({})],
  ["when a token ends", tokenWith("expires_at", "-9e300"), (store) => store.listTokens({})],
  ["a log without its end", "DELETE FROM output WHERE task = 3", readOutput],
  ["a log without its beginning", "UPDATE output SET start = start + 1 WHERE task = 3", readAll],
  ["a log with a piece that is none", "UPDATE output SET segments = '4,x,' WHERE task = 3", readOutput],
  ["a log with fewer bytes than it has", "UPDATE output SET bytes = x'00' WHERE task = 3", readOutput],
  [
    "a log that misses a piece in its middle",
    `UPDATE runs SET output_bytes = 10 WHERE task = 3;
     INSERT INTO output (task, run, start, attempt, segments, bytes) VALUES (3, 1, 9, 1, '1,', x'00')`,
    readOutput,
  ],
])("%s is damage", ([, sql, act]) => {
  using db = open("damaged", (file) => file.exec(sql));
  expect(() => act(operationsOn(db))).toThrow(DamagedRow);
});

/** An index that has a row which its table does not have so, as after a write of which a part was lost. */
test.for<readonly [string, string, string, (store: Operations) => unknown]>([
  ["scheduled", "runs_scheduled", "UPDATE runs SET state = 'ready' WHERE task = 1", promote],
  ["scheduled and there", "runs_scheduled", "DELETE FROM runs WHERE task = 1", promote],
  [
    "unsuccessful",
    "runs_unsuccessful",
    "UPDATE runs SET state = 'succeeded' WHERE task = 4",
    (store) => store.retryTask({ id: taskId("failed"), now: LATER }),
  ],
])("a run of which only an index says that it is %s is damage", ([, index, sql, act]) => {
  using db = open("stale-index", (_, path) => {
    schema(path, `UPDATE sqlite_schema SET sql = sql || ' AND 0' WHERE name = '${index}'`);
    execute(path, sql);
    schema(path, `UPDATE sqlite_schema SET sql = replace(sql, ' AND 0', '') WHERE name = '${index}'`);
  });
  expect(() => act(operationsOn(db))).toThrow(DamagedRow);
});

function readAll(store: Operations): unknown {
  return store.readOutput({ task: taskId("done"), run: 1, stream: undefined, offset: 0, bytesMax: 100 });
}

function tokenWith(column: string, value: string): string {
  return `INSERT INTO tokens (id, secret_hash, label, can, limits, created_at, created_by)
      VALUES ('abcdefghijkl', x'00', '', 'read', '{}', 0, 'local'); UPDATE tokens SET ${column} = ${value}`;
}

function open(name: string, change: (file: DatabaseSync, path: string) => void): Database {
  const path = join(mkdtempSync(join(folder, `${name}-`)), "capmesh.db");
  copyFileSync(join(folder, "whole.db"), path);
  using file = new DatabaseSync(path);
  change(file, path);
  return Database.open(path);
}

function execute(path: string, sql: string): void {
  using file = new DatabaseSync(path);
  file.exec(sql);
}

/** Changes what SQLite believes that it has. */
function schema(path: string, sql: string): void {
  using file = new DatabaseSync(path, { defensive: false });
  file.exec(`PRAGMA writable_schema = ON; ${sql}`);
}
