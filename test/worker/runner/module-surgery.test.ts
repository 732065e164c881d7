import { describe, expect, test } from "vitest";
import { operateOnModule, type Surgery } from "../../../src/worker/runner/module-surgery.ts";
import { guestBytes } from "../../support/guests.ts";
import { buildWasm, DROP, i32, I32, store32 } from "../../support/wasm-builder.ts";
import { fc } from "../../support/properties.ts";

function instantiate(surgery: Surgery): WebAssembly.Instance {
  const bytes = new Uint8Array(surgery.chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of surgery.chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return new WebAssembly.Instance(new WebAssembly.Module(bytes));
}

/** The most pages that the instance's memory grows to. */
function pagesAtMost(surgery: Surgery): number {
  const memory = instantiate(surgery).exports[surgery.memoryExport ?? ""];
  if (!(memory instanceof WebAssembly.Memory)) return 0;
  for (;;) {
    try {
      memory.grow(1);
    } catch {
      return memory.buffer.byteLength / 65_536;
    }
  }
}

const grown = { export: "grown", results: [I32], body: [...i32(1), 0x40, 0x00] };

describe("operating on a module", () => {
  test("caps its memory, whatever it declares and whether it exports it", () => {
    fc.assert(
      fc.property(
        fc.record({
          min: fc.integer({ min: 0, max: 20 }),
          more: fc.option(fc.integer({ min: 0, max: 40 }), { nil: undefined }),
          room: fc.integer({ min: 0, max: 30 }),
          isHidden: fc.boolean(),
          hasStart: fc.boolean(),
        }),
        ({ min, more, room, isHidden, hasStart }) => {
          const max = more === undefined ? undefined : min + more;
          const module = buildWasm({
            memory: { min, ...(max !== undefined && { max }), export: isHidden ? null : "memory" },
            functions: [grown, { body: [] }],
            ...(hasStart && { start: 1 }),
          });
          const cap = min + room;
          expect(pagesAtMost(operateOnModule(module, cap))).toBe(Math.min(cap, max ?? cap));
        },
      ),
      { numRuns: 300 },
    );
  });

  test("turns the start function into an export that is called after", () => {
    const module = buildWasm({
      memory: { min: 1 },
      functions: [{ body: store32(i32(8), i32(77)) }],
      start: 0,
    });
    const surgery = operateOnModule(module, 1);
    const { exports } = instantiate(surgery);
    const memory = exports["memory"];
    if (!(memory instanceof WebAssembly.Memory)) throw new Error("no memory");
    expect(new Uint8Array(memory.buffer)[8]).toBe(0);
    const start = exports[surgery.startExport ?? ""];
    if (typeof start === "function") Reflect.apply(start, undefined, []);
    expect(new Uint8Array(memory.buffer)[8]).toBe(77);
  });

  test("leaves the start function where it is asked to", () => {
    const module = buildWasm({ memory: { min: 1 }, functions: [{ body: store32(i32(8), i32(77)) }], start: 0 });
    const surgery = operateOnModule(module, 1, { keepsStart: true });
    const memory = instantiate(surgery).exports["memory"];
    expect(surgery.startExport).toBeUndefined();
    expect(memory instanceof WebAssembly.Memory && new Uint8Array(memory.buffer)[8]).toBe(77);
  });

  test("finds unused names", () => {
    const module = buildWasm({
      memory: { min: 1, export: null },
      functions: [
        { export: "capmesh:memory", body: [] },
        { export: "capmesh:start", body: [] },
      ],
      start: 0,
    });
    const { memoryExport, startExport } = operateOnModule(module, 1);
    expect([memoryExport, startExport]).toEqual(["capmesh:memory'", "capmesh:start'"]);
  });

  test("hands on what it does not change without copying", () => {
    const bytes = guestBytes("hash");
    const { chunks } = operateOnModule(bytes, 100);
    const shared = chunks
      .filter((chunk) => chunk.buffer === bytes.buffer)
      .reduce((sum, chunk) => sum + chunk.length, 0);
    expect(shared).toBeGreaterThan(bytes.length - 20);
  });

  test("does nothing to a module without memory or start function", () => {
    const module = buildWasm({ functions: [{ export: "f", body: [...i32(1), ...DROP] }] });
    const { chunks, memoryExport, startExport } = operateOnModule(module, 0);
    expect([Buffer.concat(chunks).equals(module), memoryExport, startExport]).toEqual([true, undefined, undefined]);
  });
});
