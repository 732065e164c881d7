/**
 * Keeps a module's bytes from being deleted between the moment a submission relies on them and the moment its task,
 * which refers to them, is durable.
 *
 * A submission pins its module before it commits the bytes, or before it looks whether they are there. Whoever wants to
 * delete bytes that no task uses does so by `retireUnused`, which does nothing while the module is pinned: the submission
 * that holds the pin retires it in turn when it fails. Pins of one module may be many; a retirement is alone.
 *
 * A crash between a blob's commit and its task's leaves a blob that nobody retires: `sweep` looks for those.
 */
import { messageOf } from "../base/errors.ts";
import type { Digest } from "../base/ids.ts";
import type { Log } from "../base/log.ts";
import type { BlobStore } from "../store/blobs.ts";
import type { Store } from "../store/store.ts";

export interface ModulePinsInit {
  readonly store: Pick<Store, "isModuleUsed">;
  readonly blobs: Pick<BlobStore, "delete" | "list">;
  readonly log: Log;
}

export class ModulePins {
  readonly #init: ModulePinsInit;
  readonly #pins = new Map<Digest, number>();
  readonly #retiring = new Map<Digest, Promise<void>>();

  constructor(init: ModulePinsInit) {
    this.#init = init;
  }

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

  /** Deletes the module's bytes unless it is pinned or a task uses it. Never rejects: what is left is swept later. */
  async retireUnused(digest: Digest): Promise<void> {
    try {
      await this.#retire(digest);
    } catch (error) {
      this.#init.log.warn("a module that no task uses could not be deleted", { module: digest, error });
    }
  }

  /** Retires every module in the blob store that nothing uses, one after the other. Never rejects. */
  async sweep({ signal }: { signal: AbortSignal }): Promise<void> {
    try {
      for await (const digest of this.#init.blobs.list()) {
        if (signal.aborted) return;
        await this.#retire(digest);
      }
    } catch (error) {
      if (signal.aborted) return;
      this.#init.log.warn(`modules that no task uses are not looked for any more: ${messageOf(error)}`, { error });
    }
  }

  async #retire(digest: Digest): Promise<void> {
    for (let retiring = this.#retiring.get(digest); retiring !== undefined; retiring = this.#retiring.get(digest)) {
      await retiring;
    }
    if (this.#pins.has(digest)) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#retiring.set(digest, promise);
    try {
      const { store, blobs } = this.#init;
      if (!(await store.isModuleUsed(digest))) await blobs.delete(digest);
    } finally {
      this.#retiring.delete(digest);
      resolve();
    }
  }
}
