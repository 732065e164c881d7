/** A module's bytes as a worker reads them, opened when it first does: most workers have them cached. */
import { failed } from "../base/errors.ts";
import type { Digest } from "../base/ids.ts";
import type { ModuleTarget } from "../caps/module.ts";
import type { Blob, BlobStore } from "../store/blobs.ts";
import { storeTrouble } from "./store-trouble.ts";

export class BlobModule implements ModuleTarget {
  readonly #blobs: Pick<BlobStore, "open">;
  readonly #digest: Digest;
  #blob: Promise<Blob | undefined> | undefined;

  constructor(blobs: Pick<BlobStore, "open">, digest: Digest) {
    this.#blobs = blobs;
    this.#digest = digest;
  }

  /**
   * Rejects with `overloaded` while the bytes cannot be read, which is not the run's fault; with `failed`, code
   * `no-such-module`, when they are gone, which no waiting cures.
   */
  async read(offset: number, length: number): Promise<Uint8Array> {
    // What could not be opened is tried again by the next read.
    this.#blob ??= this.#blobs.open(this.#digest).catch((error: unknown) => {
      this.#blob = undefined;
      throw storeTrouble(error);
    });
    const blob = await this.#blob;
    if (blob === undefined) throw failed(`module ${this.#digest} is not in the blob store`, { code: "no-such-module" });
    return blob.read(offset, length).catch((error: unknown) => {
      throw storeTrouble(error);
    });
  }

  [Symbol.dispose](): void {
    this.#blob?.then((blob) => blob?.[Symbol.asyncDispose]()).catch(() => {});
  }
}
