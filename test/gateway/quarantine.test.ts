import { expect, test } from "vitest";
import type { PeerId } from "../../src/base/ids.ts";
import {
  QUARANTINE_FAULTS_MIN,
  QUARANTINE_FIRST_MS,
  QUARANTINE_FORGET_MS,
  QUARANTINE_MAX_MS,
  QUARANTINE_WINDOW_MS,
} from "../../src/base/limits.ts";
import { Quarantine, type WorkerSign } from "../../src/gateway/quarantine.ts";
import type { AttemptId } from "../../src/model/run.ts";
import { WORKER_A as BAD, WORKER_B as GOOD, digest, taskId } from "../store/store-samples.ts";
import { ManualClock } from "../support/manual-clock.ts";

function attempt(run: number, number = 1): AttemptId {
  return { task: taskId("t"), serial: 1, run, attempt: number };
}

function open() {
  const clock = new ManualClock();
  const changes: PeerId[] = [];
  const quarantine = new Quarantine({ clock, onChange: (worker) => changes.push(worker) });
  let runs = 0;
  const end = (id: AttemptId, worker: PeerId, sign: WorkerSign, isSilence = false) =>
    quarantine.ended({ id, worker, module: digest(), sign, what: "it went wrong", isSilence });
  /** So many runs end badly on the bad worker, and then well on the good one. */
  const disgrace = (count = QUARANTINE_FAULTS_MIN, sign: WorkerSign = "lost", isSilence = false) => {
    for (let each = 0; each < count; each++) {
      const run = ++runs;
      end(attempt(run), BAD, sign, isSilence);
      end(attempt(run, 2), GOOD, "succeeded");
    }
  };
  /** The bad worker is given a run, which ends so. */
  const probe = (sign: WorkerSign) => {
    const id = attempt(++runs);
    quarantine.began(id, BAD);
    expect(quarantine.standing(BAD)).toBe("probed");
    end(id, BAD, sign);
  };
  return { clock, changes, quarantine, end, disgrace, probe };
}

test("a worker that loses what another one carries out is put into quarantine, with the reason", () => {
  const { quarantine, changes, disgrace } = open();
  disgrace(QUARANTINE_FAULTS_MIN - 1);
  expect(quarantine.standing(BAD)).toBe("trusted");
  disgrace(1);
  expect(quarantine.view(BAD)).toMatchObject({ standing: "quarantined", probeInMs: QUARANTINE_FIRST_MS });
  expect(quarantine.view(BAD)?.reason).toContain("it went wrong");
  expect([quarantine.standing(GOOD), changes]).toEqual(["trusted", [BAD]]);
});

test("a run that every worker loses says nothing about any", () => {
  const { quarantine, end } = open();
  for (let run = 1; run <= 20; run++) {
    for (let number = 1; number <= 4; number++) end(attempt(run, number), number % 2 === 0 ? BAD : GOOD, "lost");
  }
  expect([quarantine.standing(BAD), quarantine.standing(GOOD)]).toEqual(["trusted", "trusted"]);
});

test("a guest that fails everywhere is no worker's fault, and neither is one that fails by chance", () => {
  const { quarantine, end } = open();
  for (let run = 1; run <= 40; run++) {
    const [first, second] = run % 2 === 0 ? [BAD, GOOD] : [GOOD, BAD];
    end(attempt(run), first, "failed");
    end(attempt(run, 2), second, run % 4 < 2 ? "failed" : "succeeded");
  }
  expect([quarantine.standing(BAD), quarantine.standing(GOOD)]).toEqual(["trusted", "trusted"]);
});

test("guests that fail on one worker only put it into quarantine, later than losses do", () => {
  const { quarantine, disgrace } = open();
  disgrace(2 * QUARANTINE_FAULTS_MIN - 1, "failed");
  expect(quarantine.standing(BAD)).toBe("trusted");
  disgrace(1, "failed");
  expect(quarantine.standing(BAD)).toBe("quarantined");
});

test("a lost run that then fails by itself elsewhere was the worker's fault", () => {
  const { quarantine, end } = open();
  for (let run = 1; run <= QUARANTINE_FAULTS_MIN; run++) {
    end(attempt(run), BAD, "lost");
    end(attempt(run, 2), GOOD, "failed");
  }
  expect(quarantine.standing(BAD)).toBe("quarantined");
});

test("what it loses in one silence is one fault", () => {
  const { quarantine, disgrace, clock } = open();
  disgrace(20, "lost", true);
  expect(quarantine.standing(BAD)).toBe("trusted");
  for (let silence = 1; silence < QUARANTINE_FAULTS_MIN; silence++) {
    clock.advance(60_000);
    disgrace(1, "lost", true);
  }
  expect(quarantine.standing(BAD)).toBe("quarantined");
});

test.each(["before", "after"])("a module that it rejects counts when another worker ran it %s", (when) => {
  const { quarantine, end } = open();
  const ranElsewhere = () => end(attempt(100), GOOD, "failed");
  if (when === "before") ranElsewhere();
  for (let run = 1; run <= QUARANTINE_FAULTS_MIN; run++) end(attempt(run), BAD, "rejected");
  if (when === "after") ranElsewhere();
  expect(quarantine.standing(BAD)).toBe("quarantined");
});

test("faults are forgotten after a while", () => {
  const { quarantine, disgrace, clock } = open();
  disgrace(QUARANTINE_FAULTS_MIN - 1);
  clock.advance(QUARANTINE_WINDOW_MS + 1);
  disgrace(1);
  expect(quarantine.standing(BAD)).toBe("trusted");
});

test("a quarantine that has ended since somebody looked is told, whoever noticed it first", () => {
  const { quarantine, disgrace, clock } = open();
  disgrace();
  const lookedAtMs = clock.monotonicMs();
  clock.advance(QUARANTINE_FIRST_MS);
  expect(quarantine.view(BAD)?.standing).toBe("on-trial");
  expect(quarantine.nextTrialInMs(lookedAtMs)).toBeLessThanOrEqual(0);
  expect(quarantine.nextTrialInMs(clock.monotonicMs())).toBeUndefined();
});

test("it gets one probe when its time is over, and is trusted again when that succeeds", () => {
  const { quarantine, disgrace, clock, probe, changes } = open();
  disgrace();
  expect(quarantine.nextTrialInMs()).toBe(QUARANTINE_FIRST_MS);
  clock.advance(QUARANTINE_FIRST_MS);
  expect(quarantine.standing(BAD)).toBe("on-trial");
  expect(quarantine.nextTrialInMs()).toBeUndefined();
  probe("succeeded");
  expect(quarantine.view(BAD)).toBeUndefined();
  expect(changes).toEqual([BAD, BAD]);
  disgrace(QUARANTINE_FAULTS_MIN - 1);
  expect(quarantine.standing(BAD)).toBe("trusted");
});

test("each probe that is lost doubles its time, up to a limit", () => {
  const { quarantine, disgrace, clock, probe } = open();
  disgrace();
  const times: number[] = [];
  for (let round = 0; round < 10; round++) {
    const waitMs = quarantine.nextTrialInMs() ?? 0;
    times.push(waitMs);
    clock.advance(waitMs);
    expect(quarantine.standing(BAD)).toBe("on-trial");
    probe("lost");
  }
  expect(times.slice(0, 3)).toEqual([QUARANTINE_FIRST_MS, 2 * QUARANTINE_FIRST_MS, 4 * QUARANTINE_FIRST_MS]);
  expect(times.at(-1)).toBe(QUARANTINE_MAX_MS);
});

test("a probe that fails by itself proves nothing: it stays for as long again", () => {
  const { quarantine, disgrace, clock, probe } = open();
  disgrace();
  clock.advance(QUARANTINE_FIRST_MS);
  quarantine.standing(BAD);
  probe("failed");
  expect(quarantine.view(BAD)).toMatchObject({ standing: "quarantined", probeInMs: QUARANTINE_FIRST_MS });
});

test("a probe that was cancelled leaves it on trial", () => {
  const { quarantine, disgrace, clock, probe } = open();
  disgrace();
  clock.advance(QUARANTINE_FIRST_MS);
  probe("nothing");
  expect(quarantine.standing(BAD)).toBe("on-trial");
});

test("an operator's word ends it, and the doubling", () => {
  const { quarantine, disgrace, clock, probe } = open();
  disgrace();
  clock.advance(QUARANTINE_FIRST_MS);
  probe("lost");
  expect([quarantine.lift(BAD), quarantine.lift(BAD), quarantine.lift(GOOD)]).toEqual([true, false, false]);
  expect(quarantine.standing(BAD)).toBe("trusted");
  disgrace();
  expect(quarantine.nextTrialInMs()).toBe(QUARANTINE_FIRST_MS);
});

test("one that was trusted again gets twice the time if it was not for long", () => {
  const { quarantine, disgrace, clock, probe } = open();
  const serve = () => {
    disgrace();
    const waitMs = quarantine.nextTrialInMs() ?? 0;
    clock.advance(waitMs);
    probe("succeeded");
    return waitMs;
  };
  expect([serve(), serve()]).toEqual([QUARANTINE_FIRST_MS, 2 * QUARANTINE_FIRST_MS]);
  clock.advance(QUARANTINE_FORGET_MS + 1);
  expect(serve()).toBe(QUARANTINE_FIRST_MS);
});
