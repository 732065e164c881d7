import { describe, expect, test } from "vitest";
import { MemoryBlobs } from "../support/memory-blobs.ts";
import { blobContract, storeBlob } from "./blob-contract.ts";
import { bytesOf, textOf } from "./store-samples.ts";

blobContract("MemoryBlobs", () =>
  Promise.resolve({ blobs: new MemoryBlobs(), [Symbol.asyncDispose]: () => Promise.resolve() }),
);

describe("MemoryBlobs", () => {
  test("keeps what was committed over a crash, and nothing else", async () => {
    const blobs = new MemoryBlobs();
    const { digest } = await storeBlob(blobs, "kept");
    await using writer = await blobs.create();
    await writer.write(bytesOf("lost"));
    await writer.finish();
    blobs.crash();
    expect(() => writer.commit()).toThrow("after a crash");
    expect(await Array.fromAsync(blobs.list())).toEqual([digest]);
  });

  test("takes bytes without ceremony", async () => {
    const blobs = new MemoryBlobs();
    await using blob = await blobs.open(blobs.put(bytesOf("here")));
    expect(await blob?.read(0, 10).then(textOf)).toBe("here");
  });
});
