import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Database } from "../../../src/store/sqlite/database.ts";
import { readKeptFiles } from "../../../src/store/sqlite/file-rows.ts";
import { digest } from "../store-samples.ts";

test("a page of runs ends where the files of one would be too many, and goes on there", () => {
  const folder = mkdtempSync(join(tmpdir(), "capmesh-files-"));
  try {
    using db = Database.open(join(folder, "capmesh.db"));
    // Twenty runs with a thousand paths of a thousand bytes each: less than sixteen of them fit into a page.
    db.run(
      `WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 19999)
       INSERT INTO kept_files (task, run, path, digest, bytes)
       SELECT 1, 1 + i / 1000, printf('%01000d', i % 1000), ?, 0 FROM n`,
      digest(),
    );
    const first = readKeptFiles(db, 1, 1, 20);
    expect(first.toIndex).toBeGreaterThan(10);
    expect(first.toIndex).toBeLessThan(20);
    const second = readKeptFiles(db, 1, first.toIndex + 1, 20);
    expect(second.toIndex).toBe(20);
    const counts = [...first.files, ...second.files].map(([run, files]) => [run, files.length]);
    expect(counts).toEqual(Array.from({ length: 20 }, (_, index) => [index + 1, 1_000]));
  } finally {
    rmSync(folder, { recursive: true });
  }
});
