import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { guestBytes } from "../support/guests.ts";
import vectors from "./vectors/hash-puzzle.json" with { type: "json" };
import { fc } from "../support/properties.ts";

const bytes = guestBytes("hash");
const compiled = new WebAssembly.Module(bytes);

describe("the hash guest", () => {
  test.each(vectors.cases)(
    "finds $result for input $input, difficulty $difficulty",
    ({ input, difficulty, result }) => {
      expect(String(solve(input, difficulty))).toBe(result);
    },
  );

  test("finds what a search in JavaScript finds, whatever the input", () => {
    const anyInput = fc.oneof(fc.integer({ min: 0, max: 0xffff_ffff }), fc.nat(10_000));
    fc.assert(
      fc.property(anyInput, fc.integer({ min: -1, max: 2 }), (input, difficulty) => {
        expect(solve(input, difficulty)).toBe(search(input, difficulty));
      }),
      { numRuns: 200 },
    );
  });

  test("finds the same when it is asked again", () => {
    const run = entryOf(new WebAssembly.Instance(compiled));
    expect([run(0, 3), run(7, 3), run(0, 3)]).toEqual([2832, 7379, 2832]);
  });

  test("traps where no digest could do", () => {
    expect(() => solve(0, 65)).toThrow(WebAssembly.RuntimeError);
  });

  test("imports nothing", () => {
    expect(WebAssembly.Module.imports(compiled)).toEqual([]);
  });
});

function solve(input: number, difficulty: number): number {
  return entryOf(new WebAssembly.Instance(compiled))(input, difficulty) >>> 0;
}

function entryOf(instance: WebAssembly.Instance): (input: number, difficulty: number) => number {
  const run = instance.exports.run;
  if (typeof run !== "function") throw new Error("the guest exports no run");
  return (input, difficulty) => Number(Reflect.apply(run, undefined, [input, difficulty]));
}

function search(input: number, difficulty: number): number {
  const zeros = "0".repeat(Math.max(0, difficulty));
  for (let counter = 1; ; counter += 1) {
    if (createHash("sha256").update(`${input}${counter}`).digest("hex").startsWith(zeros)) return counter;
  }
}
