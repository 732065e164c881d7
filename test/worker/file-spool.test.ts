import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { disconnected, failed, overloaded } from "../../src/base/errors.ts";
import { CHUNK_BYTES_MAX } from "../../src/base/limits.ts";
import { FileSpool, type SpooledFile, withRefusal } from "../../src/worker/file-spool.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { bytesOf, DurableLog } from "./gateway-parts.ts";
import { until } from "./worker-harness.ts";

const NEVER = new AbortController().signal;

class SpoolHarness implements AsyncDisposable {
  readonly clock = new ManualClock();
  readonly spool: FileSpool;
  readonly log = new DurableLog();
  bytesOnDisk = 0;
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
    this.spool = new FileSpool({
      folder: join(folder, "files"),
      clock: this.clock,
      random: new SeededRandom(1),
      onBytes: (bytes) => void (this.bytesOnDisk += bytes),
    });
  }

  /** The spool of the next process. */
  next(found: readonly SpooledFile[]): FileSpool {
    return new FileSpool({
      folder: join(this.#folder, "files"),
      found,
      clock: this.clock,
      random: new SeededRandom(1),
      onBytes: (bytes) => void (this.bytesOnDisk += bytes),
    });
  }

  static async open(): Promise<SpoolHarness> {
    return new SpoolHarness(await mkdtemp(join(tmpdir(), "capmesh-file-spool-")));
  }

  async keep(files: Readonly<Record<string, Uint8Array>>): Promise<void> {
    for (const [path, bytes] of Object.entries(files)) await this.spool.keep(path, bytes.length, inPieces(bytes));
  }

  get spoolFolder(): string {
    return join(this.#folder, "files");
  }

  attach(log = this.log): void {
    this.spool.attach(log.output());
  }

  drained(): Promise<void> {
    return this.spool.drained({ signal: NEVER });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.spool[Symbol.asyncDispose]();
    expect(await readdir(this.#folder)).toEqual([]);
    await rm(this.#folder, { recursive: true });
    expect(this.bytesOnDisk).toBe(0);
    expect(this.clock.pendingTimers).toBe(0);
  }
}

async function* inPieces(bytes: Uint8Array): AsyncGenerator<Uint8Array, void> {
  for (let at = 0; at < bytes.length; at += 70_000) {
    await Promise.resolve();
    yield bytes.subarray(at, at + 70_000);
  }
}

const LARGE = bytesOf(2 * CHUNK_BYTES_MAX + 5);
const FILES = { "a/large": LARGE, empty: new Uint8Array(0), small: bytesOf(10, 2) };

function contentsOf(log: DurableLog): Record<string, Uint8Array> {
  return Object.fromEntries([...log.files.contents].map(([path, bytes]) => [path, new Uint8Array(bytes)]));
}

describe("the files of an attempt", () => {
  test("go to the gateway once all are there, and not before", async () => {
    await using harness = await SpoolHarness.open();
    harness.attach();
    await harness.keep(FILES);
    expect(harness.log.files.calls.keep).toBe(0);
    expect(harness.bytesOnDisk).toBe(LARGE.length + 10);
    harness.spool.complete();
    await harness.drained();
    expect(contentsOf(harness.log)).toEqual(FILES);
  });

  test("wait for a gateway, and go to the next one from where the first has left off", async () => {
    await using harness = await SpoolHarness.open();
    await harness.keep({ first: bytesOf(3), ...FILES });
    harness.spool.complete();
    const { files } = harness.log;
    // The connection is lost in the middle of the large one.
    files.onCall = (call) => {
      if (call === "write" && files.contents.size === 1) throw disconnected("the cable is cut");
    };
    harness.attach();
    await until(() => files.calls.write >= 2);
    files.onCall = () => {};
    harness.attach();
    await harness.drained();
    expect(contentsOf(harness.log)).toEqual({ first: bytesOf(3), ...FILES });
    // The first file is not handed over again.
    expect(files.calls.finish).toBe(4);
  });

  test("are not sent again to a gateway that has them, though it could not say so", async () => {
    await using harness = await SpoolHarness.open();
    await harness.keep({ a: bytesOf(5) });
    harness.spool.complete();
    const { files } = harness.log;
    const cut = Promise.withResolvers<void>();
    files.onCall = async (call) => {
      if (call !== "finish") return;
      files.contents.set("a", bytesOf(5));
      cut.resolve();
      throw disconnected("the answer is lost");
    };
    harness.attach();
    await cut.promise;
    files.onCall = () => {};
    harness.attach();
    await harness.drained();
    expect(files.calls).toEqual({ keep: 2, write: 1, finish: 1 });
  });

  test("are offered again to a gateway that is too busy", async () => {
    await using harness = await SpoolHarness.open();
    await harness.keep({ a: bytesOf(5) });
    harness.spool.complete();
    let refusals = 3;
    harness.log.files.onCall = () => {
      if (refusals-- > 0) throw overloaded("too busy");
    };
    harness.attach();
    for (let waits = 0; waits < 3; waits++) {
      await until(() => harness.clock.pendingTimers > 0);
      harness.clock.advance(2_000);
    }
    await harness.drained();
    expect(contentsOf(harness.log)).toEqual({ a: bytesOf(5) });
    expect(harness.spool.refusal).toBeUndefined();
  });

  test("are given up when the gateway refuses them, and it says why", async () => {
    await using harness = await SpoolHarness.open();
    await harness.keep(FILES);
    harness.spool.complete();
    harness.log.files.onCall = () => {
      throw failed("no glob matches", { code: "not-wanted" });
    };
    harness.attach();
    await harness.drained();
    expect(harness.spool.refusal).toMatchObject({ by: "gateway", reason: expect.stringContaining("no glob matches") });
    expect(harness.log.files.calls.keep).toBe(1);
  });

  test("that are not there any more as they were written hand the attempt back", async () => {
    await using harness = await SpoolHarness.open();
    await harness.keep(FILES);
    await rm(join(harness.spoolFolder, "0"));
    harness.spool.complete();
    harness.attach();
    await harness.drained();
    const usage = { wallMs: 1, cpuMs: 1, memoryBytes: 1 };
    const end = { outcome: { kind: "exited", code: 0 }, usage, outputBytes: 0, outputTruncated: false } as const;
    expect(harness.spool.refusal?.reason).toContain("a/large");
    expect(() => withRefusal(end, harness.spool.refusal)).toThrow(expect.objectContaining({ code: "handed-back" }));
  });

  test("are forgotten when the guest has ended in a way that keeps none", async () => {
    await using harness = await SpoolHarness.open();
    harness.attach();
    await harness.keep(FILES);
    harness.spool.drop();
    await harness.drained();
    expect(harness.log.files.calls.keep).toBe(0);
  });

  test("are refused when their content is not as long as was said", async () => {
    await using harness = await SpoolHarness.open();
    await expect(harness.spool.keep("a", 6, inPieces(bytesOf(5)))).rejects.toThrow("a ended after 5 of 6 bytes");
  });

  test("leave nothing behind when an earlier process had handed all of them over", async () => {
    await using harness = await SpoolHarness.open();
    await harness.keep({ "a.txt": bytesOf(5) });
    await harness.spool.close({ isKept: true });
    await using next = harness.next([]);
    await next.drained({ signal: NEVER });
  });

  test("leave nothing behind when they are given up in the middle of being sent", async () => {
    await using harness = await SpoolHarness.open();
    await harness.keep(FILES);
    harness.spool.complete();
    const begun = Promise.withResolvers<void>();
    harness.log.files.onCall = async (call) => {
      if (call !== "write") return;
      begun.resolve();
      await new Promise<void>(() => {});
    };
    harness.attach();
    await begun.promise;
  });
});
