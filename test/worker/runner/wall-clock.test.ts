import { expect, test } from "vitest";
import { WallClock } from "../../../src/worker/runner/child/wall-clock.ts";

const MS = 1_000_000n;

function open() {
  const at = { wallMs: 1_000, monotonicNs: 5n };
  return {
    at,
    clock: new WallClock(
      () => at.wallMs,
      () => at.monotonicNs,
    ),
  };
}

test("tells moments within one millisecond apart", () => {
  const { at, clock } = open();
  const first = clock.nowNs();
  at.monotonicNs += 250n;
  expect(clock.nowNs() - first).toBe(250n);
});

test("stays within the millisecond that the system tells", () => {
  const { at, clock } = open();
  clock.nowNs();
  for (let step = 0; step < 100; step++) {
    at.monotonicNs += 700_000n;
    at.wallMs = 1_000 + Math.floor((step + 1) * 0.7);
    const told = clock.nowNs();
    expect(told / MS).toBe(BigInt(at.wallMs));
  }
});

test.each([-86_400_000, 86_400_000])("follows the system's clock when it is set by %i ms", (byMs) => {
  const { at, clock } = open();
  clock.nowNs();
  at.wallMs += byMs;
  at.monotonicNs += 10n;
  expect(clock.nowNs()).toBe(BigInt(at.wallMs) * MS);
});
