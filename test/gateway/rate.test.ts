import { expect, test } from "vitest";
import { Rate } from "../../src/gateway/rate.ts";
import { fc } from "../support/properties.ts";

test("lets a burst through, then as much as the time allows", () => {
  const rate = new Rate({ perMs: 0.25, burst: 2, nowMs: 0 });
  expect([rate.take(1, 0), rate.take(1, 0), rate.take(1, 0)]).toEqual([0, 0, 4]);
  expect(rate.take(1, 3)).toBe(1);
  expect(rate.take(1, 4)).toBe(0);
});

test("has what was spent beyond its bucket flow in again first", () => {
  const rate = new Rate({ perMs: 1, burst: 10, nowMs: 0 });
  rate.spend(25, 0);
  expect([rate.take(0, 0), rate.take(0, 14), rate.take(0, 15), rate.take(1, 15)]).toEqual([15, 1, 0, 1]);
});

test("never lets through more than the burst and what the time allows", () => {
  const draws = fc.array(
    fc.record({ amount: fc.integer({ min: 1, max: 20 }), afterMs: fc.integer({ min: 0, max: 50 }) }),
  );
  fc.assert(
    fc.property(draws, (list) => {
      const rate = new Rate({ perMs: 0.5, burst: 20, nowMs: 0 });
      let nowMs = 0;
      let taken = 0;
      for (const { amount, afterMs } of list) {
        nowMs += afterMs;
        if (rate.take(amount, nowMs) === 0) taken += amount;
        expect(taken).toBeLessThanOrEqual(20 + nowMs * 0.5);
      }
    }),
  );
});
