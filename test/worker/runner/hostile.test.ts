/**
 * Guests that mean harm. Each costs its own run at most: it ends as it should, the pool runs the next guest at once, and
 * what memory it took is back. One pool serves all of them, as one worker would; long for it is one guest per attack.
 */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { readMemoryUse } from "../../../src/worker/runner/memory-use.ts";
import { buildWasm, call, DROP, forever, i32, I32, i64, I64, SPIN, store32 } from "../../support/wasm-builder.ts";
import { core, functionType, list, name, section, u } from "../../support/wasm-bytes.ts";
import { flooding, growing, noop, returningErrno, sleeping, spinning, untilRefused } from "./guest-modules.ts";
import { type Ended, PoolHarness, type RunOptions } from "./pool-harness.ts";

const MIB = 1_048_576;
/** What the next guest may wait, and what a machine that is busy otherwise adds. */
const NEXT_MS_MAX = 1_000 + 3_000;
/** What the pool's idle processes may have in memory together; each has some 50 MiB, most of it shared. */
const IDLE_BYTES_MAX = 450 * MIB;
const OWN_GROWTH_BYTES_MAX = 300 * MIB;
/** How long guests run that do not end by themselves. */
const SHORT_MS = 300;

const component: RunOptions = { entry: { kind: "component" } };
const ERRNO = { BADF: 8, FAULT: 21, INVAL: 28, NFILE: 41, NOSPC: 51, OVERFLOW: 61 } as const;

let harness: PoolHarness;

beforeAll(async () => {
  harness = await PoolHarness.open({ slots: 1, spares: 2, inspectsApart: true });
  expect((await harness.run(noop)).outcome.kind).toBe("exited");
});

afterAll(async () => {
  await harness[Symbol.asyncDispose]();
});

/** Runs the guest; then another must run at once, and the memory be back. Answers how the hostile one ended. */
async function attackWith(guest: Uint8Array, options: RunOptions = {}): Promise<Ended> {
  // Building the guest may have taken much already: that is the test's doing.
  const ownBytesBefore = process.memoryUsage().rss;
  const end = await harness.run(guest, options);
  const before = performance.now();
  expect((await harness.run(noop)).outcome).toEqual({ kind: "exited", code: 0 });
  expect(performance.now() - before).toBeLessThan(NEXT_MS_MAX);
  await expect.poll(residentBytes, { timeout: 20_000 }).toBeLessThan(IDLE_BYTES_MAX);
  expect(process.memoryUsage().rss - ownBytesBefore).toBeLessThan(OWN_GROWTH_BYTES_MAX);
  return end;
}

/** Of all runners together. */
function residentBytes(): number {
  const { runners } = harness.pool.stats();
  return runners.reduce((sum, { guestPid = 0 }) => sum + (readMemoryUse(guestPid)?.residentBytes ?? 0), 0);
}

function guestFile(fileName: string): Uint8Array {
  return readFileSync(new URL(`guests/${fileName}.wasm`, import.meta.url));
}

const start = [section(1, list([functionType([], [])])), section(3, list([u(0)]))];
const startExport = section(7, list([[...name("_start"), 0x00, 0x00]]));
const emptyBody = section(10, list([[2, 0, 0x0b]]));
const repeated = (count: number, ...code: readonly number[]): number[] =>
  Array.from({ length: count }, () => code).flat();

describe("a guest that takes memory", () => {
  test("page after page, and traps when it gets no more", async () => {
    const { outcome, usage } = await attackWith(growing("trap"), { memoryBytes: 256 * MIB });
    expect(outcome.kind).toBe("memory-exceeded");
    expect(usage.memoryBytes).toBeLessThanOrEqual(256 * MIB);
  });

  test("and writes to all of it, has it taken back", async () => {
    // memory.grow 6000; memory.fill(0, 1, 393 MB)
    const filling = buildWasm({
      memory: { min: 1 },
      functions: [
        {
          export: "_start",
          body: [...i32(6_000), 0x40, 0x00, ...DROP, ...i32(0), ...i32(1), ...i32(6_000 * 65_536), 0xfc, 0x0b, 0x00],
        },
      ],
    });
    const { outcome, usage } = await attackWith(filling, { memoryBytes: 512 * MIB });
    expect(outcome).toEqual({ kind: "exited", code: 0 });
    expect(usage.memoryBytes).toBe(6_001 * 65_536);
  });

  test("and is stopped, has what it took told", async () => {
    const hoarding = buildWasm({
      memory: { min: 1 },
      functions: [{ export: "_start", body: [...i32(2_000), 0x40, 0x00, ...DROP, ...SPIN] }],
    });
    const { outcome, usage } = await attackWith(hoarding, { memoryBytes: 512 * MIB, timeoutMs: 3_000 });
    expect(outcome.kind).toBe("timed-out");
    if (process.platform !== "linux") return;
    expect(usage.memoryBytes).toBeGreaterThan(1_900 * 65_536);
    expect(usage.memoryBytes).toBeLessThan(2_001 * 65_536 + 64 * MIB);
  });

  test("of 65536 pages from the beginning", async () => {
    const whole = buildWasm({ memory: { min: 65_536 }, functions: [{ export: "_start", body: [] }] });
    expect((await attackWith(whole)).outcome.kind).toBe("memory-exceeded");
  });

  test.each([
    ["a shared memory", [[0x03, 0x01, 0x10]]],
    ["a 64-bit memory", [[0x04, 0x01]]],
    ["two memories", repeatedMemories(2)],
    ["a thousand memories", repeatedMemories(1_000)],
  ])("as %s is rejected", async (_what, memories) => {
    const module = core(...start, section(5, list(memories)), startExport, emptyBody);
    expect((await attackWith(module)).outcome.kind).toBe("rejected");
  });

  test("as arrays of the engine's own is rejected", async () => {
    const types = list([functionType([], []), [0x5e, 0x7f, 0x01]]);
    // array.new_default 1 of 100 million, dropped, for ever
    const code = [0x00, ...forever([...i32(100_000_000), 0xfb, 0x07, 0x01], DROP), 0x0b];
    const body = section(10, list([[...u(code.length), ...code]]));
    const arrays = core(section(1, types), section(3, list([u(0)])), startExport, body);
    expect((await attackWith(arrays, { timeoutMs: SHORT_MS })).outcome.kind).toBe("rejected");
  });

  test("in two modules of a component is held to their sum", async () => {
    const hoarding = guestFile("hoarding-component");
    const { outcome } = await attackWith(hoarding, { ...component, memoryBytes: 128 * MIB });
    expect(outcome).toMatchObject({ kind: "memory-exceeded", reason: expect.stringContaining("together") });
  });

  test.runIf(process.platform === "linux")("in two modules of a component, and stays, is stopped", async () => {
    const options = { ...component, memoryBytes: 128 * MIB, timeoutMs: 20_000 };
    const { outcome } = await attackWith(guestFile("hoarding-on-component"), options);
    expect(outcome).toMatchObject({ kind: "memory-exceeded", reason: expect.stringContaining("together") });
  });
});

function repeatedMemories(count: number): number[][] {
  return Array.from({ length: count }, () => [0x00, 0x01]);
}

test("a component with several memories may give all of its cap to one of them", async () => {
  const { outcome } = await attackWith(guestFile("two-memories-component"), { ...component, memoryBytes: 64 * MIB });
  expect(outcome).toEqual({ kind: "exited", code: 0 });
});

describe("a guest with tables", () => {
  test("of ten million entries is rejected", async () => {
    const huge = buildWasm({ table: 10_000_000, functions: [{ export: "_start", body: [] }] });
    expect((await attackWith(huge)).outcome.kind).toBe("rejected");
  });

  test("of that size, in 45 bytes, is rejected", async () => {
    const tiny = core(...start, section(4, list([[0x70, 0x00, ...u(10_000_000)]])), startExport, emptyBody);
    expect(tiny.length).toBeLessThan(50);
    expect((await attackWith(tiny)).outcome.kind).toBe("rejected");
  });

  test("in ten thousands is rejected", async () => {
    const tables = Array.from({ length: 10_000 }, () => [0x70, 0x00, 0x01]);
    const many = core(...start, section(4, list(tables)), startExport, emptyBody);
    expect((await attackWith(many)).outcome.kind).toBe("rejected");
  });

  test("that it grows for ever stops at the cap", async () => {
    // loop: ref.null func; i32.const 10000; table.grow 0; i32.const -1; i32.ne; br_if 0
    const grow = [0xd0, 0x70, 0x41, 0x90, 0xce, 0x00, 0xfc, 0x0f, 0x00, 0x41, 0x7f, 0x47];
    const module = buildWasm({
      table: 1,
      functions: [{ export: "_start", body: [0x03, 0x40, ...grow, 0x0d, 0x00, 0x0b] }],
    });
    expect((await attackWith(module)).outcome).toEqual({ kind: "exited", code: 0 });
  });
});

describe("a guest without end", () => {
  const short = { timeoutMs: SHORT_MS };

  test("in `_start` is stopped", async () => {
    expect((await attackWith(spinning, short)).outcome.kind).toBe("timed-out");
  });

  test("in the module's start function is stopped", async () => {
    const module = buildWasm({ functions: [{ export: "_start", body: [] }, { body: [...SPIN] }], start: 1 });
    expect((await attackWith(module, short)).outcome.kind).toBe("timed-out");
  });

  test.each(["spinning-component", "starting-component"])("in a component is stopped: %s", async (file) => {
    const { outcome } = await attackWith(guestFile(file), { ...component, timeoutMs: 1_000 });
    expect(outcome.kind).toBe("timed-out");
  });

  test("asleep for an hour is stopped", async () => {
    expect((await attackWith(sleeping(3_600_000_000_000n), short)).outcome.kind).toBe("timed-out");
  });

  test("asking for the time in vain, over and over, is stopped by its processor time", async () => {
    const poll = { name: "poll_oneoff", parameters: [I32, I32, I32, I32], results: [I32] };
    const polling = buildWasm({
      imports: [poll],
      memory: { min: 1 },
      // One subscription, to a clock that is due at once.
      functions: [
        {
          export: "_start",
          body: [...store32(i32(80), i32(1)), ...forever(call(0, i32(64), i32(256), i32(1), i32(0)), DROP)],
        },
      ],
    });
    const { outcome } = await attackWith(polling, { timeoutMs: 20_000, cpuMs: SHORT_MS });
    expect(outcome).toMatchObject({ kind: "timed-out", reason: expect.stringContaining("CPU") });
  });

  test("making tiny calls by the million is stopped, and takes no memory meanwhile", async () => {
    const yielding = buildWasm({
      imports: [{ name: "sched_yield", parameters: [], results: [I32] }],
      functions: [{ export: "_start", body: forever(call(0), DROP) }],
    });
    expect((await attackWith(yielding, short)).outcome.kind).toBe("timed-out");
  });
});

describe("a guest that is hard to compile", () => {
  /** Whatever the engine makes of it, it is not for longer than its time. */
  const patient = { timeoutMs: 30_000 };
  const oneFunction = (body: readonly number[], locals: readonly number[] = []): Uint8Array =>
    buildWasm({ functions: [{ export: "_start", body, locals }] });

  test.each<[string, () => Uint8Array]>([
    ["one function of five million bytes", () => oneFunction(repeated(1_000_000, ...i32(1), ...DROP, 0x01, 0x01))],
    ["a function past the engine's limit", () => oneFunction(repeated(9_000_000, 0x01))],
    [
      "twenty thousand blocks in one another",
      () => oneFunction([...repeated(20_000, 0x02, 0x40), ...repeated(20_000, 0x0b)]),
    ],
    ["loops within loops", () => oneFunction([...repeated(5_000, 0x03, 0x40), ...repeated(5_000, 0x0b)])],
    ["fifty thousand locals", () => oneFunction([], repeated(50_000, I64))],
    [
      "a table of jumps by the hundred thousand",
      () => oneFunction([0x02, 0x40, ...i32(0), 0x0e, ...u(60_000), ...repeated(60_001, 0x00), 0x0b]),
    ],
  ])("%s", async (_what, build) => {
    const { outcome } = await attackWith(build(), patient);
    expect(["exited", "rejected", "trapped", "timed-out"]).toContain(outcome.kind);
  });

  test("more locals than there is a number for", async () => {
    const code = [...list([[...u(4_294_967_295), I32]]), 0x0b];
    const body = section(10, list([[...u(code.length), ...code]]));
    expect((await attackWith(core(...start, startExport, body), patient)).outcome.kind).toBe("rejected");
  });

  test("a hundred thousand functions", async () => {
    const types = section(1, list([functionType([], [])]));
    const declared = section(3, list(Array.from({ length: 100_000 }, () => u(0))));
    const bodies = section(10, list(Array.from({ length: 100_000 }, () => [2, 0, 0x0b])));
    expect((await attackWith(core(types, declared, startExport, bodies), patient)).outcome.kind).toBe("exited");
  });

  test("long and senseless bytes are rejected in good time", async () => {
    const noise = new Uint8Array(4 * MIB).map((_, index) => (index < 8 ? (noop[index] ?? 0) : (index * 7919) & 0xff));
    expect((await attackWith(noise)).outcome.kind).toBe("rejected");
  });
});

describe("a guest that exhausts its stack", () => {
  const bottomless = buildWasm({ functions: [{ export: "_start", body: call(0) }] });

  test("by calling itself", async () => {
    expect((await attackWith(bottomless)).outcome).toMatchObject({
      kind: "trapped",
      reason: expect.stringContaining("call stack exhausted"),
    });
  });

  test("with a thousand locals in each frame", async () => {
    const locals = repeated(1_000, I64);
    const body = [...i64(1n), 0x21, ...u(999), ...call(0), 0x20, ...u(999), ...DROP];
    const wide = buildWasm({ functions: [{ export: "_start", locals, body }] });
    expect((await attackWith(wide)).outcome.kind).toBe("trapped");
  });

  test("in a component", async () => {
    expect((await attackWith(guestFile("recursing-component"), component)).outcome.kind).toBe("trapped");
  });

  test("by exceptions that are thrown while others are caught", async () => {
    // tag 0; func 0: try_table (catch_all 0) { call 0; throw 0 }, in the encoding of WebAssembly 3.
    const types = section(1, list([functionType([], [])]));
    const tags = section(13, list([[0x00, 0x00]]));
    const code = [0x00, 0x02, 0x40, 0x1f, 0x40, 0x01, 0x02, 0x00, 0x10, 0x00, 0x08, 0x00, 0x0b, 0x0b, 0x10, 0x00, 0x0b];
    const body = section(10, list([[...u(code.length), ...code]]));
    const throwing = core(types, section(3, list([u(0)])), tags, startExport, body);
    const { outcome } = await attackWith(throwing, { timeoutMs: SHORT_MS });
    expect(["trapped", "timed-out", "rejected"]).toContain(outcome.kind);
  });
});

describe("a guest that floods its output", () => {
  test("in single bytes, for ever, is cut off", async () => {
    const { outcome } = await attackWith(flooding(1), { timeoutMs: 1_000, outputBytesMax: 64 * MIB });
    expect(outcome.kind).toBe("timed-out");
  });

  test("by a hundred megabytes and more keeps its head", async () => {
    const end = await attackWith(flooding(60_000), { timeoutMs: 1_000, outputBytesMax: MIB });
    expect([end.outcome.kind, end.outputBytes, end.outputTruncated]).toEqual(["timed-out", MIB, true]);
  });

  test("and may not, has failed", async () => {
    const end = await attackWith(flooding(60_000), { outputBytesMax: MIB, outputLimit: "fail" });
    expect([end.outcome.kind, end.outputBytes]).toEqual(["output-exceeded", MIB]);
  });
});

describe("a guest that hands nonsense to the host", () => {
  const four = [I32, I32, I32, I32];

  test.each<[string, Uint8Array, readonly number[]]>([
    [
      "half a billion pieces to write",
      returningErrno({ name: "fd_write", parameters: four }, [i32(1), i32(0), i32(2 ** 29), i32(8)]),
      [ERRNO.FAULT, ERRNO.INVAL, ERRNO.OVERFLOW],
    ],
    [
      "pieces that lie outside its memory",
      returningErrno({ name: "fd_write", parameters: four }, [i32(1), i32(-8), i32(4), i32(8)]),
      [ERRNO.FAULT, ERRNO.INVAL],
    ],
    [
      "a piece as long as can be",
      returningErrno(
        { name: "fd_write", parameters: four },
        [i32(1), i32(0), i32(1), i32(8)],
        [...store32(i32(0), i32(64)), ...store32(i32(4), i32(-1))],
      ),
      [ERRNO.FAULT, ERRNO.INVAL, ERRNO.OVERFLOW],
    ],
    [
      "pieces that are too long together",
      returningErrno(
        { name: "fd_read", parameters: four },
        [i32(0), i32(0), i32(2), i32(32)],
        [
          ...store32(i32(0), i32(64)),
          ...store32(i32(4), i32(0x7fffffff)),
          ...store32(i32(8), i32(64)),
          ...store32(i32(12), i32(0x7fffffff)),
        ],
      ),
      [ERRNO.FAULT, ERRNO.INVAL, ERRNO.OVERFLOW],
    ],
    [
      "random bytes past its memory",
      returningErrno({ name: "random_get", parameters: [I32, I32] }, [i32(0), i32(-1)]),
      [ERRNO.FAULT],
    ],
    [
      "a descriptor that nobody has",
      returningErrno({ name: "fd_close", parameters: [I32] }, [i32(0x7fffffff)]),
      [ERRNO.BADF],
    ],
    ["a descriptor below all", returningErrno({ name: "fd_close", parameters: [I32] }, [i32(-1)]), [ERRNO.BADF]],
    [
      "a descriptor to be numbered out of all bounds",
      returningErrno({ name: "fd_renumber", parameters: [I32, I32] }, [i32(3), i32(0x7ffffff0)]),
      [ERRNO.BADF],
    ],
    [
      "a file on its standard input to listen on",
      returningErrno({ name: "sock_accept", parameters: [I32, I32, I32] }, [i32(0), i32(0), i32(8)]),
      [6, 8, 52, 57, 58, ERRNO.BADF],
    ],
  ])("%s is told so", async (_what, guest, expected) => {
    const { outcome } = await attackWith(guest);
    expect(outcome.kind).toBe("exited");
    expect(expected).toContain(outcome.kind === "exited" ? outcome.code : undefined);
  });

  test("a signal, KILL, ends itself alone", async () => {
    const raising = returningErrno({ name: "proc_raise", parameters: [I32] }, [i32(9)]);
    expect((await attackWith(raising)).outcome).toMatchObject({ kind: "trapped" });
  });

  test.each([
    ["wasi_snapshot_preview1", "__proto__"],
    ["wasi_snapshot_preview1", "constructor"],
    ["wasi_snapshot_preview1", "toString"],
    ["__proto__", "fd_write"],
    ["__proto__", "__proto__"],
    ["constructor", "prototype"],
  ])("imports of %s.%s is rejected", async (module, wanted) => {
    const importing = buildWasm({
      imports: [{ module, name: wanted, parameters: [] }],
      functions: [{ export: "_start", body: [] }],
    });
    expect((await attackWith(importing)).outcome).toMatchObject({
      kind: "rejected",
      reason: expect.stringContaining(wanted),
    });
  });
});

describe("a guest that fills its directory", () => {
  const open = { name: "path_open", parameters: [I32, I32, I32, I32, I32, I64, I64, I32, I32] };
  const makeFolder = { name: "path_create_directory", parameters: [I32, I32, I32] };
  const allRights = i64(0x1fffffffn);

  /** Writes a number, kept at 0, as six letters at 64, and counts it up. */
  const nextName = Array.from({ length: 6 }, (_, digit) => [
    ...i32(64 + digit),
    // ((counter >> 4 * digit) & 15) + "a"
    ...i32(0),
    0x28,
    0x02,
    0x00,
    ...i32(4 * digit),
    0x76,
    ...i32(15),
    0x71,
    ...i32(97),
    0x6a,
    0x3a,
    0x00,
    0x00,
  ]).flat();
  const countUp = [...i32(0), ...i32(0), 0x28, 0x02, 0x00, ...i32(1), 0x6a, 0x36, 0x02, 0x00];

  test("with folders by the ten thousand is told that there is no room", async () => {
    const many = untilRefused(makeFolder, [i32(3), i32(64), i32(6)], { prepare: [...countUp, ...nextName] });
    expect((await attackWith(many)).outcome).toEqual({ kind: "exited", code: ERRNO.NOSPC });
  });

  test("with open files is told that there are too many", async () => {
    const files = untilRefused(open, [i32(3), i32(0), i32(64), i32(6), i32(1), allRights, allRights, i32(0), i32(16)], {
      prepare: [...countUp, ...nextName],
    });
    const { outcome } = await attackWith(files);
    expect(outcome.kind === "exited" && [33, ERRNO.NFILE, ERRNO.NOSPC].includes(outcome.code)).toBe(true);
  });

  test("with folders in one another is told that there is no room, or no such path", async () => {
    const path = "a/".repeat(30_000);
    // The length of the path, kept in the last cell of the memory, grows by a level each time.
    const deeper = [...i32(131_064), ...i32(131_064), 0x28, 0x02, 0x00, ...i32(2), 0x6a, 0x36, 0x02, 0x00];
    const length = [...i32(131_064), 0x28, 0x02, 0x00];
    const deep = untilRefused(makeFolder, [i32(3), i32(64), [...length, ...i32(1), 0x6b]], {
      prepare: deeper,
      memoryPages: 2,
      data: [{ at: 64, bytes: path }],
    });
    const { outcome } = await attackWith(deep, { timeoutMs: 20_000, outputs: ["**"] });
    expect(["exited", "timed-out", "output-exceeded"]).toContain(outcome.kind);
    expect(outcome.kind === "exited" && outcome.code === 0).toBe(false);
  });

  test("with one file of a terabyte is told that it is too large", async () => {
    const allocate = { name: "fd_allocate", parameters: [I32, I64, I64], results: [I32] };
    const opened = call(0, i32(3), i32(0), i32(64), i32(1), i32(1), allRights, allRights, i32(0), i32(16));
    const huge = buildWasm({
      imports: [{ ...open, results: [I32] }, allocate, { name: "proc_exit", parameters: [I32] }],
      memory: { min: 1 },
      data: [{ at: 64, bytes: "f" }],
      functions: [
        {
          export: "_start",
          body: [
            ...opened,
            ...DROP,
            ...call(2, call(1, [...i32(16), 0x28, 0x02, 0x00], i64(0n), i64(1_099_511_627_776n))),
          ],
        },
      ],
    });
    const { outcome } = await attackWith(huge);
    expect(outcome.kind === "exited" && outcome.code !== 0).toBe(true);
  });

  test.each(["/etc/passwd", "../../etc/passwd", "../../../../../../proc/self/environ"])(
    "with a link to %s does not read it",
    async (target) => {
      const link = { name: "path_symlink", parameters: [I32, I32, I32, I32, I32], results: [I32] };
      const following = buildWasm({
        imports: [{ ...open, results: [I32] }, link, { name: "proc_exit", parameters: [I32] }],
        memory: { min: 1 },
        data: [
          { at: 64, bytes: target },
          { at: 32, bytes: "link" },
        ],
        functions: [
          {
            export: "_start",
            body: [
              ...call(1, i32(64), i32(target.length), i32(3), i32(32), i32(4)),
              ...DROP,
              ...call(2, call(0, i32(3), i32(1), i32(32), i32(4), i32(0), i64(2n), i64(0n), i32(0), i32(16))),
            ],
          },
        ],
      });
      const { outcome } = await attackWith(following);
      expect(outcome.kind === "exited" && outcome.code !== 0).toBe(true);
    },
  );
});

describe("a component whose names would be code", () => {
  test.each(["injecting-export-component", "injecting-import-component"])("is rejected: %s", async (file) => {
    expect((await attackWith(guestFile(file), component)).outcome).toMatchObject({
      kind: "rejected",
      reason: expect.stringContaining("would be code"),
    });
  });
});

describe("a runner that goes away under a guest", () => {
  test("loses that guest alone", async () => {
    const crashed = harness.run(spinning, { timeoutMs: 20_000 });
    const busyPid = await vi.waitFor(
      () => {
        const busy = harness.pool.stats().runners.find(({ state }) => state === "busy");
        if (busy?.pid === undefined) throw new Error("no runner is busy yet");
        return busy.pid;
      },
      { timeout: 30_000, interval: 5 },
    );
    process.kill(busyPid, "SIGSEGV");
    expect((await crashed).outcome).toMatchObject({ kind: "lost", reason: expect.stringContaining("SIGSEGV") });
    expect((await harness.run(noop)).outcome).toEqual({ kind: "exited", code: 0 });
  });
});
