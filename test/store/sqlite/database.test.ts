import { closeSync, existsSync, ftruncateSync, openSync, writeSync } from "node:fs";
import { chmod, copyFile, mkdtemp, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, expect, test } from "vitest";
import { silentLog } from "../../../src/base/log.ts";
import { Database } from "../../../src/store/sqlite/database.ts";
import { LOCAL_SUBMITTER } from "../../../src/model/submitter.ts";
import { MIGRATIONS } from "../../../src/store/sqlite/migrations.ts";
import { operationsOn } from "../../../src/store/sqlite/operations.ts";
import { SqliteStore } from "../../../src/store/sqlite/sqlite-store.ts";
import { encodeNewTask } from "../../../src/store/sqlite/wire.ts";
import { INSPECTION, T0, create, taskSpec } from "../store-samples.ts";
import { containing } from "../containing.ts";
import { SqliteHarness } from "./sqlite-harness.ts";

const UNAVAILABLE = { type: "failed", code: "store-unavailable" };

describe("the SQLite file", () => {
  test("is readable for its owner only, as are those beside it", async () => {
    await using harness = await SqliteHarness.open();
    await create(harness.store, taskSpec("t"));
    for (const suffix of ["", "-wal", "-shm"]) {
      expect((await stat(harness.path + suffix)).mode & 0o777).toBe(0o600);
    }
  });

  test("gives tasks of version 1 the caps that their specs have", async () => {
    await using folder = await Folder.create();
    const path = folder.file("capmesh.db");
    using first = Database.open(path, MIGRATIONS.slice(0, 1));
    first.run(
      `INSERT INTO tasks VALUES (7, 't', 'm', 0, 0, 1, 0, 0, 0, '', 0, 'ready', 0, 0, 1, 0, 0, 0, 0, 1, NULL, NULL, NULL, NULL, NULL)`,
    );
    first.run("INSERT INTO specs VALUES (7, ?, x'')", JSON.stringify({ outputBytesMax: 77, args: ["\u0000"] }));
    first[Symbol.dispose]();
    using second = Database.open(path);
    expect(second.get("SELECT output_bytes_max FROM tasks")?.output_bytes_max).toBe(77);
  });

  test("says of tasks from before submitters were kept that they are this machine's", async () => {
    await using folder = await Folder.create();
    const path = folder.file("capmesh.db");
    using first = Database.open(path, MIGRATIONS.slice(0, 2));
    first.run("INSERT INTO specs VALUES (7, '{}', x'')");
    first[Symbol.dispose]();
    using second = Database.open(path);
    expect(second.get("SELECT submitter FROM specs")?.submitter).toBe(LOCAL_SUBMITTER);
  });

  test("stays as it was when a migration fails", async () => {
    await using folder = await Folder.create();
    const path = folder.file("capmesh.db");
    Database.open(path)[Symbol.dispose]();
    const broken = { version: 99, sql: "CREATE TABLE half (a); SELECT nonsense" };
    expect(() => Database.open(path, [...MIGRATIONS, broken])).toThrow(expect.objectContaining(UNAVAILABLE));
    using db = Database.open(path);
    expect(db.get("SELECT 1 FROM sqlite_schema WHERE name = 'half'")).toBeUndefined();
  });

  test("is refused when a newer version wrote it, and not changed", async () => {
    await using folder = await Folder.create();
    const path = folder.file("capmesh.db");
    Database.open(path, [...MIGRATIONS, { version: 99, sql: "CREATE TABLE later (a)" }])[Symbol.dispose]();
    const before = await readFile(path);
    await expect(SqliteStore.open({ path, log: silentLog })).rejects.toMatchObject({
      ...UNAVAILABLE,
      message: containing("written by a newer Capmesh (schema 99"),
    });
    expect((await readFile(path)).equals(before)).toBe(true);
  });

  test("is refused when it is another program's database", async () => {
    await using folder = await Folder.create();
    const path = folder.file("other.db");
    const other = new DatabaseSync(path);
    other.exec("CREATE TABLE tasks (mine)");
    other.close();
    await expect(SqliteStore.open({ path, log: silentLog })).rejects.toMatchObject({
      ...UNAVAILABLE,
      message: containing("another program"),
    });
  });

  const damages: readonly (readonly [string, (file: number) => unknown])[] = [
    ["has other bytes where its header was", (file) => writeSync(file, "x".repeat(100), 0)],
    ["has other bytes in its middle", (file) => writeSync(file, new Uint8Array(4_096).fill(255), 0, 4_096, 40 * 4_096)],
    ["is cut off within a page", (file) => ftruncateSync(file, 70_000)],
    ["is cut off between pages", (file) => ftruncateSync(file, 10 * 4_096)],
    ["is no database", (file) => writeSync(file, "this is not a database\n".repeat(1_000), 0)],
  ];

  test.each(
    damages.flatMap(([what, damage]) => [
      [what, "written by this version", fillNewest, damage] as const,
      [what, "written by an earlier version", fillEarlier, damage] as const,
    ]),
  )("is refused when it %s, %s, by a name, with what to do, and left as it is", async (_, _by, fill, damage) => {
    await using folder = await Folder.create();
    const path = folder.file("capmesh.db");
    fill(path);
    const file = openSync(path, "r+");
    damage(file);
    closeSync(file);
    const before = await readFile(path);
    const message = expect.stringMatching(
      /capmesh\.db is damaged.*restore it from a backup, or move it and the folder blobs away/,
    );
    expect(() => Database.open(path)).toThrow(expect.objectContaining({ ...UNAVAILABLE, message }));
    expect((await readFile(path)).equals(before)).toBe(true);
  });

  test.each([
    ["a newer version wrote it", "PRAGMA user_version = 99", "written by a newer Capmesh"],
    ["it is another program's", "PRAGMA application_id = 7", "another program"],
    [
      "it is damaged",
      "PRAGMA writable_schema = 1; UPDATE sqlite_schema SET rootpage = 3 WHERE name = 'runs'",
      "damaged",
    ],
  ])("is refused when %s, and its log, in which that is, is left as it is", async (_, change, why) => {
    await using folder = await Folder.create();
    const path = folder.file("capmesh.db");
    await crashedCopy(path, change);
    const before = await Promise.all(["", "-wal"].map((suffix) => readFile(path + suffix)));
    expect(before[1]?.length).toBeGreaterThan(0);
    const message = containing(why);
    expect(() => Database.open(path)).toThrow(expect.objectContaining({ ...UNAVAILABLE, message }));
    const after = await Promise.all(["", "-wal"].map((suffix) => readFile(path + suffix)));
    expect(after.map((bytes, index) => before[index]?.equals(bytes))).toEqual([true, true]);
  });

  test("is opened when a transaction of another journal mode has to be taken back first", async () => {
    await using folder = await Folder.create();
    const path = folder.file("capmesh.db");
    await crashedCopy(path, "PRAGMA journal_mode = DELETE; PRAGMA cache_size = 1; BEGIN; DELETE FROM specs");
    expect((await stat(`${path}-journal`)).size).toBeGreaterThan(0);
    using db = Database.open(path);
    expect(db.get("SELECT count(*) AS count FROM specs")).toMatchObject({ count: 200 });
  });

  test.each(["gone", "empty"])("is refused when it is %s and its log is not, which is left as it is", async (how) => {
    await using folder = await Folder.create();
    const path = folder.file("capmesh.db");
    using db = Database.open(path);
    const log = await readFile(`${path}-wal`);
    db[Symbol.dispose]();
    await writeFile(`${path}-wal`, log);
    if (how === "gone") await rm(path);
    else await truncate(path);
    const message = containing("is gone or empty, but its log");
    expect(() => Database.open(path)).toThrow(expect.objectContaining({ ...UNAVAILABLE, message }));
    expect((await readFile(`${path}-wal`)).equals(log)).toBe(true);
  });

  test("is not changed when it is another program's database", async () => {
    await using folder = await Folder.create();
    const path = folder.file("other.db");
    using other = new DatabaseSync(path);
    other.exec("CREATE TABLE tasks (mine)");
    other.close();
    const before = await readFile(path);
    expect(() => Database.open(path)).toThrow(expect.objectContaining(UNAVAILABLE));
    expect((await readFile(path)).equals(before)).toBe(true);
  });

  test.each([
    ["its folder is missing", "missing/capmesh.db"],
    ["its folder is a file", "file/capmesh.db"],
    ["it is a folder", "folder.db"],
  ])("is refused when %s", async (_, name) => {
    await using folder = await Folder.create();
    await writeFile(folder.file("file"), "");
    await mkdtemp(folder.file("folder.db-"));
    const path = name === "folder.db" ? folder.path : folder.file(name);
    await expect(SqliteStore.open({ path, log: silentLog })).rejects.toMatchObject({
      ...UNAVAILABLE,
      message: containing("writable for this user"),
    });
  });

  test.skipIf(process.getuid?.() === 0)("is refused when its folder is read-only", async () => {
    await using folder = await Folder.create();
    await chmod(folder.path, 0o500);
    await expect(SqliteStore.open({ path: folder.file("capmesh.db"), log: silentLog })).rejects.toMatchObject(
      UNAVAILABLE,
    );
  });

  test("serves two stores at once without losing what either wrote", async () => {
    await using harness = await SqliteHarness.open();
    await using second = await SqliteStore.open({ path: harness.path, log: silentLog });
    const stores = [harness.store, second];
    const created = stores.flatMap((store, which) =>
      Array.from({ length: 100 }, (_, index) => store.createTask(taskSpec(`t${which}-${index}`), INSPECTION, T0)),
    );
    const kinds = (await Promise.all(created)).map((result) => result.kind);
    expect(new Set(kinds)).toEqual(new Set(["created"]));
    expect((await second.measureQueue()).tasks).toBe(200);
    expect((await harness.store.listTasks({ limit: 1_000 })).tasks).toHaveLength(200);
    const same = await Promise.all(stores.map((store) => store.createTask(taskSpec("same"), INSPECTION, T0)));
    expect(same.map((result) => result.kind).toSorted()).toEqual(["created", "id-taken"]);
  });
});

/** What a process leaves that ends after these statements, without closing the file. */
async function crashedCopy(path: string, statements: string): Promise<void> {
  const original = `${path}-original`;
  fillNewest(original);
  using file = new DatabaseSync(original, { defensive: false });
  file.exec(statements);
  for (const suffix of ["", "-wal", "-journal"]) {
    if (existsSync(original + suffix)) await copyFile(original + suffix, path + suffix);
  }
}

function fillNewest(path: string): void {
  using db = Database.open(path);
  db.control("BEGIN");
  for (let index = 0; index < 200; index += 1) {
    operationsOn(db).createTask({ task: encodeNewTask(taskSpec(`t${index}`), INSPECTION), now: T0, key: undefined });
  }
  db.control("COMMIT");
}

function fillEarlier(path: string): void {
  using db = Database.open(path, MIGRATIONS.slice(0, 12));
  db.control("BEGIN");
  // Of rows that no later migration reads.
  for (let run = 1; run <= 300; run += 1) {
    db.run(
      "INSERT INTO output (task, run, start, attempt, segments, bytes) VALUES (1, ?, 0, 1, '[]', zeroblob(1000))",
      run,
    );
  }
  db.control("COMMIT");
}

class Folder implements AsyncDisposable {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  static async create(): Promise<Folder> {
    return new Folder(await mkdtemp(join(tmpdir(), "capmesh-database-")));
  }

  file(name: string): string {
    return join(this.path, name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.path, { recursive: true });
  }
}
