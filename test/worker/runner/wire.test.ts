import { describe, expect, test } from "vitest";
import { REASON_LENGTH_MAX, RUNNER_END_FRAME_BYTES_MAX } from "../../../src/base/limits.ts";
import { decodeComponentParts, encodeComponentParts } from "../../../src/worker/runner/component-parts.ts";
import { parsePsTime } from "../../../src/worker/runner/cpu-time.ts";
import { encodeRunReport, parseRunReport } from "../../../src/worker/runner/wire.ts";
import { fc } from "../../support/properties.ts";

describe("a runner's report", () => {
  const report = { end: { kind: "exited", code: 7 }, value: "12", cpuMs: 1.5, memoryBytes: 65_536 };

  test("is read as it was written", () => {
    expect(parseRunReport(JSON.stringify(report))).toEqual(report);
  });

  test.each([
    ["no JSON", "{"],
    ["null", "null"],
    ["another kind of end", JSON.stringify({ ...report, end: { kind: "cancelled", reason: "x" } })],
    ["a code that is no integer", JSON.stringify({ ...report, end: { kind: "exited", code: 1.5 } })],
    ["a value that is no number", JSON.stringify({ ...report, value: "<b>" })],
    ["negative CPU time", JSON.stringify({ ...report, cpuMs: -1 })],
    ["memory as text", JSON.stringify({ ...report, memoryBytes: "much" })],
  ])("with %s is none", (_what, text) => {
    expect(parseRunReport(text)).toBeUndefined();
  });

  test("fits its frame, however long and hard to write its reason is", () => {
    const end = { kind: "trapped", reason: "\u0001".repeat(99_999) } as const;
    const encoded = encodeRunReport({ end, cpuMs: 1, memoryBytes: 1 });
    expect(Buffer.byteLength(encoded)).toBeLessThanOrEqual(RUNNER_END_FRAME_BYTES_MAX);
    expect(parseRunReport(encoded)?.end).toEqual({
      kind: "trapped",
      reason: "\u0001".repeat(REASON_LENGTH_MAX),
    });
  });

  test("has its reason cut", () => {
    const parsed = parseRunReport(JSON.stringify({ ...report, end: { kind: "trapped", reason: "x".repeat(9_999) } }));
    expect(parsed?.end).toEqual({ kind: "trapped", reason: "x".repeat(REASON_LENGTH_MAX) });
  });

  test("made of anything is read or refused, never thrown at", () => {
    fc.assert(fc.property(fc.oneof(fc.json(), fc.string()), (text) => void parseRunReport(text)));
  });
});

describe("a component's parts", () => {
  const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

  test("come back as they went", () => {
    const encoded = encodeComponentParts([
      ["guest.core.wasm", bytes(1, 2, 3)],
      ["guest.core2.wasm", bytes()],
      ["guest.js", bytes(9)],
    ]);
    expect(decodeComponentParts(encoded)).toEqual({
      glue: bytes(9),
      cores: [
        { name: "guest.core.wasm", bytes: bytes(1, 2, 3) },
        { name: "guest.core2.wasm", bytes: bytes() },
      ],
    });
  });

  test("cut short anywhere are none", () => {
    const encoded = encodeComponentParts([
      ["a.wasm", bytes(1, 2, 3)],
      ["guest.js", bytes(9)],
    ]);
    for (let length = 0; length < encoded.length; length++) {
      expect(decodeComponentParts(encoded.subarray(0, length))).toBeUndefined();
    }
  });

  test("made of anything are read or refused, never thrown at", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (noise) => void decodeComponentParts(noise)));
  });
});

describe("the time that ps tells", () => {
  test.each([
    ["0:00.52", 520],
    ["12:34.00", 754_000],
    ["01:02:03", 3_723_000],
    ["2-01:00:00", 176_400_000],
    ["", undefined],
    ["lots", undefined],
  ])("%s is %s ms", (text, ms) => {
    expect(parsePsTime(text)).toBe(ms);
  });
});
