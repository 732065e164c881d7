/**
 * Writes `v<n>.sql` beside this file: a database of the newest version, as this code makes and fills it, as the SQL that
 * makes it again. To be run once for each version, by the code that has it as its newest, before the next is added:
 *
 *     node test/store/sqlite/versions/make-fixture.ts
 *
 * It has a task in every state, one with cron (from version 7 on), runs with attempts of every kind, and output.
 * `migrations.test.ts` brings each of these files to the newest version, and looks for what is in it.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { silentLog } from "../../../../src/base/log.ts";
import { SqliteStore } from "../../../../src/store/sqlite/sqlite-store.ts";
import {
  LOST,
  T0,
  WORKER_A,
  WORKER_B,
  attemptEnd,
  attemptOf,
  bytesOf,
  create,
  createRunning,
  digest,
  taskId,
  taskSpec,
} from "../../store-samples.ts";

/** An hour; the task with cron has had one slot of it. */
const BEFORE = T0 - 3_600_000;
const SETTLED = { now: T0 + 10, backoffJitter: 0.5 };

async function fill(store: SqliteStore): Promise<void> {
  await create(
    store,
    taskSpec("ready", { require: { zone: "eu", gpu: 'a"b' }, priority: 3, stdin: bytesOf("in\0put") }),
  );
  await create(store, taskSpec("ready-anywhere", { module: digest("b"), description: "caf\u00e9 \u0000" }));
  await create(store, taskSpec("scheduled", { firstDueAt: T0 + 60_000, require: { zone: "eu", gpu: 'a"b' } }));
  const repeated = await createRunning(
    store,
    taskSpec("repeated", { repeats: 3, delayMs: 1_000, require: { b: "2" } }),
  );
  await store.settle(repeated.attempt, attemptEnd(), SETTLED);
  const running = await createRunning(store, taskSpec("running", { outputBytesMax: 8 }));
  await store.appendOutput(running.attempt, 0, "stdout", bytesOf("out"));
  await store.appendOutput(running.attempt, 3, "stderr", bytesOf("error"));
  const lost = await createRunning(store, taskSpec("lost-once"));
  await store.settle(lost.attempt, LOST, SETTLED);
  await store.lease(attemptOf(lost.task, 1, 2), WORKER_B, T0 + 20, T0 + 15_000);
  const retried = await createRunning(store, taskSpec("backing-off", { retries: 2, require: { zone: "us" } }));
  await store.settle(retried.attempt, attemptEnd({ kind: "exited", code: 1 }), SETTLED);
  const succeeded = await createRunning(store, taskSpec("succeeded", { args: ["a b"], env: { A: "1" } }));
  await store.appendOutput(succeeded.attempt, 0, "stdout", bytesOf("done\n"));
  await store.settle(succeeded.attempt, attemptEnd({ kind: "exited", code: 0 }, { value: "42" }), SETTLED);
  const failed = await createRunning(store, taskSpec("failed"));
  await store.settle(failed.attempt, attemptEnd({ kind: "trapped", reason: "unreachable" }), SETTLED);
  await create(store, taskSpec("cancelled"));
  await store.cancelTask(taskId("cancelled"), "enough", T0 + 5);
  const recurring = await create(store, taskSpec("recurring", { cron: "*/10 * * * *", repeats: 0 }), BEFORE);
  await store.promoteDue(BEFORE + 600_000, 10);
  await store.lease(attemptOf(recurring), WORKER_A, BEFORE + 600_000, BEFORE + 615_000);
  await store.settle(attemptOf(recurring), attemptEnd(), { now: BEFORE + 600_010, backoffJitter: 0 });
  await store.setAdmission(WORKER_A, "admitted", T0);
  await store.setAdmission(WORKER_B, "barred", T0);
}

/** Tables first, then rows, then what is built on them: the order in which it can be carried out. */
function dump(path: string): string {
  using file = new DatabaseSync(path, { readOnly: true });
  const schema = file.prepare("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid").all();
  const lines: string[] = [];
  for (const { type, name, sql } of schema) {
    if (type === "table" && !String(name).startsWith("sqlite_")) lines.push(`${String(sql)};`);
  }
  for (const { type, name } of schema) {
    if (type !== "table") continue;
    const columns = file.prepare(`SELECT name FROM pragma_table_info(?)`).all(String(name));
    const quoted = columns.map((column) => `quote("${String(column["name"])}")`).join(" || ', ' || ");
    const rows = file.prepare(`SELECT ${quoted} AS row FROM "${String(name)}"`).all();
    for (const { row } of rows) lines.push(`INSERT INTO "${String(name)}" VALUES (${String(row)});`);
  }
  for (const { type, sql } of schema) if (type !== "table") lines.push(`${String(sql)};`);
  for (const name of ["application_id", "user_version"]) {
    lines.push(`PRAGMA ${name} = ${String(file.prepare(`PRAGMA ${name}`).get()?.[name])};`);
  }
  return `${lines.join("\n")}\n`;
}

const folder = await mkdtemp(join(tmpdir(), "capmesh-fixture-"));
try {
  const path = join(folder, "capmesh.db");
  const store = await SqliteStore.open({ path, log: silentLog });
  await fill(store);
  await store.close();
  using file = new DatabaseSync(path, { readOnly: true });
  const version = String(file.prepare("PRAGMA user_version").get()?.["user_version"]);
  await writeFile(join(import.meta.dirname, `v${version}.sql`), dump(path));
} finally {
  await rm(folder, { recursive: true });
}
