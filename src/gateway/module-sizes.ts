/** How long modules are: what a digest names never changes, so it is asked for once, and not for every run. */
import type { Digest } from "../base/ids.ts";
import { MODULE_SIZES_MAX } from "../base/limits.ts";
import type { BlobStore } from "../store/blobs.ts";
import type { Store } from "../store/store.ts";

export class ModuleSizes {
  readonly #store: Pick<Store, "getModule">;
  readonly #blobs: Pick<BlobStore, "open">;
  /** The one that was read longest ago comes first. */
  readonly #bytes = new Map<Digest, number>();

  constructor(store: Pick<Store, "getModule">, blobs: Pick<BlobStore, "open">) {
    this.#store = store;
    this.#blobs = blobs;
  }

  /** Bytes; undefined when there is no such module. Rejects as the stores do. */
  async of(module: Digest): Promise<number | undefined> {
    const known = this.#bytes.get(module);
    if (known !== undefined) return known;
    const bytes = (await this.#store.getModule(module))?.inspection.bytes ?? (await this.#blobBytes(module));
    if (bytes === undefined) return undefined;
    this.#bytes.set(module, bytes);
    if (this.#bytes.size > MODULE_SIZES_MAX) {
      const [oldest] = this.#bytes.keys();
      if (oldest !== undefined) this.#bytes.delete(oldest);
    }
    return bytes;
  }

  /** Of one that nobody has looked into: what it is, is a worker's own business. */
  async #blobBytes(module: Digest): Promise<number | undefined> {
    await using blob = await this.#blobs.open(module);
    return blob?.bytes;
  }
}
