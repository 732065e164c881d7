/**
 * A module or an input file that a client uploads in pieces, to be named by its digest in submissions.
 *
 *     writing ──finish──▶ finished: accepted, durable, pinned
 *        └──a write or the finish fails──▶ failed: every call says why
 *
 * The pin keeps the bytes while the upload is held. When it is disposed they go, unless a task uses them by then.
 */
import { type ClusterError, failed, toClusterError } from "../base/errors.ts";
import type { Digest } from "../base/ids.ts";
import type { BlobWriter } from "../store/blobs.ts";
import type { BlobPins } from "./blob-pins.ts";

export interface UploadInit {
  /** Taken over. */
  readonly writer: BlobWriter;
  readonly pins: BlobPins;
  readonly bytesMax: number;
  /** Counts what comes. Throws where it is too much for now, which fails the upload. */
  readonly spendBytes: (bytes: number) => void;
  /**
   * Looks at all of it before it is made durable; rejects where it is not to be. What it returns is called then: it lets
   * submissions name the content until what that returns is disposed.
   */
  readonly accept: (content: UploadedContent) => Promise<() => Disposable>;
}

export interface UploadedContent {
  readonly digest: Digest;
  readonly bytes: number;
  readonly path: string;
}

export class Upload implements AsyncDisposable {
  readonly #init: UploadInit;
  /** What keeps the content for submissions. */
  readonly #held = new DisposableStack();
  #bytes = 0;
  #failure: ClusterError | undefined;
  #finished: Promise<Digest> | undefined;
  #digest: Digest | undefined;

  constructor(init: UploadInit) {
    this.#init = init;
  }

  /** Appends, in the order of the calls. Takes the bytes over. */
  async write(bytes: Uint8Array): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#finished !== undefined) throw failed("the upload is finished", { code: "upload-finished" });
    this.#bytes += bytes.length;
    try {
      this.#init.spendBytes(bytes.length);
      if (this.#bytes > this.#init.bytesMax) {
        throw failed(`it has at most ${this.#init.bytesMax} bytes`, { code: "too-large" });
      }
      await this.#init.writer.write(bytes);
    } catch (thrown) {
      this.#failure ??= toClusterError(thrown);
      throw thrown;
    }
  }

  /** Rejects as `accept` does, or as the blob store does. Idempotent. */
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
    const { writer, pins, accept } = this.#init;
    const content = await writer.finish();
    const { digest } = content;
    const hold = await accept(content);
    this.#held.use(await pins.pin(digest));
    this.#digest = digest;
    await writer.commit();
    this.#held.use(hold());
    return digest;
  }
}
