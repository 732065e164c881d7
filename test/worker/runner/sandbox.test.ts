/** What hostile JavaScript, such as a component could be transpiled to, finds in a runner: nothing. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { silentLog } from "../../../src/base/log.ts";
import type { Cell } from "../../../src/sandbox/cell.ts";
import { Sandbox } from "../../../src/sandbox/sandbox.ts";
import { RUNNER_CELL } from "../../../src/worker/runner/runner-cell.ts";
import { RunnerProcess, type RunnerVerdict } from "../../../src/worker/runner/runner-process.ts";

let folder: string;
/** Behind all walls of this machine, and behind Node's and our own alone. */
let cell: Cell;
let bareCell: Cell;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "capmesh-sandbox-"));
  const sandbox = await Sandbox.open({ scratchFolder: folder, log: silentLog });
  cell = await sandbox.openCell(RUNNER_CELL);
  const bare = await Sandbox.open({ scratchFolder: folder, log: silentLog, walls: [] });
  bareCell = await bare.openCell(RUNNER_CELL);
});

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** Runs JavaScript in the place of a component; `attack` is the body of a function that returns a string. */
async function runGlue(glue: string, within = cell): Promise<RunnerVerdict> {
  const runner = new RunnerProcess(within, "optimized");
  try {
    await runner.ready;
    return await runner.run({
      moduleKey: "hostile",
      loadParts: async () => ({ cores: [], glue: new TextEncoder().encode(glue) }),
      order: {
        entry: { kind: "component", coreNames: [] },
        args: [],
        env: {},
        outputBytesMax: 1_000,
        outputLimit: "truncate",
        keepsFiles: false,
      },
      stdin: new Uint8Array(0),
      files: [],
      io: { write: async () => {} },
    });
  } finally {
    runner.kill();
    await runner.ended;
  }
}

/** What the attack answers, carried out as the reason of the trap that its error becomes. */
async function attack(body: string, within = cell): Promise<string> {
  const verdict = await runGlue(
    `
    async function attack() { ${body} }
    let answer;
    try { answer = String(await attack()); } catch (thrown) { answer = "refused: " + thrown; }
    export function instantiate() { throw new Error(answer); }
  `,
    within,
  );
  if (verdict.kind !== "reported") return verdict.kind;
  const { end } = verdict.report;
  return end.kind === "trapped" || end.kind === "rejected" ? end.reason : end.kind;
}

describe("JavaScript in a runner", () => {
  test("runs at all", async () => {
    expect(await attack("return 6 * 7")).toBe("42");
  });

  test.each([
    "fs",
    "fs/promises",
    "child_process",
    "net",
    "http",
    "worker_threads",
    "os",
    "process",
    "v8",
    "vm",
    "module",
    "inspector",
  ])("cannot import node:%s", async (name) => {
    expect(await attack(`return Object.keys(await import("node:${name}"))`)).toMatch(/^refused/);
    expect(await attack(`return Object.keys(await import("${name}"))`)).toMatch(/^refused/);
  });

  test("cannot import files, packages or other data", async () => {
    for (const specifier of [
      cell.entryPath,
      `file://${cell.entryPath}`,
      "vitest",
      "data:text/javascript,export default 1",
    ]) {
      expect(await attack(`return Object.keys(await import(${JSON.stringify(specifier)}))`)).toMatch(/^refused/);
    }
  });

  test.each([
    "process",
    "require",
    "module",
    "Buffer",
    "global",
    "fetch",
    "WebSocket",
    "EventSource",
    "Worker",
    "MessageChannel",
    "BroadcastChannel",
    "navigator",
    "localStorage",
  ])("has no global %s", async (name) => {
    expect(await attack(`return typeof globalThis[${JSON.stringify(name)}]`)).toBe("undefined");
  });

  test("cannot make code from strings", async () => {
    expect(await attack(`return Function("return 1")()`)).toMatch(/^refused/);
    expect(await attack(`return (0, eval)("1")`)).toMatch(/^refused/);
    expect(await attack(`return (async () => {}).constructor("return 1")()`)).toMatch(/^refused/);
  });

  test("finds no way to the process through what is left", async () => {
    const found = await attack(`
      const seen = new Set();
      const todo = [globalThis];
      const paths = new Map([[globalThis, "globalThis"]]);
      while (todo.length > 0) {
        const at = todo.pop();
        if (seen.has(at)) continue;
        seen.add(at);
        let owner = at;
        for (const key of Reflect.ownKeys(owner)) {
          let value;
          try { value = owner[key]; } catch { continue; }
          if (value === null || (typeof value !== "object" && typeof value !== "function")) continue;
          if (paths.has(value)) continue;
          paths.set(value, paths.get(at) + "." + String(key));
          if (["kill", "binding", "dlopen", "_linkedBinding", "getBuiltinModule", "spawn", "readFileSync"].some((name) => {
            try { return typeof value[name] === "function"; } catch { return false; }
          })) return paths.get(value);
          todo.push(value);
        }
        const prototype = Object.getPrototypeOf(at);
        if (prototype !== null && !paths.has(prototype)) {
          paths.set(prototype, paths.get(at) + ".[[Prototype]]");
          todo.push(prototype);
        }
      }
      return "nothing among " + (seen.size > 500 ? "many" : seen.size);
    `);
    expect(found).toBe("nothing among many");
  });

  test.each([
    ["behind this machine's walls", () => cell],
    ["behind none of them", () => bareCell],
  ])("finds nothing to kill its parent with, %s", async (_where, within) => {
    const tried = await attack(
      `
      const found = [];
      const consider = (what, value) => {
        for (const name of ["kill", "_kill", "reallyExit", "abort", "dlopen", "binding"]) {
          try { if (typeof value?.[name] === "function") found.push(what + "." + name); } catch {}
        }
      };
      consider("this", this);
      consider("globalThis.process", globalThis.process);
      for (const name of ["process", "node:process", "child_process", "node:module"]) {
        try { consider(name, await import(name)); } catch {}
        try { consider(name, import.meta.resolve(name)); } catch {}
      }
      // Whoever calls us, and whoever calls them.
      const prepare = Error.prepareStackTrace;
      Error.prepareStackTrace = (_, sites) => sites;
      try {
        for (const site of new Error().stack) {
          consider("this of a frame", site.getThis());
          consider("function of a frame", site.getFunction());
        }
      } catch {}
      Error.prepareStackTrace = prepare;
      try { consider("caller", attack.caller); } catch {}
      try { consider("a function's maker", attack.constructor("return process")()); } catch {}
      try { consider("a timer", setTimeout(() => {}, 0)); } catch {}
      try { consider("a timer's maker", setTimeout(() => {}, 0).constructor); } catch {}
      try { consider("a promise's", (await WebAssembly.compile(new Uint8Array())).constructor); } catch {}
      return found.length === 0 ? "nothing" : found.join(", ");
    `,
      within(),
    );
    expect(tried).toBe("nothing");
  });

  test("cannot have the engine collect its garbage", async () => {
    expect(await attack("return typeof globalThis.gc")).toBe("undefined");
  });

  test("cannot make the pool believe what no runner says", async () => {
    // A payload that is no error value, thrown from where results are expected.
    expect(await attack("const e = new Error('x'); e.payload = {}; throw e")).toContain("refused");
    const verdict = await runGlue(`export function instantiate() {
      return { "wasi:cli/run@0.2.0": { run() { return { value: "never", end: { kind: "exited", code: -5 } }; } } };
    }`);
    expect(verdict).toMatchObject({ kind: "reported", report: { end: { kind: "exited", code: 0 } } });
  });

  test("that leaves a rejection behind harms itself alone", async () => {
    const verdict = await runGlue(`
      Promise.reject(new Error("unhandled"));
      export function instantiate() { return { "wasi:cli/run@0.2.0": { run() {} } }; }
    `);
    expect(["reported", "died"]).toContain(verdict.kind);
  });
});
