/** How long modules are: what a digest names never changes, so it is asked for once, and not for every run. */
import type { Digest } from "../base/ids.ts";
import { MODULE_SIZES_MAX } from "../base/limits.ts";
import type { Store } from "../store/store.ts";

export class ModuleSizes {
  readonly #store: Pick<Store, "getModule">;
  /** The one that was read longest ago comes first. */
  readonly #bytes = new Map<Digest, number>();

  constructor(store: Pick<Store, "getModule">) {
    this.#store = store;
  }

  /** Bytes; undefined when the store has no such module. Rejects as the store does. */
  async of(module: Digest): Promise<number | undefined> {
    const known = this.#bytes.get(module);
    if (known !== undefined) return known;
    const found = await this.#store.getModule(module);
    if (found === undefined) return undefined;
    this.#bytes.set(module, found.inspection.bytes);
    if (this.#bytes.size > MODULE_SIZES_MAX) {
      const [oldest] = this.#bytes.keys();
      if (oldest !== undefined) this.#bytes.delete(oldest);
    }
    return found.inspection.bytes;
  }
}
