import { expect, test } from "vitest";
import { failed } from "../../src/base/errors.ts";
import { BlobModule } from "../../src/gateway/blob-module.ts";
import type { Blob, BlobStore } from "../../src/store/blobs.ts";
import { bytesOf, digest } from "../store/store-samples.ts";

const BROKEN = failed("the disk does not answer", { code: "store-unavailable" });

/** Blobs that can be opened, and read, once `broken` no longer names it. */
class SickBlobs implements Pick<BlobStore, "open"> {
  readonly broken = new Set<"open" | "read">();
  readonly #bytes: Uint8Array | undefined;
  opened = 0;

  constructor(bytes?: Uint8Array) {
    this.#bytes = bytes;
  }

  async open(): Promise<Blob | undefined> {
    if (this.broken.has("open")) throw BROKEN;
    const bytes = this.#bytes;
    if (bytes === undefined) return undefined;
    this.opened++;
    return {
      digest: digest(),
      bytes: bytes.length,
      read: async (offset, length) => {
        if (this.broken.has("read")) throw BROKEN;
        return bytes.subarray(offset, offset + length);
      },
      [Symbol.asyncDispose]: async () => void this.opened--,
    };
  }
}

test.each(["open", "read"] as const)(
  "a blob store that fails to %s asks the worker to come again, and is then read",
  async (operation) => {
    const blobs = new SickBlobs(bytesOf("wasm"));
    using module = new BlobModule(blobs, digest());
    blobs.broken.add(operation);
    await expect(module.read(0, 4)).rejects.toMatchObject({ type: "overloaded", code: "store-unavailable" });
    blobs.broken.clear();
    expect(await module.read(1, 2)).toEqual(bytesOf("as"));
  },
);

test("bytes that are gone are said to be gone", async () => {
  using module = new BlobModule(new SickBlobs(), digest());
  await expect(module.read(0, 4)).rejects.toMatchObject({ type: "failed", code: "no-such-module" });
});

test("a blob that was opened is closed with the module", async () => {
  const blobs = new SickBlobs(bytesOf("wasm"));
  const module = new BlobModule(blobs, digest());
  await module.read(0, 4);
  expect(blobs.opened).toBe(1);
  module[Symbol.dispose]();
  await expect.poll(() => blobs.opened).toBe(0);
});
