import { chmod, mkdir, mkdtemp, readdir, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { FileBlobStore } from "../../src/store/file-blobs.ts";
import { blobContract, storeBlob } from "./blob-contract.ts";
import { bytesOf, textOf } from "./store-samples.ts";

blobContract("FileBlobStore", async () => {
  const folder = await Folder.create();
  const blobs = await FileBlobStore.open(folder.path);
  return { blobs, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() };
});

describe("FileBlobStore", () => {
  test("lists nothing else that lies there", async () => {
    await using folder = await Folder.create();
    const blobs = await FileBlobStore.open(folder.path);
    const { digest } = await storeBlob(blobs, "a");
    await writeFile(join(folder.path, digest.slice(0, 2), "not-a-digest"), "");
    await writeFile(join(folder.path, "notes"), "");
    expect(await Array.fromAsync(blobs.list())).toEqual([digest]);
  });

  test("leaves no file of a blob that is disposed", async () => {
    await using folder = await Folder.create();
    const blobs = await FileBlobStore.open(folder.path);
    for (const isFinished of [false, true]) {
      await using writer = await blobs.create();
      await writer.write(bytesOf("some"));
      if (isFinished) await writer.finish();
    }
    expect(await folder.files()).toEqual([]);
  });

  test("keeps each blob in one file, however often it was stored", async () => {
    await using folder = await Folder.create();
    const { digest, isNew } = await storeBlob(await FileBlobStore.open(folder.path), "kept");
    const again = await storeBlob(await FileBlobStore.open(folder.path), "kept");
    expect([isNew, again.isNew]).toEqual([true, false]);
    expect(await folder.files()).toEqual([join(digest.slice(0, 2), digest)]);
  });

  test("replaces a file that has the wrong size", async () => {
    await using folder = await Folder.create();
    const blobs = await FileBlobStore.open(folder.path);
    const { digest: stored } = await storeBlob(blobs, "whole");
    await truncate(join(folder.path, stored.slice(0, 2), stored), 2);
    expect((await storeBlob(blobs, "whole")).isNew).toBe(true);
    await using blob = await blobs.open(stored);
    expect(await blob?.read(0, 10).then(textOf)).toBe("whole");
  });

  test("counts a file that is not what its name says as not there", async () => {
    await using folder = await Folder.create();
    const { digest: stored } = await storeBlob(await FileBlobStore.open(folder.path), "whole");
    await writeFile(join(folder.path, stored.slice(0, 2), stored), "whale");
    const blobs = await FileBlobStore.open(folder.path);
    expect(await blobs.open(stored)).toBeUndefined();
    await storeBlob(blobs, "whole");
    await using blob = await blobs.open(stored);
    expect(await blob?.read(0, 10).then(textOf)).toBe("whole");
  });

  test("replaces a file that has the size and not the content, when the process has not seen it whole", async () => {
    await using folder = await Folder.create();
    const { digest: stored } = await storeBlob(await FileBlobStore.open(folder.path), "whole");
    await writeFile(join(folder.path, stored.slice(0, 2), stored), "whale");
    const blobs = await FileBlobStore.open(folder.path);
    expect((await storeBlob(blobs, "whole")).isNew).toBe(true);
    expect((await storeBlob(blobs, "whole")).isNew).toBe(false);
    await using blob = await blobs.open(stored);
    expect(await blob?.read(0, 10).then(textOf)).toBe("whole");
  });

  test("says that it is in trouble while nothing can be written, and no longer when it can", async () => {
    await using folder = await Folder.create();
    const blobs = await FileBlobStore.open(folder.path);
    expect(await blobs.check({ isThorough: true })).toBeUndefined();
    await rm(join(folder.path, "unfinished"), { recursive: true });
    await expect(blobs.create()).rejects.toMatchObject({ code: "store-unavailable", trouble: "io-error" });
    expect(await blobs.check()).toMatchObject({ kind: "io-error" });
    await mkdir(join(folder.path, "unfinished"));
    expect(await blobs.check()).toBeUndefined();
    expect((await storeBlob(blobs, "a")).isNew).toBe(true);
    expect(await folder.files()).toHaveLength(1);
  });

  test("removes what a crash has left when it is opened", async () => {
    await using folder = await Folder.create();
    const first = await FileBlobStore.open(folder.path);
    const { digest: kept } = await storeBlob(first, "kept");
    const abandoned = await first.create();
    await abandoned.write(bytesOf("half"));
    const second = await FileBlobStore.open(folder.path);
    expect(await folder.files()).toEqual([join(kept.slice(0, 2), kept)]);
    expect((await storeBlob(second, "more")).isNew).toBe(true);
    await abandoned[Symbol.asyncDispose]();
  });

  test("says what to do when its folder cannot be used", async () => {
    await using folder = await Folder.create();
    const file = join(folder.path, "file");
    await writeFile(file, "");
    await expect(FileBlobStore.open(join(file, "blobs"))).rejects.toMatchObject({
      type: "failed",
      code: "store-unavailable",
    });
  });

  test.skipIf(process.getuid?.() === 0)("rejects a blob when its folder becomes read-only", async () => {
    await using folder = await Folder.create();
    const blobs = await FileBlobStore.open(folder.path);
    await chmod(join(folder.path, "unfinished"), 0o500);
    await expect(blobs.create()).rejects.toMatchObject({ code: "store-unavailable" });
    await chmod(join(folder.path, "unfinished"), 0o700);
  });
});

class Folder implements AsyncDisposable {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  static async create(): Promise<Folder> {
    return new Folder(await mkdtemp(join(tmpdir(), "capmesh-blobs-")));
  }

  /** Every file in it, by its path from here. */
  async files(): Promise<readonly string[]> {
    const entries = await readdir(this.path, { recursive: true, withFileTypes: true });
    return entries
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(this.path.length + 1));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.path, { recursive: true });
  }
}
