/** A function of the worker's own, held to its time, its output and its files. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parseDigest } from "../../src/base/ids.ts";
import { parseCustomKind } from "../../src/model/entry.ts";
import { KEPT_FILES_BYTES_MAX } from "../../src/base/limits.ts";
import { isDamagedFile } from "../../src/worker/checked-content.ts";
import { CustomExecutor, type CustomEnd, type CustomRun } from "../../src/worker/custom-executor.ts";
import { Executors, wasmExecutors } from "../../src/worker/executors.ts";
import type { GuestIo, GuestSpec } from "../../src/worker/guest.ts";
import { FakeExecutor } from "../support/fake-executor.ts";
import { ManualClock } from "../support/manual-clock.ts";

const EXITED: CustomEnd = { outcome: { kind: "exited", code: 0 } };

function specOf(changes: Partial<GuestSpec> = {}): GuestSpec {
  const name = parseCustomKind("resize");
  if (name === undefined) throw new Error("it is a kind");
  return {
    entry: { kind: "custom", name },
    args: [],
    env: {},
    stdin: new Uint8Array(),
    timeoutMs: 1_000,
    cpuMs: 0,
    memoryBytes: 0,
    outputBytesMax: 100,
    outputLimit: "truncate",
    submitter: "local",
    files: [],
    outputs: [],
    ...changes,
  };
}

class Setup implements AsyncDisposable {
  readonly clock = new ManualClock();
  readonly executor: CustomExecutor;
  readonly written: string[] = [];
  readonly kept = new Map<string, string>();
  readonly cancel = new AbortController();
  /** Writes that are not answered yet wait for this. */
  gate: Promise<void> = Promise.resolve();

  constructor(run: CustomRun, slots = 2) {
    this.executor = new CustomExecutor({ run, slots, clock: this.clock });
  }

  readonly io: GuestIo = {
    write: async (stream, bytes) => {
      await this.gate;
      this.written.push(`${stream}:${Buffer.from(bytes).toString()}`);
    },
    keep: async ({ path, content }) => {
      const pieces: Uint8Array[] = [];
      for await (const piece of content) pieces.push(piece);
      this.kept.set(path, Buffer.concat(pieces).toString());
    },
  };

  run(changes: Partial<GuestSpec> = {}) {
    return this.executor.run(specOf(changes), this.io, { signal: this.cancel.signal });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.executor.close();
    expect(this.clock.pendingTimers).toBe(0);
  }
}

test("a function is not called while a file that it is given is gone or of another length, so that it can be fetched again", async () => {
  const folder = await mkdtemp(join(tmpdir(), "capmesh-custom-"));
  try {
    let calls = 0;
    await using setup = new Setup(() => {
      calls++;
      return Promise.resolve(EXITED);
    });
    const contentPath = join(folder, "file");
    const digest = parseDigest("ab".repeat(32));
    if (digest === undefined) throw new Error("it is a digest");
    const files = [{ path: "a", bytes: 3, digest, contentPath }];
    await expect(setup.run({ files })).rejects.toSatisfy(isDamagedFile);
    await writeFile(contentPath, "ab");
    await expect(setup.run({ files })).rejects.toSatisfy(isDamagedFile);
    expect(calls).toBe(0);
    await writeFile(contentPath, "abc");
    expect((await setup.run({ files })).outcome).toEqual({ kind: "exited", code: 0 });
  } finally {
    await rm(folder, { recursive: true });
  }
});

describe("an attempt ends", () => {
  test("as its function says, with what it wrote", async () => {
    await using setup = new Setup(async (_spec, io) => {
      await io.write("stdout", Buffer.from("a"));
      await io.write("stderr", Buffer.from("b"));
      return { outcome: { kind: "exited", code: 3 }, value: "7" };
    });
    expect(await setup.run()).toMatchObject({
      outcome: { kind: "exited", code: 3 },
      value: "7",
      outputBytes: 2,
      outputTruncated: false,
    });
    expect(setup.written).toEqual(["stdout:a", "stderr:b"]);
  });

  test("as trapped where it throws, with the reason", async () => {
    await using setup = new Setup(async () => Promise.reject(new Error("no such codec")));
    expect((await setup.run()).outcome).toEqual({ kind: "trapped", reason: "no such codec" });
  });

  test("at its timeout, though the function does not stop, which is then counted until it does", async () => {
    const finish = Promise.withResolvers<CustomEnd>();
    let reason: unknown;
    await using setup = new Setup(async (_spec, _io, signal) => {
      signal.addEventListener("abort", () => {
        reason = signal.reason;
      });
      return finish.promise;
    }, 1);
    const ended = setup.run();
    setup.clock.advance(1_000);
    expect((await ended).outcome).toEqual({ kind: "timed-out", reason: "it ran for longer than 1 s" });
    expect(reason).toMatchObject({ name: "TimeoutError" });
    expect(setup.executor.abandoned).toBe(1);
    await expect(setup.run()).rejects.toMatchObject({ type: "overloaded", code: "no-runner" });
    finish.resolve(EXITED);
    await expect.poll(() => setup.executor.abandoned).toBe(0);
    expect((await setup.run()).outcome).toEqual({ kind: "exited", code: 0 });
  });

  test("when it is cancelled, before and while its function runs, and when the executor closes", async () => {
    const setup = new Setup(() => new Promise(() => {}), 3);
    const running = setup.run();
    setup.cancel.abort("enough");
    expect((await running).outcome).toEqual({ kind: "cancelled", reason: "enough" });
    expect((await setup.run()).outcome).toEqual({ kind: "cancelled", reason: "enough" });
    const other = setup.executor.run(specOf(), setup.io, { signal: new AbortController().signal });
    await setup.executor.close();
    expect((await other).outcome).toMatchObject({ kind: "cancelled" });
    expect(setup.clock.pendingTimers).toBe(0);
  });

  test("and then nothing that its function does has any effect, nor ends the worker", async () => {
    let late: Promise<unknown>[] = [];
    await using setup = new Setup(async (_spec, io, signal) => {
      await new Promise((resolve) => signal.addEventListener("abort", () => setImmediate(resolve)));
      late = [io.write("stdout", Buffer.from("late")), io.keep("late", Buffer.from("late"))];
      return EXITED;
    });
    const ended = setup.run({ outputs: ["**"] });
    setup.cancel.abort("enough");
    await ended;
    await expect.poll(() => late.length).toBe(2);
    for (const each of late) await expect(each).rejects.toMatchObject({ code: "run-ended" });
    expect([setup.written, setup.kept.size]).toEqual([[], 0]);
  });
});

describe("output", () => {
  const writeTwice: CustomRun = async (_spec, io) => {
    await io.write("stdout", Buffer.from("12345"));
    await io.write("stdout", Buffer.from("67890"));
    return EXITED;
  };

  test("past its limit is cut", async () => {
    await using setup = new Setup(writeTwice);
    expect(await setup.run({ outputBytesMax: 7 })).toMatchObject({
      outcome: { kind: "exited" },
      outputBytes: 7,
      outputTruncated: true,
    });
    expect(setup.written.join()).toBe("stdout:12345,stdout:67");
  });

  test("past its limit ends a task that is to fail by it", async () => {
    await using setup = new Setup(writeTwice);
    const { outcome } = await setup.run({ outputBytesMax: 7, outputLimit: "fail" });
    expect(outcome).toEqual({ kind: "output-exceeded" });
  });

  test("holds its function back while nobody takes it, and all of it is passed on before the end", async () => {
    const gate = Promise.withResolvers<void>();
    let isWritten = false;
    await using setup = new Setup(async (_spec, io) => {
      await io.write("stdout", Buffer.from("1"));
      isWritten = true;
      void io.write("stdout", Buffer.from("2"));
      return EXITED;
    });
    setup.gate = gate.promise;
    const ended = setup.run();
    await Promise.resolve();
    expect(isWritten).toBe(false);
    gate.resolve();
    expect((await ended).outputBytes).toBe(2);
    expect(setup.written).toEqual(["stdout:1", "stdout:2"]);
  });
});

describe("files", () => {
  test("are kept once the run has exited, if the task wants them", async () => {
    const folder = await mkdtemp(join(tmpdir(), "capmesh-kept-"));
    await writeFile(join(folder, "b"), "from a path");
    const taken: boolean[] = [];
    await using setup = new Setup(async (_spec, io) => {
      taken.push(await io.keep("out/a", Buffer.from("first")));
      taken.push(await io.keep("./out/a", Buffer.from("last")));
      taken.push(await io.keep("out/b", { localPath: join(folder, "b") }));
      taken.push(await io.keep("other", Buffer.from("x")));
      return EXITED;
    });
    await setup.run({ outputs: ["out/*"] });
    expect(taken).toEqual([true, true, true, false]);
    expect(Object.fromEntries(setup.kept)).toEqual({ "out/a": "last", "out/b": "from a path" });
    await rm(folder, { recursive: true });
  });

  test("of a run that does not exit are not kept", async () => {
    await using setup = new Setup(async (_spec, io) => {
      await io.keep("a", Buffer.from("x"));
      throw new Error("broken");
    });
    await setup.run({ outputs: ["**"] });
    expect(setup.kept.size).toBe(0);
  });

  test("that lead out of the run's directory, or cannot be read, make it trap; too many, exceed its output", async () => {
    await using out = new Setup(async (_spec, io) => {
      await io.keep("../a", Buffer.from("x"));
      return EXITED;
    });
    expect((await out.run({ outputs: ["**"] })).outcome).toMatchObject({ kind: "trapped" });
    await using absent = new Setup(async (_spec, io) => {
      await io.keep("a", { localPath: "/nonexistent/file" });
      return EXITED;
    });
    expect((await absent.run({ outputs: ["**"] })).outcome).toMatchObject({
      kind: "trapped",
      reason: expect.stringContaining("could not be kept"),
    });
    await using large = new Setup(async (_spec, io) => {
      void io.keep("a", new Uint8Array(KEPT_FILES_BYTES_MAX + 1));
      return EXITED;
    });
    expect((await large.run({ outputs: ["**"] })).outcome).toMatchObject({ kind: "output-exceeded" });
  });
});

describe("the registry", () => {
  test("gives each run to the executor of its entry, and hands back what it has none for", async () => {
    const wasm = new FakeExecutor((run) => run.end());
    await using setup = new Setup(async () => ({ outcome: { kind: "exited", code: 5 } }));
    const { entry } = specOf();
    if (entry.kind !== "custom") throw new Error("it is");
    const both = new Executors([
      { entries: ["command", "run"], executor: wasm },
      { entries: [entry.name], executor: setup.executor },
    ]);
    expect(both.entries).toEqual(["command", "run", "resize"]);
    const options = { signal: setup.cancel.signal };
    expect((await both.run(specOf(), setup.io, options)).outcome).toEqual({ kind: "exited", code: 5 });
    await both.run(specOf({ entry: { kind: "command" } }), setup.io, options);
    expect(wasm.runs).toHaveLength(1);
    const component = specOf({ entry: { kind: "component" } });
    await expect(both.run(component, setup.io, options)).rejects.toMatchObject({ type: "overloaded" });
    expect(wasmExecutors(wasm).entries).toEqual(["command", "run", "component"]);
    await both.close();
    expect(wasm.isClosed).toBe(true);
  });
});
