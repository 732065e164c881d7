/**
 * A blob store without a disk, for tests: the contract of `src/store/blobs.ts`. A commit is durable at once; what was not
 * committed is gone with `crash`.
 */
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { assert, failed } from "../../src/base/errors.ts";
import { type Digest, parseDigest } from "../../src/base/ids.ts";
import type { Blob, BlobStore, BlobWriter } from "../../src/store/blobs.ts";

export class MemoryBlobs implements BlobStore {
  readonly #blobs = new Map<Digest, Uint8Array>();
  #generation = 0;
  /** Set by a test, for as long as it lasts: nothing can be read. */
  isUnreadable = false;

  /** Keeps these bytes as if they had been written and committed. */
  put(bytes: Uint8Array): Digest {
    const digest = digestOf([bytes]);
    this.#blobs.set(digest, bytes.slice());
    return digest;
  }

  create(): Promise<BlobWriter> {
    const generation = this.#generation;
    const commit = (digest: Digest, bytes: Uint8Array): boolean => {
      assert(generation === this.#generation, "nobody is left to commit after a crash");
      const isNew = !this.#blobs.has(digest);
      if (isNew) this.#blobs.set(digest, bytes);
      return isNew;
    };
    return Promise.resolve(new MemoryBlobWriter(commit));
  }

  open(digest: Digest): Promise<Blob | undefined> {
    if (this.isUnreadable) return Promise.reject(unreadable());
    const bytes = this.#blobs.get(digest);
    return Promise.resolve(bytes === undefined ? undefined : new MemoryBlob(digest, bytes, () => this.isUnreadable));
  }

  async *list(): AsyncGenerator<Digest, void> {
    yield* this.#blobs.keys();
  }

  delete(digest: Digest): Promise<void> {
    this.#blobs.delete(digest);
    return Promise.resolve();
  }

  check(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  /** The process dies: blobs that were being written are gone. */
  crash(): void {
    this.#generation += 1;
  }
}

class MemoryBlobWriter implements BlobWriter {
  readonly #commit: (digest: Digest, bytes: Uint8Array) => boolean;
  readonly #pieces: Uint8Array[] = [];
  #finished: FinishedBlob | undefined;
  #committed: { readonly isNew: boolean } | undefined;

  constructor(commit: (digest: Digest, bytes: Uint8Array) => boolean) {
    this.#commit = commit;
  }

  write(bytes: Uint8Array): Promise<void> {
    assert(this.#finished === undefined, "a blob is not written to once it is finished");
    this.#pieces.push(bytes.slice());
    return Promise.resolve();
  }

  finish(): Promise<FinishedBlob> {
    this.#finished ??= new FinishedBlob(this.#pieces);
    return Promise.resolve(this.#finished);
  }

  commit(): Promise<{ readonly isNew: boolean }> {
    const finished = this.#finished;
    assert(finished !== undefined, "a blob is finished before it is committed");
    this.#committed ??= { isNew: this.#commit(finished.digest, Buffer.concat(this.#pieces)) };
    return Promise.resolve(this.#committed);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#finished?.removeFile();
    return Promise.resolve();
  }
}

class FinishedBlob {
  readonly digest: Digest;
  readonly bytes: number;
  readonly #pieces: readonly Uint8Array[];
  #folder: string | undefined;

  constructor(pieces: readonly Uint8Array[]) {
    this.digest = digestOf(pieces);
    this.bytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
    this.#pieces = pieces;
  }

  /** A real file, as whoever inspects it expects; made only when somebody asks for it. */
  get path(): string {
    if (this.#folder === undefined) {
      this.#folder = mkdtempSync(join(tmpdir(), "capmesh-blob-"));
      writeFileSync(join(this.#folder, "blob"), Buffer.concat(this.#pieces));
    }
    return join(this.#folder, "blob");
  }

  removeFile(): void {
    if (this.#folder !== undefined) rmSync(this.#folder, { recursive: true, force: true });
  }
}

class MemoryBlob implements Blob {
  readonly digest: Digest;
  readonly bytes: number;
  readonly #content: Uint8Array;
  readonly #isUnreadable: () => boolean;

  constructor(digest: Digest, content: Uint8Array, isUnreadable: () => boolean) {
    this.#isUnreadable = isUnreadable;
    this.digest = digest;
    this.bytes = content.length;
    this.#content = content;
  }

  read(offset: number, length: number): Promise<Uint8Array> {
    if (this.#isUnreadable()) return Promise.reject(unreadable());
    return Promise.resolve(this.#content.slice(offset, offset + length));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

function unreadable(): Error {
  return failed("EIO: the blob cannot be read", { code: "store-unavailable" });
}

function digestOf(pieces: readonly Uint8Array[]): Digest {
  const hash = createHash("sha256");
  for (const piece of pieces) hash.update(piece);
  const digest = parseDigest(hash.digest("hex"));
  assert(digest !== undefined, "a SHA-256 in hex is a digest");
  return digest;
}
