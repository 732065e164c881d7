import { expect, test } from "vitest";
import {
  WORKER_FAILURES_BEFORE_REST,
  WORKER_REST_FIRST_MS,
  WORKER_REST_MAX_MS,
  WORKER_RESTS_MAX,
} from "../../src/base/limits.ts";
import { WorkerRests } from "../../src/gateway/worker-rests.ts";
import { WORKER_A, WORKER_B, peerId } from "../store/store-samples.ts";
import { ManualClock } from "../support/manual-clock.ts";

function openRests() {
  const clock = new ManualClock();
  // The longest wait of each step.
  const rests = new WorkerRests({ clock, random: { next: () => 1 - Number.EPSILON } });
  const fail = (times: number) => {
    for (let each = 0; each < times; each++) rests.failed(WORKER_A);
  };
  return { clock, rests, fail };
}

test("a worker that fails now and then does not rest", () => {
  const { rests, fail } = openRests();
  for (let round = 0; round < 10; round++) {
    fail(WORKER_FAILURES_BEFORE_REST);
    expect(rests.isResting(WORKER_A)).toBe(false);
    rests.worked(WORKER_A);
  }
});

test("one that fails again and again rests, and the others do not", () => {
  const { clock, rests, fail } = openRests();
  fail(WORKER_FAILURES_BEFORE_REST + 1);
  expect([rests.isResting(WORKER_A), rests.isResting(WORKER_B)]).toEqual([true, false]);
  expect(rests.nextEndInMs()).toBeCloseTo(WORKER_REST_FIRST_MS);
  clock.advance(WORKER_REST_FIRST_MS);
  expect(rests.isResting(WORKER_A)).toBe(false);
  expect(rests.nextEndInMs()).toBeUndefined();
});

test("a rest that has ended since somebody looked is told", () => {
  const { clock, rests, fail } = openRests();
  fail(WORKER_FAILURES_BEFORE_REST + 1);
  const lookedAtMs = clock.monotonicMs();
  clock.advance(WORKER_REST_FIRST_MS);
  expect(rests.nextEndInMs(lookedAtMs)).toBeLessThanOrEqual(0);
  expect(rests.nextEndInMs(clock.monotonicMs())).toBeUndefined();
});

test("rests grow up to a limit, and failures of what was begun before a rest add nothing", () => {
  const { clock, rests, fail } = openRests();
  fail(WORKER_FAILURES_BEFORE_REST);
  const restsMs: number[] = [];
  for (let round = 0; round < 10; round++) {
    fail(5);
    const restMs = rests.nextEndInMs() ?? 0;
    restsMs.push(Math.round(restMs));
    clock.advance(restMs);
  }
  expect(restsMs.slice(0, 3)).toEqual([WORKER_REST_FIRST_MS, 2 * WORKER_REST_FIRST_MS, 4 * WORKER_REST_FIRST_MS]);
  expect(restsMs.at(-1)).toBe(WORKER_REST_MAX_MS);
});

test("an attempt that ended by itself clears it", () => {
  const { rests, fail } = openRests();
  expect(rests.worked(WORKER_A)).toBe(false);
  fail(WORKER_FAILURES_BEFORE_REST);
  expect(rests.worked(WORKER_A)).toBe(false);
  fail(WORKER_FAILURES_BEFORE_REST + 1);
  expect(rests.worked(WORKER_A)).toBe(true);
  expect(rests.isResting(WORKER_A)).toBe(false);
});

test("of several that rest, the end of the first is waited for", () => {
  const { clock, rests, fail } = openRests();
  fail(WORKER_FAILURES_BEFORE_REST + 1);
  clock.advance(WORKER_REST_FIRST_MS / 2);
  for (let each = 0; each <= WORKER_FAILURES_BEFORE_REST; each++) rests.failed(WORKER_B);
  expect(rests.nextEndInMs()).toBeCloseTo(WORKER_REST_FIRST_MS / 2);
  clock.advance(WORKER_REST_FIRST_MS / 2);
  expect(rests.nextEndInMs()).toBeCloseTo(WORKER_REST_FIRST_MS / 2);
});

test("only so many workers are remembered", () => {
  const { rests, fail } = openRests();
  fail(WORKER_FAILURES_BEFORE_REST + 1);
  const alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
  for (let index = 0; index < WORKER_RESTS_MAX; index++) {
    const name = [index % 58, Math.floor(index / 58) % 58, Math.floor(index / 3_364)]
      .map((at) => alphabet[at])
      .join("");
    rests.failed(peerId(name));
  }
  expect(rests.isResting(WORKER_A)).toBe(false);
});
