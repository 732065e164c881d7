/** Why a task is where it is, in words and as data. */
import { describe, expect, test } from "vitest";
import {
  type ExplanationJson,
  REASON_CODES,
  type ReasonCode,
  explanationSchema,
} from "../../../src/api/explanation.ts";
import { EXPLAINED_ITEMS_MAX } from "../../../src/base/limits.ts";
import { type ExplainInput, explain } from "../../../src/gateway/http/explain.ts";
import { parseEntry } from "../../../src/model/entry.ts";
import { RUN_STATES } from "../../../src/model/run.ts";
import type { Task } from "../../../src/model/task.ts";
import type { WorkerView } from "../../../src/model/worker.ts";
import type { OpenRun, TaskInspection } from "../../../src/store/inspection.ts";
import { ApiGateway } from "../../support/api-gateway.ts";
import { guestBytes } from "../../support/guests.ts";
import { T0, WORKER_A, WORKER_B, peerId, taskId, taskSpec } from "../../store/store-samples.ts";

const CANCELLED = { kind: "cancelled", reason: "cancelled by a user" } as const;
const TRAPPED = { kind: "trapped", reason: "unreachable" } as const;
const RESIZE = parseEntry("resize");
const NONE = { scheduled: 0, ready: 0, running: 0, succeeded: 0, failed: 0, cancelled: 0 };

function task(changes: Partial<Task> = {}): Task {
  return {
    spec: taskSpec("t"),
    serial: 1,
    createdAt: T0,
    counts: NONE,
    firstRun: 1,
    isCancelled: false,
    state: "ready",
    runningSince: [],
    ...changes,
  };
}

function run(changes: Partial<OpenRun> = {}): OpenRun {
  return { index: 1, state: "ready", dueAt: T0, notBefore: 0, attempt: 0, lost: 0, lostOn: [], ...changes };
}

function worker(changes: Partial<WorkerView> = {}, labels: Readonly<Record<string, string>> = {}): WorkerView {
  return {
    id: WORKER_A,
    status: "ready",
    state: { slots: 2, busy: 2, weight: 1, labels: { host: "alpha", ...labels }, version: "0", cachedModules: [] },
    running: 2,
    offers: 0,
    address: "memory",
    connectedAt: T0,
    lastSeenAt: T0,
    ...changes,
  };
}

function inspection(changes: Partial<TaskInspection> = {}): TaskInspection {
  return {
    task: task(),
    openRuns: [run()],
    waitsFor: [],
    unmetCount: 0,
    readyAhead: 0,
    isMoreAhead: false,
    ...changes,
  };
}

function explained(changes: Partial<ExplainInput>): ExplanationJson {
  const explanation = explain({ inspection: inspection(), workers: [], now: T0, ...changes });
  expect(explanationSchema.parse(explanation)).toEqual(explanation);
  for (const { code } of explanation.reasons) expect(REASON_CODES).toContain(code);
  return explanation;
}

/** The codes and the sentences. */
function told(changes: Partial<ExplainInput>): readonly (readonly [string, string])[] {
  return explained(changes).reasons.map(({ code, message }) => [code, message]);
}

describe("a task that is ready", () => {
  test("without a worker", () => {
    expect(told({})).toEqual([
      ["no-worker", "Run 1 is ready, and no worker is connected: start one with `capmesh --dial <gateway>`."],
    ]);
    const workers = [worker({ status: "pending" }), worker({ id: WORKER_B, status: "away" })];
    expect(told({ workers })).toEqual([
      [
        "no-worker",
        `Run 1 is ready, and no worker is connected: 1 waits to be admitted: \`capmesh worker admit ${WORKER_A}\`.`,
      ],
    ]);
  });

  test("each of its runs by itself, where only some wait for what could not be read", () => {
    const openRuns = [1, 2, 3, 4].map((index) => run({ index }));
    const blobWaitMs = ({ index }: OpenRun) => (index === 2 ? 5_000 : index === 3 ? 3_000 : undefined);
    const { reasons } = explained({
      inspection: inspection({ openRuns }),
      workers: [worker({ offers: 1 })],
      blobWaitMs,
    });
    expect(reasons).toMatchObject([
      { code: "unreadable", run: 2, ready: 2, until: "2027-01-15T08:00:03.000Z" },
      { code: "starting", run: 1, ready: 2 },
    ]);
  });

  test("without a worker that has its labels, with the closest", () => {
    const spec = taskSpec("t", { require: { gpu: "yes", zone: "eu", os: "linux" } });
    const workers = [worker({}, { os: "windows" }), worker({ id: WORKER_B }, { gpu: "yes", os: "linux", zone: "us" })];
    const { reasons } = explained({ inspection: inspection({ task: task({ spec }) }), workers });
    expect(reasons).toEqual([
      {
        code: "label",
        message: expect.stringMatching(
          /^Run 1 is ready, and no connected worker has gpu=yes, zone=eu, os=linux; the closest is worker …\S+ \(alpha\), where zone is us\.$/,
        ),
        run: 1,
        ready: 1,
        require: spec.require,
        closest: { worker: WORKER_B, missing: [{ label: "zone", wanted: "eu", has: "us" }] },
      },
    ]);
  });

  test("while those who could take it have no free slot", () => {
    const [reason] = explained({
      inspection: inspection({ readyAhead: 3 }),
      workers: [worker(), worker({ id: WORKER_B })],
    }).reasons;
    expect(reason).toEqual({
      code: "slot",
      message:
        "Run 1 is ready; all 2 workers that can take it have no free slot of 4, and 3 ready runs come before it.",
      run: 1,
      ready: 1,
      workers: 2,
      slots: 4,
      ahead: 3,
    });
    const [one] = told({ inspection: inspection({ readyAhead: 1 }), workers: [worker()] });
    expect(one?.[1]).toMatch(/, and 1 ready run comes before it\.$/);
    const many = inspection({ openRuns: [run(), run({ index: 2 })], readyAhead: 1_000, isMoreAhead: true });
    expect(told({ inspection: many, workers: [worker()] })).toEqual([
      [
        "slot",
        "2 runs are ready, from run 1 on; the one worker that can take it has no free slot of 2, and more than 1000 ready runs come before it.",
      ],
    ]);
  });

  test("while those who could take it are given no runs", () => {
    const workers = [
      worker({ status: "quarantined", note: "it fails what others run" }),
      worker({ id: WORKER_B, isResting: true, offers: 1 }),
      worker({ id: peerId("C"), status: "draining" }),
    ];
    const [reason] = explained({ workers }).reasons;
    expect(reason).toMatchObject({
      code: "worker",
      message: expect.stringMatching(
        /is in quarantine \(it fails what others run\), worker .* rests after it lost attempts, worker .* drains\.$/,
      ),
      workers: [{ status: "quarantined" }, { resting: true }, { status: "draining" }],
    });
  });

  test("where only workers are free that have lost it", () => {
    const lost = run({ attempt: 1, lost: 1, lostOn: [WORKER_A] });
    const workers = [worker({ offers: 1 }), worker({ id: WORKER_B })];
    expect(told({ inspection: inspection({ openRuns: [lost] }), workers }).map(([code]) => code)).toEqual([
      "untried",
      "lost",
    ]);
    // Where there is no other, it is not waited for.
    const [first] = told({ inspection: inspection({ openRuns: [lost] }), workers: [worker({ offers: 1 })] });
    expect(first?.[0]).toBe("starting");
  });

  test("after an attempt that was lost through nobody's fault", () => {
    const lost = run({ attempt: 1, lastOutcome: { kind: "lost", reason: "the gateway could not read its module" } });
    const [reason] = told({ inspection: inspection({ openRuns: [lost] }), workers: [worker({ offers: 1 })] });
    expect(reason).toEqual(["starting", expect.stringMatching(/was lost: the gateway could not read its module\.$/)]);
  });

  test("while it is about to be started, and while nothing is", () => {
    const workers = [worker({ offers: 1 })];
    expect(told({ workers })[0]?.[0]).toBe("starting");
    expect(told({ workers, storeTrouble: "its disk is full" })).toEqual([
      ["store", "Run 1 is ready, and nothing is started now: its disk is full."],
    ]);
    const behind = inspection({ readyAhead: 249 });
    expect(told({ inspection: behind, workers })).toEqual([
      ["slot", expect.stringMatching(/^Run 1 is ready; 249 ready runs come before it, for 1 free slot of worker /)],
    ]);
    const due = { ...task({ spec: taskSpec("t", { cron: "* * * * * *", catchup: "none" }) }), nextRunAt: T0 - 5_000 };
    const stuck = inspection({ task: due, openRuns: [run({ state: "scheduled", index: 7, dueAt: T0 - 5_000 })] });
    expect(told({ inspection: stuck, workers, storeTrouble: "its disk is full" })).toEqual([
      [
        "store",
        expect.stringMatching(
          /^Run 7 was due at .*, and nothing is started now: its disk is full\. .* catchup=none\.$/,
        ),
      ],
    ]);
    expect(told({ workers, gatewayTrouble: "the gateway is draining" })[0]?.[0]).toBe("gateway");
  });
});

test("a task that another one broke off is told which to retry first", () => {
  const spec = taskSpec("t", { after: [taskId("a"), taskId("b")] });
  const reason = "it runs after b, which failed: run 1 exited";
  const whileItRunsAfter = (waitsFor: TaskInspection["waitsFor"]) => {
    const inspected = inspection({ task: { ...task({ spec }), state: "cancelled", reason }, openRuns: [], waitsFor });
    return told({ inspection: inspected })[0]?.[1];
  };
  const [a, b] = [taskId("a"), taskId("b")];
  expect(whileItRunsAfter([{ id: b, state: "failed" }])).toContain("; retry b first, then POST /tasks/t/retry runs");
  expect(whileItRunsAfter([{ id: undefined, state: "deleted" }])).toContain("; submit it anew");
  // Others have broken off since, or it has been tried again: what holds now is told.
  const both = [
    { id: a, state: "cancelled" },
    { id: b, state: "failed" },
  ] as const;
  expect(whileItRunsAfter(both)).toContain("; retry a, b first, then POST");
  expect(whileItRunsAfter([{ id: b, state: "running" }])).toContain("; POST /tasks/t/retry lets it wait for b again");
  expect(whileItRunsAfter([{ id: b, state: "succeeded" }])).toContain(
    "; POST /tasks/t/retry runs what did not succeed again",
  );
  expect(whileItRunsAfter([])).toContain("; POST /tasks/t/retry runs");
});

describe("a task that waits", () => {
  test("for a slot behind those that have fired by a clock which was ahead", () => {
    const nextRunAt = Date.parse("2027-06-15T09:00:00Z");
    const waiting = (now: string) => {
      const spec = taskSpec("t", { cron: "0 9 * * *", repeats: 0 });
      const openRuns = [run({ index: 2, state: "scheduled", dueAt: nextRunAt })];
      const slots = inspection({ task: task({ state: "scheduled", nextRunAt, spec }), openRuns });
      return explained({ inspection: slots, now: Date.parse(now) }).reasons;
    };
    expect(waiting("2027-06-14T10:00:00Z")).toMatchObject([
      { message: "Run 2 is due at 2027-06-15T09:00:00.000Z (0 9 * * *, UTC), in 23 h 0 min." },
    ]);
    expect(waiting("2027-01-15T08:00:00Z")).toMatchObject([
      {
        code: "time",
        message: expect.stringMatching(
          /Slots from 2027-01-15T09:00:00.000Z on are passed over: they have fired already/,
        ),
        passedOverFrom: "2027-01-15T09:00:00.000Z",
      },
    ]);
  });

  test("for its time", () => {
    const waiting = task({ state: "scheduled", nextRunAt: T0 + 90_000 });
    const openRuns = [run({ state: "scheduled", dueAt: T0 + 90_000 })];
    expect(explained({ inspection: inspection({ task: waiting, openRuns }) }).reasons).toEqual([
      {
        code: "time",
        message: "Run 1 is due at 2027-01-15T08:01:30.000Z, in 1 min 30 s.",
        run: 1,
        dueAt: "2027-01-15T08:01:30.000Z",
        cron: null,
      },
    ]);
    const cron = { ...waiting, spec: taskSpec("t", { cron: "0 3 * * *", timezone: "Europe/Berlin", repeats: 0 }) };
    expect(told({ inspection: inspection({ task: cron, openRuns }) })[0]?.[1]).toMatch(
      / \(0 3 \* \* \*, Europe\/Berlin\), in /,
    );
  });

  test("for other tasks", () => {
    const waitsFor = [
      { id: taskId("a"), state: "running" as const },
      { id: taskId("b"), state: "failed" as const },
      { id: undefined, state: "deleted" as const },
    ];
    const waiting = inspection({
      task: task({ state: "scheduled" }),
      openRuns: [],
      waitsFor,
      unmetCount: EXPLAINED_ITEMS_MAX,
    });
    expect(told({ inspection: waiting })).toEqual([
      ["dependency", "It runs after a, which is running: GET /tasks/a/explain says why."],
      ["dependency", "It runs after b, which has ended (failed): that is about to be seen to."],
      ["dependency", "It runs after a task that was deleted, which has ended (deleted): that is about to be seen to."],
      ["dependency", `It runs after ${EXPLAINED_ITEMS_MAX - 3} more that have not succeeded yet.`],
    ]);
  });

  test("for the end of a back-off", () => {
    const openRuns = [
      run({ attempt: 2, notBefore: T0 + 4_500, lastOutcome: { kind: "trapped", reason: "unreachable" } }),
    ];
    expect(explained({ inspection: inspection({ openRuns }) }).reasons).toEqual([
      {
        code: "backoff",
        message: "Attempt 2 of run 1 ended as trapped: it is tried again at 2027-01-15T08:00:04.500Z, in 4.5 s.",
        run: 1,
        attempt: 2,
        until: "2027-01-15T08:00:04.500Z",
        outcome: "trapped",
      },
    ]);
  });

  test("for a cancelled attempt whose worker has not said that it is over", () => {
    const held = inspection({
      openRuns: [run({ attempt: 1, notBefore: T0 + 12_000, cancelledOn: WORKER_A, lastOutcome: CANCELLED })],
    });
    expect(explained({ inspection: held, workers: [worker({ status: "away" })] }).reasons).toEqual([
      {
        code: "lease",
        message: expect.stringMatching(
          /^Run 1 is to run again; attempt 1 of it was cancelled, and worker …\S+ \(alpha\) has not said that it is over: the next one begins when that has, or at 2027-\S+Z, in 12 s, when its lease has ended\.$/,
        ),
        run: 1,
        attempt: 1,
        worker: WORKER_A,
        until: expect.stringMatching(/^2027-/),
      },
    ]);
  });

  test("for the run before it", () => {
    const held = task({
      state: "running",
      nextRunAt: T0 - 500,
      spec: taskSpec("t", { overlap: "forbid", repeats: 3 }),
    });
    const openRuns = [run({ state: "running", attempt: 1, worker: WORKER_A, startedAt: T0 - 2_000 })];
    expect(told({ inspection: inspection({ task: held, openRuns }), workers: [worker()] })).toEqual([
      [
        "running",
        expect.stringMatching(
          /^Attempt 1 of run 1 is under way on worker …\S+ \(alpha\), for 2 s of at most 5 min 0 s\.$/,
        ),
      ],
      ["overlap", "Run 2 is due at 2027-01-15T07:59:59.500Z, but not before run 1 has ended: overlap is forbidden."],
    ]);
  });
});

test("a run on a worker that is not connected may come back", () => {
  const openRuns = [run({ state: "running", attempt: 1, worker: WORKER_B, startedAt: T0 })];
  const [first] = told({ inspection: inspection({ task: task({ state: "running" }), openRuns }), workers: [worker()] });
  expect(first?.[1]).toMatch(/, which is not connected: it may come back, or the run is tried elsewhere, for 0 ms/);
});

/** A row for each state of a run, and each reason why one that is ready is not started; what comes first of the reasons. */
const SAYINGS: readonly (readonly [string, Partial<ExplainInput>, ReasonCode, RegExp])[] = [
  ["ready, no worker", {}, "no-worker", /no worker is connected: start one with `capmesh --dial <gateway>`/],
  ["ready, pending alone", { workers: [worker({ status: "pending" })] }, "no-worker", /`capmesh worker admit /],
  ["ready, away alone", { workers: [worker({ status: "away" })] }, "no-worker", /no worker is connected/],
  [
    "ready, of no worker's kind",
    {
      inspection: inspection({ task: task({ spec: taskSpec("t", { entry: RESIZE ?? "run" }) }) }),
      workers: [worker()],
    },
    "entry",
    /no connected worker runs entry=resize; there are workers for command, component, run: start one that has it/,
  ],
  [
    "ready, of no worker's labels",
    {
      inspection: inspection({ task: task({ spec: taskSpec("t", { require: { gpu: "yes" } }) }) }),
      workers: [worker()],
    },
    "label",
    /no connected worker has gpu=yes; the closest is worker .*, where gpu is not set/,
  ],
  [
    "ready, all quarantined",
    { workers: [worker({ status: "quarantined", note: "why" })] },
    "worker",
    /is in quarantine \(why\)/,
  ],
  ["ready, all drained", { workers: [worker({ status: "draining" })] }, "worker", /given no runs now: .* drains/],
  [
    "ready, all resting",
    { workers: [worker({ isResting: true, offers: 1 })] },
    "worker",
    /rests after it lost attempts/,
  ],
  ["ready, all busy", { workers: [worker()] }, "slot", /no free slot of 2, and it is the first in line/],
  [
    "ready, behind others of its task",
    { inspection: inspection({ readyAhead: 3 }), workers: [worker({ offers: 2 })] },
    "slot",
    /3 ready runs come before it, for 2 free slots of worker /,
  ],
  [
    "ready, lost where there is room",
    {
      inspection: inspection({ openRuns: [run({ attempt: 1, lost: 1, lostOn: [WORKER_A] })] }),
      workers: [worker({ offers: 1 }), worker({ id: WORKER_B })],
    },
    "untried",
    /it was lost on worker .*, and waits a while for a worker that has not been tried/,
  ],
  [
    "ready, its module cannot be read",
    { workers: [worker({ offers: 1 })], blobWaitMs: () => 3_000 },
    "unreadable",
    /could not read its module, or a file that it needs, and tries again at 2027-01-15T08:00:03\.000Z, in 3 s/,
  ],
  [
    "ready, about to be started",
    { workers: [worker({ offers: 1 })] },
    "starting",
    /has a free slot: it is about to be/,
  ],
  [
    "ready, store in trouble",
    { workers: [worker({ offers: 1 })], storeTrouble: "X" },
    "store",
    /nothing is started now: X\./,
  ],
  ["ready, gateway stops", { workers: [worker()], gatewayTrouble: "Y" }, "gateway", /nothing is started now: Y\./],
  [
    "ready, backing off",
    { inspection: inspection({ openRuns: [run({ attempt: 2, notBefore: T0 + 90_000, lastOutcome: TRAPPED })] }) },
    "backoff",
    /^Attempt 2 of run 1 ended as trapped: it is tried again at 2027-01-15T08:01:30\.000Z, in 1 min 30 s\.$/,
  ],
  [
    "ready, behind a cancelled attempt",
    { inspection: inspection({ openRuns: [run({ attempt: 1, notBefore: T0 + 9_000, cancelledOn: WORKER_A })] }) },
    "lease",
    /attempt 1 of it was cancelled, and worker .* has not said that it is over: .* in 9 s, when its lease has ended/,
  ],
  [
    "ready, nearly poisoned",
    { inspection: inspection({ openRuns: [run({ attempt: 4, lost: 4, notBefore: 0 })] }), workers: [worker()] },
    "slot",
    /no free slot/,
  ],
  [
    "running",
    {
      inspection: inspection({
        task: task({ state: "running" }),
        openRuns: [run({ state: "running", attempt: 1, worker: WORKER_A, startedAt: T0 - 500 })],
      }),
      workers: [worker()],
    },
    "running",
    /^Attempt 1 of run 1 is under way on worker .*, for 500 ms of at most 5 min 0 s\.$/,
  ],
  [
    "scheduled",
    {
      inspection: inspection({
        task: task({ state: "scheduled", nextRunAt: T0 + 60_000 }),
        openRuns: [run({ state: "scheduled", dueAt: T0 + 60_000 })],
      }),
    },
    "time",
    /^Run 1 is due at 2027-01-15T08:01:00\.000Z, in 1 min 0 s\.$/,
  ],
  [
    "scheduled, behind the run before it",
    {
      inspection: inspection({
        task: task({ state: "ready", nextRunAt: T0, spec: taskSpec("t", { overlap: "forbid", repeats: 2 }) }),
        openRuns: [run({ notBefore: T0 + 1_000, attempt: 1 })],
      }),
    },
    "backoff",
    /^Attempt 1 of run 1 failed: it is tried again at /,
  ],
  [
    "not made, behind other tasks",
    {
      inspection: inspection({
        task: task({ state: "scheduled" }),
        openRuns: [],
        waitsFor: [{ id: taskId("first"), state: "running" }],
        unmetCount: 1,
      }),
    },
    "dependency",
    /^It runs after first, which is running: GET \/tasks\/first\/explain says why\.$/,
  ],
  ...(["succeeded", "failed", "cancelled"] as const).map(
    (state) =>
      [
        state,
        { inspection: inspection({ task: task({ state, finishedAt: T0, reason: "Z" }), openRuns: [] }) },
        "finished",
        state === "succeeded" ? /all its runs have succeeded/ : /: Z; POST \/tasks\/t\/retry runs what did not succeed/,
      ] as const,
  ),
];

describe("what is said of a run that is", () => {
  test.each(SAYINGS)("%s", (_, input, code, sentence) => {
    const [first] = told(input);
    expect(first).toEqual([code, expect.stringMatching(sentence)]);
  });

  test("in each state there is, and for each reason", () => {
    const states = SAYINGS.flatMap(([, { inspection: seen = inspection() }]) => [
      seen.task.state,
      ...seen.openRuns.map(({ state }) => state),
    ]);
    expect(new Set(states)).toEqual(new Set(RUN_STATES));
    const codes = SAYINGS.flatMap(([, input]) => told(input).map(([code]) => code));
    expect(new Set(codes)).toEqual(new Set(REASON_CODES));
  });
});

test.each([
  ["succeeded", undefined, "all its runs have succeeded."],
  [
    "failed",
    "exited with code 3",
    "it has failed: exited with code 3; POST /tasks/t/retry runs what did not succeed again.",
  ],
  ["cancelled", "enough", "it was cancelled: enough; POST /tasks/t/retry runs what did not succeed again."],
  [
    "failed",
    "poisoned",
    "it has failed: poisoned: 5 attempts each took their worker or runner down; POST /tasks/t/retry runs what did not succeed again.",
  ],
] as const)("a task that has %s says so", (state, reason, sentence) => {
  const finished = inspection({ task: task({ state, reason, finishedAt: T0 }), openRuns: [] });
  expect(told({ inspection: finished })).toEqual([
    ["finished", `It has finished at 2027-01-15T08:00:00.000Z: ${sentence}`],
  ]);
});

describe("GET /tasks/{id}/explain", () => {
  test("explains what the store and the workers say", async () => {
    await using gateway = await ApiGateway.open();
    const client = gateway.client();
    const wasm = guestBytes("hash");
    await client.submit({ wasm, id: "a", retries: 1, backoff: 300 });
    await client.submit({ wasm, id: "b", after: ["a"] });
    await client.submit({ wasm, id: "c", start: 3600 });
    const codes = async (id: string) => (await client.explain(id)).reasons.map(({ code }) => code);
    expect(await codes("a")).toEqual(["no-worker"]);
    gateway.workers.push(worker());
    expect(await client.explain("a")).toMatchObject({
      task: "a",
      state: "ready",
      reasons: [{ code: "slot", ahead: 0 }],
    });
    expect(await client.explain("b")).toMatchObject({ reasons: [{ code: "dependency", task: "a", state: "ready" }] });
    expect(await codes("c")).toEqual(["time"]);
    const attempt = await gateway.start("a");
    expect(await codes("a")).toEqual(["running"]);
    await gateway.settle(attempt, { kind: "exited", code: 3 });
    expect(await client.explain("a")).toMatchObject({ reasons: [{ code: "backoff", attempt: 1, outcome: "exited" }] });
    await client.cancel("a");
    expect(await codes("a")).toEqual(["finished"]);
    // What is left of such a disk is kept for what was accepted, which is started.
    gateway.store.check = () => Promise.resolve({ kind: "disk-nearly-full", message: "little is left" });
    expect((await fetch(`${gateway.url}/readyz`)).status).toBe(503);
    expect(await codes("c")).toEqual(["slot"]);
    await expect(client.explain("nobody")).rejects.toMatchObject({ status: 404, code: "no-such-task" });
  });
});
