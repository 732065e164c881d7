import { expect, test } from "vitest";
import {
  QUARANTINE_FAULTS_MIN,
  QUARANTINE_FIRST_MS,
  WORKER_FAILURES_BEFORE_REST,
  WORKER_REST_FIRST_MS,
} from "../../src/base/limits.ts";
import type { PeerId } from "../../src/base/ids.ts";
import type { WorkerSign } from "../../src/gateway/quarantine.ts";
import { WorkerHealth } from "../../src/gateway/worker-health.ts";
import { WORKER_A, WORKER_B, peerId, taskId } from "../store/store-samples.ts";
import { ManualClock } from "../support/manual-clock.ts";

const GOOD = peerId("C");

function open() {
  const clock = new ManualClock();
  let rested = 0;
  const health = new WorkerHealth({
    clock,
    // The longest wait of each step.
    random: { next: () => 1 - Number.EPSILON },
    onChange: () => {},
    onRested: () => (rested += 1),
  });
  let runs = 0;
  const attempt = (run = ++runs, number = 1) => ({ task: taskId("t"), serial: 1, run, attempt: number });
  const end = (worker: PeerId, sign: WorkerSign, id = attempt()) =>
    health.ended({ id, worker, sign, what: "it went wrong" });
  /** It loses so much, and nobody else does better. */
  const wearOut = (worker: PeerId, sign: WorkerSign = "lost") => {
    for (let each = 0; each <= WORKER_FAILURES_BEFORE_REST; each++) end(worker, sign);
  };
  /** It fails what another one carries out, which is no reason to rest. */
  const disgrace = (worker: PeerId) => {
    for (let each = 0; each < 2 * QUARANTINE_FAULTS_MIN; each++) {
      const run = ++runs;
      end(worker, "failed", attempt(run));
      end(GOOD, "succeeded", attempt(run, 2));
    }
  };
  return { clock, health, attempt, end, wearOut, disgrace, rested: () => rested };
}

test("a worker that loses one attempt after the other gets none for a while, and then any again", () => {
  const { clock, health, wearOut } = open();
  expect(health.usableOffers(WORKER_A)).toBe(Infinity);
  wearOut(WORKER_A);
  expect([health.usableOffers(WORKER_A), health.isTrusted(WORKER_A)]).toEqual([0, false]);
  clock.advance(WORKER_REST_FIRST_MS);
  expect([health.usableOffers(WORKER_A), health.isTrusted(WORKER_A)]).toEqual([Infinity, true]);
});

test.each(["nothing", "rejected", "failed"] as const)("%s is no loss, and no reason to rest", (sign) => {
  const { health, wearOut } = open();
  wearOut(WORKER_A, sign);
  expect(health.usableOffers(WORKER_A)).toBe(Infinity);
});

test.each([
  ["succeeded", 1],
  ["failed", 1],
  ["rejected", 1],
  ["nothing", 0],
] as const)("a rest that something %s in ends, or goes on, and that it ends is told", (sign, times) => {
  const { health, end, wearOut, rested } = open();
  wearOut(WORKER_A);
  end(WORKER_A, sign);
  expect(rested()).toBe(times);
  expect(health.usableOffers(WORKER_A)).toBe(times === 1 ? Infinity : 0);
});

test("a worker that was in quarantine gets one run on trial, and no other before that has ended", () => {
  const { clock, health, attempt, end, disgrace } = open();
  disgrace(WORKER_A);
  expect(health.usableOffers(WORKER_A)).toBe(0);
  clock.advance(QUARANTINE_FIRST_MS);
  expect([health.usableOffers(WORKER_A), health.isTrusted(WORKER_A)]).toEqual([1, false]);
  const probe = attempt();
  health.began(probe, WORKER_A);
  expect(health.usableOffers(WORKER_A)).toBe(0);
  end(WORKER_A, "succeeded", probe);
  expect(health.usableOffers(WORKER_A)).toBe(Infinity);
});

test("what changes first with time is waited for, a rest or a quarantine", () => {
  const { clock, health, wearOut, disgrace } = open();
  expect(health.nextChangeInMs(clock.monotonicMs())).toBeUndefined();
  disgrace(WORKER_A);
  expect(health.nextChangeInMs(clock.monotonicMs())).toBe(QUARANTINE_FIRST_MS);
  wearOut(WORKER_B);
  expect(health.nextChangeInMs(clock.monotonicMs())).toBeCloseTo(WORKER_REST_FIRST_MS);
  clock.advance(WORKER_REST_FIRST_MS);
  expect(health.nextChangeInMs(clock.monotonicMs())).toBe(QUARANTINE_FIRST_MS - WORKER_REST_FIRST_MS);
});
