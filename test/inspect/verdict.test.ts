import { describe, expect, test } from "vitest";
import { REASON_LENGTH_MAX } from "../../src/base/limits.ts";
import { parseVerdict } from "../../src/inspect/verdict.ts";
import { inspectModule } from "../../src/model/wasm-inspect.ts";
import { guestBytes } from "../support/guests.ts";

const good = inspectModule(guestBytes("hash"));
const inspection = good.ok ? good.inspection : undefined;

const withField = (field: string, value: unknown): string =>
  JSON.stringify({ ok: true, inspection: { ...inspection, [field]: value } });

describe("a verdict as text", () => {
  test.each(["hello", "hash", "component"] as const)("is read back as it was: %s", (name) => {
    const verdict = inspectModule(guestBytes(name));
    expect(parseVerdict(JSON.stringify(verdict))).toEqual(verdict);
  });

  test("may be a refusal", () => {
    expect(parseVerdict('{"ok":false,"reason":"it is empty"}')).toEqual({ ok: false, reason: "it is empty" });
  });

  test("may be a refusal whose reason is cut to what one may be, with no character in two", () => {
    const reason = `${"x".repeat(REASON_LENGTH_MAX - 1)}😀${"y".repeat(1_000_000)}`;
    const verdict = parseVerdict(JSON.stringify({ ok: false, reason }));
    expect(verdict).toEqual({ ok: false, reason: `${"x".repeat(REASON_LENGTH_MAX - 1)}\ufffd` });
  });

  test("may have fields that are not known here", () => {
    expect(parseVerdict(withField("colour", "blue"))).toMatchObject({ inspection: { colour: "blue" } });
  });

  test.each([
    "",
    "null",
    "[]",
    '"ok"',
    "{}",
    '{"ok":true}',
    '{"ok":"true","inspection":{}}',
    '{"ok":false}',
    '{"ok":false,"reason":7}',
    '{"ok":true,"inspection":[]}',
  ])("is none: %s", (text) => expect(parseVerdict(text)).toBeUndefined());

  test.each<[string, unknown]>([
    ["kind", "native"],
    ["kind", ["core"]],
    ["bytes", -1],
    ["bytes", "12"],
    ["codeBytes", null],
    ["imports", {}],
    ["imports", [null]],
    ["imports", [{ module: "a", name: 1, kind: "function" }]],
    ["imports", Array.from({ length: 2_000 }, () => ({ module: "a", name: "b", kind: "function" }))],
    ["exports", [{ name: "a", kind: "thing" }]],
    ["exports", [{ name: "a", kind: "function", signature: {} }]],
    ["memories", [{ minPages: "1", isShared: false, is64: false, isImported: false }]],
    ["memories", [{ minPages: 1, isShared: 0, is64: false, isImported: false }]],
    ["tables", [{ minEntries: -5 }]],
    ["tables", [{ minEntries: 1, maxEntries: "2" }]],
    ["hasStartFunction", 1],
    ["usesGc", "no"],
  ])("is none with %s that cannot be", (field, value) => expect(parseVerdict(withField(field, value))).toBeUndefined());
});
