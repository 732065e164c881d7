/**
 * Modules on this worker's disk, by digest. A module is fetched once however many attempts want it, and is trusted only
 * after its digest was checked, by this process.
 *
 * The least recently used ones go when the cache is over its limit; those in use stay.
 *
 *     absent ──fetch──▶ checked ◀──digest right── unchecked (left by an earlier process)
 *        ▲                 │                          │
 *        └────evicted──────┴──────digest wrong────────┘
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { followAborts, unlessAborted } from "../base/abort.ts";
import { failed } from "../base/errors.ts";
import { type Digest, parseDigest } from "../base/ids.ts";
import { CHUNK_BYTES_MAX, MODULES_ADVERTISED_MAX, MODULE_CACHE_BYTES_MAX } from "../base/limits.ts";
import type { ModuleClient } from "../caps/module.ts";
import { type Files, systemFiles } from "./files.ts";

/** Reads of one module that are under way at once. */
const READS_IN_FLIGHT = 4;

/** Of a file whose digest is computed. */
const CHECKED_AT_ONCE_BYTES = 256 * 1024;

export interface ModuleCacheOptions {
  /** Default: MODULE_CACHE_BYTES_MAX. */
  readonly bytesMax?: number | undefined;
  /** Default: the machine's. */
  readonly files?: Files | undefined;
}

/** A module in use. Disposing the lease lets the cache forget it. */
export interface ModuleLease extends Disposable {
  readonly path: string;
}

interface Entry {
  readonly bytes: number;
  users: number;
  isChecked: boolean;
}

export class ModuleCache {
  readonly #folder: string;
  readonly #files: Files;
  readonly #bytesMax: number;
  /** In order of use, the latest last. */
  readonly #entries = new Map<Digest, Entry>();
  /** Being fetched, or checked. */
  readonly #provided = new Map<Digest, Promise<void>>();
  /** Files being removed: a new one of the same name has to wait. */
  readonly #removals = new Map<Digest, Promise<void>>();
  #fetchCount = 0;
  #advertised: readonly Digest[] | undefined;

  private constructor(folder: string, files: Files, bytesMax: number) {
    this.#folder = folder;
    this.#files = files;
    this.#bytesMax = bytesMax;
  }

  /** Takes over what an earlier process left in the folder, which is made if missing and belongs to this cache alone. */
  static async open(
    folder: string,
    { bytesMax = MODULE_CACHE_BYTES_MAX, files = systemFiles }: ModuleCacheOptions = {},
  ): Promise<ModuleCache> {
    await files.mkdir(folder, { recursive: true, mode: 0o700 });
    const cache = new ModuleCache(folder, files, bytesMax);
    const found: { digest: Digest; bytes: number; fetchedAt: number }[] = [];
    for (const entry of await files.readdir(folder)) {
      const digest = entry.isFile ? parseDigest(entry.name) : undefined;
      const path = join(folder, entry.name);
      if (digest === undefined) await files.rm(path, { force: true, recursive: true });
      else {
        const { size, mtimeMs } = await files.stat(path);
        found.push({ digest, bytes: size, fetchedAt: mtimeMs });
      }
    }
    found.sort((a, b) => a.fetchedAt - b.fetchedAt);
    for (const { digest, bytes } of found) cache.#entries.set(digest, { bytes, users: 0, isChecked: false });
    await cache.#trim();
    return cache;
  }

  /** Most recently used first; what a worker advertises. */
  digests(): readonly Digest[] {
    this.#advertised ??= [...this.#entries.keys()].slice(-MODULES_ADVERTISED_MAX).reverse();
    return this.#advertised;
  }

  /**
   * The module's file, fetched through `source` if it is not here. `source` is borrowed for the call. Rejects with
   * `failed`, code `module-corrupt`, when its bytes do not have the digest, `module-too-large` when the cache cannot hold
   * it, as `source` does when that fails, and with the signal's reason. Others who want the same module are not
   * concerned: they go on with their own source.
   */
  async acquire(
    digest: Digest,
    bytes: number,
    source: ModuleClient,
    { signal }: { signal: AbortSignal },
  ): Promise<ModuleLease> {
    for (;;) {
      signal.throwIfAborted();
      const entry = this.#entries.get(digest);
      if (entry?.isChecked === true) return this.#use(digest, entry);
      const provided = this.#provided.get(digest);
      if (provided === undefined) return this.#provide(digest, bytes, source, signal);
      // How it goes for whoever fetches is seen in the next round.
      await unlessAborted(
        provided.catch(() => {}),
        signal,
      );
    }
  }

  #use(digest: Digest, entry: Entry): ModuleLease {
    if (this.digests()[0] !== digest) {
      this.#entries.delete(digest);
      this.#entries.set(digest, entry);
      this.#advertised = undefined;
    }
    entry.users++;
    let isReleased = false;
    return {
      path: join(this.#folder, digest),
      [Symbol.dispose]: () => {
        if (!isReleased) entry.users--;
        isReleased = true;
      },
    };
  }

  /** Makes the module's entry a checked one, and uses it at once: nobody can evict it in between. */
  async #provide(digest: Digest, bytes: number, source: ModuleClient, signal: AbortSignal): Promise<ModuleLease> {
    const settled = Promise.withResolvers<void>();
    this.#provided.set(digest, settled.promise);
    try {
      const entry = (await this.#check(digest)) ?? (await this.#fetch(digest, bytes, source, signal));
      const lease = this.#use(digest, entry);
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
    const found = await digestOfFile(this.#files, join(this.#folder, digest)).catch(() => undefined);
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

  async #fetch(digest: Digest, bytes: number, source: ModuleClient, signal: AbortSignal): Promise<Entry> {
    if (bytes > this.#bytesMax) {
      throw failed(`a module of ${bytes} bytes; this worker keeps ${this.#bytesMax}`, { code: "module-too-large" });
    }
    await this.#removals.get(digest);
    const partPath = join(this.#folder, `part-${this.#fetchCount++}`);
    try {
      const fetched = await fetchTo(this.#files, partPath, bytes, source, signal);
      if (fetched !== digest) {
        throw failed(`the module's bytes have the digest ${fetched}, not ${digest}`, { code: "module-corrupt" });
      }
      await this.#files.rename(partPath, join(this.#folder, digest));
    } finally {
      await this.#files.rm(partPath, { force: true });
    }
    const entry: Entry = { bytes, users: 0, isChecked: true };
    this.#entries.set(digest, entry);
    this.#advertised = undefined;
    return entry;
  }

  /** Chooses and forgets at once, and removes the files then. Never rejects: a file that stays is found at the next start. */
  async #trim(): Promise<void> {
    let total = 0;
    for (const { bytes } of this.#entries.values()) total += bytes;
    const removals: Promise<void>[] = [];
    for (const [digest, { bytes, users }] of this.#entries) {
      if (total <= this.#bytesMax) break;
      if (users > 0) continue;
      this.#entries.delete(digest);
      this.#advertised = undefined;
      total -= bytes;
      const removal = this.#files
        .rm(join(this.#folder, digest), { force: true })
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
  source: ModuleClient,
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
    while (requested < bytes || reads.length > 0) {
      while (requested < bytes && reads.length < READS_IN_FLIGHT) request();
      const chunk = await reads.shift();
      if (chunk === undefined || chunk.length === 0) {
        throw failed("the module ended before all of its bytes were read", { code: "module-corrupt" });
      }
      hash.update(chunk);
      // Unlike `write`, this goes on until all is written.
      await file.appendFile(chunk);
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
