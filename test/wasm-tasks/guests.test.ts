import { describe, expect, test } from "vitest";
import { checkEntry, checkLimits } from "../../src/model/wasm-inspect.ts";
import { unknownImports } from "../../src/model/wasi-imports.ts";
import { guestBytes, inspected } from "../support/guests.ts";

describe.each([
  { guest: "hash", entry: "run", bytesMax: 50_000 },
  { guest: "hello", entry: "command", bytesMax: 50_000 },
  { guest: "component", entry: "component", bytesMax: 300_000 },
] as const)("the guest $guest", ({ guest, entry, bytesMax }) => {
  test("is as small as it should be", () => {
    expect(guestBytes(guest).length).toBeLessThanOrEqual(bytesMax);
  });

  test("has its way in, and asks for nothing that nobody grants", () => {
    const inspection = inspected(guestBytes(guest));
    expect(checkEntry(inspection, undefined, false)).toEqual({ ok: true, entry });
    expect(unknownImports(inspection)).toEqual([]);
    expect(checkLimits(inspection, 1024 * 1024)).toEqual({ ok: true });
  });
});
