/** A file of every version there has been is brought to the newest one with all that is in it. */
import { mkdtempSync, rmSync } from "node:fs";
import { readFile, readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, expect, test } from "vitest";
import { Database } from "../../../src/store/sqlite/database.ts";
import { MIGRATIONS } from "../../../src/store/sqlite/migrations.ts";
import type { Store } from "../../../src/store/store.ts";
import {
  INSPECTION,
  T0,
  WORKER_A,
  WORKER_B,
  attemptEnd,
  bytesOf,
  create,
  digest,
  taskId,
  taskSpec,
  textOf,
} from "../store-samples.ts";
import { SqliteHarness } from "./sqlite-harness.ts";

const DAY_MS = 86_400_000;
const TEN_MINUTES_MS = 600_000;
/** The first version that knew of cron. */
const CRON_VERSION = 7;
const FIXTURES = join(import.meta.dirname, "versions");
const NEWEST = MIGRATIONS.length;
const versions = (await readdir(FIXTURES)).flatMap((name) => /^v(\d+)\.sql$/.exec(name)?.[1] ?? []).map(Number);

test("there is a file of every earlier version: versions/make-fixture.ts makes them", () => {
  const earlier = MIGRATIONS.slice(0, -1).map(({ version }) => version);
  expect(versions).toEqual(expect.arrayContaining(earlier));
});

describe.each(versions.filter((version) => version < NEWEST).toSorted((a, b) => a - b))(
  "a file of version %i",
  (version) => {
    test("keeps all that is in it, and has the schema of a new file", async () => {
      await using harness = await openVersion(version);
      await expectTasks(harness.store, version >= CRON_VERSION);
      await expectRuns(harness.store);
      expect(schemaOf(harness.path)).toEqual(newSchema());
    });

    test("goes on with what was under way, and takes more", async () => {
      await using harness = await openVersion(version);
      const { store } = harness;
      await expectRequirements(store);
      for (const { id } of await store.listRunning()) {
        expect((await store.settle(id, attemptEnd(), { now: T0 + 100, backoffJitter: 0 })).kind).toBe("settled");
      }
      const later = T0 + 3_600_000;
      while ((await runAllReady(store, later)) > 0);
      expect((await store.measureQueue()).tasks).toBe(version >= CRON_VERSION ? 1 : 0);
    });

    test.runIf(version >= CRON_VERSION)("has each slot of cron fire once, and none of those that have", async () => {
      await using harness = await openVersion(version);
      const { store } = harness;
      const slots = async () => {
        const runs = (await store.listRuns(taskId("recurring"), { fromIndex: 1, limit: 10 })) ?? [];
        return runs.map(({ dueAt, state }) => [(dueAt - T0) / TEN_MINUTES_MS, state]);
      };
      expect(await slots()).toEqual([
        [-5, "succeeded"],
        [-4, "scheduled"],
      ]);
      // It is told once that those before it were missed; of those the latest is caught up with.
      await store.promoteDue(T0 + 1, 100, T0);
      expect(await store.getTask(taskId("recurring"))).toMatchObject({ nextRunAt: T0 + TEN_MINUTES_MS });
      await store.promoteDue(T0 + TEN_MINUTES_MS, 100);
      // The clock is put back: what has fired does not fire again.
      await store.promoteDue(T0 - TEN_MINUTES_MS, 100);
      await store.promoteDue(T0 + 2 * TEN_MINUTES_MS, 100);
      expect(await slots()).toEqual([
        [-5, "succeeded"],
        [0, "ready"],
        [1, "ready"],
        [2, "ready"],
        [3, "scheduled"],
      ]);
    });
  },
);

test("a task with cron that stands still since the clock was put back goes on, and takes no slot that it has had", async () => {
  await using harness = await openVersion(13, (file) => {
    file.exec(`UPDATE tasks SET cron = '* * * * *', total = 0, taken_until = ${T0 + 100 * DAY_MS} WHERE id = 'repeated';
      UPDATE runs SET due_at = ${T0 + 60_000} WHERE task = 4 AND idx = 1;
      UPDATE runs SET due_at = ${T0 + 100 * DAY_MS} WHERE task = 4 AND state = 'scheduled'`);
  });
  const { store } = harness;
  await store.promoteDue(T0 + 1, 10);
  expect(await store.getTask(taskId("repeated"))).toMatchObject({ nextRunAt: T0 + 120_000 });
});

async function expectTasks(store: Store, hasCron: boolean): Promise<void> {
  const { tasks } = await store.listTasks({ limit: 100 });
  expect(Object.fromEntries(tasks.map(({ spec, state }) => [spec.id, state]))).toEqual({
    ready: "ready",
    "ready-anywhere": "ready",
    scheduled: "scheduled",
    repeated: "scheduled",
    running: "running",
    "lost-once": "running",
    "backing-off": "ready",
    succeeded: "succeeded",
    failed: "failed",
    cancelled: "cancelled",
    ...(hasCron ? { recurring: "scheduled" } : {}),
  });
  const unfinished = hasCron ? 8 : 7;
  expect((await store.measureQueue()).tasks).toBe(unfinished);
  expect(await store.countOpenRuns()).toEqual({ scheduled: hasCron ? 3 : 2, ready: 3, running: 2 });
  const full = { submitter: "local", limits: [{ submitters: ["local"], unfinishedMax: unfinished }] };
  const more = await store.createTask(taskSpec("more"), INSPECTION, T0, undefined, full);
  expect(more).toEqual({ kind: "submitter-full", unfinished });
  expect(tasks.find(({ spec }) => spec.id === "ready")?.spec).toMatchObject({
    priority: 3,
    stdin: bytesOf("in\0put"),
    require: { zone: "eu", gpu: 'a"b' },
  });
  expect(tasks.find(({ spec }) => spec.id === "failed")?.reason).toBe("trapped: unreachable");
  expect(await store.getModule(digest("b"))).toBeDefined();
  expect(await store.getAdmission(WORKER_A)).toBe("admitted");
  expect(await store.getAdmission(WORKER_B)).toBe("barred");
}

async function expectRuns(store: Store): Promise<void> {
  expect(await store.getRun(taskId("succeeded"), 1)).toMatchObject({
    state: "succeeded",
    outcome: { kind: "exited", code: 0 },
    result: { value: "42", stdout: "done\n", stderr: "" },
    attempts: [{ number: 1, worker: WORKER_A, state: "succeeded" }],
  });
  const lostOnce = await store.getRun(taskId("lost-once"), 1);
  expect(lostOnce?.attempts.map(({ state }) => state)).toEqual(["lost", "running"]);
  const page = await store.readOutput(taskId("running"), 1, { offset: 0, bytesMax: 100 });
  expect(page?.chunks.map(({ stream, bytes }) => [stream, textOf(bytes)])).toEqual([
    ["stdout", "out"],
    ["stderr", "error"],
  ]);
}

/** What is ready already has the numbers that what comes now has. */
async function expectRequirements(store: Store): Promise<void> {
  await create(store, taskSpec("new", { require: { gpu: 'a"b', zone: "eu" } }), T0);
  await store.promoteDue(T0 + 60_000, 10);
  const ready = await store.listReady(T0 + 60_000, 100);
  const numbers = new Map(ready.map(({ spec, requirement }) => [String(spec.id), requirement]));
  expect(numbers.get("ready-anywhere")).toBe(0);
  const eu = numbers.get("ready") ?? 0;
  expect(eu).toBeGreaterThan(0);
  expect([numbers.get("scheduled"), numbers.get("new")]).toEqual([eu, eu]);
  const others = await store.listReady(T0 + 60_000, 100, { except: [eu] });
  const ids = others.map(({ spec }) => String(spec.id)).filter((id) => id !== "recurring");
  expect(ids.toSorted()).toEqual(["backing-off", "ready-anywhere", "repeated", "repeated"]);
}

/** A store on a file of this version, which it has just brought to the newest one. */
async function openVersion(version: number, change: (file: DatabaseSync) => void = () => {}): Promise<SqliteHarness> {
  const sql = await readFile(join(FIXTURES, `v${version}.sql`), "utf8");
  return SqliteHarness.open((path) => {
    using file = new DatabaseSync(path);
    file.exec("PRAGMA journal_mode = WAL");
    file.exec(sql);
    change(file);
  });
}

/** Tables with their columns, and indexes, however the statements that made them are written. */
function schemaOf(path: string): unknown {
  using file = new DatabaseSync(path, { readOnly: true });
  const tables = file
    .prepare(
      `SELECT t.name, c.name AS "column", c.type, c."notnull", c.pk FROM pragma_table_list t, pragma_table_info(t.name) c
       WHERE t.schema = 'main' ORDER BY t.name, c.name`,
    )
    .all();
  const indexes = file.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'index' ORDER BY name").all();
  const check = file.prepare("PRAGMA integrity_check").all();
  return { tables, indexes, check, version: file.prepare("PRAGMA user_version").get() };
}

function newSchema(): unknown {
  const folder = mkdtempSync(join(tmpdir(), "capmesh-schema-"));
  try {
    const path = join(folder, "capmesh.db");
    Database.open(path)[Symbol.dispose]();
    return schemaOf(path);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Settles every run that is ready; how many there were. */
async function runAllReady(store: Store, now: number): Promise<number> {
  await store.promoteDue(now, 100);
  const ready = await store.listReady(now, 100);
  for (const { spec, serial, index, nextAttempt } of ready) {
    const id = { task: spec.id, serial, run: index, attempt: nextAttempt };
    expect(await store.lease(id, WORKER_A, now, now + 1_000)).toBe(true);
    expect((await store.settle(id, attemptEnd(), { now, backoffJitter: 0 })).kind).toBe("settled");
  }
  return ready.length;
}
