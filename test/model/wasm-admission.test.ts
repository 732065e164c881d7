import { describe, expect, test } from "vitest";
import type { ModuleInspection } from "../../src/model/module.ts";
import { checkEntry, checkLimits } from "../../src/model/wasm-inspect.ts";
import { checkImports, unknownImports } from "../../src/model/wasi-imports.ts";
import { guestBytes, inspected } from "../support/guests.ts";
import {
  component,
  core,
  exportedFunctions,
  functionType,
  I32,
  I64,
  list,
  name,
  section,
  u,
} from "../support/wasm-bytes.ts";

const MIB = 1024 * 1024;
const RUN = { name: "run", parameters: [I32, I32], results: [I32] };
const START = { name: "_start", parameters: [], results: [] };

const hash = guestBytes("hash");
const hello = guestBytes("hello");
const greeter = guestBytes("component");

describe("the way in", () => {
  const command = inspected(core(...exportedFunctions([START])));
  const run = inspected(core(...exportedFunctions([RUN])));
  const both = inspected(core(...exportedFunctions([RUN, START])));
  const neither = inspected(core(...exportedFunctions([{ name: "main", parameters: [], results: [] }])));
  const made = inspected(greeter);

  test.each([
    [command, undefined, false, "command"],
    [run, undefined, false, "run"],
    [run, undefined, true, "run"],
    [both, undefined, false, "command"],
    [both, undefined, true, "run"],
    [both, "command", true, "command"],
    [both, "run", false, "run"],
    [made, undefined, false, "component"],
    [made, undefined, true, "component"],
    [made, "component", false, "component"],
  ] as const)("is chosen as the contract says (%#)", (inspection, wanted, hasRunArguments, entry) => {
    expect(checkEntry(inspection, wanted, hasRunArguments)).toEqual({ ok: true, entry });
  });

  test.each([
    [neither, undefined, false, "it exports neither `_start` nor `run`, but `main`"],
    [command, undefined, true, "does not export `run`"],
    [command, "run", false, "does not export `run`"],
    [run, "command", false, "does not export `_start`"],
    [run, "component", false, "this is a core module"],
    [made, "run", true, "this is a component"],
    [inspected(component()), undefined, false, "does not export `wasi:cli/run` of 0.2"],
  ] as const)("is refused in words where there is none (%#)", (inspection, wanted, hasRunArguments, words) => {
    expect(reasonOf(checkEntry(inspection, wanted, hasRunArguments))).toContain(words);
  });

  test("is refused where it has another type", () => {
    const wrong = inspected(core(...exportedFunctions([{ name: "run", parameters: [I64], results: [I32] }])));
    expect(checkEntry(wrong, undefined, false)).toEqual({
      ok: false,
      reason: "the module's `run` has the type (i64)->(i32), and (i32,i32)->(i32) is expected",
    });
  });

  test.each(["_start", "_initialize"])("is refused where `%s`, which goes before `run`, has another type", (first) => {
    const wrong = inspected(core(...exportedFunctions([RUN, { name: first, parameters: [I32], results: [] }])));
    expect(reasonOf(checkEntry(wrong, "run", true))).toBe(
      `the module's \`${first}\` has the type (i32)->(), and ()->() is expected`,
    );
  });

  test("may have an `_initialize` of any type behind a `_start`, where it is not called", () => {
    const init = { name: "_initialize", parameters: [I32], results: [] };
    expect(checkEntry(inspected(core(...exportedFunctions([RUN, START, init]))), "run", true)).toMatchObject({
      ok: true,
    });
  });

  test("is refused where it is no function", () => {
    const memory = inspected(core(section(5, list([[0, 0]])), section(7, list([[...name("_start"), 0x02, 0x00]]))));
    expect(reasonOf(checkEntry(memory, undefined, false))).toContain("is a memory");
  });
});

describe("imports that nobody grants", () => {
  test("are none in the guests", () => {
    expect([hash, hello, greeter].map((bytes) => unknownImports(inspected(bytes)))).toEqual([[], [], []]);
  });

  test.each([
    ["wasi_snapshot_preview1", "fd_write", []],
    ["wasi_unstable", "fd_write", []],
    ["wasi_snapshot_preview1", "fd_writ", ["wasi_snapshot_preview1.fd_writ"]],
    ["wasi_snapshot_preview1", "__proto__", ["wasi_snapshot_preview1.__proto__"]],
    ["wasi_snapshot_preview1", "toString", ["wasi_snapshot_preview1.toString"]],
    ["wasi_snapshot_preview2", "fd_write", ["wasi_snapshot_preview2.fd_write"]],
    ["env", "abort", ["env.abort"]],
  ])("of core modules: %s.%s", (module, field, unknown) => {
    expect(unknownImports(importing(module, field))).toEqual(unknown);
  });

  test("of core modules are all that are not functions", () => {
    const bytes = core(section(2, list([[...name("wasi_snapshot_preview1"), ...name("fd_read"), 0x02, 0x00, 0x01]])));
    expect(unknownImports(inspected(bytes))).toEqual(["wasi_snapshot_preview1.fd_read (memory)"]);
  });

  test.each([
    ["wasi:cli/environment@0.2.0", true],
    ["wasi:io/streams@0.2.12", true],
    ["wasi:clocks/monotonic-clock@0.2.3", true],
    ["wasi:random/random@0.2.6", true],
    ["wasi:filesystem/types@0.2.6", true],
    ["wasi:sockets/tcp@0.2.0", false],
    ["wasi:http/types@0.2.0", false],
    ["wasi:cli/environment@0.3.0", false],
    ["wasi:cli/environment@0.2.0-rc-2023-12-05", false],
    ["wasi:cli/environment", false],
    ["wasi:cli/no-such@0.2.0", false],
    ["wasi:cli/../http/types@0.2.0", false],
    ["other:cli/environment@0.2.0", false],
  ])("of components: %s is granted: %s", (interfaceName, isGranted) => {
    const bytes = component(section(10, list([[0x00, ...name(interfaceName), 0x05, 0x00]])));
    expect(unknownImports(inspected(bytes))).toEqual(isGranted ? [] : [interfaceName]);
  });

  test("of components are all that are not instances", () => {
    const bytes = component(section(10, list([[0x00, ...name("wasi:io/poll@0.2.0"), 0x01, 0x00]])));
    expect(unknownImports(inspected(bytes))).toEqual(["wasi:io/poll@0.2.0 (function)"]);
  });
});

describe("imports", () => {
  test("are granted to the guests", () => {
    for (const bytes of [hash, hello, greeter]) expect(checkImports(inspected(bytes))).toEqual({ ok: true });
  });

  test.each([
    ["fd_write", [I32, I32, I32, I32], [I32], "accepted"],
    ["fd_seek", [I32, I64, I32, I32], [I32], "accepted"],
    ["proc_exit", [I32], [], "accepted"],
    ["sched_yield", [], [I32], "accepted"],
    ["proc_exit", [I64], [], "`wasi_snapshot_preview1.proc_exit` has the type (i64)->(), and (i32)->() is"],
    ["fd_seek", [I32, I32, I32, I32], [I32], "and (i32,i64,i32,i32)->(i32) is that call's"],
    ["random_get", [I32, I32], [], "has the type (i32,i32)->(), and (i32,i32)->(i32) is"],
    ["sched_yield", [], [I32, I32], "has the type ()->(i32,i32)"],
  ])("of core modules have the type of the call: %s (%#)", (field, parameters, results, words) => {
    expect(reasonOf(checkImports(importing("wasi_snapshot_preview1", field, parameters, results)))).toContain(words);
    expect(reasonOf(checkImports(importing("wasi_unstable", field, parameters, results)))).toContain(
      words.replace("snapshot_preview1", "unstable"),
    );
  });

  test("that nobody grants are refused by name, with what to do about it", () => {
    const refusal = (module: string, field: string) => reasonOf(checkImports(importing(module, field)));
    expect(refusal("env", "abort")).toContain("`env.abort`, which nothing here provides: build it for plain WASI");
    expect(refusal("wasi", "thread-spawn")).toContain("build it without threads");
    expect(refusal("env", "x".repeat(60_000)).length).toBeLessThan(300);
    const http = component(section(10, list([[0x00, ...name("wasi:http/types@0.2.0"), 0x05, 0x00]])));
    expect(reasonOf(checkImports(inspected(http)))).toContain(
      "`wasi:http/types@0.2.0`, which nothing here provides: guests",
    );
  });

  test("are named up to a number", () => {
    const names = Array.from({ length: 20 }, (_, index) => [0x00, ...name(`a:b/c${index}@0.2.0`), 0x05, 0x00]);
    const reason = reasonOf(checkImports(inspected(component(section(10, list(names))))));
    expect(reason).toContain("`a:b/c7@0.2.0` and 12 more");
  });
});

describe("limits that a module declares", () => {
  test("hold the first size of the memory", () => {
    const memory = inspected(core(section(5, list([[0x00, ...u(33)]])))); // 2 MiB and a page
    expect(checkLimits(memory, 3 * MIB)).toEqual({ ok: true });
    expect(reasonOf(checkLimits(memory, 2 * MIB))).toContain("2.1 MiB of memory");
  });

  test.each([
    [
      "several memories",
      [
        [0x00, ...u(1)],
        [0x00, ...u(1)],
      ],
      "2 memories",
    ],
    ["a 64-bit memory", [[0x04, ...u(1)]], "64-bit"],
    ["a shared memory", [[0x03, ...u(1), ...u(2)]], "shared"],
  ])("refuse %s", (_what, memories, reason) => {
    expect(reasonOf(checkLimits(inspected(core(section(5, list(memories)))), 256 * MIB))).toContain(reason);
  });

  test("hold the entries of tables", () => {
    const bomb = inspected(core(section(4, list([[0x70, 0x00, ...u(10_000_000)]]))));
    expect(reasonOf(checkLimits(bomb, 256 * MIB))).toContain("10000000 entries");
  });

  test("refuse memory that no cap holds", () => {
    const gc = inspected(core(section(1, list([[0x5e, 0x78, 0x01]]))));
    expect(reasonOf(checkLimits(gc, 256 * MIB))).toContain("garbage-collected");
  });
});

function importing(
  module: string,
  field: string,
  parameters: readonly number[] = [],
  results: readonly number[] = [],
): ModuleInspection {
  const imported = [...name(module), ...name(field), 0x00, 0x00];
  return inspected(core(section(1, list([functionType(parameters, results)])), section(2, list([imported]))));
}

function reasonOf(result: { readonly ok: true } | { readonly ok: false; readonly reason: string }): string {
  return result.ok ? "accepted" : result.reason;
}
