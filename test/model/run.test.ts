import { describe, expect, test } from "vitest";
import { LOST_ATTEMPTS_MAX, RETRY_BACKOFF_MS_MAX } from "../../src/base/limits.ts";
import { type AttemptEnd, NO_USAGE, type Outcome, type OutcomeKind } from "../../src/model/outcome.ts";
import {
  RUN_STATES,
  type RunCursor,
  type RunEvent,
  type RunRetryPolicy,
  type RunState,
  attemptKey,
  longestBackoffMs,
  transition,
} from "../../src/model/run.ts";
import { RETRYABLE_KINDS } from "../../src/model/task.ts";
import { taskId } from "../store/store-samples.ts";
import { fc } from "../support/properties.ts";

const NO_RETRIES: RunRetryPolicy = { retries: 0, backoffMs: 1_000, retryOn: RETRYABLE_KINDS };

const OUTCOMES: Readonly<Record<OutcomeKind, Outcome>> = {
  exited: { kind: "exited", code: 3 },
  trapped: { kind: "trapped", reason: "unreachable" },
  "timed-out": { kind: "timed-out", reason: "wall time" },
  "memory-exceeded": { kind: "memory-exceeded", reason: "256 MiB" },
  "output-exceeded": { kind: "output-exceeded" },
  cancelled: { kind: "cancelled", reason: "revoked" },
  rejected: { kind: "rejected", reason: "no entry" },
  lost: { kind: "lost", reason: "gone" },
};
const SUCCESS: Outcome = { kind: "exited", code: 0 };

function cursor(state: RunState, changes: Partial<RunCursor> = {}): RunCursor {
  return { state, attempt: state === "scheduled" ? 0 : 2, retried: 0, lost: 0, ...changes };
}

function settle(outcome: Outcome, changes: { attempt?: number; isBlameless?: boolean } = {}): RunEvent {
  const end: AttemptEnd = { outcome, usage: NO_USAGE, outputBytes: 0, outputTruncated: false };
  return { kind: "settle", attempt: 2, end, ...changes };
}

const EVENTS: Readonly<Record<string, RunEvent>> = {
  due: { kind: "due" },
  lease: { kind: "lease" },
  success: settle(SUCCESS),
  failure: settle(OUTCOMES.exited),
  lost: settle(OUTCOMES.lost),
  "lost, blameless": settle(OUTCOMES.lost, { isBlameless: true }),
  "a cancelled attempt": settle(OUTCOMES.cancelled),
  "another attempt's end": settle(SUCCESS, { attempt: 1 }),
  "the end of an attempt that has not begun": settle(SUCCESS, { attempt: 3 }),
  cancel: { kind: "cancel", reason: "asked to" },
  retry: { kind: "retry", isDue: true },
  "retry before its time": { kind: "retry", isDue: false },
};

/** The whole table: state by event, the next state or why not. */
const TABLE: Readonly<Record<RunState, Readonly<Record<string, RunState | "wrong-state" | "stale-attempt">>>> = {
  scheduled: { due: "ready", cancel: "cancelled" },
  ready: { lease: "running", cancel: "cancelled" },
  running: {
    success: "succeeded",
    failure: "failed",
    lost: "ready",
    "lost, blameless": "ready",
    "a cancelled attempt": "cancelled",
    "another attempt's end": "stale-attempt",
    "the end of an attempt that has not begun": "stale-attempt",
    cancel: "cancelled",
  },
  succeeded: {},
  failed: { retry: "ready", "retry before its time": "scheduled" },
  cancelled: { retry: "ready", "retry before its time": "scheduled" },
};

describe("transition", () => {
  for (const state of RUN_STATES) {
    for (const [name, event] of Object.entries(EVENTS)) {
      const expected = TABLE[state][name] ?? "wrong-state";
      test(`${state}, ${name}: ${expected}`, () => {
        const change = transition(cursor(state), event, NO_RETRIES);
        expect(change.kind === "changed" ? change.next.state : change.why).toBe(expected);
      });
    }
  }

  test("counts attempts at the lease and nowhere else", () => {
    const leased = transition(cursor("ready", { attempt: 4 }), { kind: "lease" }, NO_RETRIES);
    expect(leased).toEqual({ kind: "changed", next: cursor("running", { attempt: 5 }) });
    const due = transition(cursor("scheduled"), { kind: "due" }, NO_RETRIES);
    expect(due).toEqual({ kind: "changed", next: cursor("ready", { attempt: 0 }) });
  });

  test("gives a run the outcome of the attempt that ended it", () => {
    for (const outcome of [SUCCESS, ...Object.values(OUTCOMES)]) {
      const change = transition(cursor("running", { lost: LOST_ATTEMPTS_MAX - 1 }), settle(outcome), NO_RETRIES);
      const attemptState =
        outcome === SUCCESS
          ? "succeeded"
          : outcome.kind === "cancelled" || outcome.kind === "lost"
            ? outcome.kind
            : "failed";
      expect(change).toMatchObject({ kind: "changed", attemptState, outcome: { kind: outcome.kind } });
    }
  });

  test("cancels with the reason, and the attempt under way with it", () => {
    const outcome = { kind: "cancelled", reason: "asked to" };
    const event: RunEvent = { kind: "cancel", reason: "asked to" };
    for (const state of ["scheduled", "ready"] as const) {
      const change = transition(cursor(state), event, NO_RETRIES);
      expect(change).toEqual({
        kind: "changed",
        next: cursor("cancelled", { attempt: cursor(state).attempt }),
        outcome,
      });
    }
    const change = transition(cursor("running"), event, NO_RETRIES);
    expect(change).toMatchObject({ attemptState: "cancelled", outcome });
  });

  test("retries with a doubling back-off, as often as allowed", () => {
    const policy = { ...NO_RETRIES, retries: 3, backoffMs: 100 };
    const backoffs: (number | undefined)[] = [];
    let run = cursor("running");
    for (;;) {
      const change = transition(run, settle(OUTCOMES.trapped), policy);
      if (change.kind === "refused" || change.outcome !== undefined) break;
      backoffs.push(change.backoffMs);
      expect(longestBackoffMs(policy.backoffMs, change.next.retried)).toBe(change.backoffMs);
      run = { ...change.next, state: "running" };
    }
    expect(backoffs).toEqual([100, 200, 400]);
    expect(run.retried).toBe(3);
  });

  test("lets the back-off grow to its limit, however often it doubles, and a longer one stay as it is", () => {
    const backoffAfter = (backoffMs: number, retried: number) => {
      const policy = { ...NO_RETRIES, retries: 10_000, backoffMs };
      const change = transition(cursor("running", { retried }), settle(OUTCOMES.trapped), policy);
      return change.kind === "changed" ? change.backoffMs : undefined;
    };
    expect(backoffAfter(1_000, 11)).toBe(2_048_000);
    for (const retried of [12, 40, 5_000]) expect(backoffAfter(1_000, retried)).toBe(RETRY_BACKOFF_MS_MAX);
    for (const retried of [0, 1, 50]) expect(backoffAfter(86_400_000, retried)).toBe(86_400_000);
    for (const retried of [50, 5_000]) expect(backoffAfter(0, retried)).toBe(0);
  });

  test.each(Object.keys(OUTCOMES))("retries %s only where the policy names it", (kind) => {
    const outcome = Object.values(OUTCOMES).find((each) => each.kind === kind) ?? SUCCESS;
    for (const retryOn of [RETRYABLE_KINDS, []]) {
      const change = transition(cursor("running"), settle(outcome), { retries: 1, backoffMs: 5, retryOn });
      const isRetried = change.kind === "changed" && change.next.retried === 1;
      expect(isRetried).toBe(retryOn.some((each) => each === kind));
    }
  });

  test("poisons a run after so many losses, and spends no retries on them", () => {
    let run = cursor("running");
    const states: RunState[] = [];
    for (let loss = 1; loss <= LOST_ATTEMPTS_MAX; loss += 1) {
      const change = transition(run, settle(OUTCOMES.lost), { ...NO_RETRIES, retries: 9 });
      if (change.kind === "refused") break;
      states.push(change.next.state);
      expect(change.next.retried).toBe(0);
      run = { ...change.next, state: "running" };
      if (loss === LOST_ATTEMPTS_MAX) expect(change.outcome).toEqual({ kind: "lost", reason: "poisoned" });
    }
    expect(states).toEqual([...Array<RunState>(LOST_ATTEMPTS_MAX - 1).fill("ready"), "failed"]);
  });

  test("never poisons a run by losses it is not to blame for", () => {
    const run = cursor("running", { lost: LOST_ATTEMPTS_MAX - 1 });
    const change = transition(run, settle(OUTCOMES.lost, { isBlameless: true }), NO_RETRIES);
    expect(change).toMatchObject({ next: { state: "ready", lost: LOST_ATTEMPTS_MAX - 1 } });
  });

  test("goes on counting attempts when an operator has a run tried again, and begins anew with what may go wrong", () => {
    const spent = cursor("failed", { attempt: 7, retried: 3, lost: LOST_ATTEMPTS_MAX });
    expect(transition(spent, { kind: "retry", isDue: true }, NO_RETRIES)).toEqual({
      kind: "changed",
      next: { state: "ready", attempt: 7, retried: 0, lost: 0 },
    });
  });

  test("never leaves a final state by itself, and never takes an attempt back, in any sequence", () => {
    const events = Object.values(EVENTS).filter(({ kind }) => kind !== "retry");
    const event = fc.constantFrom(...events, settle(OUTCOMES.lost, { isBlameless: true }));
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), fc.integer({ min: 0, max: 5 }), (events, retries) => {
        let run: RunCursor = cursor("scheduled");
        let hasEnded = false;
        for (const each of events) {
          const current = each.kind === "settle" && each.attempt === 2 ? { ...each, attempt: run.attempt } : each;
          const change = transition(run, current, { ...NO_RETRIES, retries });
          if (change.kind === "refused") continue;
          expect(hasEnded).toBe(false);
          expect(change.next.attempt - run.attempt).toBe(current.kind === "lease" ? 1 : 0);
          expect(change.next.retried).toBeLessThanOrEqual(retries);
          expect(change.next.lost).toBeLessThanOrEqual(LOST_ATTEMPTS_MAX);
          hasEnded = change.outcome !== undefined;
          expect(["succeeded", "failed", "cancelled"].includes(change.next.state)).toBe(hasEnded);
          run = change.next;
        }
      }),
    );
  });
});

test("names attempts apart", () => {
  const id = { task: taskId("t"), serial: 1, run: 11, attempt: 1 };
  const keys = [id, { ...id, run: 1, attempt: 11 }, { ...id, serial: 11, run: 1 }, { ...id, attempt: 2 }].map(
    attemptKey,
  );
  expect(new Set(keys).size).toBe(4);
});
