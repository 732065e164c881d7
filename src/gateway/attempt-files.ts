/**
 * The files to keep of one attempt, as its worker hands them over: checked against what its task asks for, stored as
 * blobs, and noted in the store one by one. They become the run's with its settlement, which is not decided here.
 *
 * A worker is believed in nothing: content counts by the digest that is computed here, and a digest alone gives nobody
 * content that the attempt is not known to have.
 */
import { type ClusterError, failed, overloaded } from "../base/errors.ts";
import { INCOMING_FILES_PER_ATTEMPT_MAX, KEPT_FILES_BYTES_MAX, KEPT_FILES_MAX } from "../base/limits.ts";
import { type FileContentTarget, serveFileContent } from "../caps/file-content.ts";
import { type GlobMatcher, matcherOf } from "../model/glob.ts";
import type { AttemptId } from "../model/run.ts";
import type { FileContent } from "../model/task-file.ts";
import type { Capability } from "../rpc/capability.ts";
import type { BlobStore, BlobWriter } from "../store/blobs.ts";
import type { KeepFileResult, Store } from "../store/store.ts";
import { attemptIsOver } from "./attempt-ends.ts";
import type { BlobPins } from "./blob-pins.ts";
import { storeTrouble } from "./store-trouble.ts";

export interface AttemptFilesInit {
  readonly id: AttemptId;
  readonly store: Pick<Store, "getTask" | "keepFile">;
  readonly blobs: Pick<BlobStore, "create">;
  readonly pins: Pick<BlobPins, "pin" | "retireUnused">;
}

export class AttemptFiles {
  readonly #init: AttemptFilesInit;
  #isWanted: Promise<GlobMatcher> | undefined;
  /** Files whose bytes are coming in. */
  #incoming = 0;

  constructor(init: AttemptFilesInit) {
    this.#init = init;
  }

  /** Where the file's bytes are to go, the caller's; undefined when it is kept already. Rejects as the schema says. */
  async keep(file: FileContent): Promise<Capability | undefined> {
    const { id, store, blobs } = this.#init;
    if (file.bytes > KEPT_FILES_BYTES_MAX) throw tooLarge();
    const isWanted = await this.#matcher();
    if (!isWanted(file.path)) {
      throw failed(`no glob of the task matches ${JSON.stringify(file.path)}`, { code: "not-wanted" });
    }
    const result = await store.keepFile(id, file, { hasBytes: false }).catch(rethrowAsTrouble);
    if (result === "kept") return undefined;
    if (result !== "needs-bytes") throw refusal(result, file);
    if (this.#incoming >= INCOMING_FILES_PER_ATTEMPT_MAX) {
      throw overloaded(`${INCOMING_FILES_PER_ATTEMPT_MAX} files are coming in: finish one, or drop it`);
    }
    this.#incoming++;
    const end = (): void => void this.#incoming--;
    try {
      const writer = await blobs.create();
      return serveFileContent(new IncomingFile(this.#init, file, writer, end));
    } catch (thrown) {
      end();
      throw storeTrouble(thrown);
    }
  }

  /** What the task wants to keep is read once, and only of attempts that keep something. */
  async #matcher(): Promise<GlobMatcher> {
    this.#isWanted ??= this.#readMatcher();
    try {
      return await this.#isWanted;
    } catch (thrown) {
      this.#isWanted = undefined;
      throw thrown;
    }
  }

  async #readMatcher(): Promise<GlobMatcher> {
    const { id, store } = this.#init;
    const task = await store.getTask(id.task).catch(rethrowAsTrouble);
    if (task?.serial !== id.serial) throw attemptIsOver();
    return matcherOf(task.spec.outputs);
  }
}

/** One file's bytes. Disposed when the worker has dropped it, finished or not. */
class IncomingFile implements FileContentTarget {
  readonly #init: AttemptFilesInit;
  readonly #file: FileContent;
  readonly #writer: BlobWriter;
  readonly #onEnded: () => void;
  #bytes = 0;
  #failure: ClusterError | undefined;
  #finished: Promise<void> | undefined;
  /** Calls under way, which the writer has to outlive. */
  #calls: Promise<unknown> = Promise.resolve();

  constructor(init: AttemptFilesInit, file: FileContent, writer: BlobWriter, onEnded: () => void) {
    this.#init = init;
    this.#file = file;
    this.#writer = writer;
    this.#onEnded = onEnded;
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#finished !== undefined) throw failed("the file is finished", { code: "file-corrupt" });
    this.#bytes += bytes.length;
    if (this.#bytes > this.#file.bytes) {
      this.#failure = corrupt(`it has more than the ${this.#file.bytes} bytes that were announced`);
      throw this.#failure;
    }
    await this.#call(() => this.#writer.write(bytes).catch(rethrowAsTrouble));
  }

  finish(): Promise<void> {
    this.#finished ??= this.#call(() => this.#finish());
    return this.#finished;
  }

  [Symbol.dispose](): void {
    // What went wrong was told to those who called.
    void this.#calls
      .then(() => this.#writer[Symbol.asyncDispose]())
      .catch(() => {})
      .finally(this.#onEnded);
  }

  #call<T>(work: () => Promise<T>): Promise<T> {
    const called = work();
    this.#calls = Promise.allSettled([this.#calls, called]);
    return called;
  }

  async #finish(): Promise<void> {
    const { id, store, pins } = this.#init;
    if (this.#failure !== undefined) throw this.#failure;
    const { digest, bytes } = await this.#writer.finish().catch(rethrowAsTrouble);
    if (digest !== this.#file.digest || bytes !== this.#file.bytes) {
      throw corrupt(`its ${bytes} bytes have the digest ${digest}, and others were announced`);
    }
    using pin = await pins.pin(digest);
    let result: KeepFileResult | undefined;
    try {
      await this.#writer.commit().catch(rethrowAsTrouble);
      result = await store.keepFile(id, this.#file, { hasBytes: true }).catch(rethrowAsTrouble);
      if (result !== "kept") throw refusal(result, this.#file);
    } finally {
      if (result !== "kept") {
        pin[Symbol.dispose]();
        await pins.retireUnused(digest);
      }
    }
  }
}

function refusal(result: Exclude<KeepFileResult, "kept">, { path }: FileContent): ClusterError {
  switch (result) {
    case "stale":
      return attemptIsOver();
    case "conflict":
      return failed(`another file has come under ${JSON.stringify(path)}`, { code: "file-conflict" });
    case "too-many":
      return tooLarge();
    case "needs-bytes":
      return failed("the file's bytes are gone", { code: "internal" });
  }
}

function tooLarge(): ClusterError {
  return failed(`at most ${KEPT_FILES_MAX} files, and ${KEPT_FILES_BYTES_MAX} bytes of them, are kept of a run`, {
    code: "too-large",
  });
}

function corrupt(what: string): ClusterError {
  return failed(`the file is not what was announced: ${what}`, { code: "file-corrupt" });
}

function rethrowAsTrouble(thrown: unknown): never {
  throw storeTrouble(thrown);
}
