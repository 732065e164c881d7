/**
 * Modules on this worker's disk, by digest. A module is fetched once however many attempts want it, and is trusted only
 * after its digest was checked, by this process.
 *
 * The least recently used ones go when the cache is over its limit; those in use stay.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { failed } from "../base/errors.ts";
import { type Digest, parseDigest } from "../base/ids.ts";
import { CHUNK_BYTES_MAX, MODULES_ADVERTISED_MAX, MODULE_CACHE_BYTES_MAX } from "../base/limits.ts";
import type { ModuleClient } from "../caps/module.ts";

/** Reads of one module that are under way at once. */
const READS_IN_FLIGHT = 4;

/** A module in use. Disposing the lease lets the cache forget it. */
export interface ModuleLease extends Disposable {
  readonly path: string;
}

interface Entry {
  bytes: number;
  users: number;
  isChecked: boolean;
}

export class ModuleCache {
  readonly #folder: string;
  readonly #bytesMax: number;
  /** In order of use, the latest last. */
  readonly #entries = new Map<Digest, Entry>();
  readonly #fetches = new Map<Digest, Promise<void>>();
  #fetchCount = 0;

  private constructor(folder: string, bytesMax: number) {
    this.#folder = folder;
    this.#bytesMax = bytesMax;
  }

  /** Takes over what an earlier process left in the folder, which is made if missing and belongs to this cache alone. */
  static async open(folder: string, bytesMax: number = MODULE_CACHE_BYTES_MAX): Promise<ModuleCache> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const cache = new ModuleCache(folder, bytesMax);
    const found: { digest: Digest; bytes: number; usedAt: number }[] = [];
    for (const name of await readdir(folder)) {
      const digest = parseDigest(name);
      const path = join(folder, name);
      if (digest === undefined) await rm(path, { force: true });
      else {
        const { size, mtimeMs } = await stat(path);
        found.push({ digest, bytes: size, usedAt: mtimeMs });
      }
    }
    found.sort((a, b) => a.usedAt - b.usedAt);
    for (const { digest, bytes } of found) cache.#entries.set(digest, { bytes, users: 0, isChecked: false });
    await cache.#trim();
    return cache;
  }

  /** Most recently used first; what a worker advertises. */
  digests(): readonly Digest[] {
    return [...this.#entries.keys()].slice(-MODULES_ADVERTISED_MAX).reverse();
  }

  /**
   * The module's file, fetched through `source` if it is not here. `source` is borrowed for the call. Rejects with
   * `failed`, code `module-corrupt`, when its bytes do not have the digest, and as `source` does when it fails.
   */
  async acquire(digest: Digest, bytes: number, source: ModuleClient): Promise<ModuleLease> {
    for (;;) {
      const entry = this.#entries.get(digest);
      if (entry?.isChecked === true) return this.#use(digest, entry);
      let fetch = this.#fetches.get(digest);
      if (fetch === undefined) {
        fetch = this.#provide(digest, bytes, source, entry).finally(() => this.#fetches.delete(digest));
        this.#fetches.set(digest, fetch);
      }
      await fetch;
    }
  }

  #use(digest: Digest, entry: Entry): ModuleLease {
    this.#entries.delete(digest);
    this.#entries.set(digest, entry);
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

  async #provide(digest: Digest, bytes: number, source: ModuleClient, entry: Entry | undefined): Promise<void> {
    const path = join(this.#folder, digest);
    if (entry !== undefined) {
      if ((await digestOfFile(path)) === digest) {
        entry.isChecked = true;
        return;
      }
      this.#entries.delete(digest);
    }
    const partPath = join(this.#folder, `part-${this.#fetchCount++}`);
    try {
      const fetched = await fetchTo(partPath, bytes, source);
      if (fetched !== digest) {
        throw failed(`the module's bytes have the digest ${fetched}, not ${digest}`, { code: "module-corrupt" });
      }
      await rename(partPath, path);
    } finally {
      await rm(partPath, { force: true });
    }
    this.#entries.set(digest, { bytes, users: 0, isChecked: true });
    await this.#trim(digest);
  }

  async #trim(keep?: Digest): Promise<void> {
    let total = 0;
    for (const { bytes } of this.#entries.values()) total += bytes;
    for (const [digest, { bytes, users }] of this.#entries) {
      if (total <= this.#bytesMax) return;
      if (users > 0 || digest === keep) continue;
      this.#entries.delete(digest);
      total -= bytes;
      await rm(join(this.#folder, digest), { force: true });
    }
  }
}

/** Fetches `bytes` bytes into a new file, several reads at once, and returns their digest. */
async function fetchTo(path: string, bytes: number, source: ModuleClient): Promise<string> {
  const hash = createHash("sha256");
  await using file = await open(path, "wx", 0o600);
  const reads: Promise<Uint8Array>[] = [];
  let requested = 0;
  const request = () => {
    const length = Math.min(CHUNK_BYTES_MAX, bytes - requested);
    const read = source.read(requested, length);
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
    await file.write(chunk);
  }
  return hash.digest("hex");
}

async function digestOfFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  return hash.digest("hex");
}
