import { expect, test } from "vitest";
import { trapReason } from "../../../src/worker/runner/child/trap-reason.ts";

function thrownAt(...frames: readonly string[]): Error {
  const error = new WebAssembly.RuntimeError("unreachable");
  error.stack = ["RuntimeError: unreachable", ...frames.map((frame) => `    at ${frame}`)].join("\n");
  return error;
}

test.each([
  [["fall_over (wasm://wasm/ab12:wasm-function[3]:0x2f)"], "unreachable, in fall_over (wasm-function[3])"],
  [["wasm://wasm/ab12:wasm-function[3]:0x2f"], "unreachable, in wasm-function[3]"],
  [
    ["host (file:///main.js:1:2)", "a (b) (wasm://wasm/ab:wasm-function[7]:0x1)"],
    "unreachable, in a (b) (wasm-function[7])",
  ],
  [
    ["run (wasm://x wasm-function[1]) (wasm://wasm/ab:wasm-function[9]:0x1)"],
    "unreachable, in run (wasm://x wasm-function[1]) (wasm-function[9])",
  ],
  [["host (file:///main.js:1:2)"], "unreachable"],
])("a trap at %j is told as %j", (frames, reason) => {
  expect(trapReason(thrownAt(...frames))).toBe(reason);
});

test.each([
  ["places that are none", " (wasm://"],
  ["spaces", " "],
  ["brackets", "wasm-function[1"],
])("a name of nothing but %s takes no time to speak of", (_what, piece) => {
  const name = piece.repeat(100_000 / piece.length);
  const frames = Array.from({ length: 10 }, () => `${name} (nowhere)`);
  const before = performance.now();
  trapReason(thrownAt(...frames));
  // It took half a minute where each of these was gone on from.
  expect(performance.now() - before).toBeLessThan(2_000);
});
