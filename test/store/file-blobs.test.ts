import { createHash } from "node:crypto";
import { chmod, mkdtemp, readFile, readdir, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { assert } from "../../src/base/errors.ts";
import { type Digest, parseDigest } from "../../src/base/ids.ts";
import type { BlobWriter } from "../../src/store/blobs.ts";
import { FileBlobStore } from "../../src/store/file-blobs.ts";
import { bytesOf, digest, textOf } from "./store-samples.ts";

describe("FileBlobStore", () => {
  test("gives back what was committed, under its SHA-256", async () => {
    await using folder = await Folder.create();
    const blobs = await FileBlobStore.open(folder.path);
    await using writer = await blobs.create();
    await writer.write(bytesOf("hello "));
    await writer.write(bytesOf("world"));
    const finished = await writer.finish();
    expect(finished).toMatchObject({ digest: sha256(bytesOf("hello world")), bytes: 11 });
    expect(await writer.commit()).toEqual({ isNew: true });
    await using blob = await blobs.open(finished.digest);
    expect(blob?.bytes).toBe(11);
    expect(await blob?.read(0, 100).then(textOf)).toBe("hello world");
    expect(await blob?.read(6, 3).then(textOf)).toBe("wor");
    expect(await blob?.read(11, 3)).toEqual(new Uint8Array());
    expect(await blob?.read(99, 3)).toEqual(new Uint8Array());
  });

  test("takes an empty blob", async () => {
    await using folder = await Folder.create();
    const blobs = await FileBlobStore.open(folder.path);
    const { digest: empty } = await store(blobs, "");
    expect(empty).toBe(sha256(new Uint8Array()));
    await using blob = await blobs.open(empty);
    expect(blob?.bytes).toBe(0);
  });

  test("shows nothing before the commit, but to who has the path", async () => {
    await using folder = await Folder.create();
    const blobs = await FileBlobStore.open(folder.path);
    await using writer = await blobs.create();
    await writer.write(bytesOf("not yet"));
    const finished = await writer.finish();
    expect(await blobs.open(finished.digest)).toBeUndefined();
    expect(await readFile(finished.path, "utf8")).toBe("not yet");
  });

  test("lists what was committed, and nothing else that lies there", async () => {
    await using folder = await Folder.create();
    const blobs = await FileBlobStore.open(folder.path);
    const stored: Digest[] = [];
    for (const text of ["a", "b", "c", "d"]) stored.push((await store(blobs, text)).digest);
    const deleted = stored.pop();
    assert(deleted !== undefined, "four were stored");
    await blobs.delete(deleted);
    await using unfinished = await blobs.create();
    await unfinished.write(bytesOf("e"));
    await writeFile(join(folder.path, deleted.slice(0, 2), "not-a-digest"), "");
    await writeFile(join(folder.path, "notes"), "");
    const listed: Digest[] = [];
    for await (const each of blobs.list()) listed.push(each);
    expect(listed.toSorted()).toEqual(stored.toSorted());
  });

  test("leaves nothing of a blob that is disposed, at any point", async () => {
    await using folder = await Folder.create();
    const blobs = await FileBlobStore.open(folder.path);
    const steps: readonly ((writer: BlobWriter) => Promise<unknown>)[] = [
      () => Promise.resolve(),
      (writer) => writer.write(bytesOf("some")),
      (writer) => writer.finish(),
    ];
    for (const step of steps) {
      const writer = await blobs.create();
      await step(writer);
      await writer[Symbol.asyncDispose]();
      await writer[Symbol.asyncDispose]();
    }
    expect(await folder.files()).toEqual([]);
  });

  test("keeps a committed blob when its writer is disposed", async () => {
    await using folder = await Folder.create();
    const blobs = await FileBlobStore.open(folder.path);
    const { digest: stored } = await store(blobs, "kept");
    expect(await folder.files()).toEqual([join(stored.slice(0, 2), stored)]);
  });

  test("says that it had a blob already", async () => {
    await using folder = await Folder.create();
    const blobs = await FileBlobStore.open(folder.path);
    expect((await store(blobs, "same")).isNew).toBe(true);
    expect((await store(blobs, "same")).isNew).toBe(false);
    expect((await store(await FileBlobStore.open(folder.path), "same")).isNew).toBe(false);
    expect(await folder.files()).toHaveLength(1);
  });

  test("commits the same bytes many times at once", async () => {
    await using folder = await Folder.create();
    const blobs = await FileBlobStore.open(folder.path);
    const stored = await Promise.all(Array.from({ length: 20 }, () => store(blobs, "at once")));
    expect(stored.filter((each) => each.isNew)).toHaveLength(1);
    expect(await folder.files()).toHaveLength(1);
  });

  test("replaces a file that has the wrong size", async () => {
    await using folder = await Folder.create();
    const blobs = await FileBlobStore.open(folder.path);
    const { digest: stored } = await store(blobs, "whole");
    await truncate(join(folder.path, stored.slice(0, 2), stored), 2);
    expect((await store(blobs, "whole")).isNew).toBe(true);
    await using blob = await blobs.open(stored);
    expect(await blob?.read(0, 10).then(textOf)).toBe("whole");
  });

  test("forgets a blob, and lets those who have it open read on", async () => {
    await using folder = await Folder.create();
    const blobs = await FileBlobStore.open(folder.path);
    const { digest: stored } = await store(blobs, "going");
    await using blob = await blobs.open(stored);
    await blobs.delete(stored);
    await blobs.delete(stored);
    expect(await blobs.open(stored)).toBeUndefined();
    expect(await blob?.read(0, 10).then(textOf)).toBe("going");
    expect((await store(blobs, "going")).isNew).toBe(true);
  });

  test("knows nothing of what is not there", async () => {
    await using folder = await Folder.create();
    const blobs = await FileBlobStore.open(folder.path);
    expect(await blobs.open(digest("b"))).toBeUndefined();
    await blobs.delete(digest("b"));
  });

  test("removes what a crash has left when it is opened", async () => {
    await using folder = await Folder.create();
    const first = await FileBlobStore.open(folder.path);
    const { digest: kept } = await store(first, "kept");
    const abandoned = await first.create();
    await abandoned.write(bytesOf("half"));
    const second = await FileBlobStore.open(folder.path);
    expect(await folder.files()).toEqual([join(kept.slice(0, 2), kept)]);
    expect((await store(second, "more")).isNew).toBe(true);
    await abandoned[Symbol.asyncDispose]();
  });

  test("keeps writes in the order of the calls, whatever their sizes", async () => {
    await using folder = await Folder.create();
    const blobs = await FileBlobStore.open(folder.path);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 5_000 }), { maxLength: 12 }), async (chunks) => {
        await using writer = await blobs.create();
        await Promise.all(chunks.map((chunk) => writer.write(chunk)));
        const finished = await writer.finish();
        const whole = Buffer.concat(chunks);
        expect(finished).toMatchObject({ digest: sha256(whole), bytes: whole.length });
        await writer.commit();
        await using blob = await blobs.open(finished.digest);
        expect(Buffer.from((await blob?.read(0, whole.length)) ?? []).equals(whole)).toBe(true);
      }),
      { numRuns: 20 },
    );
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

async function store(
  blobs: FileBlobStore,
  text: string,
): Promise<{ readonly digest: Digest; readonly isNew: boolean }> {
  await using writer = await blobs.create();
  await writer.write(bytesOf(text));
  const finished = await writer.finish();
  return { digest: finished.digest, ...(await writer.commit()) };
}

function sha256(bytes: Uint8Array): Digest {
  const parsed = parseDigest(createHash("sha256").update(bytes).digest("hex"));
  assert(parsed !== undefined, "a SHA-256 in hex is a digest");
  return parsed;
}

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
