/**
 * The input files of a run that is being started: those that its task came with, and those that are looked up only now,
 * since what they refer to was still to come when the task was submitted.
 */
import { tooMuch } from "../api/submission-files.ts";
import { failed } from "../base/errors.ts";
import type { Digest } from "../base/ids.ts";
import { FILES_OPEN_PER_RUN_MAX } from "../base/limits.ts";
import type { FilesTarget } from "../caps/files.ts";
import { type FileContent, type InputFile, formatFileReference, isUnresolved } from "../model/task-file.ts";
import type { Blob, BlobStore } from "../store/blobs.ts";
import type { Store } from "../store/store.ts";
import type { BlobPins } from "./blob-pins.ts";
import type { BlobReads } from "./unreadable-blobs.ts";

export type ResolvedFiles =
  | {
      readonly ok: true;
      readonly files: readonly FileContent[];
      /** Of those that were looked up, which the task itself does not hold. */
      readonly found: readonly Digest[];
    }
  | { readonly ok: false; readonly reason: string };

/**
 * Looks up what is to be looked up at the time a run is leased: files of tasks that its own runs after. `serial` is that
 * task's. Rejects as the store does.
 */
export async function resolveFiles(
  store: Pick<Store, "findKeptFile">,
  serial: number,
  inputs: readonly InputFile[],
): Promise<ResolvedFiles> {
  const files: FileContent[] = [];
  const found: Digest[] = [];
  for (const input of inputs) {
    if (!isUnresolved(input)) {
      files.push({ path: input.path, digest: input.digest, bytes: input.bytes });
      continue;
    }
    const { task, path, run } = input.from;
    const kept = await store.findKeptFile(task, path, run, serial);
    if (kept === undefined) {
      return {
        ok: false,
        reason: `its input file ${formatFileReference(input.from)} is not there: no such file was kept, or its task was deleted since`,
      };
    }
    files.push({ path: input.path, digest: kept.digest, bytes: kept.bytes });
    found.push(kept.digest);
  }
  // What was refused at the submission had no sizes yet.
  const [excess] = tooMuch(files);
  if (excess !== undefined) return { ok: false, reason: `its input files: the task ${excess}` };
  return { ok: true, files, found };
}

export interface RunFilesInit {
  readonly blobs: Pick<BlobStore, "open">;
  readonly reads: BlobReads;
  readonly pins: Pick<BlobPins, "pinAll" | "retireUnused">;
  readonly files: readonly FileContent[];
  /** Pinned for as long as this is held. */
  readonly found: readonly Digest[];
}

/** The contents of one run's files: what a worker may read, and nothing else. */
export class RunFiles implements FilesTarget {
  readonly #init: RunFilesInit;
  readonly #digests: ReadonlySet<Digest>;
  readonly #pinned: Promise<Disposable>;
  /** Open blobs, the one that was read last at the end. */
  readonly #open = new Map<Digest, Promise<Blob | undefined>>();

  constructor(init: RunFilesInit) {
    this.#init = init;
    this.#digests = new Set(init.files.map(({ digest }) => digest));
    this.#pinned = init.pins.pinAll(init.found);
  }

  /**
   * Rejects with `overloaded` while the bytes cannot be read, which is not the run's fault; with `failed`, code
   * `no-such-file`, for what is no file of the run.
   */
  async read(digest: Digest, offset: number, length: number): Promise<Uint8Array> {
    if (!this.#digests.has(digest)) throw noSuchFile(digest);
    await this.#pinned;
    return this.#init.reads.of(digest, async () => (await this.#blob(digest))?.read(offset, length));
  }

  [Symbol.dispose](): void {
    for (const digest of this.#open.keys()) this.#close(digest);
    const { pins, found } = this.#init;
    void this.#pinned.then(async (pin) => {
      pin[Symbol.dispose]();
      for (const digest of new Set(found)) await pins.retireUnused(digest);
    });
  }

  #blob(digest: Digest): Promise<Blob | undefined> {
    const known = this.#open.get(digest);
    this.#open.delete(digest);
    const blob =
      known ??
      this.#init.blobs.open(digest).catch((error: unknown) => {
        // It is tried again by the next read.
        this.#open.delete(digest);
        throw error;
      });
    this.#open.set(digest, blob);
    const [oldest] = this.#open.keys();
    if (this.#open.size > FILES_OPEN_PER_RUN_MAX && oldest !== undefined) this.#close(oldest);
    return blob;
  }

  #close(digest: Digest): void {
    const blob = this.#open.get(digest);
    this.#open.delete(digest);
    blob?.then((opened) => opened?.[Symbol.asyncDispose]()).catch(() => {});
  }
}

function noSuchFile(digest: Digest): Error {
  return failed(`the run has no file of the digest ${digest}`, { code: "no-such-file" });
}
