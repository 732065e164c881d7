/**
 * Modules and input files on this worker's disk, by digest. One is fetched once however many attempts want it, and is
 * trusted only after its digest was checked, by this process, and until a reader finds it damaged. Only modules are advertised.
 *
 * The least recently used ones go when the cache is over its limit; those in use stay. When a file was used last is kept
 * for the next process, as the file's time of change, to a tenth of a second.
 *
 *     absent ──fetch──▶ checked ◀──digest right── unchecked (left by an earlier process, or distrusted by a reader)
 *        ▲                 │                          │
 *        └────evicted──────┴──────digest wrong────────┘
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { followAborts, unlessAborted } from "../base/abort.ts";
import type { Clock } from "../base/clock.ts";
import { failed } from "../base/errors.ts";
import { type Digest, parseDigest } from "../base/ids.ts";
import { CHUNK_BYTES_MAX, MODULES_ADVERTISED_MAX, MODULE_CACHE_BYTES_MAX } from "../base/limits.ts";
import { type Files, systemFiles, writeWhole } from "./files.ts";

/** Files that are no modules are told by their names: after a restart nothing else says so. */
const FILE_SUFFIX = ".file";

/** Reads of one module that are under way at once. */
const READS_IN_FLIGHT = 6;

/** Of a file whose digest is computed. */
const CHECKED_AT_ONCE_BYTES = 256 * 1024;

/** A file that is used again within this time is not marked again. */
const USE_MARK_MS = 100;

export interface ModuleCacheOptions {
  readonly clock: Clock;
  /** Default: MODULE_CACHE_BYTES_MAX. */
  readonly bytesMax?: number | undefined;
  /** Default: the machine's. */
  readonly files?: Files | undefined;
}

/** Where bytes can be fetched from: fewer than `length` only at their end, or when more were asked for than one read gives. */
export interface ByteSource {
  read(offset: number, length: number, options: { readonly signal: AbortSignal }): Promise<Uint8Array>;
}

export interface AcquireOptions {
  readonly signal: AbortSignal;
  /** It is a file of a run, and no module. */
  readonly isFile?: boolean | undefined;
}

/** A module or file in use. Disposing the lease lets the cache forget it. */
export interface ModuleLease extends Disposable {
  readonly path: string;
}

interface Entry {
  readonly bytes: number;
  /** Of the file in the cache's folder. */
  readonly name: string;
  isModule: boolean;
  users: number;
  isChecked: boolean;
  /** Wall-clock time of the latest mark of its use. */
  markedAt: number;
}

interface Wanted {
  readonly bytes: number;
  readonly isModule: boolean;
}

export class ModuleCache {
  readonly #folder: string;
  readonly #files: Files;
  readonly #clock: Clock;
  readonly #bytesMax: number;
  /** In order of use, the latest last. */
  readonly #entries = new Map<Digest, Entry>();
  /** Being fetched, or checked. */
  readonly #provided = new Map<Digest, Promise<void>>();
  /** Files being removed: a new one of the same name has to wait. */
  readonly #removals = new Map<Digest, Promise<void>>();
  #fetchCount = 0;
  #advertised: readonly Digest[] | undefined;

  private constructor(folder: string, files: Files, clock: Clock, bytesMax: number) {
    this.#folder = folder;
    this.#files = files;
    this.#clock = clock;
    this.#bytesMax = bytesMax;
  }

  /** Takes over what an earlier process left in the folder, which is made if missing and belongs to this cache alone. */
  static async open(
    folder: string,
    { clock, bytesMax = MODULE_CACHE_BYTES_MAX, files = systemFiles }: ModuleCacheOptions,
  ): Promise<ModuleCache> {
    await files.mkdir(folder, { recursive: true, mode: 0o700 });
    const cache = new ModuleCache(folder, files, clock, bytesMax);
    const found: { readonly digest: Digest; readonly entry: Entry }[] = [];
    for (const entry of await files.readdir(folder)) {
      const { name } = entry;
      const isModule = !name.endsWith(FILE_SUFFIX);
      const digest = entry.isFile ? parseDigest(isModule ? name : name.slice(0, -FILE_SUFFIX.length)) : undefined;
      const path = join(folder, name);
      if (digest === undefined) await files.rm(path, { force: true, recursive: true });
      else {
        const { size, mtimeMs } = await files.stat(path);
        const markedAt = mtimeMs;
        found.push({ digest, entry: { bytes: size, name, isModule, users: 0, isChecked: false, markedAt } });
      }
    }
    found.sort((a, b) => a.entry.markedAt - b.entry.markedAt);
    for (const { digest, entry } of found) {
      const twin = cache.#entries.get(digest);
      // Once as a file and once as a module: one is enough.
      if (twin !== undefined) await files.rm(join(folder, twin.name), { force: true });
      cache.#entries.set(digest, entry);
    }
    await cache.#trim();
    return cache;
  }

  /** Most recently used first; what a worker advertises. */
  digests(): readonly Digest[] {
    this.#advertised ??= [...this.#entries]
      .filter(([, { isModule }]) => isModule)
      .slice(-MODULES_ADVERTISED_MAX)
      .map(([digest]) => digest)
      .reverse();
    return this.#advertised;
  }

  /**
   * The module's file, fetched through `source` if it is not here. `source` is borrowed for the call. Rejects with
   * `failed`, code `module-corrupt`, when its bytes do not have the digest, `module-too-large` when the cache cannot hold
   * it, as `source` does when that fails, and with the signal's reason. Others who want the same module are not
   * concerned: they go on with their own source.
   */
  async acquire(digest: Digest, bytes: number, source: ByteSource, options: AcquireOptions): Promise<ModuleLease> {
    const { signal } = options;
    const isModule = options.isFile !== true;
    for (;;) {
      signal.throwIfAborted();
      const entry = this.#entries.get(digest);
      if (entry?.isChecked === true) return this.#use(digest, entry, isModule);
      const provided = this.#provided.get(digest);
      if (provided === undefined) return this.#provide(digest, { bytes, isModule }, source, signal);
      // How it goes for whoever fetches is seen in the next round.
      await unlessAborted(
        provided.catch(() => {}),
        signal,
      );
    }
  }

  /** What is here under this digest was found to be gone or damaged: whoever wants it next looks, and fetches it if so. */
  distrust(digest: Digest): void {
    const entry = this.#entries.get(digest);
    if (entry !== undefined) entry.isChecked = false;
  }

  #use(digest: Digest, entry: Entry, isModule: boolean): ModuleLease {
    // The module that was used last stays where it is, which spares most runs the list being made anew.
    if (!isModule || this.digests()[0] !== digest) {
      this.#entries.delete(digest);
      this.#entries.set(digest, entry);
      entry.isModule ||= isModule;
      if (entry.isModule) this.#advertised = undefined;
    }
    this.#mark(entry);
    entry.users++;
    let isReleased = false;
    return {
      path: join(this.#folder, entry.name),
      [Symbol.dispose]: () => {
        if (!isReleased) entry.users--;
        isReleased = true;
      },
    };
  }

  /** Tells the next process that it was used. Never rejects: without it that process takes it for older than it is. */
  #mark(entry: Entry): void {
    const now = this.#clock.now();
    if (Math.abs(now - entry.markedAt) < USE_MARK_MS) return;
    entry.markedAt = now;
    this.#files.utimes(join(this.#folder, entry.name), now / 1_000, now / 1_000).catch(() => {});
  }

  /** Makes the module's entry a checked one, and uses it at once: nobody can evict it in between. */
  async #provide(digest: Digest, wanted: Wanted, source: ByteSource, signal: AbortSignal): Promise<ModuleLease> {
    const settled = Promise.withResolvers<void>();
    this.#provided.set(digest, settled.promise);
    try {
      const entry = (await this.#check(digest)) ?? (await this.#fetch(digest, wanted, source, signal));
      const lease = this.#use(digest, entry, wanted.isModule);
      void this.#trim();
      return lease;
    } finally {
      this.#provided.delete(digest);
      settled.resolve();
    }
  }

  /** What an earlier process left, if it is what its name says. */
  async #check(digest: Digest): Promise<Entry | undefined> {
    const entry = this.#entries.get(digest);
    if (entry === undefined) return undefined;
    // Undefined, too, when the file is gone or cannot be read: then it is fetched.
    const found = await digestOfFile(this.#files, join(this.#folder, entry.name)).catch(() => undefined);
    // It may have been evicted meanwhile.
    if (this.#entries.get(digest) !== entry) return undefined;
    if (found === digest) {
      entry.isChecked = true;
      return entry;
    }
    this.#entries.delete(digest);
    this.#advertised = undefined;
    return undefined;
  }

  async #fetch(digest: Digest, { bytes, isModule }: Wanted, source: ByteSource, signal: AbortSignal): Promise<Entry> {
    if (bytes > this.#bytesMax) {
      throw failed(`it has ${bytes} bytes; this worker keeps ${this.#bytesMax}`, { code: "module-too-large" });
    }
    const name = isModule ? digest : `${digest}${FILE_SUFFIX}`;
    await this.#removals.get(digest);
    const partPath = join(this.#folder, `part-${this.#fetchCount++}`);
    try {
      const fetched = await fetchTo(this.#files, partPath, bytes, source, signal);
      if (fetched !== digest) {
        throw failed(`its bytes have the digest ${fetched}, not ${digest}`, { code: "module-corrupt" });
      }
      await this.#files.rename(partPath, join(this.#folder, name));
    } finally {
      await this.#files.rm(partPath, { force: true });
    }
    const entry: Entry = { bytes, name, isModule, users: 0, isChecked: true, markedAt: this.#clock.now() };
    this.#entries.set(digest, entry);
    this.#advertised = undefined;
    return entry;
  }

  /** Chooses and forgets at once, and removes the files then. Never rejects: a file that stays is found at the next start. */
  async #trim(): Promise<void> {
    let total = 0;
    for (const { bytes } of this.#entries.values()) total += bytes;
    const removals: Promise<void>[] = [];
    for (const [digest, { bytes, name, users }] of this.#entries) {
      if (total <= this.#bytesMax) break;
      if (users > 0) continue;
      this.#entries.delete(digest);
      this.#advertised = undefined;
      total -= bytes;
      const removal = this.#files
        .rm(join(this.#folder, name), { force: true })
        .catch(() => {})
        .finally(() => this.#removals.delete(digest));
      this.#removals.set(digest, removal);
      removals.push(removal);
    }
    await Promise.all(removals);
  }
}

/** Fetches `bytes` bytes into a new file, several reads at once, and returns their digest. */
async function fetchTo(
  files: Files,
  path: string,
  bytes: number,
  source: ByteSource,
  signal: AbortSignal,
): Promise<string> {
  const hash = createHash("sha256");
  // Reads that are under way when one fails are not waited for.
  using given = followAborts([signal]);
  try {
    signal.throwIfAborted();
    await using file = await files.open(path, "wx", 0o600);
    const reads: Promise<Uint8Array>[] = [];
    let requested = 0;
    const request = () => {
      const length = Math.min(CHUNK_BYTES_MAX, bytes - requested);
      const read = source.read(requested, length, { signal: given.signal });
      // Awaited in order below; one that fails out of order must not count as unhandled.
      read.catch(() => {});
      reads.push(read);
      requested += length;
    };
    // The disk and the network work at the same time, one chunk apart.
    let writing = Promise.resolve();
    let written = 0;
    try {
      while (requested < bytes || reads.length > 0) {
        while (requested < bytes && reads.length < READS_IN_FLIGHT) request();
        const chunk = await reads.shift();
        if (chunk === undefined || chunk.length === 0) {
          throw failed("it ended before all of its bytes were read", { code: "module-corrupt" });
        }
        hash.update(chunk);
        await writing;
        writing = writeWhole(file, chunk, written);
        written += chunk.length;
        writing.catch(() => {});
      }
      await writing;
    } finally {
      // A file is not closed under a write.
      await writing.catch(() => {});
    }
    return hash.digest("hex");
  } finally {
    given.abort(failed("the fetch is over"));
  }
}

async function digestOfFile(files: Files, path: string): Promise<string> {
  const hash = createHash("sha256");
  await using file = await files.open(path, "r");
  const block = new Uint8Array(CHECKED_AT_ONCE_BYTES);
  for (let at = 0; ;) {
    const { bytesRead } = await file.read(block, 0, block.length, at);
    if (bytesRead === 0) return hash.digest("hex");
    hash.update(block.subarray(0, bytesRead));
    at += bytesRead;
  }
}
