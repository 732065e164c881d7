import fc from "fast-check";
import { expect, test } from "vitest";
import { Rate } from "../../src/gateway/rate.ts";

test("lets a burst through, then as much as the time allows", () => {
  const rate = new Rate({ perMs: 0.25, burst: 2, nowMs: 0 });
  expect([rate.take(1, 0), rate.take(1, 0), rate.take(1, 0)]).toEqual([0, 0, 4]);
  expect(rate.take(1, 3)).toBe(1);
  expect(rate.take(1, 4)).toBe(0);
});

test("lets through what is larger than the bucket when it is full, and has it paid for", () => {
  const rate = new Rate({ perMs: 1, burst: 10, nowMs: 0 });
  expect(rate.take(25, 0)).toBe(0);
  expect(rate.take(1, 10)).toBe(6);
  expect(rate.take(1, 16)).toBe(0);
});

test("never lets through more than the burst, one draw's excess, and what the time allows", () => {
  const draws = fc.array(
    fc.record({ amount: fc.integer({ min: 1, max: 30 }), afterMs: fc.integer({ min: 0, max: 50 }) }),
  );
  fc.assert(
    fc.property(draws, (list) => {
      const burst = 20;
      const rate = new Rate({ perMs: 0.5, burst, nowMs: 0 });
      let nowMs = 0;
      let taken = 0;
      for (const { amount, afterMs } of list) {
        nowMs += afterMs;
        if (rate.take(amount, nowMs) === 0) taken += amount;
        expect(taken).toBeLessThanOrEqual(burst + 30 + nowMs * 0.5);
      }
    }),
  );
});
