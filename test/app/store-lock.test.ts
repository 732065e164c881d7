import { mkdir, mkdtemp, readFile, readdir, realpath, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { lockStore } from "../../src/app/store-lock.ts";
import { resolveStorePath } from "../../src/app/store-path.ts";

test("what it leaves beside the database is small, for its owner alone, and in nobody's way", async () => {
  const folder = await mkdtemp(join(tmpdir(), "capmesh-lock-"));
  try {
    const path = join(folder, "capmesh.db");
    (await lockStore(path))[Symbol.dispose]();
    expect((await readdir(folder)).toSorted()).toEqual(["capmesh.db.lock", "capmesh.db.lock.pid"]);
    expect(await stat(`${path}.lock`)).toMatchObject({ size: 0, mode: 0o100600 });
    expect(await readFile(`${path}.lock.pid`, "utf8")).toBe(`${process.pid}\n`);
    (await lockStore(path))[Symbol.dispose]();
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("a database is one gateway's, by whatever name it goes, until that one lets go", async () => {
  const folder = await mkdtemp(join(tmpdir(), "capmesh-lock-"));
  try {
    const path = join(folder, "capmesh.db");
    const alias = join(folder, "alias.db");
    await symlink(path, alias);
    const lockAlias = async () => lockStore(await resolveStorePath(alias));
    const inUse: unknown = expect.stringMatching(new RegExp(`pid ${process.pid}.*--store`));
    {
      using _lock = await lockStore(path);
      await expect(lockStore(path)).rejects.toMatchObject({ code: "store-in-use", message: inUse });
      await expect(lockAlias()).rejects.toMatchObject({ code: "store-in-use" });
      await writeFile(path, "");
      await expect(lockAlias()).rejects.toMatchObject({ code: "store-in-use" });
    }
    using _again = await lockAlias();
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

test("a database's own name is found through links, to a file that is not there yet as to one that is", async () => {
  const folder = await realpath(await mkdtemp(join(tmpdir(), "capmesh-lock-")));
  try {
    const own = join(folder, "disk", "capmesh.db");
    await mkdir(join(folder, "disk"));
    await mkdir(join(folder, "links"));
    await symlink("../disk", join(folder, "links", "folder"));
    await symlink("../disk/capmesh.db", join(folder, "links", "file.db"));
    await symlink("folder/../links/file.db", join(folder, "links", "further.db"));
    await symlink("round.db", join(folder, "links", "round.db"));
    const names = ["disk/capmesh.db", "links/folder/capmesh.db", "links/file.db", "links/further.db"];
    for (const isThere of [false, true]) {
      if (isThere) await writeFile(own, "");
      const found = await Promise.all(names.map((name) => resolveStorePath(join(folder, name))));
      expect(found).toEqual(names.map(() => own));
    }
    const unresolved = ["links/round.db", "nowhere/capmesh.db"].map((name) => join(folder, name));
    expect(await Promise.all(unresolved.map(resolveStorePath))).toEqual(unresolved);
  } finally {
    await rm(folder, { recursive: true });
  }
});
