import { describe, expect, test } from "vitest";
import { WASM_EXPORTS_MAX, WASM_IMPORTS_MAX, WASM_NAME_BYTES_MAX } from "../../src/base/limits.ts";
import { checkEntry, checkLimits, inspectModule } from "../../src/model/wasm-inspect.ts";
import { checkImports } from "../../src/model/wasi-imports.ts";
import { guestBytes, inspected } from "../support/guests.ts";
import {
  COMPONENT,
  component,
  CORE,
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
import { fc } from "../support/properties.ts";

const MIB = 1024 * 1024;
const RUN = { name: "run", parameters: [I32, I32], results: [I32] };
const START = { name: "_start", parameters: [], results: [] };

const hash = guestBytes("hash");
const hello = guestBytes("hello");
const greeter = guestBytes("component");

describe("inspecting a core module", () => {
  test("reads exports with the types of functions", () => {
    expect(inspected(core(...exportedFunctions([RUN, START]))).exports).toEqual([
      { name: "run", kind: "function", signature: "(i32,i32)->(i32)" },
      { name: "_start", kind: "function", signature: "()->()" },
    ]);
  });

  test("reads imports of every kind", () => {
    const bytes = core(
      section(1, list([functionType([I32], [])])),
      section(
        2,
        list([
          [...name("env"), ...name("f"), 0x00, 0x00],
          [...name("env"), ...name("t"), 0x01, 0x70, 0x00, 0x05],
          [...name("env"), ...name("m"), 0x02, 0x01, 0x01, 0x02],
          [...name("env"), ...name("g"), 0x03, I32, 0x00],
          [...name("env"), ...name("e"), 0x04, 0x00, 0x00],
        ]),
      ),
    );
    const { imports, memories, tables } = inspected(bytes);
    expect(imports.map(({ kind }) => kind)).toEqual(["function", "table", "memory", "global", "tag"]);
    expect(imports[0]).toEqual({ module: "env", name: "f", kind: "function", signature: "(i32)->()" });
    expect(memories).toEqual([{ minPages: 1, maxPages: 2, isShared: false, is64: false, isImported: true }]);
    expect(tables).toEqual([]);
  });

  test("numbers exported functions behind the imported ones", () => {
    const bytes = core(
      section(1, list([functionType([I64], []), functionType([], [I32])])),
      section(2, list([[...name("env"), ...name("f"), 0x00, 0x00]])),
      section(3, list([[0x01]])),
      section(
        7,
        list([
          [...name("imported"), 0x00, 0x00],
          [...name("own"), 0x00, 0x01],
        ]),
      ),
      section(10, list([[0x04, 0x00, 0x41, 0x00, 0x0b]])),
    );
    expect(inspected(bytes).exports.map(({ signature }) => signature)).toEqual(["(i64)->()", "()->(i32)"]);
  });

  test("reads memories: limits, shared, 64-bit", () => {
    const bytes = core(
      section(
        5,
        list([
          [0x00, 0x01],
          [0x01, 0x02, ...u(65_536)],
          [0x03, 0x01, 0x01],
          [0x05, ...u(2 ** 40), ...u(2 ** 41)],
        ]),
      ),
    );
    expect(inspected(bytes).memories).toEqual([
      { minPages: 1, maxPages: undefined, isShared: false, is64: false, isImported: false },
      { minPages: 2, maxPages: 65_536, isShared: false, is64: false, isImported: false },
      { minPages: 1, maxPages: 1, isShared: true, is64: false, isImported: false },
      { minPages: 2 ** 40, maxPages: 2 ** 41, isShared: false, is64: true, isImported: false },
    ]);
  });

  test("reads tables, those that an expression fills included", () => {
    const filled = [0x40, 0x00, 0x70, 0x00, 0x07, 0xd0, 0x70, 0x0b];
    const bytes = core(
      section(4, list([[0x70, 0x01, ...u(10_000_000), ...u(20_000_000)], [0x6f, 0x00, 0x01], filled])),
    );
    expect(inspected(bytes).tables).toEqual([
      { minEntries: 10_000_000, maxEntries: 20_000_000 },
      { minEntries: 1, maxEntries: undefined },
      { minEntries: 7, maxEntries: undefined },
    ]);
  });

  test("steps over globals of every kind of constant", () => {
    const constants = [
      [0x41, 0x80, 0x80, 0x04],
      [0x42, 0x7f],
      [0x43, 0, 0, 0, 0],
      [0x44, 0, 0, 0, 0, 0, 0, 0, 0],
      [0xfd, 0x0c, ...repeated(0x0b, 16)],
      [0xd0, 0x70],
      [0x23, 0x00],
      [0x41, 0x01, 0x41, 0x02, 0x6a],
      [0x41, 0x01, 0xfb, 0x1c],
    ];
    const bytes = core(section(6, list(constants.map((constant) => [I32, 0x00, ...constant, 0x0b]))));
    expect(inspectModule(bytes).ok).toBe(true);
  });

  test("tells the code's size and a start function", () => {
    const bytes = core(
      section(1, list([functionType([], [])])),
      section(3, list([[0x00]])),
      section(8, [0x00]),
      section(10, list([[0x02, 0x00, 0x0b]])),
    );
    expect(inspected(bytes)).toMatchObject({ codeBytes: 4, hasStartFunction: true, bytes: bytes.length });
  });

  test("tells garbage-collected types, in groups and under other types too", () => {
    const struct = [0x5f, ...list([[I32, 0x00]])];
    const sub = [0x50, ...list([]), 0x5e, 0x78, 0x01];
    expect(inspected(core(section(1, list([functionType([], [])])))).usesGc).toBe(false);
    expect(inspected(core(section(1, list([[0x4e, ...list([functionType([], []), struct])]])))).usesGc).toBe(true);
    expect(inspected(core(section(1, list([sub])))).usesGc).toBe(true);
  });

  test("writes references in signatures", () => {
    const bytes = core(
      section(1, list([[0x60, ...list([[0x70], [0x63, 0x00], [0x64, 0x6f]]), ...list([])]])),
      section(3, list([[0x00]])),
      section(7, list([[...name("f"), 0x00, 0x00]])),
      section(10, list([[0x02, 0x00, 0x0b]])),
    );
    expect(inspected(bytes).exports[0]?.signature).toBe("(funcref,(ref null 0),(ref extern))->()");
  });

  test("agrees with the engine about what the guests import and export", () => {
    for (const bytes of [hash, hello]) {
      const compiled = new WebAssembly.Module(Uint8Array.from(bytes));
      const { imports, exports } = inspected(bytes);
      expect(imports.map(({ module, name, kind }) => ({ module, name, kind }))).toEqual(
        WebAssembly.Module.imports(compiled),
      );
      expect(exports.map((item) => ({ name: item.name, kind: item.kind }))).toEqual(
        WebAssembly.Module.exports(compiled).map((item) => ({ name: item.name, kind: item.kind })),
      );
    }
  });
});

describe("inspecting a component", () => {
  test("reads one that tools have built: outside, memory and code of the modules inside", () => {
    const inspection = inspected(greeter);
    expect(inspection.kind).toBe("component");
    const environment = { module: "", name: "wasi:cli/environment@0.2.12", kind: "instance" };
    expect(inspection.imports).toContainEqual(expect.objectContaining(environment));
    const run = { name: "run", kind: "function", signature: "()->result" };
    expect(inspection.exports).toEqual([{ name: "wasi:cli/run@0.2.12", kind: "instance", items: [run] }]);
    expect(inspection.memories).toHaveLength(1);
    expect(inspection.codeBytes).toBeGreaterThan(10_000);
    expect(inspection.codeBytes).toBeLessThan(greeter.length);
  });

  test("refuses types that are nested too deep", () => {
    // Each is the type of an instance that declares one type.
    const nested = [...Array.from({ length: 100_000 }, () => [0x42, 0x01, 0x01]).flat(), 0x73];
    expect(reasonOf(component(section(7, [0x01, ...nested])))).toContain("types in types");
  });

  test("takes long types for none that is known, and lists no more of them than it may", () => {
    const parameters = list(Array.from({ length: 3_000 }, () => [...name("p"), 0x73]));
    const face = [
      0x42,
      ...list([
        [0x01, 0x40, ...parameters, 0x01, 0x00],
        [0x04, 0x00, ...name("f"), 0x01, 0x00],
      ]),
    ];
    const { imports } = inspected(
      component(section(7, list([face])), section(10, list([[0x00, ...name("a:b/c"), 0x05, 0x00]]))),
    );
    expect(imports[0]?.items).toEqual([{ name: "f", kind: "function", signature: "…" }]);
  });

  test("tells where it could not follow from where nothing is", () => {
    const unknown = section(7, [0x01, 0x3a]);
    const empty = section(7, [0x01, 0x42, 0x00]);
    const imported = section(10, list([[0x00, ...name("a:b/c"), 0x05, 0x00]]));
    expect(inspected(component(empty, imported)).imports[0]?.items).toEqual([]);
    expect(inspected(component(unknown, empty, imported)).imports[0]?.items).toBeNull();
  });

  test("reads imports and exports of every kind", () => {
    const bytes = component(
      section(
        10,
        list([
          [0x00, ...name("m"), 0x00, 0x11, 0x00],
          [0x00, ...name("f"), 0x01, 0x00],
          [0x00, ...name("eq"), 0x03, 0x00, 0x00],
          [0x00, ...name("resource"), 0x03, 0x01],
          [0x00, ...name("c"), 0x04, 0x00],
          [0x01, ...name("a:b/c@1.0.0"), 0x05, 0x00],
        ]),
      ),
      section(
        11,
        list([
          [0x00, ...name("f"), 0x01, 0x00, 0x00],
          [0x00, ...name("typed"), 0x05, 0x00, 0x01, 0x05, 0x00],
        ]),
      ),
    );
    const { imports, exports } = inspected(bytes);
    // A type that is equal to another is no import: nobody has to grant it.
    expect(imports.map(({ kind }) => kind)).toEqual(["module", "function", "type", "component", "instance"]);
    expect(exports).toEqual([
      { name: "f", kind: "function" },
      { name: "typed", kind: "instance", items: null },
    ]);
  });

  test("counts what core modules allocate at any depth, and no import of a component inside", () => {
    const memory = [...CORE, ...section(5, list([[0x00, 0x10]]))];
    const inner = [...COMPONENT, ...section(1, memory), ...section(10, list([[0x00, ...name("x"), 0x01, 0x00]]))];
    const inspection = inspected(component(section(1, memory), section(4, inner)));
    expect(inspection.memories.map(({ minPages }) => minPages)).toEqual([16, 16]);
    expect(inspection.imports).toEqual([]);
  });

  test("refuses components that are nested too deep", () => {
    let nested: number[] = [...COMPONENT];
    for (let depth = 0; depth < 200; depth += 1) nested = [...COMPONENT, ...section(4, nested)];
    expect(reasonOf(Uint8Array.from(nested))).toContain("components inside components");
  });

  test("says which core module inside is wrong", () => {
    const broken = [...CORE, ...section(3, [0x05])];
    expect(reasonOf(component(section(1, [...CORE]), section(1, broken)))).toContain("core module 2 inside it");
  });
});

describe("refusing", () => {
  test.each([
    ["an empty file", [], "empty"],
    ["text", [...new TextEncoder().encode("hello world, this is text")], 'it starts with "hello world, thi"'],
    ["other bytes", [0xff, 0xd8, 0xff, 0xe0], "the bytes ff d8 ff e0"],
    ["WebAssembly text", [...new TextEncoder().encode("\n (module)")], "WebAssembly text"],
    ["a native program", [0x7f, 0x45, 0x4c, 0x46, 0x02, 0x01], "native program"],
    ["half a header", [0x00, 0x61, 0x73], "truncated"],
    ["an unknown version", [0x00, 0x61, 0x73, 0x6d, 0x02, 0x00, 0x00, 0x00], "version"],
    ["an unknown section", [...CORE, 0x2a, 0x00], "unknown kind (42)"],
    ["a section twice", [...CORE, 0x01, 0x01, 0x00, 0x01, 0x01, 0x00], "second type section"],
    ["sections out of order", [...CORE, 0x03, 0x01, 0x00, 0x01, 0x01, 0x00], "wrong place"],
    ["a number that never ends", [...CORE, 0x01, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00], "number that is too long"],
    ["an import without its type", [...CORE, ...section(2, list([[...name("a"), ...name("b"), 0, 7]]))], "type 7"],
    ["an export of nothing", [...CORE, ...section(7, list([[...name("a"), 0, 0]]))], "not there"],
    ["a name that is not UTF-8", [...CORE, ...section(7, list([[0x02, 0xc3, 0x28, 0, 0]]))], "not UTF-8"],
    ["bytes behind a list", [...CORE, ...section(7, [0x00, 0x00])], "1 bytes more"],
  ])("refuses %s in words", (_, bytes, words) => {
    expect(reasonOf(Uint8Array.from(bytes))).toContain(words);
  });

  test("refuses functions without code, and other code than was declared", () => {
    const types = section(1, list([functionType([], [])]));
    const functions = section(3, list([[0x00], [0x00]]));
    expect(reasonOf(core(types, functions))).toContain("truncated");
    expect(reasonOf(core(types, functions, section(10, list([[0x02, 0x00, 0x0b]]))))).toContain("has the code of 1");
  });

  test.each([
    ["imports", section(2, u(WASM_IMPORTS_MAX + 1))],
    ["exports", section(7, u(WASM_EXPORTS_MAX + 1))],
    ["memories", section(5, u(1_000))],
    ["tables", section(4, u(10_000))],
    ["globals", section(6, u(2 ** 32 - 1))],
    ["functions", section(3, u(2 ** 32 - 1))],
  ])("refuses more %s than the limit before reading them", (what, bytes) => {
    expect(reasonOf(core(bytes))).toMatch(new RegExp(`it has \\d+ ${what}, and at most \\d+ are taken`));
  });

  test("refuses a name, and names together, that are too long", () => {
    const long = "x".repeat(WASM_NAME_BYTES_MAX + 1);
    expect(reasonOf(core(section(2, list([[...name(long), 0x00]]))))).toContain("name of");
    const memory = section(5, list([[0x00, 0x00]]));
    const exported = Array.from({ length: 20 }, (_, i) => [...name(`${i}`.padStart(60_000, "x")), 0x02, 0x00]);
    expect(reasonOf(core(memory, section(7, list(exported))))).toContain("too long in all");
  });

  test.each([
    ["hash", hash],
    ["hello", hello],
    ["component", greeter],
  ])("refuses %s cut off anywhere but between sections", (_, bytes) => {
    const ends = new Set(sectionEnds(bytes));
    // A large one is cut at every seventh byte, which is in the middle of whatever is longer than that.
    const step = bytes.length > 20_000 ? 7 : 1;
    for (let length = 0; length < bytes.length; length += step) {
      const result = inspectModule(bytes.subarray(0, length));
      if (result.ok) expect(ends).toContain(length);
    }
  });

  test("says in which section a file ends", () => {
    expect(reasonOf(hash.subarray(0, hash.length - 500))).toContain(
      "in the middle of its code section: it is truncated",
    );
  });
});

describe("hostile bytes", () => {
  test("never make it throw, whatever is changed in a module that was sound", () => {
    const originals = [hash, hello, greeter];
    const change = fc.record({ at: fc.nat(), byte: fc.integer({ min: 0, max: 255 }) });
    fc.assert(
      fc.property(
        fc.nat(originals.length - 1),
        fc.array(change, { minLength: 1, maxLength: 8 }),
        fc.boolean(),
        (which, changes, isNearStart) => {
          const bytes = Uint8Array.from(originals[which] ?? []);
          // The sections that are read, and not stepped over, are the first ones.
          const reach = isNearStart ? 700 : bytes.length;
          for (const { at, byte } of changes) bytes[at % reach] = byte;
          settle(bytes);
        },
      ),
      { numRuns: 3_000 },
    );
  });

  test("are accepted, and read alike, wherever the engine accepts them", () => {
    const small = Uint8Array.from([...core(...exportedFunctions([RUN, START])), ...section(0, name("custom"))]);
    fc.assert(
      fc.property(fc.nat(small.length - 9), fc.integer({ min: 0, max: 255 }), (at, byte) => {
        const bytes = Uint8Array.from(small);
        bytes[at + 8] = byte;
        if (!WebAssembly.validate(bytes)) return;
        const exports = WebAssembly.Module.exports(new WebAssembly.Module(bytes));
        expect(inspected(bytes).exports).toMatchObject(exports.map((item) => ({ name: item.name, kind: item.kind })));
      }),
      { numRuns: 20_000 },
    );
  });

  test("never make it throw, whatever stands behind a header and section numbers", () => {
    const anySection = fc
      .record({ id: fc.integer({ min: 0, max: 14 }), content: fc.uint8Array({ maxLength: 64 }) })
      .map(({ id, content }) => section(id, [...content]));
    fc.assert(
      fc.property(fc.boolean(), fc.array(anySection, { maxLength: 8 }), (isCore, sections) => {
        settle(isCore ? core(...sections) : component(...sections));
      }),
      { numRuns: 3_000 },
    );
  });

  test("cost time that grows with their number alone", () => {
    // Each is a shape that a careless reader would go over again and again, or make much of.
    const size = 64 * MIB;
    const types = [...u(200_000)];
    const oneType = section(1, list([functionType([], [])]));
    const functions = section(3, [...u(900_000), ...repeated(0, 900_000)]);
    const code = [0x0a, ...u(size + 3), ...u(900_000)];
    const shapes = [
      filled([...CORE], size, 0x00),
      filled([...COMPONENT], size, 0x00),
      filled([...CORE, 0x01, ...u(size + types.length), ...types], size, 0x60),
      filled([...CORE, 0x01, ...u(size + 1), 0x01], size, 0x4e),
      filled([...CORE, 0x06, ...u(size + 4), 0x01, I32, 0x00, 0x41], size, 0x41),
      filled([...CORE, ...oneType, ...functions, ...code], size, 0x00),
    ];
    const startedAt = performance.now();
    for (const bytes of shapes) settle(bytes);
    // It takes some tens of milliseconds; quadratic time would be hours.
    expect(performance.now() - startedAt).toBeLessThan(20_000);
  });

  test("are not gone over item by item past a limit", () => {
    const size = 9 * MIB;
    const bytes = filled([...CORE, 0x06, ...u(size + 3), 0x01, I32, 0x00], size, 0x6a);
    expect(reasonOf(bytes)).toContain("take too much room");
    expect(reasonOf(filled([...CORE], 1 * MIB, 0x00))).toContain("sections");
  });
});

function reasonOf(bytes: Uint8Array): string {
  const result = inspectModule(bytes);
  return result.ok ? "accepted" : result.reason;
}

/** All that is asked of a module before it runs; whatever the answer. */
function settle(bytes: Uint8Array): void {
  const result = inspectModule(bytes);
  if (!result.ok) {
    expect(result.reason.length).toBeLessThan(500);
    return;
  }
  checkEntry(result.inspection, undefined, false);
  checkImports(result.inspection);
  checkLimits(result.inspection, MIB);
}

function repeated(byte: number, times: number): number[] {
  return Array.from({ length: times }, () => byte);
}

function filled(start: readonly number[], length: number, byte: number): Uint8Array {
  const bytes = new Uint8Array(start.length + length).fill(byte);
  bytes.set(start);
  return bytes;
}

/** Where a file may end between two sections of the outermost level. */
function sectionEnds(bytes: Uint8Array): number[] {
  const ends = [8];
  for (let at = 8; at < bytes.length;) {
    at += 1;
    let size = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at] ?? 0;
      at += 1;
      size += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) break;
    }
    at += size;
    ends.push(at);
  }
  return ends;
}
