import { expect, test } from "vitest";
import { failed } from "../../src/base/errors.ts";
import { systemClock } from "../../src/base/system-clock.ts";
import { BlobModule } from "../../src/gateway/blob-module.ts";
import { UnreadableBlobs } from "../../src/gateway/unreadable-blobs.ts";
import type { Blob, BlobStore } from "../../src/store/blobs.ts";
import { bytesOf, digest, taskId } from "../store/store-samples.ts";
import { SeededRandom } from "../support/seeded-random.ts";

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

function reads() {
  const storeHealth = { check: () => Promise.resolve(undefined) };
  const blobs = new UnreadableBlobs({
    storeHealth,
    clock: systemClock,
    random: new SeededRandom(1),
    onReadable: () => {},
  });
  return blobs.readsFor({ task: taskId("t"), serial: 1, run: 1, attempt: 1 }, () => {});
}

test.each(["open", "read"] as const)(
  "a blob store that fails to %s asks the worker to come again, and is then read",
  async (operation) => {
    const blobs = new SickBlobs(bytesOf("wasm"));
    using module = new BlobModule(blobs, reads(), digest());
    blobs.broken.add(operation);
    await expect(module.read(0, 4)).rejects.toMatchObject({ type: "overloaded", code: "store-unavailable" });
    blobs.broken.clear();
    expect(await module.read(1, 2)).toEqual(bytesOf("as"));
  },
);

test("bytes that are gone are asked for again: their disk may come back", async () => {
  using module = new BlobModule(new SickBlobs(), reads(), digest());
  await expect(module.read(0, 4)).rejects.toMatchObject({ type: "overloaded", code: "store-unavailable" });
});

test("a blob that was opened is closed with the module", async () => {
  const blobs = new SickBlobs(bytesOf("wasm"));
  const module = new BlobModule(blobs, reads(), digest());
  await module.read(0, 4);
  expect(blobs.opened).toBe(1);
  module[Symbol.dispose]();
  await expect.poll(() => blobs.opened).toBe(0);
});
