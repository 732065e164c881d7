/**
 * A module that a client uploads in pieces, to be named by its digest in submissions.
 *
 *     writing ──finish──▶ finished: inspected, durable, pinned
 *        └──a write or the finish fails──▶ failed: every call says why
 *
 * The pin keeps the bytes while the upload is held. When it is disposed they go, unless a task uses them by then.
 */
import { type ClusterError, failed, toClusterError } from "../base/errors.ts";
import type { Digest } from "../base/ids.ts";
import { MODULE_BYTES_MAX } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import type { ModuleInspection } from "../model/module.ts";
import type { BlobStore, BlobWriter } from "../store/blobs.ts";
import type { Store } from "../store/store.ts";
import type { BlobPins } from "./blob-pins.ts";

export interface ModuleUploadInit {
  /** Taken over. */
  readonly writer: BlobWriter;
  readonly store: Store;
  readonly blobs: BlobStore;
  readonly pins: BlobPins;
  /** Rejects with a Refusal where the file is no module. */
  readonly inspect: (upload: { readonly digest: Digest; readonly path: string }) => Promise<ModuleInspection>;
  readonly log: Log;
  /** Submissions may name the module until what this returns is disposed. */
  readonly hold: (digest: Digest, inspection: ModuleInspection) => Disposable;
}

export class ModuleUpload implements AsyncDisposable {
  readonly #init: ModuleUploadInit;
  /** What keeps the module for submissions. */
  readonly #held = new DisposableStack();
  #bytes = 0;
  #failure: ClusterError | undefined;
  #finished: Promise<Digest> | undefined;
  #digest: Digest | undefined;

  constructor(init: ModuleUploadInit) {
    this.#init = init;
  }

  /** Appends, in the order of the calls. Takes the bytes over. */
  async write(bytes: Uint8Array): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#finished !== undefined) throw failed("the upload is finished", { code: "upload-finished" });
    this.#bytes += bytes.length;
    try {
      if (this.#bytes > MODULE_BYTES_MAX) {
        throw failed(`a module has at most ${MODULE_BYTES_MAX} bytes`, { code: "too-large" });
      }
      await this.#init.writer.write(bytes);
    } catch (thrown) {
      this.#failure ??= toClusterError(thrown);
      throw thrown;
    }
  }

  /** Rejects with a Refusal where the module cannot run, or as the blob store does. Idempotent. */
  finish(): Promise<Digest> {
    this.#finished ??= this.#finish();
    return this.#finished;
  }

  /** Call it when no call is under way. Leaves nothing behind but what a task uses. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#held.dispose();
    await this.#init.writer[Symbol.asyncDispose]();
    if (this.#digest !== undefined) await this.#init.pins.retireUnused(this.#digest);
  }

  async #finish(): Promise<Digest> {
    if (this.#failure !== undefined) throw this.#failure;
    const { writer, pins, inspect, hold } = this.#init;
    const { digest, path } = await writer.finish();
    const inspection = await inspect({ digest, path });
    this.#held.use(await pins.pin(digest));
    this.#digest = digest;
    await writer.commit();
    this.#held.use(hold(digest, inspection));
    return digest;
  }
}
