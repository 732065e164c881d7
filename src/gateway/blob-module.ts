/** A module's bytes as a worker reads them, opened when it first does: most workers have them cached. */
import type { Digest } from "../base/ids.ts";
import type { ModuleTarget } from "../caps/module.ts";
import type { Blob, BlobStore } from "../store/blobs.ts";
import type { BlobReads } from "./unreadable-blobs.ts";

export class BlobModule implements ModuleTarget {
  readonly #blobs: Pick<BlobStore, "open">;
  readonly #reads: BlobReads;
  readonly #digest: Digest;
  #blob: Promise<Blob | undefined> | undefined;

  constructor(blobs: Pick<BlobStore, "open">, reads: BlobReads, digest: Digest) {
    this.#blobs = blobs;
    this.#reads = reads;
    this.#digest = digest;
  }

  /** Rejects with `overloaded` while the bytes cannot be read, which is not the run's fault. */
  read(offset: number, length: number): Promise<Uint8Array> {
    return this.#reads.of(this.#digest, async () => (await this.#open())?.read(offset, length));
  }

  [Symbol.dispose](): void {
    this.#blob?.then((blob) => blob?.[Symbol.asyncDispose]()).catch(() => {});
  }

  /** What could not be opened is tried again by the next read. */
  async #open(): Promise<Blob | undefined> {
    this.#blob ??= this.#blobs.open(this.#digest);
    const opening = this.#blob;
    try {
      const blob = await opening;
      if (blob === undefined && this.#blob === opening) this.#blob = undefined;
      return blob;
    } catch (error) {
      if (this.#blob === opening) this.#blob = undefined;
      throw error;
    }
  }
}
