import { mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { disconnected } from "../../src/base/errors.ts";
import { CHUNK_BYTES_MAX } from "../../src/base/limits.ts";
import type { ModuleClient } from "../../src/caps/module.ts";
import { ModuleCache, type ModuleLease } from "../../src/worker/module-cache.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { bytesOf, ModuleSource } from "./gateway-parts.ts";
import { until } from "./worker-harness.ts";

const never = new AbortController().signal;

/** A cache in a folder of its own, in which no unfinished file is left. */
class CacheHarness implements AsyncDisposable {
  readonly folder: string;
  cache: ModuleCache;
  readonly clock: ManualClock;
  readonly #bytesMax: number | undefined;

  private constructor(folder: string, cache: ModuleCache, clock: ManualClock, bytesMax: number | undefined) {
    this.folder = folder;
    this.cache = cache;
    this.clock = clock;
    this.#bytesMax = bytesMax;
  }

  static async open(bytesMax?: number): Promise<CacheHarness> {
    const folder = await mkdtemp(join(tmpdir(), "capmesh-modules-"));
    const clock = new ManualClock();
    return new CacheHarness(folder, await ModuleCache.open(folder, { clock, bytesMax }), clock, bytesMax);
  }

  /** As another process on the same folder. */
  async restart(): Promise<void> {
    const { clock } = this;
    this.cache = await ModuleCache.open(this.folder, { clock, bytesMax: this.#bytesMax });
  }

  async acquire(source: ModuleSource, signal: AbortSignal = never): Promise<ModuleLease> {
    using client = source.client();
    return await this.cache.acquire(source.digest, source.bytes.length, client, { signal });
  }

  /** As an input file of a run. */
  async acquireFile(source: ModuleSource): Promise<ModuleLease> {
    using client = source.client();
    return await this.cache.acquire(source.digest, source.bytes.length, client, { signal: never, isFile: true });
  }

  /** Fetched, used and given back. */
  async use(source: ModuleSource): Promise<void> {
    using lease = await this.acquire(source);
    expect(await readFile(lease.path)).toEqual(Buffer.from(source.bytes));
  }

  files(): Promise<string[]> {
    return readdir(this.folder);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const files = await this.files();
    await rm(this.folder, { recursive: true });
    expect(files.filter((name) => name.startsWith("part-"))).toEqual([]);
  }
}

describe("a module cache", () => {
  test("fetches a module once for many that want it at the same time", async () => {
    await using harness = await CacheHarness.open();
    const source = new ModuleSource(bytesOf(5_000));
    await Promise.all(Array.from({ length: 20 }, () => harness.use(source)));
    expect(source.reads).toBe(1);
    await harness.use(source);
    expect(source.reads).toBe(1);
    expect(harness.cache.digests()).toEqual([source.digest]);
  });

  test("keeps files as well, without saying so, also after a restart", async () => {
    await using harness = await CacheHarness.open();
    const [module, file, both] = [1, 2, 3].map((seed) => new ModuleSource(bytesOf(100, seed)));
    if (module === undefined || file === undefined || both === undefined) throw new Error("three sources");
    await harness.use(module);
    for (const source of [file, both, file]) (await harness.acquireFile(source))[Symbol.dispose]();
    expect(harness.cache.digests()).toEqual([module.digest]);
    // What is fetched as a file serves as a module too.
    await harness.use(both);
    expect(harness.cache.digests()).toEqual([both.digest, module.digest]);
    await harness.restart();
    expect(harness.cache.digests()).toEqual([module.digest]);
    for (const source of [file, both]) (await harness.acquireFile(source))[Symbol.dispose]();
    expect([module.reads, file.reads, both.reads]).toEqual([1, 1, 1]);
  });

  test("puts a module of many chunks together in order, whatever order they come in", async () => {
    await using harness = await CacheHarness.open();
    const source = new ModuleSource(bytesOf(5 * CHUNK_BYTES_MAX + 3), async (offset) => {
      // The first is held back longest.
      for (let turn = 0; turn < (offset === 0 ? 50 : 1); turn++) await new Promise((resolve) => setImmediate(resolve));
    });
    await harness.use(source);
    expect(source.reads).toBe(6);
  });

  test.each([
    ["is gone", (path: string) => rm(path), 2],
    ["has changed", (path: string) => writeFile(path, bytesOf(5_000, 2)), 2],
    ["is as it should be after all", () => Promise.resolve(), 1],
  ])("looks again at what a reader distrusts: it %s", async (_how, damage, reads) => {
    await using harness = await CacheHarness.open();
    const source = new ModuleSource(bytesOf(5_000));
    using lease = await harness.acquire(source);
    await damage(lease.path);
    harness.cache.distrust(source.digest);
    await Promise.all([harness.use(source), harness.use(source)]);
    expect(source.reads).toBe(reads);
    expect(harness.cache.digests()).toEqual([source.digest]);
  });

  test("refuses bytes that do not have the digest, and keeps nothing of them", async () => {
    await using harness = await CacheHarness.open();
    const source = new ModuleSource(bytesOf(5_000));
    using liar = new ModuleSource(bytesOf(5_000, 2)).client();
    const refused = harness.cache.acquire(source.digest, 5_000, liar, { signal: never });
    await expect(refused).rejects.toMatchObject({ type: "failed", code: "module-corrupt" });
    expect(await harness.files()).toEqual([]);
    expect(harness.cache.digests()).toEqual([]);
    await harness.use(source);
  });

  test("refuses a module that ends before all of its bytes were read", async () => {
    await using harness = await CacheHarness.open();
    const source = new ModuleSource(bytesOf(3 * CHUNK_BYTES_MAX));
    using client = source.client();
    const refused = harness.cache.acquire(source.digest, 4 * CHUNK_BYTES_MAX, client, { signal: never });
    await expect(refused).rejects.toMatchObject({ code: "module-corrupt" });
    expect(await harness.files()).toEqual([]);
  });

  test("refuses a module larger than itself before reading any of it", async () => {
    await using harness = await CacheHarness.open(10_000);
    const source = new ModuleSource(bytesOf(10_001));
    await expect(harness.acquire(source)).rejects.toMatchObject({ code: "module-too-large" });
    expect(source.reads).toBe(0);
  });

  test("lets others go on with their own source when the one that fetches fails", async () => {
    await using harness = await CacheHarness.open();
    const bytes = bytesOf(3 * CHUNK_BYTES_MAX);
    const asked = Promise.withResolvers<void>();
    const broken = new ModuleSource(bytes, async (offset) => {
      await asked.promise;
      if (offset > 0) throw disconnected("the gateway is gone");
    });
    const good = new ModuleSource(bytes);
    const first = harness.acquire(broken);
    const others = [harness.use(good), harness.use(good)];
    asked.resolve();
    await expect(first).rejects.toMatchObject({ type: "disconnected" });
    await Promise.all(others);
    expect(good.reads).toBe(3);
  });

  test("stops fetching when the signal is aborted, at once and for this one only", async () => {
    await using harness = await CacheHarness.open();
    const bytes = bytesOf(2 * CHUNK_BYTES_MAX);
    const stuck = new ModuleSource(bytes, () => new Promise(() => {}));
    const good = new ModuleSource(bytes);
    const given = new AbortController();
    const first = harness.acquire(stuck, given.signal);
    const second = harness.use(good);
    const gaveUp = new AbortController();
    const third = harness.acquire(good, gaveUp.signal);
    await until(() => stuck.reads === 2);
    gaveUp.abort(new Error("no longer wanted"));
    await expect(third).rejects.toThrow("no longer wanted");
    expect(good.reads).toBe(0);
    given.abort(new Error("cancelled"));
    await expect(first).rejects.toThrow("cancelled");
    await second;
  });

  test("trusts what an earlier process left once it has checked it", async () => {
    await using harness = await CacheHarness.open();
    const source = new ModuleSource(bytesOf(5_000));
    await harness.use(source);
    await writeFile(join(harness.folder, "part-7"), "half");
    await harness.restart();
    expect(await harness.files()).toEqual([source.digest]);
    expect(harness.cache.digests()).toEqual([source.digest]);
    await harness.use(source);
    expect(source.reads).toBe(1);
  });

  test.each([
    ["has other bytes", (path: string) => writeFile(path, bytesOf(5_000, 9))],
    ["was cut short", (path: string) => writeFile(path, "")],
    ["is gone", (path: string) => rm(path)],
  ])("fetches a module again whose file %s", async (_what, spoil) => {
    await using harness = await CacheHarness.open();
    const source = new ModuleSource(bytesOf(5_000));
    await harness.use(source);
    await harness.restart();
    await spoil(join(harness.folder, source.digest));
    await harness.use(source);
    expect(source.reads).toBe(2);
  });

  test("makes room by what was not used for longest, and keeps what is in use", async () => {
    await using harness = await CacheHarness.open(10_000);
    const [a, b, c, d] = [1, 2, 3, 4].map((seed) => new ModuleSource(bytesOf(4_000, seed)));
    if (!a || !b || !c || !d) throw new Error("four sources");
    const lease = await harness.acquire(a);
    await harness.use(b);
    await harness.use(c);
    expect(harness.cache.digests()).toEqual([c.digest, a.digest]);
    await stat(lease.path);
    lease[Symbol.dispose]();
    lease[Symbol.dispose]();
    await harness.use(d);
    expect(harness.cache.digests()).toEqual([d.digest, c.digest]);
    await expect.poll(async () => (await harness.files()).sort()).toEqual([c.digest, d.digest].sort());
  });

  test("gives everybody their module when they want more than there is room for", async () => {
    await using harness = await CacheHarness.open(10_000);
    const sources = Array.from({ length: 8 }, (_, seed) => new ModuleSource(bytesOf(4_000, seed)));
    const uses: Promise<void>[] = [];
    for (let round = 0; round < 12; round++) for (const source of sources) uses.push(harness.use(source));
    await Promise.all(uses);
    await expect.poll(async () => (await harness.files()).length).toBe(harness.cache.digests().length);
  });

  test("makes room at the start too, the oldest file first", async () => {
    await using harness = await CacheHarness.open(10_000);
    const [a, b] = [1, 2].map((seed) => new ModuleSource(bytesOf(4_000, seed)));
    if (!a || !b) throw new Error("two sources");
    await harness.use(a);
    await harness.use(b);
    await utimes(join(harness.folder, b.digest), 1, 1);
    const cache = await ModuleCache.open(harness.folder, { clock: harness.clock, bytesMax: 5_000 });
    expect(cache.digests()).toEqual([a.digest]);
    expect(await harness.files()).toEqual([a.digest]);
  });

  test("knows after a restart what was used for longest ago, and not only what was fetched then", async () => {
    await using harness = await CacheHarness.open(10_000);
    const [a, b, c] = [1, 2, 3].map((seed) => new ModuleSource(bytesOf(4_000, seed)));
    if (!a || !b || !c) throw new Error("three sources");
    await harness.use(a);
    await harness.use(b);
    const { mtimeMs } = await stat(join(harness.folder, b.digest));
    harness.clock.advance(100);
    await harness.use(a);
    await expect.poll(async () => (await stat(join(harness.folder, a.digest))).mtimeMs).toBeGreaterThan(mtimeMs);
    await harness.restart();
    await harness.use(c);
    expect(harness.cache.digests()).toEqual([c.digest, a.digest]);
  });

  test("borrows its sources", async () => {
    await using harness = await CacheHarness.open();
    const source = new ModuleSource(bytesOf(5_000));
    using client: ModuleClient = source.client();
    using _lease = await harness.cache.acquire(source.digest, 5_000, client, { signal: never });
    expect(await client.read(0, 10)).toHaveLength(10);
  });
});
