import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { STORE_ENDED_BACKOFFS_MAX } from "../../../src/base/limits.ts";
import { Database } from "../../../src/store/sqlite/database.ts";
import { operationsOn } from "../../../src/store/sqlite/operations.ts";
import { encodeNewTask } from "../../../src/store/sqlite/wire.ts";
import { INSPECTION, T0, taskSpec } from "../store-samples.ts";

test("a back-off that has ended is found behind very many whose labels no worker has", () => {
  const folder = mkdtempSync(join(tmpdir(), "capmesh-ready-"));
  try {
    using db = Database.open(join(folder, "capmesh.db"));
    const store = operationsOn(db);
    const create = (id: string, changes = {}) => {
      store.createTask({ task: encodeNewTask(taskSpec(id, changes), INSPECTION), now: T0, key: undefined });
    };
    create("nobodys", { require: { gpu: "yes" } });
    create("anybodys");
    const columns = db.all("PRAGMA table_info(runs)").map((row) => String(row.name));
    const others = columns.filter((name) => name !== "idx").join(", ");
    db.run(
      `WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i <= ?)
       INSERT INTO runs (idx, ${others}) SELECT i, ${others} FROM n JOIN runs ON task = 1 AND idx = 1`,
      STORE_ENDED_BACKOFFS_MAX,
    );
    db.run("UPDATE runs SET not_before = CASE task WHEN 1 THEN 1 ELSE 2 END");
    const [first] = store.listReady({ now: T0, limit: 1, except: [] }).runs;
    expect(first).toMatchObject({ serial: 1 });
    const except = [first?.requirement ?? 0];
    expect(store.listReady({ now: T0, limit: 10, except }).runs).toMatchObject([{ serial: 2 }]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
