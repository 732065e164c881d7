/**
 * Blobs as files: `<folder>/<first two hex digits>/<digest>`. A blob is written to a temporary file while it is hashed,
 * synced, renamed to its name, and its folder synced: what has a name is whole and durable.
 *
 * A folder belongs to one process at a time. What a crash left of unfinished blobs is removed when it is opened.
 */
import { type Hash, createHash } from "node:crypto";
import { type FileHandle, mkdir, open, opendir, readdir, rename, rm, stat } from "node:fs/promises";
import { createReadStream } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { BLOBS_KNOWN_WHOLE_MAX } from "../base/limits.ts";
import { assert, messageOf } from "../base/errors.ts";
import { type Digest, parseDigest } from "../base/ids.ts";
import type { Blob, BlobStore, BlobWriter } from "./blobs.ts";
import { type CheckOptions, StoreFailure, type StoreTrouble, type TroubleKind, lookForRoom } from "./trouble.ts";

const TEMPORARY = "unfinished";

export class FileBlobStore implements BlobStore {
  readonly #folder: string;
  readonly #writes: Writes;
  /** Commits and deletions of one digest are carried out one after the other. */
  readonly #underway = new Map<Digest, Promise<unknown>>();
  /** Folders whose entries are known to be on disk: only then does a blob that is there count as durable. */
  readonly #synced = new Set<string>();
  /** Blobs whose content was seen to be what their name says. */
  readonly #whole = new Set<Digest>();
  #nextFile = 1;

  private constructor(folder: string) {
    this.#folder = folder;
    this.#writes = new Writes(folder);
  }

  /** Makes the folder if it is not there. Rejects with `failed`, code `store-unavailable`. */
  static async open(folder: string): Promise<FileBlobStore> {
    return orUnavailable(folder, async () => {
      await mkdir(join(folder, TEMPORARY), { recursive: true, mode: 0o700 });
      for (const name of await readdir(join(folder, TEMPORARY)))
        await rm(join(folder, TEMPORARY, name), { force: true });
      await syncFolder(folder);
      return new FileBlobStore(folder);
    });
  }

  create(): Promise<BlobWriter> {
    return this.#writes.attempt(async () => {
      const path = join(this.#folder, TEMPORARY, String(this.#nextFile++));
      return new FileBlobWriter(path, await open(path, "wx", 0o600), this.#writes, (digest, bytes) =>
        this.#oneByOne(digest, () => this.#commit(path, digest, bytes)),
      );
    });
  }

  async open(digest: Digest): Promise<Blob | undefined> {
    return orUnavailable(this.#folder, async () => {
      const file = await openIfThere(this.#pathOf(digest));
      if (file === undefined) return undefined;
      try {
        if (await this.#isUndamaged(digest, file)) {
          return new FileBlob(digest, file, (await file.stat()).size, this.#folder);
        }
        await file.close();
        return undefined;
      } catch (thrown) {
        await file.close();
        throw thrown;
      }
    });
  }

  async *list(): AsyncGenerator<Digest, void> {
    for await (const folder of entriesOf(this.#folder)) {
      if (!/^[0-9a-f]{2}$/.test(folder)) continue;
      for await (const name of entriesOf(join(this.#folder, folder))) {
        const digest = parseDigest(name);
        if (digest?.startsWith(folder) === true) yield digest;
      }
    }
  }

  async delete(digest: Digest): Promise<void> {
    await orUnavailable(this.#folder, () =>
      this.#oneByOne(digest, () => {
        this.#whole.delete(digest);
        return rm(this.#pathOf(digest), { force: true });
      }),
    );
  }

  async check({ isThorough = false }: CheckOptions = {}): Promise<StoreTrouble | undefined> {
    const noRoom = lookForRoom(this.#folder);
    if (noRoom !== undefined || !(isThorough || this.#writes.trouble !== undefined)) return noRoom;
    await this.#writes.attempt(() => writeProbe(join(this.#folder, TEMPORARY))).catch(() => {});
    return this.#writes.trouble;
  }

  /** The file at `path` is whole and synced when this begins to give it its name. It is gone from `path` afterwards. */
  async #commit(path: string, digest: Digest, bytes: number): Promise<{ readonly isNew: boolean }> {
    const target = this.#pathOf(digest);
    const folder = this.#folderOf(digest);
    if (await this.#isWhole(digest, bytes)) {
      await this.#syncOnce(folder);
      await rm(path, { force: true });
      return { isNew: false };
    }
    const file = await open(path, "r+");
    try {
      await file.sync();
    } finally {
      await file.close();
    }
    if ((await mkdir(folder, { recursive: true, mode: 0o700 })) !== undefined) await syncFolder(this.#folder);
    // A file of another content under this name is damaged: it is replaced, and counts as not there.
    this.#synced.delete(folder);
    await rename(path, target);
    await this.#syncOnce(folder);
    this.#noteWhole(digest);
    return { isNew: true };
  }

  /** An open blob is read through the first time: bytes that are not what their name says are nobody's to have. */
  async #isUndamaged(digest: Digest, file: FileHandle): Promise<boolean> {
    if (this.#whole.has(digest)) return true;
    const hash = createHash("sha256");
    await pipeline(file.createReadStream({ start: 0, autoClose: false }), hash);
    if (hash.digest("hex") !== digest) return false;
    this.#noteWhole(digest);
    return true;
  }

  /** Whether the blob is there, undamaged: it is read through the first time that somebody brings it again. */
  async #isWhole(digest: Digest, bytes: number): Promise<boolean> {
    const path = this.#pathOf(digest);
    if ((await sizeOf(path)) !== bytes) return false;
    if (this.#whole.has(digest)) return true;
    const hash = createHash("sha256");
    try {
      await pipeline(createReadStream(path), hash);
    } catch {
      // What cannot be read is replaced.
      return false;
    }
    if (hash.digest("hex") !== digest) return false;
    this.#noteWhole(digest);
    return true;
  }

  #noteWhole(digest: Digest): void {
    if (this.#whole.size >= BLOBS_KNOWN_WHOLE_MAX) this.#whole.clear();
    this.#whole.add(digest);
  }

  async #syncOnce(folder: string): Promise<void> {
    if (this.#synced.has(folder)) return;
    await syncFolder(folder);
    this.#synced.add(folder);
  }

  async #oneByOne<T>(digest: Digest, act: () => Promise<T>): Promise<T> {
    const before = this.#underway.get(digest) ?? Promise.resolve();
    const mine = before.then(act, act);
    this.#underway.set(digest, mine);
    try {
      return await mine;
    } finally {
      if (this.#underway.get(digest) === mine) this.#underway.delete(digest);
    }
  }

  #folderOf(digest: Digest): string {
    return join(this.#folder, digest.slice(0, 2));
  }

  #pathOf(digest: Digest): string {
    return join(this.#folderOf(digest), digest);
  }
}

type Commit = (digest: Digest, bytes: number) => Promise<{ readonly isNew: boolean }>;

class FileBlobWriter implements BlobWriter {
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #writes: Writes;
  readonly #commit: Commit;
  readonly #hash: Hash = createHash("sha256");
  #bytes = 0;
  /** Writes are carried out in the order of the calls. */
  #last: Promise<void> = Promise.resolve();
  #finished: Promise<{ readonly digest: Digest; readonly bytes: number; readonly path: string }> | undefined;
  #committed: Promise<{ readonly isNew: boolean }> | undefined;

  constructor(path: string, file: FileHandle, writes: Writes, commit: Commit) {
    this.#path = path;
    this.#file = file;
    this.#writes = writes;
    this.#commit = commit;
  }

  write(bytes: Uint8Array): Promise<void> {
    assert(this.#finished === undefined, "a blob is not written to once it is finished");
    this.#last = this.#last.then(() =>
      this.#writes.attempt(async () => {
        this.#hash.update(bytes);
        for (let done = 0; done < bytes.length;) {
          const { bytesWritten } = await this.#file.write(bytes, done, bytes.length - done);
          done += bytesWritten;
        }
        this.#bytes += bytes.length;
      }),
    );
    return this.#last;
  }

  finish(): Promise<{ readonly digest: Digest; readonly bytes: number; readonly path: string }> {
    this.#finished ??= this.#last.then(async () => {
      await this.#file.close();
      const digest = parseDigest(this.#hash.digest("hex"));
      assert(digest !== undefined, "a SHA-256 in hex is a digest");
      return { digest, bytes: this.#bytes, path: this.#path };
    });
    return this.#finished;
  }

  commit(): Promise<{ readonly isNew: boolean }> {
    const finished = this.#finished;
    assert(finished !== undefined, "a blob is finished before it is committed");
    this.#committed ??= finished.then(({ digest, bytes }) => this.#writes.attempt(() => this.#commit(digest, bytes)));
    return this.#committed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // What went wrong was told to those who called; here it matters only that nothing is under way any more.
    await Promise.allSettled([this.#last, this.#finished, this.#committed]);
    await this.#file.close();
    await rm(this.#path, { force: true });
  }
}

class FileBlob implements Blob {
  readonly digest: Digest;
  readonly bytes: number;
  readonly #file: FileHandle;
  readonly #folder: string;

  constructor(digest: Digest, file: FileHandle, bytes: number, folder: string) {
    this.digest = digest;
    this.#file = file;
    this.bytes = bytes;
    this.#folder = folder;
  }

  read(offset: number, length: number): Promise<Uint8Array> {
    return orUnavailable(this.#folder, () => this.#read(offset, length));
  }

  async #read(offset: number, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(Math.max(0, Math.min(length, this.bytes - offset)));
    let done = 0;
    while (done < bytes.length) {
      const { bytesRead } = await this.#file.read(bytes, done, bytes.length - done, offset + done);
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    return bytes.subarray(0, done);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }
}

/** Names in a folder, read bit by bit: there may be very many. */
async function* entriesOf(path: string): AsyncGenerator<string, void> {
  const folder = await orUnavailable(path, () => opendir(path));
  try {
    for (;;) {
      const entry = await orUnavailable(path, () => folder.read());
      if (entry === null) return;
      yield entry.name;
    }
  } finally {
    await folder.close();
  }
}

async function openIfThere(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, "r");
  } catch (thrown) {
    if (decodeErrorCode(thrown) === "ENOENT") return undefined;
    throw thrown;
  }
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size;
  } catch (thrown) {
    if (decodeErrorCode(thrown) === "ENOENT") return undefined;
    throw thrown;
  }
}

/** Makes names that were added to or removed from a folder durable. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

async function orUnavailable<T>(folder: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (thrown) {
    throw new StoreFailure(troubleKind(thrown), sentence(folder, thrown), thrown);
  }
}

/** What was tried to write, and what kept the latest try from it. */
class Writes {
  readonly #folder: string;
  #trouble: StoreTrouble | undefined;

  constructor(folder: string) {
    this.#folder = folder;
  }

  get trouble(): StoreTrouble | undefined {
    return this.#trouble;
  }

  /** Rejects with `failed`, code `store-unavailable`. */
  async attempt<T>(act: () => Promise<T>): Promise<T> {
    try {
      const done = await orUnavailable(this.#folder, act);
      this.#trouble = undefined;
      return done;
    } catch (error) {
      this.#trouble = { kind: troubleKind(error instanceof Error ? error.cause : error), message: messageOf(error) };
      throw error;
    }
  }
}

/** Bytes enough to need room of their own, synced and gone again. */
async function writeProbe(folder: string): Promise<void> {
  const path = join(folder, "probe");
  try {
    const file = await open(path, "w", 0o600);
    try {
      await file.writeFile(new Uint8Array(PROBE_BYTES));
      await file.sync();
    } finally {
      await file.close();
    }
  } finally {
    await rm(path, { force: true });
  }
}

const PROBE_BYTES = 4_096;

function sentence(folder: string, thrown: unknown): string {
  switch (troubleKind(thrown)) {
    case "disk-full":
      return `the disk that holds the modules in ${folder} is full: free some space`;
    case "not-writable":
      return `the modules in ${folder} cannot be written (${messageOf(thrown)}): the folder has to be writable for this user`;
    default:
      return `reading or writing the modules in ${folder} failed: ${messageOf(thrown)}`;
  }
}

function troubleKind(thrown: unknown): TroubleKind {
  switch (decodeErrorCode(thrown)) {
    case "ENOSPC":
    case "EDQUOT":
      return "disk-full";
    case "EACCES":
    case "EPERM":
    case "EROFS":
    case "ENOTDIR":
      return "not-writable";
    default:
      return "io-error";
  }
}

function decodeErrorCode(thrown: unknown): string | undefined {
  return thrown instanceof Error && "code" in thrown && typeof thrown.code === "string" ? thrown.code : undefined;
}
