/** The conformance suite of the blob store's contract (`src/store/blobs.ts`): every implementation runs it. */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { assert } from "../../src/base/errors.ts";
import { type Digest, parseDigest } from "../../src/base/ids.ts";
import type { BlobStore, BlobWriter } from "../../src/store/blobs.ts";
import { bytesOf, digest, textOf } from "./store-samples.ts";
import { fc } from "../support/properties.ts";

/** A blob store with nothing in it. Disposing the harness leaves nothing behind. */
export interface BlobHarness extends AsyncDisposable {
  readonly blobs: BlobStore;
}

export function blobContract(name: string, open: () => Promise<BlobHarness>): void {
  describe(`${name}, by the blob store's contract`, () => {
    test("gives back what was committed, under its SHA-256", async () => {
      await using harness = await open();
      await using writer = await harness.blobs.create();
      await writer.write(bytesOf("hello "));
      await writer.write(bytesOf("world"));
      const finished = await writer.finish();
      expect(finished).toMatchObject({ digest: sha256(bytesOf("hello world")), bytes: 11 });
      expect(await writer.commit()).toEqual({ isNew: true });
      await using blob = await harness.blobs.open(finished.digest);
      expect(blob?.bytes).toBe(11);
      expect(await blob?.read(0, 100).then(textOf)).toBe("hello world");
      expect(await blob?.read(6, 3).then(textOf)).toBe("wor");
      expect((await blob?.read(11, 3))?.length).toBe(0);
      expect((await blob?.read(99, 3))?.length).toBe(0);
    });

    test("takes an empty blob", async () => {
      await using harness = await open();
      const { digest: empty } = await storeBlob(harness.blobs, "");
      expect(empty).toBe(sha256(new Uint8Array()));
      await using blob = await harness.blobs.open(empty);
      expect(blob?.bytes).toBe(0);
    });

    test("shows nothing before the commit, but to who has the path", async () => {
      await using harness = await open();
      await using writer = await harness.blobs.create();
      await writer.write(bytesOf("not yet"));
      const finished = await writer.finish();
      expect(await harness.blobs.open(finished.digest)).toBeUndefined();
      expect(await listed(harness.blobs)).toEqual([]);
      expect(await readFile(finished.path, "utf8")).toBe("not yet");
    });

    test("lists what was committed", async () => {
      await using harness = await open();
      const { blobs } = harness;
      const stored: Digest[] = [];
      for (const text of ["a", "b", "c", "d"]) stored.push((await storeBlob(blobs, text)).digest);
      const deleted = stored.pop();
      assert(deleted !== undefined, "four were stored");
      await blobs.delete(deleted);
      await using unfinished = await blobs.create();
      await unfinished.write(bytesOf("e"));
      expect((await listed(blobs)).toSorted()).toEqual(stored.toSorted());
    });

    test("has nothing of a blob that is disposed before its commit, at any point", async () => {
      await using harness = await open();
      const { blobs } = harness;
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
      expect(await listed(blobs)).toEqual([]);
    });

    test("keeps a committed blob when its writer is disposed", async () => {
      await using harness = await open();
      const { digest: stored } = await storeBlob(harness.blobs, "kept");
      expect(await listed(harness.blobs)).toEqual([stored]);
    });

    test("says that it had a blob already", async () => {
      await using harness = await open();
      expect((await storeBlob(harness.blobs, "same")).isNew).toBe(true);
      expect((await storeBlob(harness.blobs, "same")).isNew).toBe(false);
      expect(await listed(harness.blobs)).toHaveLength(1);
    });

    test("commits the same bytes many times at once", async () => {
      await using harness = await open();
      const stored = await Promise.all(Array.from({ length: 20 }, () => storeBlob(harness.blobs, "at once")));
      expect(stored.filter((each) => each.isNew)).toHaveLength(1);
      expect(await listed(harness.blobs)).toHaveLength(1);
    });

    test("forgets a blob, and lets those who have it open read on", async () => {
      await using harness = await open();
      const { blobs } = harness;
      const { digest: stored } = await storeBlob(blobs, "going");
      await using blob = await blobs.open(stored);
      await blobs.delete(stored);
      await blobs.delete(stored);
      expect(await blobs.open(stored)).toBeUndefined();
      expect(await blob?.read(0, 10).then(textOf)).toBe("going");
      expect((await storeBlob(blobs, "going")).isNew).toBe(true);
    });

    test("knows nothing of what is not there", async () => {
      await using harness = await open();
      expect(await harness.blobs.open(digest("b"))).toBeUndefined();
      await harness.blobs.delete(digest("b"));
    });

    test("keeps writes in the order of the calls, whatever their sizes", async () => {
      await using harness = await open();
      const { blobs } = harness;
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
  });
}

/** Writes and commits a blob. */
export async function storeBlob(
  blobs: BlobStore,
  text: string,
): Promise<{ readonly digest: Digest; readonly isNew: boolean }> {
  await using writer = await blobs.create();
  await writer.write(bytesOf(text));
  const finished = await writer.finish();
  return { digest: finished.digest, ...(await writer.commit()) };
}

function listed(blobs: BlobStore): Promise<readonly Digest[]> {
  return Array.fromAsync(blobs.list());
}

function sha256(bytes: Uint8Array): Digest {
  const parsed = parseDigest(createHash("sha256").update(bytes).digest("hex"));
  assert(parsed !== undefined, "a SHA-256 in hex is a digest");
  return parsed;
}
