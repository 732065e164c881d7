import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { refuseEmptied } from "../../src/app/emptied-database.ts";

test("a database without a byte is refused beside blobs, and is a new one without", async () => {
  const folder = await mkdtemp(join(tmpdir(), "capmesh-emptied-"));
  try {
    const path = join(folder, "capmesh.db");
    const blobs = join(folder, "blobs");
    await refuseEmptied(path, blobs);
    await mkdir(join(blobs, "unfinished"), { recursive: true });
    await writeFile(path, "");
    await refuseEmptied(path, blobs);
    await mkdir(join(blobs, "0a"));
    await expect(refuseEmptied(path, blobs)).rejects.toMatchObject({
      type: "failed",
      code: "store-unavailable",
      message: expect.stringContaining("restore the database from a backup"),
    });
    await rm(path);
    await refuseEmptied(path, blobs);
  } finally {
    await rm(folder, { recursive: true });
  }
});
