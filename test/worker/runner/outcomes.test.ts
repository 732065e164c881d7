import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { REASON_LENGTH_MAX, RUNNER_OUTPUT_QUEUE_BYTES_MAX } from "../../../src/base/limits.ts";
import { guestBytes } from "../../support/guests.ts";
import { buildWasm, call, i32, I32, SPIN } from "../../support/wasm-builder.ts";
import {
  adding,
  exiting,
  flooding,
  growing,
  noop,
  printing,
  returningErrno,
  sleeping,
  spinning,
  trapping,
  writing,
} from "./guest-modules.ts";
import { PoolHarness } from "./pool-harness.ts";

const MIB = 1_048_576;
/** What G6 allows between the order to stop and the end, and what a machine that is busy otherwise adds. */
const STOP_MS_MAX = 100 + 4_900;

let harness: PoolHarness;

beforeAll(async () => {
  harness = await PoolHarness.open({ slots: 2, spares: 0 });
});

afterAll(async () => {
  await harness[Symbol.asyncDispose]();
});

describe("a command", () => {
  test("that returns has exited with 0", async () => {
    expect((await harness.run(noop)).outcome).toEqual({ kind: "exited", code: 0 });
  });

  test.each([0, 1, 7, 255, 256, 4_294_967_295])("exits with %d, whole", async (code) => {
    expect((await harness.run(exiting(code))).outcome).toEqual({ kind: "exited", code });
  });

  test("prints to stdout", async () => {
    const { stdout, stderr, outputBytes } = await harness.run(printing("grüße\n"));
    expect([stdout, stderr, outputBytes]).toEqual(["grüße\n", "", 8]);
  });

  test("prints to stderr", async () => {
    const { stdout, stderr } = await harness.run(printing("oh\n", [], 2));
    expect([stdout, stderr]).toEqual(["", "oh\n"]);
  });

  test("reports what it used", async () => {
    const { usage } = await harness.run(printing("x"));
    expect(usage.memoryBytes).toBe(65_536);
    expect(usage.wallMs).toBeGreaterThan(0);
    expect(usage.cpuMs).toBeGreaterThanOrEqual(0);
  });

  test("reports the memory of a module that does not export it", async () => {
    const hidden = buildWasm({ memory: { min: 3, export: null }, functions: [{ export: "_start", body: [] }] });
    expect((await harness.run(hidden)).usage.memoryBytes).toBe(3 * 65_536);
  });

  test("makes calls from the module's start function", async () => {
    const starting = buildWasm({
      imports: [
        { name: "random_get", parameters: [I32, I32], results: [I32] },
        { name: "proc_exit", parameters: [I32] },
      ],
      memory: { min: 1 },
      functions: [{ export: "_start", body: [] }, { body: call(1, call(0, i32(0), i32(16))) }],
      start: 3,
    });
    expect((await harness.run(starting)).outcome).toEqual({ kind: "exited", code: 0 });
  });
});

describe("a guest that traps", () => {
  test("says where and why", async () => {
    const { outcome } = await harness.run(trapping);
    expect(outcome).toEqual({ kind: "trapped", reason: "unreachable, in fall_over (wasm-function[0])" });
  });

  test("in a function whose name is long past reason has its reason cut", async () => {
    const name = "\u0001".repeat(60_000);
    const verbose = buildWasm({ functions: [{ export: "_start", name, body: [0x00] }] });
    const { outcome } = await harness.run(verbose);
    expect(outcome).toMatchObject({ kind: "trapped", reason: expect.stringContaining("unreachable, in ") });
    expect(outcome.kind === "trapped" && outcome.reason.length).toBeLessThanOrEqual(REASON_LENGTH_MAX);
  });

  test("by endless recursion has exhausted its stack", async () => {
    const recursing = buildWasm({ functions: [{ export: "_start", name: "again", body: call(0) }] });
    const { outcome } = await harness.run(recursing);
    expect(outcome).toMatchObject({ kind: "trapped", reason: expect.stringContaining("call stack exhausted") });
  });

  test("by raising a signal names it", async () => {
    const raising = returningErrno({ name: "proc_raise", parameters: [I32] }, [i32(6)]);
    expect((await harness.run(raising)).outcome).toEqual({ kind: "trapped", reason: "the guest raised signal ABRT" });
  });
});

describe("the entry `run`", () => {
  const run = (input: number, difficulty: number) => ({ kind: "run", input, difficulty }) as const;

  test("answers the hash puzzle", async () => {
    const { value, outcome } = await harness.run(guestBytes("hash"), { entry: run(0, 3) });
    expect([value, outcome]).toEqual(["2832", { kind: "exited", code: 0 }]);
  });

  test("answers as unsigned", async () => {
    expect((await harness.run(adding(), { entry: run(-3, 1) })).value).toBe("4294967294");
  });

  test("comes after `_start`", async () => {
    expect((await harness.run(adding(0), { entry: run(2, 3) })).value).toBe("5");
  });

  test("is not reached when `_start` exits with another code than 0", async () => {
    const { value, outcome } = await harness.run(adding(9), { entry: run(2, 3) });
    expect([value, outcome]).toEqual([undefined, { kind: "exited", code: 9 }]);
  });
});

describe("a guest past its time", () => {
  test("is stopped, and the next runs", async () => {
    const before = performance.now();
    const { outcome, usage } = await harness.run(spinning, { timeoutMs: 300 });
    expect(performance.now() - before).toBeLessThan(300 + STOP_MS_MAX);
    expect(outcome).toEqual({ kind: "timed-out", reason: "it took more than 0.3 s of wall time" });
    expect(usage.cpuMs).toBeGreaterThan(0);
    expect((await harness.run(noop)).outcome).toEqual({ kind: "exited", code: 0 });
  });

  test("is stopped by its CPU time", async () => {
    const { outcome } = await harness.run(spinning, { timeoutMs: 30_000, cpuMs: 200 });
    expect(outcome).toEqual({ kind: "timed-out", reason: "it took more than 0.2 s of CPU time" });
  });

  test("may sleep longer than its CPU time", async () => {
    const { outcome, usage } = await harness.run(sleeping(400_000_000n), { timeoutMs: 30_000, cpuMs: 300 });
    expect(outcome).toEqual({ kind: "exited", code: 1 });
    expect(usage.wallMs).toBeGreaterThanOrEqual(399);
    expect(usage.cpuMs).toBeLessThan(200);
  });

  test("keeps what it had printed", async () => {
    const { stdout, outcome } = await harness.run(printing("before\n", [...SPIN]), { timeoutMs: 3_000 });
    expect([stdout, outcome.kind]).toEqual(["before\n", "timed-out"]);
  });
});

describe("a guest that is cancelled", () => {
  test("ends at once, with the reason", async () => {
    const abort = new AbortController();
    let abortedAt = 0;
    const { outcome } = await harness.run(printing("up\n", [...SPIN]), {
      signal: abort.signal,
      onOutput() {
        abortedAt = performance.now();
        abort.abort(new Error("no longer wanted"));
      },
    });
    expect(performance.now() - abortedAt).toBeLessThan(STOP_MS_MAX);
    expect(outcome).toEqual({ kind: "cancelled", reason: "no longer wanted" });
    expect((await harness.run(noop)).outcome).toEqual({ kind: "exited", code: 0 });
  });

  test("ends while it sleeps", async () => {
    const abort = new AbortController();
    const ended = harness.run(sleeping(3_600_000_000_000n), { signal: abort.signal });
    abort.abort();
    expect((await ended).outcome).toEqual({ kind: "cancelled", reason: "cancelled" });
  });

  test("never starts when the signal was aborted before", async () => {
    const { outcome, usage } = await harness.run(noop, { signal: AbortSignal.abort(new Error("too late")) });
    expect([outcome, usage.wallMs]).toEqual([{ kind: "cancelled", reason: "too late" }, 0]);
  });
});

describe("a guest's memory", () => {
  test("is refused when it begins over the cap", async () => {
    const big = buildWasm({ memory: { min: 1_000 }, functions: [{ export: "_start", body: [] }] });
    const { outcome } = await harness.run(big, { memoryBytes: 16 * MIB });
    expect(outcome).toMatchObject({ kind: "memory-exceeded" });
  });

  test("cannot grow past the cap, and a trap there is called what it is", async () => {
    const { outcome, usage } = await harness.run(growing("trap"), { memoryBytes: 8 * MIB });
    expect(outcome).toMatchObject({
      kind: "memory-exceeded",
      reason: expect.stringContaining("8 of 8 MiB in use: unreachable"),
    });
    expect(usage.memoryBytes).toBeLessThanOrEqual(8 * MIB);
  });

  test("may be used up by a guest that then ends well", async () => {
    const { outcome, usage } = await harness.run(growing("exit"), { memoryBytes: 8 * MIB });
    expect(outcome).toEqual({ kind: "exited", code: 0 });
    expect(usage.memoryBytes).toBeGreaterThan(7 * MIB);
  });

  test("has the cap of each run, not of the first", async () => {
    const first = await harness.run(growing("exit"), { memoryBytes: 4 * MIB });
    const second = await harness.run(growing("exit"), { memoryBytes: 12 * MIB });
    expect(first.usage.memoryBytes).toBeLessThanOrEqual(4 * MIB);
    expect(second.usage.memoryBytes).toBeGreaterThan(11 * MIB);
  });
});

describe("a guest's output", () => {
  test("is complete when it is large", async () => {
    let bytes = 0;
    const end = await harness.run(writing(40, 65_536), {
      outputBytesMax: 8 * MIB,
      onOutput(_stream, piece) {
        bytes += piece.length;
      },
    });
    expect([bytes, end.outputBytes, end.outputTruncated]).toEqual([40 * 65_536, 40 * 65_536, false]);
  });

  test("is cut at its limit while the guest goes on", async () => {
    const end = await harness.run(writing(1600, 65_536), { outputBytesMax: 100_000 });
    expect(end).toMatchObject({ outcome: { kind: "exited", code: 0 }, outputBytes: 100_000, outputTruncated: true });
    expect(end.stdout.length).toBe(100_000);
  });

  test("of exactly the limit is not truncated", async () => {
    expect(await harness.run(printing("12345678"), { outputBytesMax: 8 })).toMatchObject({
      outputBytes: 8,
      outputTruncated: false,
    });
  });

  test("past its limit ends a guest that is to fail", async () => {
    const end = await harness.run(flooding(1000), { outputBytesMax: 10_000, outputLimit: "fail" });
    expect(end).toMatchObject({ outcome: { kind: "output-exceeded" }, outputBytes: 10_000, outputTruncated: true });
  });

  test("waits for a slow receiver instead of gathering", async () => {
    const module = writing(320, 65_536);
    const outputBytesMax = 64 * MIB;
    const gate = Promise.withResolvers<void>();
    const blocked = Promise.withResolvers<void>();
    const lengths: number[] = [];
    const ended = harness.run(module, {
      outputBytesMax,
      async onOutput(_stream, bytes) {
        lengths.push(bytes.length);
        blocked.resolve();
        await gate.promise;
      },
    });
    await blocked.promise;
    // While another writes all of the same, in the time that it takes.
    expect((await harness.run(module, { outputBytesMax })).outputBytes).toBe(320 * 65_536);
    gate.resolve();
    expect((await ended).outputBytes).toBe(320 * 65_536);
    // What has gathered meanwhile comes in one piece.
    expect(Math.max(...lengths)).toBeLessThan(2 * RUNNER_OUTPUT_QUEUE_BYTES_MAX);
  });
});

describe("a module that may not run", () => {
  test.each([
    ["that is not wasm", new TextEncoder().encode("hello"), "not WebAssembly"],
    ["that is cut short", noop.subarray(0, noop.length - 30), "cannot be read"],
    ["without the entry", adding(), "does not export `_start`"],
  ])("%s is rejected with a sentence", async (_what, module, reason) => {
    expect((await harness.run(module)).outcome).toMatchObject({
      kind: "rejected",
      reason: expect.stringContaining(reason),
    });
  });

  test("but passes inspection is rejected by the engine", async () => {
    const illTyped = buildWasm({ functions: [{ export: "_start", body: [0x1a] }] });
    const { outcome } = await harness.run(illTyped);
    // Code is compiled lazily, so the engine may find out only when it is called.
    expect(["rejected", "trapped"]).toContain(outcome.kind);
  });

  test.each(["__proto__", "constructor", "toString", "hasOwnProperty", "fd_writ"])(
    "imports %s in vain",
    async (wanted) => {
      const module = buildWasm({
        imports: [{ name: wanted, parameters: [] }],
        functions: [{ export: "_start", body: [] }],
      });
      expect((await harness.run(module)).outcome).toMatchObject({
        kind: "rejected",
        reason: expect.stringContaining(wanted),
      });
    },
  );
});
