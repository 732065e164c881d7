import { expect, test } from "vitest";
import { drainMsMax, drainTimes } from "../../src/app/drain-times.ts";
import { CLOSE_MS_MAX, DRAIN_ENDING_MS_MIN, WORKER_HAND_BACK_MS } from "../../src/base/limits.ts";

test.each([
  [24 * 3_600_000, 24 * 3_600_000 - 3_000, WORKER_HAND_BACK_MS, CLOSE_MS_MAX],
  [30_000, 27_000, 1_500, 1_500],
  [6_000, 3_000, 1_500, 1_500],
  [3_000, 1_500, 750, 750],
  [500, 250, 125, 125],
  [300, 50, 125, 125],
  [250, 0, 125, 125],
  [10, 0, 125, 125],
  [0, 0, 125, 125],
])("a grace of %i ms gives guests %i, handing back %i and closing %i", (graceMs, guestsMs, handBackMs, closeMs) => {
  expect(drainTimes(graceMs)).toEqual({ guestsMs, handBackMs, closeMs });
  expect(guestsMs + handBackMs + closeMs).toBe(Math.max(graceMs, DRAIN_ENDING_MS_MIN));
  expect(drainMsMax(graceMs)).toBe(Math.max(graceMs, DRAIN_ENDING_MS_MIN));
});
