/** Guests that mean harm: each costs its own run at most, and the pool goes on. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buildWasm } from "../../support/wasm-builder.ts";
import { core, functionType, list, name, section, u } from "../../support/wasm-bytes.ts";
import { flooding, noop, spinning } from "./guest-modules.ts";
import { PoolHarness } from "./pool-harness.ts";

const MIB = 1_048_576;

let harness: PoolHarness;

beforeAll(async () => {
  harness = await PoolHarness.open({ slots: 1, spares: 1, inspectsApart: true });
});

afterAll(async () => {
  expect((await harness.run(noop)).outcome).toEqual({ kind: "exited", code: 0 });
  await harness[Symbol.asyncDispose]();
});

const start = [section(1, list([functionType([], [])])), section(3, list([u(0)]))];
const startExport = section(7, list([[...name("_start"), 0x00, 0x00]]));
const emptyBody = section(10, list([[2, 0, 0x0b]]));

describe("a hostile module", () => {
  test("with a table of ten million entries is rejected", async () => {
    const huge = buildWasm({ table: 10_000_000, functions: [{ export: "_start", body: [] }] });
    expect((await harness.run(huge)).outcome).toMatchObject({ kind: "rejected" });
  });

  test("of 45 bytes with a huge table is rejected", async () => {
    const tiny = core(...start, section(4, list([[0x70, 0x00, ...u(10_000_000)]])), startExport, emptyBody);
    expect(tiny.length).toBeLessThan(50);
    expect((await harness.run(tiny)).outcome).toMatchObject({ kind: "rejected" });
  });

  test("with ten thousand tables is rejected", async () => {
    const tables = Array.from({ length: 10_000 }, () => [0x70, 0x00, 0x01]);
    const many = core(...start, section(4, list(tables)), startExport, emptyBody);
    expect((await harness.run(many)).outcome).toMatchObject({ kind: "rejected" });
  });

  test.each([
    ["a shared memory", [[0x03, 0x01, 0x10]]],
    ["a 64-bit memory", [[0x04, 0x01]]],
    [
      "two memories",
      [
        [0x00, 0x01],
        [0x00, 0x01],
      ],
    ],
  ])("with %s is rejected", async (_what, memories) => {
    const module = core(...start, section(5, list(memories)), startExport, emptyBody);
    expect((await harness.run(module)).outcome).toMatchObject({ kind: "rejected" });
  });

  test("that grows its table for ever stops at the cap", async () => {
    // loop: ref.null func; i32.const 10000; table.grow 0; i32.const -1; i32.ne; br_if 0
    const growing = buildWasm({
      table: 1,
      functions: [
        {
          export: "_start",
          body: [0x03, 0x40, 0xd0, 0x70, 0x41, 0x90, 0xce, 0x00, 0xfc, 0x0f, 0x00, 0x41, 0x7f, 0x47, 0x0d, 0x00, 0x0b],
        },
      ],
    });
    expect((await harness.run(growing)).outcome).toEqual({ kind: "exited", code: 0 });
  });

  test("that prints single bytes for ever is cut off, and takes no memory", async () => {
    const before = process.memoryUsage().rss;
    const end = await harness.run(flooding(1), { timeoutMs: 1_500, outputBytesMax: 64 * MIB });
    expect(end.outcome.kind).toBe("timed-out");
    expect(process.memoryUsage().rss - before).toBeLessThan(300 * MIB);
  });

  test("that prints 100 MB and more keeps its head", async () => {
    const end = await harness.run(flooding(60_000), { timeoutMs: 1_000, outputBytesMax: MIB });
    expect([end.outcome.kind, end.outputBytes, end.outputTruncated]).toEqual(["timed-out", MIB, true]);
  });

  test("that is long and senseless is rejected in good time", async () => {
    const noise = new Uint8Array(4 * MIB).map((_, index) => (index < 8 ? (noop[index] ?? 0) : (index * 7919) & 0xff));
    expect((await harness.run(noise)).outcome).toMatchObject({ kind: "rejected" });
  });
});

describe("a runner that goes away under a guest", () => {
  test("loses that guest alone", async () => {
    const crashed = harness.run(spinning, { timeoutMs: 20_000 });
    const busyPid = await waitFor(() => harness.pool.stats().runners.find(({ state }) => state === "busy")?.pid);
    process.kill(busyPid, "SIGSEGV");
    expect((await crashed).outcome).toMatchObject({ kind: "lost", reason: expect.stringContaining("SIGSEGV") });
    expect((await harness.run(noop)).outcome).toEqual({ kind: "exited", code: 0 });
  });
});

/** Looks again on every turn of the event loop until there is something. */
async function waitFor<T>(look: () => T | undefined): Promise<T> {
  for (;;) {
    const seen = look();
    if (seen !== undefined) return seen;
    await new Promise((resolve) => setImmediate(resolve));
  }
}
