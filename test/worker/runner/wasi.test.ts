/** What a guest sees of its host: libc's view (guests/*.c), the calls themselves, and components. */
import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { guestBytes } from "../../support/guests.ts";
import { buildWasm, call, i32, I32, i64, I64, store32 } from "../../support/wasm-builder.ts";
import { FD_WRITE, returningErrno, sleeping } from "./guest-modules.ts";
import { PoolHarness } from "./pool-harness.ts";

const ERRNO = { BADF: 8, FAULT: 21, INVAL: 28, NOTSOCK: 57 };
const MIB = 1_048_576;

let harness: PoolHarness;

beforeAll(async () => {
  harness = await PoolHarness.open({ slots: 1, spares: 1 });
});

afterAll(async () => {
  await harness[Symbol.asyncDispose]();
});

function cGuest(name: string): Promise<Uint8Array> {
  return readFile(new URL(`guests/${name}.wasm`, import.meta.url));
}

describe("a C program", () => {
  test("finds its private files as POSIX has them", async () => {
    const { stdout, outcome } = await harness.run(await cGuest("files"));
    expect([stdout, outcome]).toEqual(["all right\n", { kind: "exited", code: 0 }]);
  });

  test("finds no file of the run before", async () => {
    const files = await cGuest("files");
    await harness.run(files);
    expect((await harness.run(files)).stdout).toBe("all right\n");
  });

  test("gets arguments, environment and stdin in any script", async () => {
    const { stdout, stderr, outcome } = await harness.run(await cGuest("streams"), {
      args: ["grüße", "日本語", "", "with space"],
      env: { KEY: "värde", EMPTY: "" },
      stdin: new TextEncoder().encode("ввод\n"),
    });
    expect(stdout).toBe("arg grüße\narg 日本語\narg \narg with space\nenv KEY=värde\nenv EMPTY=\nввод\n");
    expect(stderr).toBe("slept well\nyear plausible\n");
    expect(outcome).toEqual({ kind: "exited", code: 0 });
  });

  test("copies all of a large stdin", async () => {
    const stdin = new Uint8Array(3 * MIB).fill(0x61);
    const { stdout } = await harness.run(await cGuest("streams"), { stdin, outputBytesMax: 4 * MIB });
    expect(stdout.length).toBe(stdin.length);
  });

  test("finds nothing of its host's environment", async () => {
    const { stdout } = await harness.run(await cGuest("streams"));
    expect(stdout).toBe("");
  });
});

describe("a call", () => {
  const exitCode = async (module: Uint8Array): Promise<number | string> => {
    const { outcome } = await harness.run(module);
    return outcome.kind === "exited" ? outcome.code : outcome.kind;
  };
  const fdWrite = (...operands: number[]) =>
    returningErrno(
      FD_WRITE,
      operands.map((operand) => i32(operand)),
    );

  test("with 2^29 buffers is refused, and costs nothing", async () => {
    expect(await exitCode(fdWrite(1, 0, 2 ** 29, 0))).toBe(ERRNO.INVAL);
  });

  test("with buffers whose lengths overflow 32 bits is refused", async () => {
    const prepare = [...store32(i32(4), i32(-1)), ...store32(i32(12), i32(-1))];
    const module = returningErrno(FD_WRITE, [i32(1), i32(0), i32(2), i32(64)], prepare);
    expect(await exitCode(module)).toBe(ERRNO.FAULT);
  });

  test.each([
    ["a list past the end of memory", [1, 65_532, 1, 0]],
    ["a result past the end of memory", [1, 0, 1, 65_533]],
    ["addresses that wrap around", [1, -8, 1, 0]],
  ])("with %s is refused", async (_what, operands) => {
    expect(await exitCode(fdWrite(...operands))).toBe(ERRNO.FAULT);
  });

  test("on a descriptor that does not exist is refused", async () => {
    expect(await exitCode(fdWrite(99, 0, 0, 0))).toBe(ERRNO.BADF);
  });

  test.each([
    ["sock_accept", [0, 0, 0]],
    ["sock_recv", [0, 0, 0, 0, 0, 0]],
    ["sock_send", [1, 0, 0, 0, 0]],
    ["sock_shutdown", [1, 0]],
  ])("%s finds no socket", async (name, operands) => {
    const module = returningErrno(
      { name, parameters: operands.map(() => I32) },
      operands.map((operand) => i32(operand)),
    );
    expect(await exitCode(module)).toBe(ERRNO.NOTSOCK);
  });

  test("for a clock that does not exist is refused", async () => {
    const module = returningErrno({ name: "clock_time_get", parameters: [I32, I64, I32] }, [i32(9), i64(0n), i32(0)]);
    expect(await exitCode(module)).toBe(ERRNO.INVAL);
  });

  test("under a type that is not its own is refused before it runs", async () => {
    const { outcome } = await harness.run(
      returningErrno({ name: "random_get", parameters: [I64, I64] }, [i64(0n), i64(8n)]),
    );
    expect(outcome).toEqual({
      kind: "rejected",
      reason:
        "its import `wasi_snapshot_preview1.random_get` has the type (i64,i64)->(i32), and (i32,i32)->(i32) is that call's",
    });
  });

  test("to exit cannot be caught by the guest's exception handling", async () => {
    // try (catch_all: spin), around proc_exit(5)
    const stubborn = buildWasm({
      imports: [{ name: "proc_exit", parameters: [I32] }],
      functions: [
        { export: "_start", body: [0x06, 0x40, ...call(0, i32(5)), 0x19, 0x03, 0x40, 0x0c, 0x00, 0x0b, 0x0b] },
      ],
    });
    expect((await harness.run(stubborn, { timeoutMs: 10_000 })).outcome).toEqual({ kind: "exited", code: 5 });
  });

  test("poll_oneoff sleeps until the nearest of several clocks without using the CPU", async () => {
    const { outcome, usage } = await harness.run(sleeping(500_000_000n));
    expect(outcome).toEqual({ kind: "exited", code: 1 });
    expect(usage.wallMs).toBeGreaterThanOrEqual(499);
    expect(usage.cpuMs).toBeLessThan(250);
  });

  test("by WASI's old name, besides the new one, is answered", async () => {
    const { outcome } = await harness.run(
      buildWasm({
        imports: [
          { name: "sched_yield", parameters: [], results: [I32] },
          { module: "wasi_unstable", name: "proc_exit", parameters: [I32] },
        ],
        functions: [{ export: "_start", body: [...call(1, call(0))] }],
      }),
    );
    expect(outcome).toEqual({ kind: "exited", code: 0 });
  });

  test("by WASI's old name is answered", async () => {
    const module = returningErrno({ module: "wasi_unstable", name: "fd_seek", parameters: [I32, I64, I32, I32] }, [
      i32(3),
      i64(0n),
      i32(2),
      i32(0),
    ]);
    expect(await exitCode(module)).toBe(ERRNO.BADF);
  });
});

describe("a component", () => {
  const component = guestBytes("component");
  const entry = { kind: "component" } as const;

  test("runs with arguments, environment and exit", async () => {
    const end = await harness.run(component, { entry, args: ["å", "0"], env: { K: "v" } });
    expect(end.stdout).toBe("hello from a component\narg 1 å\narg 2 0\nenv K=v\n");
    expect(end.stderr).toBe("component: done\n");
    expect(end.outcome).toEqual({ kind: "exited", code: 0 });
    expect(end.usage.memoryBytes).toBeGreaterThan(0);
  });

  test("runs a second time with nothing left of the first", async () => {
    await harness.run(component, { entry, env: { ONCE: "1" } });
    expect((await harness.run(component, { entry })).stdout).toBe("hello from a component\n");
  });

  test("is held to its memory cap before it starts", async () => {
    const { outcome } = await harness.run(component, { entry, memoryBytes: 65_536 });
    expect(outcome).toMatchObject({ kind: "memory-exceeded" });
  });

  test("leaves its process to no other module", async () => {
    await harness.run(component, { entry });
    const { outcome } = await harness.run(guestBytes("hash"), { entry: { kind: "run", input: 0, difficulty: 3 } });
    expect(outcome).toEqual({ kind: "exited", code: 0 });
  });

  test("that is broken is rejected", async () => {
    const { outcome } = await harness.run(component.subarray(0, component.length - 1000), { entry });
    expect(outcome).toMatchObject({ kind: "rejected" });
  });

  test("with another way in than `wasi:cli/run` is rejected", async () => {
    const { outcome } = await harness.run(component, { entry: { kind: "command" } });
    expect(outcome).toMatchObject({ kind: "rejected" });
  });
});
