/**
 * Keeps a module's bytes from being deleted between the moment a submission relies on them and the moment its task,
 * which refers to them, is durable.
 *
 * A submission pins its module before it commits the bytes, or before it looks whether they are there. Whoever wants to
 * delete bytes that no task uses does so by `retire`, which does nothing while the module is pinned: the submission
 * that holds the pin retires it in turn when it fails. Pins of one module may be many; a retirement is alone.
 */
import type { Digest } from "../base/ids.ts";

export class ModulePins {
  readonly #pins = new Map<Digest, number>();
  readonly #retiring = new Map<Digest, Promise<void>>();

  /** Resolves when no retirement of the module is under way. The caller disposes the pin. */
  async pin(digest: Digest): Promise<Disposable> {
    for (let retiring = this.#retiring.get(digest); retiring !== undefined; retiring = this.#retiring.get(digest)) {
      await retiring;
    }
    this.#pins.set(digest, (this.#pins.get(digest) ?? 0) + 1);
    let isPinned = true;
    return {
      [Symbol.dispose]: () => {
        if (!isPinned) return;
        isPinned = false;
        const left = (this.#pins.get(digest) ?? 1) - 1;
        if (left === 0) this.#pins.delete(digest);
        else this.#pins.set(digest, left);
      },
    };
  }

  /**
   * Calls `retire`, which looks whether the module is used and deletes it if not, unless the module is pinned. False:
   * it was pinned, and nothing was done. Rejects as `retire` does.
   */
  async retire(digest: Digest, retire: () => Promise<void>): Promise<boolean> {
    for (let retiring = this.#retiring.get(digest); retiring !== undefined; retiring = this.#retiring.get(digest)) {
      await retiring;
    }
    if (this.#pins.has(digest)) return false;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#retiring.set(digest, promise);
    try {
      await retire();
    } finally {
      this.#retiring.delete(digest);
      resolve();
    }
    return true;
  }
}
