import { mkdtempSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { STORE_FREE_PAGES_KEPT, STORE_FREE_PAGES_KEPT_SHARE, STORE_LOG_FRAMES_KEPT } from "../../../src/base/limits.ts";
import { Chores } from "../../../src/store/sqlite/chores.ts";
import { Database } from "../../../src/store/sqlite/database.ts";
import { operationsOn } from "../../../src/store/sqlite/operations.ts";
import { purge } from "../../../src/store/sqlite/forgetting.ts";
import { TroubleWatch } from "../../../src/store/sqlite/trouble-watch.ts";
import { encodeNewTask } from "../../../src/store/sqlite/wire.ts";
import { INSPECTION, T0, taskId, taskSpec } from "../store-samples.ts";

const PAGE_BYTES = 4_096;

test("the log is written back, and the file gives back what a burst of work has left, but for a reserve", () => {
  const folder = mkdtempSync(join(tmpdir(), "capmesh-chores-"));
  try {
    const path = join(folder, "capmesh.db");
    using db = Database.open(path);
    db.get("PRAGMA wal_autocheckpoint = 0");
    const store = operationsOn(db);
    const chores = new Chores(db, new TroubleWatch(db));
    const names = Array.from({ length: 8 }, (_, index) => `t${index}`);
    const stdin = new Uint8Array(2_000 * PAGE_BYTES).fill(1);
    for (const name of names) {
      store.createTask({ task: encodeNewTask(taskSpec(name, { stdin }), INSPECTION), now: T0, key: undefined });
    }
    while (chores.step());
    const full = statSync(path).size;
    expect(full).toBeGreaterThan(names.length * stdin.length);
    for (const name of names) store.deleteTask({ id: taskId(name) });
    while (purge(db, 1_000));
    while (chores.step());
    const pages = Number(db.get("PRAGMA page_count")?.page_count);
    const free = Number(db.get("PRAGMA freelist_count")?.freelist_count);
    expect(statSync(path).size).toBe(pages * PAGE_BYTES);
    expect(free).toBeGreaterThan(STORE_FREE_PAGES_KEPT / 2);
    expect(free).toBeLessThan(1.5 * Math.max(STORE_FREE_PAGES_KEPT, STORE_FREE_PAGES_KEPT_SHARE * pages));
    expect(db.get("PRAGMA quick_check(1)")?.quick_check).toBe("ok");
    expect(chores.step()).toBe(false);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.each(["capmesh.db", "capmesh.db-wal"])("nothing is written to the file while %s is not where it was", (name) => {
  const folder = mkdtempSync(join(tmpdir(), "capmesh-chores-"));
  try {
    const path = join(folder, "capmesh.db");
    using db = Database.open(path);
    const chores = new Chores(db, new TroubleWatch(db));
    const stdin = new Uint8Array(2 * STORE_LOG_FRAMES_KEPT * PAGE_BYTES).fill(1);
    operationsOn(db).createTask({
      task: encodeNewTask(taskSpec("t", { stdin }), INSPECTION),
      now: T0,
      key: undefined,
    });
    const elsewhere = join(folder, "elsewhere");
    const database = name === "capmesh.db" ? elsewhere : path;
    renameSync(join(folder, name), elsewhere);
    const before = readFileSync(database);
    expect(chores.step()).toBe(false);
    expect(readFileSync(database).equals(before)).toBe(true);
    renameSync(elsewhere, join(folder, name));
    while (chores.step());
    expect(statSync(path).size).toBeGreaterThan(stdin.length);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
