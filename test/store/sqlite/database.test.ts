import { chmod, mkdtemp, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, expect, test } from "vitest";
import { silentLog } from "../../../src/base/log.ts";
import { Database } from "../../../src/store/sqlite/database.ts";
import { LOCAL_SUBMITTER } from "../../../src/model/submitter.ts";
import { MIGRATIONS } from "../../../src/store/sqlite/migrations.ts";
import { SqliteStore } from "../../../src/store/sqlite/sqlite-store.ts";
import { INSPECTION, T0, create, taskId, taskSpec } from "../store-samples.ts";
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

  test("is brought from version 1 to the newest, with what is in it", async () => {
    await using folder = await Folder.create();
    const path = folder.file("capmesh.db");
    using first = Database.open(path, MIGRATIONS.slice(0, 1));
    first.run("INSERT INTO admissions VALUES ('p', 'admitted', 1)");
    first[Symbol.dispose]();
    const next = { version: MIGRATIONS.length + 1, sql: "ALTER TABLE admissions ADD COLUMN note TEXT DEFAULT 'none'" };
    using second = Database.open(path, [...MIGRATIONS, next]);
    expect({ ...second.get("SELECT * FROM admissions") }).toEqual({
      peer: "p",
      admission: "admitted",
      changed_at: 1,
      note: "none",
    });
    expect(second.get("PRAGMA user_version")?.user_version).toBe(next.version);
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

  test("is refused when it is no database", async () => {
    await using folder = await Folder.create();
    const path = folder.file("capmesh.db");
    await writeFile(path, "this is not a database\n".repeat(1_000));
    await expect(SqliteStore.open({ path, log: silentLog })).rejects.toMatchObject({
      ...UNAVAILABLE,
      message: containing("restore it from a backup"),
    });
  });

  test("says that it is damaged when pages are missing", async () => {
    await using harness = await SqliteHarness.open();
    for (let index = 0; index < 200; index += 1) {
      void harness.store.createTask(taskSpec(`t${index}`, { stdin: new Uint8Array(5_000) }), INSPECTION, T0);
    }
    await harness.store.close();
    await truncate(harness.path, 300_000);
    const used = SqliteStore.open({ path: harness.path, log: silentLog }).then(async (store) => {
      await using damaged = store;
      await damaged.listTasks({ limit: 1_000 });
    });
    await expect(used).rejects.toMatchObject({ ...UNAVAILABLE, message: containing("damaged") });
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
    expect(await second.countUnfinishedTasks()).toBe(200);
    expect((await harness.store.listTasks({ limit: 1_000 })).tasks).toHaveLength(200);
    const same = await Promise.all(stores.map((store) => store.createTask(taskSpec("same"), INSPECTION, T0)));
    expect(same.map((result) => result.kind).toSorted()).toEqual(["created", "id-taken"]);
  });

  test(
    "answers store-busy while another process keeps it locked, and works again after",
    { timeout: 60_000 },
    async () => {
      await using harness = await SqliteHarness.open();
      const other = new DatabaseSync(harness.path);
      other.exec("BEGIN IMMEDIATE");
      const refused = [1, 2, 3].map((index) => harness.store.createTask(taskSpec(`t${index}`), INSPECTION, T0));
      for (const each of await Promise.allSettled(refused)) {
        expect(each).toMatchObject({ status: "rejected", reason: { type: "overloaded", code: "store-busy" } });
      }
      other.exec("COMMIT");
      other.close();
      expect((await create(harness.store, taskSpec("t1"))).spec.id).toBe(taskId("t1"));
    },
  );
});

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
