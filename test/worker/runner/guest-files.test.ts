/** The files that guests are given, and those that are kept of them, through real runners: core modules and components. */
import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { INPUT_FILES_MAX, KEPT_FILES_BYTES_MAX, KEPT_FILES_MAX } from "../../../src/base/limits.ts";
import { isDamagedFile } from "../../../src/worker/checked-content.ts";
import { digestOf, PoolHarness, type RunOptions } from "./pool-harness.ts";

const MIB = 1_048_576;

let harness: PoolHarness;
let core: Uint8Array;
let component: Uint8Array;

beforeAll(async () => {
  const guest = (name: string) => readFile(new URL(`guests/${name}.wasm`, import.meta.url));
  [core, component] = await Promise.all([guest("filer"), guest("filer.component")]);
  harness = await PoolHarness.open({ slots: 1, spares: 1 });
});

afterAll(async () => {
  await harness[Symbol.asyncDispose]();
});

function run(commands: string, options: RunOptions = {}) {
  return harness.run(core, { args: commands.split(" "), ...options });
}

function textsOf(kept: ReadonlyMap<string, Uint8Array>): Record<string, string> {
  return Object.fromEntries([...kept].map(([path, bytes]) => [path, Buffer.from(bytes).toString()]));
}

describe.each(["core", "component"])("a %s guest", (kind) => {
  const entry = kind === "core" ? ({ kind: "command" } as const) : ({ kind: "component" } as const);
  const runAs = (commands: string, options: RunOptions = {}) =>
    harness.run(kind === "core" ? core : component, { entry, args: commands.split(" "), ...options });

  test("finds what it was given, and what it leaves is kept", async () => {
    const end = await runAs("cat in/a.txt cp in/a.txt out.txt put deep.log x rm b", {
      given: { "in/a.txt": "hello\n", b: "gone", "in/very/deep/c": "" },
      outputs: ["*.txt", "in/**"],
    });
    expect([end.stderr, end.outcome]).toEqual(["", { kind: "exited", code: 0 }]);
    expect(end.stdout).toBe("hello\n");
    expect(textsOf(end.kept)).toEqual({ "in/a.txt": "hello\n", "in/very/deep/c": "", "out.txt": "hello\n" });
  });

  test("may change what it was given, and the next run finds it as it was", async () => {
    const given = { "a/b": "first" };
    const first = await runAs("put a/b second", { given, outputs: ["**"] });
    expect(textsOf(first.kept)).toEqual({ "a/b": "second" });
    expect((await runAs("cat a/b", { given })).stdout).toBe("first");
    expect((await runAs("cat a/b")).outcome).toEqual({ kind: "exited", code: kind === "core" ? 99 : 1 });
  });
});

describe("files to keep", () => {
  test("are regular ones, each under every name it has; links are not followed", async () => {
    const end = await run("mkdir d put d/f x hard d/f d/g ln f d/s ln d up mkdir empty", { outputs: ["**"] });
    expect([end.stderr, textsOf(end.kept)]).toEqual(["", { "d/f": "x", "d/g": "x" }]);
  });

  test("are kept whatever the exit code is", async () => {
    const end = await run("put f x exit 7", { outputs: ["f"] });
    expect([end.outcome, textsOf(end.kept)]).toEqual([{ kind: "exited", code: 7 }, { f: "x" }]);
  });

  test("are none of a guest that has ended in another way, or wants none", async () => {
    const trapped = await run("put f x abort", { outputs: ["f"] });
    expect([trapped.outcome.kind, trapped.kept.size]).toEqual(["trapped", 0]);
    expect((await run("put f x")).kept.size).toBe(0);
    expect((await run("put f x", { outputs: ["g"] })).kept.size).toBe(0);
  });

  test("come whole, however large they are", async () => {
    const given = { big: new Uint8Array(5 * MIB).map((_, index) => index * 7) };
    const end = await run("cp big copy fill zeros 3000000", { given, outputs: ["copy", "zeros"] });
    expect(Buffer.compare(end.kept.get("copy") ?? new Uint8Array(), given.big)).toBe(0);
    expect(end.kept.get("zeros")?.length).toBe(3_000_000);
  });

  test("are not kept when they are too many, and the outcome says which", async () => {
    const end = await run(`many f ${KEPT_FILES_MAX + 1}`, { outputs: ["f*"] });
    expect(end.outcome).toMatchObject({ kind: "output-exceeded", reason: expect.stringContaining('"f0"') });
    expect(end.kept.size).toBe(0);
    expect((await run(`many f ${KEPT_FILES_MAX + 1} rm f0`, { outputs: ["f*"] })).kept.size).toBe(KEPT_FILES_MAX);
  });

  test("are not kept when they are too large, and the outcome names the largest", async () => {
    const half = KEPT_FILES_BYTES_MAX / 2;
    const end = await run(`fill small 1 fill one ${half} fill two ${half}`, { outputs: ["**"] });
    const reason: unknown = expect.stringMatching(/67108865 bytes.*"one" \(33554432 bytes\), "two".*"small"/);
    expect([end.outcome, end.kept.size]).toEqual([{ kind: "output-exceeded", reason }, 0]);
  });

  test("are not kept when the path of one is too long, and the outcome says so", async () => {
    const name = "p".repeat(200);
    const deep = Array.from({ length: 5 }, (_, depth) =>
      Array<string>(depth + 1)
        .fill(name)
        .join("/"),
    );
    const commands = [...deep.map((folder) => `mkdir ${folder}`), `put ${deep.at(-1)}/${name} x`, "put ok x"].join(" ");
    for (const glob of ["**", "**/p*"]) {
      const end = await run(commands, { outputs: [glob] });
      const reason: unknown = expect.stringMatching(/path is longer than 1024 bytes: "p{200}…"$/);
      expect([end.outcome, end.kept.size]).toEqual([{ kind: "output-exceeded", reason }, 0]);
    }
    expect(textsOf((await run(commands, { outputs: ["*"] })).kept)).toEqual({ ok: "x" });
  });

  test("whose keeper fails end the run and its process without blaming it, and the next run is as usual", async () => {
    const onKeep = () => Promise.reject(new Error("the disk is full"));
    await expect(run("fill f 2000000 put g x", { outputs: ["**"], onKeep })).rejects.toMatchObject({
      type: "overloaded",
      message: expect.stringContaining("the disk is full"),
    });
    expect(textsOf((await run("put f x", { outputs: ["f"] })).kept)).toEqual({ f: "x" });
  });

  test.each([
    ["reads on", true, 0],
    ["reads nothing", false, 0],
    ["reads nothing, and no more is read from the runner", false, 3_000],
  ])("wait for a keeper that is slow, whose run can still be cancelled: it %s", async (_how, readsOn, turnsBefore) => {
    const stop = new AbortController();
    const turn = () => new Promise((resolve) => setImmediate(resolve));
    const onKeep: RunOptions["onKeep"] = async ({ content }) => {
      // As many as it takes until as much has come as is held.
      for (let turns = 0; turns < turnsBefore; turns++) await turn();
      stop.abort("enough");
      await turn();
      if (readsOn) await Array.fromAsync(content);
    };
    const end = await run("fill f 4000000", { outputs: ["f"], onKeep, signal: stop.signal });
    expect(end.outcome).toEqual({ kind: "cancelled", reason: "enough" });
  });
});

describe("files that are given", () => {
  test("may be as many as a task may have", async () => {
    const given = Object.fromEntries(
      Array.from({ length: INPUT_FILES_MAX }, (_, index) => [`d${index % 7}/f${index}`, ""]),
    );
    const end = await run("put d0/new x", { given, outputs: ["**"] });
    expect(end.outcome).toMatchObject({ kind: "output-exceeded" });
    expect((await run("rm d0/f0 put d0/new x", { given, outputs: ["**"] })).kept.size).toBe(KEPT_FILES_MAX);
  });

  test("that have changed on the worker's disk never reach a guest", async () => {
    const { files } = await harness.spec(core, { given: { a: "as it was" } });
    const changed = files.map((file) => ({ ...file, digest: digestOf(Buffer.from("as it is!")) }));
    await expect(harness.run(core, { args: ["cat", "a"], files: changed })).rejects.toSatisfy(isDamagedFile);
    expect((await harness.run(core, { args: ["cat", "a"], files })).stdout).toBe("as it was");
  });

  test("that are gone from the worker's disk are not the run's fault, and harm no other", async () => {
    const contentPath = "/nowhere/file";
    const spec = { path: "a", bytes: 1, digest: digestOf(Buffer.from("x")), contentPath };
    await expect(harness.run(core, { args: ["cat", "a"], files: [spec] })).rejects.toMatchObject({
      type: "overloaded",
      message: expect.stringContaining("ENOENT"),
    });
    expect((await run("put f x")).outcome).toEqual({ kind: "exited", code: 0 });
  });
});
