import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { disconnected, failed, overloaded } from "../../src/base/errors.ts";
import { OUTPUT_CHUNK_BYTES_MAX, OUTPUT_IN_MEMORY_BYTES_MAX } from "../../src/base/limits.ts";
import { silentLog } from "../../src/base/log.ts";
import type { OutputStream } from "../../src/model/output.ts";
import { OutputSpool } from "../../src/worker/output-spool.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { bytesOf, DurableLog, type OnWrite } from "./gateway-parts.ts";
import { until } from "./worker-harness.ts";
import { fc } from "../support/properties.ts";

const never = new AbortController().signal;

/** A spool with its file in a folder of its own, which is empty at the end. */
class SpoolHarness implements AsyncDisposable {
  readonly clock = new ManualClock();
  readonly log = new DurableLog();
  readonly refusals: string[] = [];
  readonly spool: OutputSpool;
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
    this.spool = new OutputSpool({
      path: join(folder, "output"),
      clock: this.clock,
      random: new SeededRandom(1),
      log: silentLog,
      onRefused: ({ reason }) => this.refusals.push(reason),
    });
  }

  static async open(): Promise<SpoolHarness> {
    return new SpoolHarness(await mkdtemp(join(tmpdir(), "capmesh-spool-")));
  }

  /** A gateway that knows what is durable. */
  attach(onWrite?: OnWrite): void {
    this.spool.attach(this.log.output(onWrite), this.log.length);
  }

  print(text: string, stream: OutputStream = "stdout"): Promise<void> {
    return this.spool.append(stream, Buffer.from(text));
  }

  files(): Promise<string[]> {
    return readdir(this.#folder);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.spool[Symbol.asyncDispose]();
    const files = await this.files();
    await rm(this.#folder, { recursive: true });
    expect(files).toEqual([]);
    expect(this.clock.pendingTimers).toBe(0);
  }
}

describe("an output spool", () => {
  test("passes on both streams in the order they were written", async () => {
    await using harness = await SpoolHarness.open();
    harness.attach();
    await harness.print("one ");
    await harness.print("two ", "stderr");
    await harness.print("three");
    await harness.spool.drained({ signal: never });
    expect(harness.log.pieces.map(({ stream, bytes }) => [stream, Buffer.from(bytes).toString()])).toEqual([
      ["stdout", "one "],
      ["stderr", "two "],
      ["stdout", "three"],
    ]);
  });

  test("puts single bytes together while the gateway is busy", async () => {
    await using harness = await SpoolHarness.open();
    const held = Promise.withResolvers<void>();
    harness.attach(() => held.promise);
    for (let index = 0; index < 10_000; index++) await harness.print("x");
    held.resolve();
    await harness.spool.drained({ signal: never });
    expect(harness.log.length).toBe(10_000);
    expect(harness.log.writes).toBeLessThan(10);
  });

  test("cuts what is larger than one write may be", async () => {
    await using harness = await SpoolHarness.open();
    const sizes: number[] = [];
    harness.attach((_offset, bytes) => void sizes.push(bytes.length));
    await harness.spool.append("stdout", bytesOf(OUTPUT_CHUNK_BYTES_MAX * 2 + 1));
    await harness.spool.drained({ signal: never });
    expect(sizes).toEqual([OUTPUT_CHUNK_BYTES_MAX, OUTPUT_CHUNK_BYTES_MAX, 1]);
  });

  test("keeps the guest waiting while the gateway does not take what memory holds", async () => {
    await using harness = await SpoolHarness.open();
    const held = Promise.withResolvers<void>();
    harness.attach(() => held.promise);
    await harness.spool.append("stdout", bytesOf(OUTPUT_IN_MEMORY_BYTES_MAX));
    let isWelcome = false;
    const waiting = harness.print("more").then(() => (isWelcome = true));
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(isWelcome).toBe(false);
    expect(await harness.files()).toEqual([]);
    held.resolve();
    await waiting;
    await harness.spool.drained({ signal: never });
    expect(harness.log.length).toBe(OUTPUT_IN_MEMORY_BYTES_MAX + 4);
  });

  test("counts what many small pieces cost in memory, not their bytes alone", async () => {
    await using harness = await SpoolHarness.open();
    for (let index = 0; index < 10_000; index++) await harness.print("x", index % 2 === 0 ? "stdout" : "stderr");
    expect(await harness.files()).toEqual(["output"]);
    harness.attach();
    await harness.spool.drained({ signal: never });
    expect(harness.log.text()).toBe("x".repeat(10_000));
    expect(harness.log.pieces.map(({ stream }) => stream).slice(0, 3)).toEqual(["stdout", "stderr", "stdout"]);
  });

  test("lets the guest go on without a gateway, into a file, and replays it without a gap", async () => {
    await using harness = await SpoolHarness.open();
    const written = bytesOf(3 * OUTPUT_IN_MEMORY_BYTES_MAX);
    for (let at = 0; at < written.length; at += 100_000) {
      await harness.spool.append("stdout", written.subarray(at, at + 100_000));
    }
    expect(await harness.files()).toEqual(["output"]);
    harness.attach();
    await harness.print("and on", "stderr");
    await harness.spool.drained({ signal: never });
    const all = Buffer.concat(harness.log.pieces.map(({ bytes }) => bytes));
    expect(all.equals(Buffer.concat([written, Buffer.from("and on")]))).toBe(true);
    expect(harness.log.pieces.at(-1)?.stream).toBe("stderr");
  });

  test("wakes a guest that waits when the gateway goes away", async () => {
    await using harness = await SpoolHarness.open();
    harness.attach(() => new Promise(() => {}));
    await harness.spool.append("stdout", bytesOf(OUTPUT_IN_MEMORY_BYTES_MAX));
    const waiting = harness.print("more");
    harness.spool.detach();
    await waiting;
    expect(await harness.files()).toEqual(["output"]);
  });

  test("goes on with a new gateway though the old one never answers", async () => {
    await using harness = await SpoolHarness.open();
    let isAsked = false;
    harness.attach(() => {
      isAsked = true;
      return new Promise(() => {});
    });
    await harness.print("said once");
    await until(() => isAsked);
    harness.attach();
    await harness.spool.drained({ signal: never });
    expect(harness.log.text()).toBe("said once");
  });

  test("goes on from where the new gateway says", async () => {
    await using harness = await SpoolHarness.open();
    await harness.print("0123456789");
    const log = new DurableLog();
    log.length = 4;
    harness.spool.attach(log.output(), 4);
    await harness.spool.drained({ signal: never });
    expect(log.text()).toBe("456789");
    expect(harness.spool.durableOffset).toBe(10);
  });

  test("backs off while the gateway has too much to do, and while it keeps nothing", async () => {
    await using harness = await SpoolHarness.open();
    const answers: OnWrite[] = [
      () => {
        throw overloaded("busy");
      },
      () => 0,
      () => 3,
    ];
    harness.attach((offset, bytes) => answers.shift()?.(offset, bytes));
    await harness.print("abcdef");
    await until(() => harness.clock.pendingTimers === 1);
    expect(harness.log.writes).toBe(1);
    await harness.clock.run(50);
    await until(() => harness.clock.pendingTimers === 1);
    expect(harness.log.writes).toBe(2);
    await harness.clock.run(100);
    await harness.spool.drained({ signal: never });
    expect(harness.log.text()).toBe("abcdef");
  });

  test("does not keep its owner waiting for a back-off, or for a gateway that does not answer", async () => {
    await using harness = await SpoolHarness.open();
    harness.attach(() => {
      throw overloaded("busy");
    });
    await harness.print("x");
    await until(() => harness.clock.pendingTimers === 1);
    await harness.spool[Symbol.asyncDispose]();
    await using other = await SpoolHarness.open();
    other.attach(() => new Promise(() => {}));
    await other.print("x");
    await other.spool[Symbol.asyncDispose]();
  });

  test("says once that it was refused, and drops what comes after", async () => {
    await using harness = await SpoolHarness.open();
    harness.attach(() => {
      throw failed("this attempt is over", { code: "stale-attempt" });
    });
    await harness.print("x");
    await until(() => harness.refusals.length === 1);
    await harness.spool.append("stdout", bytesOf(3 * OUTPUT_IN_MEMORY_BYTES_MAX));
    await harness.spool.drained({ signal: never });
    expect(harness.refusals).toEqual(["the gateway refused its output: this attempt is over"]);
    expect(harness.log.writes).toBe(1);
  });

  test("tells the end of a guest without what the gateway has refused after it", async () => {
    await using harness = await SpoolHarness.open();
    harness.attach();
    await harness.print("kept");
    await until(() => harness.spool.durableOffset === 4);
    const usage = { wallMs: 1, cpuMs: 1, memoryBytes: 1 };
    const end = { outcome: { kind: "exited", code: 0 }, usage, outputBytes: 8, outputTruncated: false } as const;
    expect(harness.spool.endedWith(end)).toBe(end);
    harness.attach(() => {
      throw failed("this attempt is over");
    });
    await harness.print("lost");
    await harness.spool.drained({ signal: never });
    expect(harness.spool.endedWith(end)).toEqual({ ...end, outputBytes: 4, outputTruncated: true });
  });

  test("keeps nothing for another process of what follows what was refused, though it is in the file", async () => {
    await using harness = await SpoolHarness.open();
    await harness.spool.append("stdout", bytesOf(3 * OUTPUT_IN_MEMORY_BYTES_MAX));
    await harness.print("in the file");
    harness.attach(() => {
      throw failed("this attempt is over");
    });
    await harness.spool.drained({ signal: never });
    const begun: [number, number][] = [];
    let records = 0;
    await harness.spool.copy({
      begin: async (offset, outputBytes) => void begun.push([offset, outputBytes]),
      write: async () => void records++,
    });
    expect(begun).toEqual([[0, 0]]);
    expect(records).toBe(0);
  });

  test("stops waiting to be drained when the signal is aborted", async () => {
    await using harness = await SpoolHarness.open();
    await harness.print("x");
    const given = new AbortController();
    const drained = harness.spool.drained({ signal: given.signal });
    given.abort(new Error("enough"));
    await expect(drained).rejects.toThrow("enough");
  });
});

const SIZE = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 1, max: 8 }) },
  { weight: 3, arbitrary: fc.integer({ min: 1, max: 6_000 }) },
  { weight: 2, arbitrary: fc.integer({ min: 200_000, max: 700_000 }) },
);
const ANSWER = fc.constantFrom("kept", "kept", "part", "nothing", "overloaded", "disconnected", "late", "never");
const STEP = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant("append" as const),
      size: SIZE,
      stream: fc.constantFrom<OutputStream>("stdout", "stderr"),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("attach" as const), answers: fc.array(ANSWER) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("detach" as const) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("wait" as const), ms: fc.integer({ min: 0, max: 3_000 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("release" as const) }) },
);
type Step = typeof STEP extends fc.Arbitrary<infer S> ? S : never;

/** Two bytes for each that was written: its stream and itself. */
function marked(pieces: readonly { readonly stream: OutputStream; readonly bytes: Uint8Array }[]): Buffer {
  return Buffer.concat(
    pieces.map(({ stream, bytes }) => {
      const both = Buffer.alloc(2 * bytes.length, stream === "stdout" ? 1 : 2);
      bytes.forEach((byte, index) => (both[2 * index + 1] = byte));
      return both;
    }),
  );
}

async function play(steps: readonly Step[]): Promise<void> {
  await using harness = await SpoolHarness.open();
  const written: { stream: OutputStream; bytes: Uint8Array }[] = [];
  const appends: Promise<void>[] = [];
  let release = Promise.withResolvers<void>();
  const answering = (answers: readonly string[]): OnWrite => {
    const left = [...answers];
    return async (_offset, bytes) => {
      const answer = left.shift();
      if (answer === "overloaded") throw overloaded("busy");
      if (answer === "disconnected") throw disconnected("gone");
      if (answer === "nothing") return 0;
      if (answer === "part") return Math.ceil(bytes.length / 2);
      // Kept after all, when others have been attached meanwhile.
      if (answer === "late") await release.promise;
      if (answer === "never") await new Promise(() => {});
      return bytes.length;
    };
  };
  for (const [index, step] of steps.entries()) {
    switch (step.kind) {
      case "append": {
        const bytes = bytesOf(step.size, index);
        written.push({ stream: step.stream, bytes: bytes.slice() });
        appends.push(harness.spool.append(step.stream, bytes));
        break;
      }
      case "attach":
        harness.attach(answering(step.answers));
        break;
      case "detach":
        harness.spool.detach();
        break;
      case "wait":
        await harness.clock.run(step.ms);
        break;
      case "release":
        release.resolve();
        release = Promise.withResolvers();
    }
  }
  release.resolve();
  harness.attach();
  await Promise.all(appends);
  await harness.spool.drained({ signal: never });
  expect(harness.refusals).toEqual([]);
  expect(marked(harness.log.pieces).equals(marked(written))).toBe(true);
  expect(harness.spool.durableOffset).toBe(harness.spool.outputBytes);
}

describe("an output spool and any gateways", () => {
  test("hands over exactly what was written, once and in order", async () => {
    await fc.assert(fc.asyncProperty(fc.array(STEP, { maxLength: 40 }), play), { numRuns: 150 });
  });
});
