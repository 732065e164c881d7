import { describe, expect, test } from "vitest";
import { SPIN } from "../../support/wasm-builder.ts";
import { printing, writing } from "./guest-modules.ts";
import { PoolHarness } from "./pool-harness.ts";

/** What a guest that never ends has printed by the time that `isEnough` holds of it. */
async function printedBy(
  harness: PoolHarness,
  module: Uint8Array,
  isEnough: (text: string) => boolean,
): Promise<string> {
  const abort = new AbortController();
  let text = "";
  const { outcome } = await harness.run(module, {
    signal: abort.signal,
    onOutput(stream, bytes) {
      text += `${stream}:${Buffer.from(bytes).toString()}`;
      if (isEnough(text)) abort.abort();
    },
  });
  expect(outcome.kind).toBe("cancelled");
  return text;
}

describe("what a guest prints before it computes without pause", () => {
  test.each([
    ["a line", "a line\n"],
    ["a part of a line", "50 %"],
  ])("reaches its reader while it does: %s", async (_what, text) => {
    await using harness = await PoolHarness.open();
    expect(await printedBy(harness, printing(text, SPIN), () => true)).toBe(`stdout:${text}`);
    expect(await printedBy(harness, printing(text, SPIN, 2), () => true)).toBe(`stderr:${text}`);
  });
});

describe("a flood of single bytes", () => {
  test("comes whole, in far fewer pieces", async () => {
    await using harness = await PoolHarness.open();
    let pieces = 0;
    const { outcome, outputBytes } = await harness.run(writing(200_000, 1), { onOutput: () => void pieces++ });
    expect(outcome.kind).toBe("exited");
    expect(outputBytes).toBe(200_000);
    expect(pieces).toBeLessThan(20_000);
  });
});
