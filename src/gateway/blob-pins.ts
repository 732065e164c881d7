/**
 * Keeps a blob's bytes from being deleted between the moment somebody relies on them and the moment the rows that refer
 * to them are durable: of a submission's task, or of a file that was kept.
 *
 * Whoever stores or uses a blob pins it before it commits the bytes, or before it looks whether they are there. Whoever
 * wants to delete bytes that nothing refers to does so by `retireUnused`, which waits while the blob is pinned: the last
 * pin's end is looked at then, since what came of the pins may be gone again. Whoever holds a pin of which nothing has come
 * retires the blob in turn. Pins of one blob may be many; a retirement is alone.
 *
 * A crash between a blob's commit and its rows' leaves a blob that nobody retires: `sweep` looks for those.
 */
import { messageOf } from "../base/errors.ts";
import type { Digest } from "../base/ids.ts";
import { RETIREMENTS_AT_ONCE_MAX } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import type { BlobStore } from "../store/blobs.ts";
import type { FreedBlobs, Store } from "../store/store.ts";

export interface BlobPinsInit {
  readonly store: Pick<Store, "isBlobUsed">;
  readonly blobs: Pick<BlobStore, "delete" | "list">;
  readonly log: Log;
}

export class BlobPins {
  readonly #init: BlobPinsInit;
  readonly #pins = new Map<Digest, number>();
  readonly #retiring = new Map<Digest, Promise<void>>();
  /** Pinned ones that somebody wanted to retire. */
  readonly #wanted = new Set<Digest>();
  readonly #closed = new AbortController();
  #sweeping: Promise<void> | undefined;
  #isSweepWanted = false;

  constructor(init: BlobPinsInit) {
    this.#init = init;
  }

  /** Resolves when no retirement of the blob is under way. The caller disposes the pin. */
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
        if (left > 0) {
          this.#pins.set(digest, left);
          return;
        }
        this.#pins.delete(digest);
        if (this.#wanted.delete(digest) && !this.#closed.signal.aborted) void this.retireUnused(digest);
      },
    };
  }

  /** Pins several; the caller disposes one pin for all. */
  async pinAll(digests: Iterable<Digest>): Promise<Disposable> {
    const stack = new DisposableStack();
    for (const digest of new Set(digests)) stack.use(await this.pin(digest));
    return stack;
  }

  /** Deletes the blob's bytes unless it is pinned or something refers to it. Never rejects: what is left is swept later. */
  async retireUnused(digest: Digest): Promise<void> {
    try {
      await this.#retire(digest);
    } catch (error) {
      this.#init.log.warn("a blob that nothing refers to could not be deleted", { blob: digest, error });
    }
  }

  /** Retires what an operation of the store has let go of; what is beyond its list is swept later. Never rejects. */
  async retireFreed({ digests, hasMore }: FreedBlobs): Promise<void> {
    if (hasMore) void this.sweep();
    const left = [...digests];
    const retireLeft = async (): Promise<void> => {
      for (let digest = left.pop(); digest !== undefined; digest = left.pop()) await this.retireUnused(digest);
    };
    await Promise.all(Array.from({ length: Math.min(RETIREMENTS_AT_ONCE_MAX, left.length) }, retireLeft));
  }

  /**
   * Retires every blob that nothing refers to, one after the other. Asked again meanwhile, it begins anew when it is
   * through. Never rejects.
   */
  sweep(): Promise<void> {
    this.#isSweepWanted = true;
    this.#sweeping ??= this.#sweepWhileWanted();
    return this.#sweeping;
  }

  /** Ends a sweep; nothing is swept any more. Idempotent. */
  async close(): Promise<void> {
    this.#closed.abort();
    await this.#sweeping;
  }

  async #sweepWhileWanted(): Promise<void> {
    while (this.#isSweepWanted && !this.#closed.signal.aborted) {
      this.#isSweepWanted = false;
      await this.#sweepOnce();
    }
    this.#sweeping = undefined;
  }

  async #sweepOnce(): Promise<void> {
    const { signal } = this.#closed;
    try {
      for await (const digest of this.#init.blobs.list()) {
        if (signal.aborted) return;
        await this.#retire(digest);
      }
    } catch (error) {
      if (signal.aborted) return;
      this.#init.log.warn(`blobs that nothing refers to are not looked for any more: ${messageOf(error)}`, { error });
    }
  }

  async #retire(digest: Digest): Promise<void> {
    for (let retiring = this.#retiring.get(digest); retiring !== undefined; retiring = this.#retiring.get(digest)) {
      await retiring;
    }
    if (this.#pins.has(digest)) {
      this.#wanted.add(digest);
      return;
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#retiring.set(digest, promise);
    try {
      const { store, blobs } = this.#init;
      if (!(await store.isBlobUsed(digest))) await blobs.delete(digest);
    } finally {
      this.#retiring.delete(digest);
      resolve();
    }
  }
}
