import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { refuseEmptied } from "../../src/app/emptied-database.ts";

test("a database that is gone or without a byte is refused beside blobs, and is a new one without", async () => {
  const folder = await mkdtemp(join(tmpdir(), "capmesh-emptied-"));
  try {
    const path = join(folder, "capmesh.db");
    const blobs = join(folder, "blobs");
    await refuseEmptied(path, blobs);
    await mkdir(join(blobs, "unfinished"), { recursive: true });
    await mkdir(join(blobs, "0a"));
    await refuseEmptied(path, blobs);
    await writeFile(path, "");
    await refuseEmptied(path, blobs);
    await writeFile(join(blobs, "0a", "0a"), "");
    await expect(refuseEmptied(path, blobs)).rejects.toMatchObject(refusal("is empty"));
    await writeFile(path, "S");
    await expect(refuseEmptied(path, blobs)).rejects.toMatchObject(refusal("is empty"));
    await rm(path);
    await expect(refuseEmptied(path, blobs)).rejects.toMatchObject(refusal("is not there"));
    await writeFile(path, new Uint8Array(4_096));
    await refuseEmptied(path, blobs);
  } finally {
    await rm(folder, { recursive: true });
  }
});

function refusal(text: string) {
  const message: unknown = expect.stringMatching(new RegExp(`${text}.*restore it from a backup`));
  return { type: "failed", code: "store-unavailable", message };
}
