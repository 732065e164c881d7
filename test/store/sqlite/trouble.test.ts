/** What the store answers when its file gives trouble, and that it goes on by itself once that is over. */
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, expect, test } from "vitest";
import { STORE_BUSY_TIMEOUT_MS } from "../../../src/base/limits.ts";
import { Database } from "../../../src/store/sqlite/database.ts";
import { GroupCommit, type RequestSource } from "../../../src/store/sqlite/group-commit.ts";
import type { Reply, Request } from "../../../src/store/sqlite/messages.ts";
import { operationsOn } from "../../../src/store/sqlite/operations.ts";
import { TroubleWatch } from "../../../src/store/sqlite/trouble-watch.ts";
import { encodeNewTask } from "../../../src/store/sqlite/wire.ts";
import { INSPECTION, T0, create, taskId, taskSpec } from "../store-samples.ts";
import { SqliteHarness } from "./sqlite-harness.ts";

const PAGE_BYTES = 4_096;

describe("a file that cannot be written", () => {
  test.each([
    ["has no room", "disk-full", (db: Database) => limitPages(db, 0), (db: Database) => limitPages(db, 1e9)],
    [
      "is read-only",
      "not-writable",
      (db: Database) => db.control("PRAGMA query_only = 1"),
      (db: Database) => db.control("PRAGMA query_only = 0"),
    ],
  ])("%s: changes are refused, reads go on, and a check finds that it is over", (_, kind, begin, end) => {
    using file = new ThreadFile();
    expect(file.ask({ name: "createTask", args: createArgs("before") })).toMatchObject({ answer: { kind: "created" } });
    begin(file.db);
    const stdin = new Uint8Array(50 * PAGE_BYTES);
    expect(file.ask({ name: "createTask", args: createArgs("during", stdin) })).toMatchObject({
      error: { type: "failed", code: "store-unavailable", trouble: kind },
    });
    expect(file.ask({ name: "look", args: {} })).toMatchObject({ answer: { kind } });
    expect(file.ask({ name: "getTask", args: { id: taskId("before") } })).toMatchObject({ answer: { state: "ready" } });
    expect(file.ask({ name: "getTask", args: { id: taskId("during") } })).toMatchObject({ answer: undefined });
    end(file.db);
    expect(file.ask({ name: "probe", args: {} })).not.toHaveProperty("error");
    expect(file.ask({ name: "look", args: {} })).toMatchObject({ answer: undefined });
    expect(file.ask({ name: "createTask", args: createArgs("after", stdin) })).toMatchObject({
      answer: { kind: "created" },
    });
  });

  test("is locked by another process: after the first wait reads are answered at once, and writes refused", async () => {
    await using harness = await SqliteHarness.open();
    const { store } = harness;
    await create(store, taskSpec("before"));
    using other = harness.openBeside();
    other.exec("BEGIN IMMEDIATE");
    const busy = { type: "overloaded", code: "store-busy", trouble: "busy" };
    await expect(create(store, taskSpec("first"))).rejects.toMatchObject(busy);
    const since = performance.now();
    const answers = Array.from({ length: 25 }, async (_, index) => {
      await expect(create(store, taskSpec(`during-${index}`))).rejects.toMatchObject(busy);
      expect(await store.getTask(taskId("before"))).toBeDefined();
    });
    await Promise.all(answers);
    // Each that waited for the lock by itself would take a full wait.
    expect(performance.now() - since).toBeLessThan(25 * STORE_BUSY_TIMEOUT_MS * 0.5);
    expect(await store.check()).toMatchObject({ kind: "busy" });
    other.exec("COMMIT");
    expect(await store.check()).toBeUndefined();
    await create(store, taskSpec("after"));
  });
});

test("reads that wait behind a change of a locked file are answered, and the change is refused", () => {
  using file = new ThreadFile();
  file.ask({ name: "createTask", args: createArgs("before") });
  using other = new DatabaseSync(file.db.path);
  other.exec("BEGIN IMMEDIATE");
  file.db.waitForLock(1);
  const change = { name: "createTask", args: createArgs("during") } as const;
  const read = { name: "getTask", args: { id: taskId("before") } } as const;
  expect(file.askTogether([change, read, change, read])).toMatchObject([
    { error: { code: "store-busy" } },
    { answer: { state: "ready" } },
    { error: { code: "store-busy" } },
    { answer: { state: "ready" } },
  ]);
});

describe("a file that is damaged while it is open", () => {
  test("is not written to any more, and read where it can be", () => {
    using file = new ThreadFile();
    file.ask({ name: "createTask", args: createArgs("whole") });
    for (let index = 0; index < 50; index++) file.ask({ name: "createTask", args: createArgs(`t${index}`) });
    file.ask({ name: "createTask", args: createArgs("broken") });
    file.overwrite(file.lastPageOf("specs"));
    const broken = { error: { type: "failed", code: "store-unavailable" } };
    expect(file.ask({ name: "getTask", args: { id: taskId("broken") } })).toMatchObject(broken);
    expect(file.ask({ name: "look", args: {} })).toMatchObject({ answer: { kind: "damaged" } });
    expect(file.ask({ name: "createTask", args: createArgs("more") })).toMatchObject(broken);
    expect(file.ask({ name: "probe", args: {} })).toMatchObject(broken);
    expect(file.ask({ name: "getTask", args: { id: taskId("whole") } })).toMatchObject({ answer: { state: "ready" } });
    const behindAChange = file.askTogether([
      { name: "createTask", args: createArgs("more") },
      { name: "getTask", args: { id: taskId("whole") } },
    ]);
    expect(behindAChange).toMatchObject([broken, { answer: { state: "ready" } }]);
    expect(file.ask({ name: "listReady", args: { now: T0, limit: 1 } })).toMatchObject({ answer: { runs: [{}] } });
  });
});

describe("a file that is taken away while it is open", () => {
  test.each(["capmesh.db", "capmesh.db-wal"])("is not written to any more until %s is back", async (name) => {
    await using harness = await SqliteHarness.open();
    const { store, folder } = harness;
    await create(store, taskSpec("before"));
    renameSync(join(folder, name), join(folder, "elsewhere"));
    const gone = { type: "failed", code: "store-unavailable", trouble: "moved" };
    await expect(create(store, taskSpec("during"))).rejects.toMatchObject(gone);
    expect(await store.check()).toMatchObject({ kind: "moved", message: expect.stringContaining("put both back") });
    expect(await store.getTask(taskId("before"))).toBeDefined();
    renameSync(join(folder, "elsewhere"), join(folder, name));
    expect(await store.check()).toBeUndefined();
    await create(store, taskSpec("after"));
  });

  test("is noticed by a check, and another file in its place is not it", async () => {
    await using harness = await SqliteHarness.open();
    const { store, path } = harness;
    rmSync(path);
    expect(await store.check()).toMatchObject({ kind: "moved" });
    writeFileSync(path, "");
    expect(await store.check({ isThorough: true })).toMatchObject({ kind: "moved" });
  });
});

test("a file that cannot be looked at was not moved: what is wrong with it a write says", () => {
  const folder = mkdtempSync(join(tmpdir(), "capmesh-trouble-"));
  const inner = join(folder, "inner");
  mkdirSync(inner);
  const db = Database.open(join(inner, "capmesh.db"));
  try {
    renameSync(inner, join(folder, "elsewhere"));
    expect(db.isInPlace()).toBe(false);
    writeFileSync(inner, "");
    expect(db.isInPlace()).toBe(false);
    rmSync(inner);
    // A name without end is refused as a disk that does not answer is: by an error that is not "there is nothing".
    symlinkSync(inner, inner);
    expect(db.isInPlace()).toBe(true);
  } finally {
    db[Symbol.dispose]();
    rmSync(folder, { recursive: true });
  }
});

test("rows that are not what was written are damage, which the store tells and does not write to any more", async () => {
  await using harness = await SqliteHarness.open();
  const { store } = harness;
  const spec = taskSpec("t");
  await create(store, spec);
  using other = harness.openBeside();
  other.exec("UPDATE modules SET inspection = '{\"kind\":'");
  const broken = { type: "failed", code: "store-unavailable", trouble: "damaged" };
  const digest = spec.module;
  if (digest === undefined) throw new Error("the sample names a module");
  await expect(store.getModule(digest)).rejects.toMatchObject(broken);
  expect(await store.check()).toMatchObject({ kind: "damaged", message: expect.stringContaining("restore it") });
  await expect(create(store, taskSpec("more"))).rejects.toMatchObject(broken);
  expect(await store.getTask(spec.id)).toBeDefined();
});

/** The inside of the store's thread, on the test's. */
class ThreadFile implements Disposable {
  readonly #folder = mkdtempSync(join(tmpdir(), "capmesh-trouble-"));
  readonly db = Database.open(join(this.#folder, "capmesh.db"));
  readonly #group: GroupCommit;

  constructor() {
    const watch = new TroubleWatch(this.db);
    this.#group = new GroupCommit(this.db, operationsOn(this.db, watch), watch);
  }

  /** Carries out one operation in a transaction of its own. */
  ask(operation: Pick<Request, "name" | "args">): Reply {
    const [reply] = this.askTogether([operation]);
    if (reply === undefined) throw new Error("no reply");
    return reply;
  }

  /** Carries out what waits together. */
  askTogether(operations: readonly Pick<Request, "name" | "args">[]): readonly Reply[] {
    return this.#group.next(queueOf(operations.map(parseRequest)));
  }

  /** The page of a table's rows in which what was written last is. */
  lastPageOf(table: string): number {
    this.db.get("PRAGMA wal_checkpoint(TRUNCATE)");
    return Number(
      this.db.get("SELECT max(pageno) AS page FROM dbstat WHERE name = ? AND pagetype = 'leaf'", table)?.page,
    );
  }

  /** What a failing disk does; nothing of it is kept in memory. */
  overwrite(page: number): void {
    this.db.control("PRAGMA shrink_memory");
    const file = openSync(this.db.path, "r+");
    writeSync(file, new Uint8Array(PAGE_BYTES).fill(0xff), 0, PAGE_BYTES, (page - 1) * PAGE_BYTES);
    closeSync(file);
  }

  [Symbol.dispose](): void {
    this.db[Symbol.dispose]();
    rmSync(this.#folder, { recursive: true });
  }
}

function parseRequest(operation: Pick<Request, "name" | "args">): Request {
  return { id: 1, ...operation } as Request;
}

function queueOf(requests: readonly Request[]): RequestSource {
  let head = 0;
  return { peek: () => requests[head], shift: () => requests[head++] };
}

function createArgs(id: string, stdin = new Uint8Array()) {
  return { task: encodeNewTask(taskSpec(id, { stdin }), INSPECTION), now: T0, key: undefined };
}

/** As many pages as there are, and this many more. */
function limitPages(db: Database, more: number): void {
  const count = Number(db.get("PRAGMA page_count")?.page_count);
  db.get(`PRAGMA max_page_count = ${count + more}`);
}
