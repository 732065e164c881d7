import { mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { lockStore } from "../../src/app/store-lock.ts";

test("a database is one gateway's, by whatever name it goes, until that one lets go", async () => {
  const folder = await mkdtemp(join(tmpdir(), "capmesh-lock-"));
  try {
    const path = join(folder, "capmesh.db");
    const alias = join(folder, "alias.db");
    const inUse: unknown = expect.stringMatching(new RegExp(`pid ${process.pid}.*--store`));
    {
      using _lock = await lockStore(path);
      await expect(lockStore(path)).rejects.toMatchObject({ code: "store-in-use", message: inUse });
      await writeFile(path, "");
      await symlink(path, alias);
      await expect(lockStore(alias)).rejects.toMatchObject({ code: "store-in-use" });
    }
    using _again = await lockStore(alias);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("a database in a folder that is not there is refused with what to do", async () => {
  await expect(lockStore("/nowhere/capmesh.db")).rejects.toMatchObject({
    code: "store-unavailable",
    message: expect.stringContaining("its folder has to exist"),
  });
});
