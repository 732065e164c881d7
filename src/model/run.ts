/**
 * A run: one scheduled execution of a task. Its attempts are the tries at it; the attempt number is the fencing token.
 *
 *     scheduled ──due──▶ ready ──lease──▶ running ──settle──▶ succeeded | failed
 *         │                ▲                │
 *         │                └── lost, retry ─┘
 *         └────── cancel, from each of the three ──────────▶ cancelled
 *
 *     failed | cancelled ──retry, by an operator──▶ ready, or scheduled if its time is still to come
 *
 * `transition` is the whole table: pure, and the only place that decides. A store applies what it returns as a
 * compare-and-set on (state, attempt).
 */
import { LOST_ATTEMPTS_MAX, RETRY_BACKOFF_MS_MAX } from "../base/limits.ts";
import { type AttemptEnd, type Outcome, hasSucceeded } from "./outcome.ts";
import type { PeerId, TaskId } from "../base/ids.ts";
import type { RetryableKind } from "./task.ts";
import type { RunResult, Usage } from "./outcome.ts";
import type { FileContent } from "./task-file.ts";

export type RunState = "scheduled" | "ready" | "running" | "succeeded" | "failed" | "cancelled";

export const RUN_STATES: readonly RunState[] = ["scheduled", "ready", "running", "succeeded", "failed", "cancelled"];

/** Names one attempt, for ever. */
export interface AttemptId {
  readonly task: TaskId;
  /** The task's serial in its store: a deleted task's id may be used again. */
  readonly serial: number;
  /** From 1. */
  readonly run: number;
  /** From 1. */
  readonly attempt: number;
}

/** A key for maps. */
export function attemptKey(id: AttemptId): string {
  return `${id.serial}/${id.run}/${id.attempt}`;
}

/**
 * Why a run has failed that took its worker or runner down too often: this word alone, so that programs can compare it.
 * What became of each attempt is in its own outcome.
 */
export const POISONED = "poisoned";

export type AttemptState = "running" | "succeeded" | "failed" | "cancelled" | "lost";

export const ATTEMPT_STATES: readonly AttemptState[] = ["running", "succeeded", "failed", "cancelled", "lost"];

export interface Attempt {
  readonly number: number;
  readonly worker: PeerId;
  readonly state: AttemptState;
  readonly startedAt: number;
  readonly finishedAt?: number | undefined;
  readonly outcome?: Outcome | undefined;
}

export interface Run {
  readonly task: TaskId;
  readonly serial: number;
  readonly index: number;
  readonly state: RunState;
  readonly dueAt: number;
  readonly attempts: readonly Attempt[];
  readonly outcome?: Outcome | undefined;
  readonly result?: RunResult | undefined;
  readonly usage?: Usage | undefined;
  /** Bytes of its log so far, over all attempts. */
  readonly outputBytes: number;
  readonly outputTruncated: boolean;
  /** Files kept of it, by path, when it was over last and its guest had exited. */
  readonly files: readonly FileContent[];
}

/** What `transition` looks at. */
export interface RunCursor {
  readonly state: RunState;
  /** Attempts begun so far; while running, the number of the one under way. */
  readonly attempt: number;
  /** Attempts that failed by themselves and were tried again: they spend `retries`. */
  readonly retried: number;
  /** Attempts that took their worker or runner down. */
  readonly lost: number;
}

export type RunEvent =
  | { readonly kind: "due" }
  | { readonly kind: "lease" }
  | {
      readonly kind: "settle";
      readonly attempt: number;
      readonly end: AttemptEnd;
      /** Lost, but not by the run's doing: a drain, a gateway restart. It does not count towards `poisoned`. */
      readonly isBlameless?: boolean | undefined;
    }
  | { readonly kind: "cancel"; readonly reason: string }
  /** An operator's word: it is to run again, as if it had not been tried. Its attempts go on counting. */
  | { readonly kind: "retry"; readonly isDue: boolean };

/** The run's part of a task's spec. */
export interface RunRetryPolicy {
  readonly retries: number;
  readonly backoffMs: number;
  readonly retryOn: readonly RetryableKind[];
}

export type RunChange =
  | {
      readonly kind: "changed";
      readonly next: RunCursor;
      /** What the attempt under way became, if there was one. */
      readonly attemptState?: AttemptState;
      /** The run's outcome, when it is over. */
      readonly outcome?: Outcome;
      /** Back in `ready`, but not to be leased before this long has passed; jitter is the caller's. */
      readonly backoffMs?: number;
    }
  | { readonly kind: "refused"; readonly why: "wrong-state" | "stale-attempt" };

const WRONG_STATE: RunChange = { kind: "refused", why: "wrong-state" };

/** The state table. */
export function transition(run: RunCursor, event: RunEvent, policy: RunRetryPolicy): RunChange {
  switch (event.kind) {
    case "due":
      return run.state === "scheduled" ? { kind: "changed", next: { ...run, state: "ready" } } : WRONG_STATE;
    case "lease":
      if (run.state !== "ready") return WRONG_STATE;
      return { kind: "changed", next: { ...run, state: "running", attempt: run.attempt + 1 } };
    case "settle":
      if (run.state !== "running") return WRONG_STATE;
      if (run.attempt !== event.attempt) return { kind: "refused", why: "stale-attempt" };
      return settle(run, event.end.outcome, event.isBlameless ?? false, policy);
    case "cancel":
      return cancel(run, event.reason);
    case "retry":
      if (run.state !== "failed" && run.state !== "cancelled") return WRONG_STATE;
      return { kind: "changed", next: { ...run, state: event.isDue ? "ready" : "scheduled", retried: 0, lost: 0 } };
  }
}

function settle(run: RunCursor, outcome: Outcome, isBlameless: boolean, policy: RunRetryPolicy): RunChange {
  if (hasSucceeded(outcome)) {
    return { kind: "changed", next: { ...run, state: "succeeded" }, attemptState: "succeeded", outcome };
  }
  if (outcome.kind === "lost") return settleLost(run, isBlameless);
  if (outcome.kind === "cancelled") {
    return { kind: "changed", next: { ...run, state: "cancelled" }, attemptState: "cancelled", outcome };
  }
  if (run.retried < policy.retries && policy.retryOn.some((kind) => kind === outcome.kind)) {
    return {
      kind: "changed",
      next: { ...run, state: "ready", retried: run.retried + 1 },
      attemptState: "failed",
      backoffMs: backoffAfter(policy.backoffMs, run.retried),
    };
  }
  return { kind: "changed", next: { ...run, state: "failed" }, attemptState: "failed", outcome };
}

/** Doubles with each retry, up to RETRY_BACKOFF_MS_MAX, or to the first one where that is longer. */
function backoffAfter(firstMs: number, retried: number): number {
  return Math.min(firstMs * 2 ** Math.min(retried, 40), Math.max(firstMs, RETRY_BACKOFF_MS_MAX));
}

/** How long a run may back off at most that was tried again so often for its own failures. */
export function longestBackoffMs(firstMs: number, retried: number): number {
  return backoffAfter(firstMs, Math.max(0, retried - 1));
}

function settleLost(run: RunCursor, isBlameless: boolean): RunChange {
  const lost = run.lost + (isBlameless ? 0 : 1);
  if (lost < LOST_ATTEMPTS_MAX) {
    return { kind: "changed", next: { ...run, state: "ready", lost }, attemptState: "lost" };
  }
  const outcome: Outcome = { kind: "lost", reason: POISONED };
  return { kind: "changed", next: { ...run, state: "failed", lost }, attemptState: "lost", outcome };
}

function cancel(run: RunCursor, reason: string): RunChange {
  const outcome: Outcome = { kind: "cancelled", reason };
  switch (run.state) {
    case "scheduled":
    case "ready":
      return { kind: "changed", next: { ...run, state: "cancelled" }, outcome };
    case "running":
      return { kind: "changed", next: { ...run, state: "cancelled" }, attemptState: "cancelled", outcome };
    case "succeeded":
    case "failed":
    case "cancelled":
      return WRONG_STATE;
  }
}
