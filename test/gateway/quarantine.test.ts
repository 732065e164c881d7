import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { type Digest, type PeerId, parseDigest } from "../../src/base/ids.ts";
import {
  FAULTS_PER_WORKER_MAX,
  QUARANTINE_FAULTS_MIN,
  QUARANTINE_FIRST_MS,
  QUARANTINE_FORGET_MS,
  QUARANTINE_MAX_MS,
  QUARANTINE_WINDOW_MS,
  SUSPICIONS_MAX,
  SUSPICIONS_PER_RUN_MAX,
  WORKER_RECORDS_MAX,
} from "../../src/base/limits.ts";
import { Quarantine, type WorkerSign } from "../../src/gateway/quarantine.ts";
import type { AttemptId } from "../../src/model/run.ts";
import { WORKER_A as BAD, WORKER_B as GOOD, digest, peerId, taskId } from "../store/store-samples.ts";
import { ManualClock } from "../support/manual-clock.ts";

const OTHER = peerId("C");

function attempt(run: number, number = 1): AttemptId {
  return { task: taskId("t"), serial: 1, run, attempt: number };
}

function open() {
  const clock = new ManualClock();
  const changes: PeerId[] = [];
  const quarantine = new Quarantine({ clock, onChange: (worker) => changes.push(worker) });
  let runs = 0;
  const end = (id: AttemptId, worker: PeerId, sign: WorkerSign, isSilence = false, module = digest()) =>
    quarantine.ended({ id, worker, module, sign, what: "it went wrong", isSilence });
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

test("a run that fails on one worker and then on another one is no fault of the first", () => {
  const { quarantine, end } = open();
  for (let run = 1; run <= 4 * QUARANTINE_FAULTS_MIN; run++) {
    end(attempt(run), BAD, "failed");
    end(attempt(run, 2), GOOD, "failed");
  }
  expect(quarantine.standing(BAD)).toBe("trusted");
});

test("a run that failed on two workers and succeeds on a third was the fault of both", () => {
  const { quarantine, end } = open();
  for (let run = 1; run <= 2 * QUARANTINE_FAULTS_MIN; run++) {
    end(attempt(run), BAD, "failed");
    end(attempt(run, 2), OTHER, "failed");
    end(attempt(run, 3), GOOD, "succeeded");
  }
  expect([quarantine.standing(BAD), quarantine.standing(OTHER)]).toEqual(["quarantined", "quarantined"]);
});

test("a run that it carries out itself after it has lost it is not held against it", () => {
  const { quarantine, end } = open();
  for (let run = 1; run <= QUARANTINE_FAULTS_MIN; run++) {
    end(attempt(run), BAD, "lost");
    end(attempt(run, 2), BAD, "failed");
  }
  expect(quarantine.standing(BAD)).toBe("trusted");
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

test("a module that it rejected once counts once, however often others run it", () => {
  const { quarantine, end } = open();
  end(attempt(1), BAD, "rejected");
  for (let run = 2; run < 20; run++) end(attempt(run), GOOD, "succeeded");
  expect(quarantine.standing(BAD)).toBe("trusted");
  for (let run = 21; run < 20 + QUARANTINE_FAULTS_MIN; run++) {
    end(attempt(run), BAD, "lost");
    end(attempt(run, 2), GOOD, "succeeded");
  }
  expect(quarantine.view(BAD)?.reason).toContain(`${QUARANTINE_FAULTS_MIN} of its attempts`);
});

test("a module that it rejects though it has run it is its fault only when another one has run it too", () => {
  const { quarantine, end } = open();
  end(attempt(1), BAD, "succeeded");
  for (let run = 2; run <= 1 + QUARANTINE_FAULTS_MIN; run++) end(attempt(run), BAD, "rejected");
  expect(quarantine.standing(BAD)).toBe("trusted");
  end(attempt(20), GOOD, "succeeded");
  expect(quarantine.standing(BAD)).toBe("quarantined");
});

test("that another worker has run a module is known although this one has run it since", () => {
  const { quarantine, end } = open();
  end(attempt(1), GOOD, "succeeded");
  end(attempt(2), BAD, "failed");
  for (let run = 3; run < 3 + QUARANTINE_FAULTS_MIN; run++) end(attempt(run), BAD, "rejected");
  expect(quarantine.standing(BAD)).toBe("quarantined");
});

test.each([
  ["half a window", "trusted", [QUARANTINE_WINDOW_MS / 2]],
  ["a window", "quarantined", [QUARANTINE_WINDOW_MS]],
  ["two halves of one", "quarantined", [QUARANTINE_WINDOW_MS / 2, QUARANTINE_WINDOW_MS / 2]],
])("what it has carried out speaks for it for a while: %s later it is %s", (_, standing, waitsMs) => {
  const { quarantine, end, disgrace, clock } = open();
  for (let run = 101; run <= 200; run++) end(attempt(run), BAD, "succeeded");
  for (const waitMs of waitsMs) {
    clock.advance(waitMs);
    end(attempt(300), BAD, "nothing");
  }
  disgrace();
  expect(quarantine.standing(BAD)).toBe(standing);
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
  expect(quarantine.view(BAD)?.probeInMs).toBe(0);
  clock.advance(1);
  expect(quarantine.view(BAD)?.probeInMs).toBe(0);
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
  const { quarantine, disgrace, clock, probe, changes } = open();
  disgrace();
  clock.advance(QUARANTINE_FIRST_MS);
  quarantine.standing(BAD);
  probe("failed");
  expect(changes).toEqual([BAD, BAD]);
  expect(quarantine.view(BAD)).toMatchObject({ standing: "quarantined", probeInMs: QUARANTINE_FIRST_MS });
});

test("a probe that was cancelled leaves it on trial", () => {
  const { quarantine, disgrace, clock, probe } = open();
  disgrace();
  clock.advance(QUARANTINE_FIRST_MS);
  probe("nothing");
  expect(quarantine.standing(BAD)).toBe("on-trial");
});

test("only the end of its probe decides, not that of what it had before", () => {
  const { quarantine, disgrace, clock, end } = open();
  const [before, probed, meanwhile] = [attempt(1_001), attempt(1_002), attempt(1_003)];
  quarantine.began(before, BAD);
  disgrace();
  // It was chosen just before the quarantine.
  quarantine.began(meanwhile, BAD);
  expect(quarantine.standing(BAD)).toBe("quarantined");
  clock.advance(QUARANTINE_FIRST_MS);
  quarantine.began(probed, BAD);
  quarantine.began(attempt(1_004), BAD);
  end(before, BAD, "succeeded");
  end(meanwhile, BAD, "lost");
  expect(quarantine.standing(BAD)).toBe("probed");
  end(probed, BAD, "succeeded");
  expect(quarantine.standing(BAD)).toBe("trusted");
});

test("what it had begun before and loses meanwhile makes its time no longer", () => {
  const { quarantine, disgrace, clock } = open();
  disgrace();
  clock.advance(QUARANTINE_FIRST_MS - 1);
  disgrace();
  clock.advance(1);
  expect(quarantine.standing(BAD)).toBe("on-trial");
});

test("of several in quarantine the first to be tried is waited for, and none that an operator trusts or is being tried", () => {
  const { quarantine, disgrace, clock, end } = open();
  disgrace();
  clock.advance(1_000);
  for (let run = 501; run <= 500 + QUARANTINE_FAULTS_MIN; run++) {
    end(attempt(run), OTHER, "lost");
    end(attempt(run, 2), GOOD, "succeeded");
  }
  expect(quarantine.standing(OTHER)).toBe("quarantined");
  expect(quarantine.nextTrialInMs()).toBe(QUARANTINE_FIRST_MS - 1_000);
  quarantine.lift(BAD);
  expect(quarantine.nextTrialInMs()).toBe(QUARANTINE_FIRST_MS);
  const lookedAtMs = clock.monotonicMs();
  clock.advance(QUARANTINE_FIRST_MS);
  quarantine.began(attempt(900), OTHER);
  expect(quarantine.standing(OTHER)).toBe("probed");
  expect(quarantine.nextTrialInMs(lookedAtMs)).toBeUndefined();
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
  const { quarantine, disgrace, clock, probe, end } = open();
  end(attempt(1_000), BAD, "nothing");
  const serve = () => {
    disgrace();
    const waitMs = quarantine.nextTrialInMs() ?? 0;
    clock.advance(waitMs);
    probe("succeeded");
    return waitMs;
  };
  clock.advance(QUARANTINE_FORGET_MS + 1);
  expect([serve(), serve()]).toEqual([QUARANTINE_FIRST_MS, 2 * QUARANTINE_FIRST_MS]);
  clock.advance(QUARANTINE_FORGET_MS + 1);
  expect(serve()).toBe(QUARANTINE_FIRST_MS);
});

describe("only so much is remembered", () => {
  test("of the losses of one run: the latest", () => {
    const { quarantine, end } = open();
    for (let run = 1; run <= QUARANTINE_FAULTS_MIN; run++) {
      end(attempt(run), BAD, "lost");
      for (let number = 2; number <= SUSPICIONS_PER_RUN_MAX; number++) end(attempt(run, number), OTHER, "lost");
      // One more than there is room for, of two of these.
      if (run <= 2) end(attempt(run, 100), OTHER, "lost");
      end(attempt(run, 101), GOOD, "succeeded");
    }
    expect([quarantine.standing(BAD), quarantine.standing(OTHER)]).toEqual(["trusted", "quarantined"]);
  });

  test("of runs: those lost last", () => {
    const { quarantine, end } = open();
    const count = QUARANTINE_FAULTS_MIN;
    for (let run = 1; run <= 2 * count; run++) end(attempt(run), BAD, "lost");
    // The first ones are lost once more, and so come last.
    for (let run = 1; run <= count; run++) end(attempt(run, 2), BAD, "lost");
    for (let run = 1; run <= SUSPICIONS_MAX - count; run++) end(attempt(1_000 + run), OTHER, "lost");
    for (let run = count + 1; run <= 2 * count; run++) end(attempt(run, 3), GOOD, "succeeded");
    expect(quarantine.standing(BAD)).toBe("trusted");
    for (let run = 1; run <= count; run++) end(attempt(run, 3), GOOD, "succeeded");
    expect(quarantine.standing(BAD)).toBe("quarantined");
  });

  test("of modules: those that ran last", () => {
    const { quarantine, end } = open();
    const run = (module: string) => end(attempt(1), GOOD, "succeeded", false, moduleNamed(module));
    const reject = (module: string) => {
      for (let each = 2; each < 2 + QUARANTINE_FAULTS_MIN; each++) {
        end(attempt(each), BAD, "rejected", false, moduleNamed(module));
      }
    };
    run("first");
    run("again");
    run("again");
    for (let each = 2; each <= SUSPICIONS_MAX; each++) run(`${each}`);
    reject("first");
    expect(quarantine.standing(BAD)).toBe("trusted");
    reject("again");
    expect(quarantine.standing(BAD)).toBe("quarantined");
  });

  test("of a worker's faults: the latest", () => {
    const { quarantine, disgrace } = open();
    disgrace(2 * FAULTS_PER_WORKER_MAX, "lost", true);
    disgrace();
    expect(quarantine.view(BAD)?.reason).toContain(`${FAULTS_PER_WORKER_MAX} of its attempts`);
  });

  test("of workers: those seen first are forgotten, in quarantine or not", () => {
    const { quarantine, disgrace, end } = open();
    disgrace();
    // The other one is known as well.
    for (let each = 3; each <= WORKER_RECORDS_MAX; each++) end(attempt(1), peerNumbered(each), "nothing");
    expect(quarantine.standing(BAD)).toBe("quarantined");
    end(attempt(1), OTHER, "nothing");
    expect(quarantine.standing(BAD)).toBe("trusted");
  });
});

function moduleNamed(name: string): Digest {
  const module = parseDigest(createHash("sha256").update(name).digest("hex"));
  if (module === undefined) throw new Error("a digest is one");
  return module;
}

function peerNumbered(number: number): PeerId {
  // Base 58 has no zero.
  return peerId(`Q${number.toString().replaceAll("0", "z")}`);
}
