import { expect, test } from "vitest";
import { QUARANTINE_FAULTS_MIN } from "../../src/base/limits.ts";
import { type WorkerTally, isAtFault } from "../../src/gateway/worker-tally.ts";

function tally(faults: number, successes: number, { weight = 1, incident = "" } = {}): WorkerTally {
  return {
    successes,
    faults: Array.from({ length: faults }, (_, index) => ({
      incident: incident || `run ${index}`,
      weight,
      atMs: 0,
      what: "lost",
    })),
  };
}

const HEALTHY = tally(0, 20);

test("a worker that does nothing but lose what others run is at fault, after a few", () => {
  expect(isAtFault(tally(QUARANTINE_FAULTS_MIN - 1, 0), [HEALTHY])).toBe(false);
  expect(isAtFault(tally(QUARANTINE_FAULTS_MIN, 0), [HEALTHY])).toBe(true);
});

test("faults that have one cause are one", () => {
  expect(isAtFault(tally(50, 0, { incident: "silence" }), [HEALTHY])).toBe(false);
});

test("an incident weighs as much as the heaviest of its faults", () => {
  const incidents = Array.from({ length: QUARANTINE_FAULTS_MIN }, (_, at) => `incident ${at}`);
  const faults = incidents.flatMap((incident) =>
    [0.5, 1, 0.5].map((weight) => ({ incident, weight, atMs: 0, what: "lost" })),
  );
  expect(isAtFault({ successes: 0, faults }, [HEALTHY])).toBe(true);
  expect(isAtFault({ successes: 0, faults: faults.slice(3) }, [HEALTHY])).toBe(false);
});

test("a few faults among many successes are none", () => {
  expect(isAtFault(tally(QUARANTINE_FAULTS_MIN, 3 * QUARANTINE_FAULTS_MIN), [HEALTHY])).toBe(true);
  expect(isAtFault(tally(QUARANTINE_FAULTS_MIN, 3 * QUARANTINE_FAULTS_MIN + 1), [HEALTHY])).toBe(false);
});

test("where all do as badly, it is not the workers", () => {
  const flaky = tally(5, 5);
  expect(isAtFault(flaky, [tally(5, 5), tally(4, 6)])).toBe(false);
  expect(isAtFault(flaky, [tally(5, 5), HEALTHY])).toBe(true);
});

test("twice as bad as another one is bad enough", () => {
  expect(isAtFault(tally(4, 4), [tally(2, 6)])).toBe(true);
  expect(isAtFault(tally(4, 5), [tally(2, 6)])).toBe(false);
});

test("two bad ones among three are found, however few the third has done", () => {
  const bad = tally(QUARANTINE_FAULTS_MIN, 0);
  expect(isAtFault(bad, [bad, tally(0, 1)])).toBe(false);
  expect(isAtFault(bad, [bad, tally(0, QUARANTINE_FAULTS_MIN)])).toBe(true);
  expect(isAtFault(bad, [tally(0, 1), tally(0, 1)])).toBe(true);
});

test("failures by which a guest may be to blame weigh less", () => {
  expect(isAtFault(tally(QUARANTINE_FAULTS_MIN, 0, { weight: 0.5 }), [HEALTHY])).toBe(false);
  expect(isAtFault(tally(2 * QUARANTINE_FAULTS_MIN, 0, { weight: 0.5 }), [HEALTHY])).toBe(true);
});
