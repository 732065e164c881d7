/**
 * A task: what was submitted, and how far it has come. A task has runs; a run has attempts (`run.ts`).
 *
 * A task's state is never set: it follows from the counts of its runs (`taskState`), so that it cannot disagree with them.
 * What happens to a task as a whole is `taskTransition`'s to decide:
 *
 *     waiting ──dependencies-met──▶ open ──its runs have ended──▶ succeeded | failed | cancelled
 *        │                            └── cancel ──▶ cancelled
 *        └── dependency-broken, cancel ────────────▶ cancelled
 *
 *     failed | cancelled ──retry──▶ open; waiting, where it was never more
 *
 * `open` is scheduled, ready or running, as its runs are.
 *
 * Times are milliseconds since the Unix epoch, durations milliseconds.
 */
import type { Digest, TaskId } from "../base/ids.ts";
import type { Entry } from "./entry.ts";
import type { ModuleKind } from "./module.ts";
import type { OutcomeKind, RunResult } from "./outcome.ts";
import type { Catchup, Overlap } from "./schedule.ts";
import type { InputFile } from "./task-file.ts";

/** What was asked for, after validation, with every default filled in. Never changes. */
export interface TaskSpec {
  readonly id: TaskId;
  /** Whose it is: `submitter.ts`. */
  readonly submitter: string;
  /** W3C Trace Context of its submission: what its first run is a part of. */
  readonly traceparent?: string | undefined;
  readonly description: string;
  /** Undefined, for an executor of a worker's own: the task comes without. */
  readonly module?: Digest | undefined;
  /** Undefined, for an executor of a worker's own: nobody has looked what the module is. */
  readonly kind?: ModuleKind | undefined;
  readonly entry: Entry;
  /** Arguments of the `run` entry, signed. Undefined where the submission did not say: 0 is passed. */
  readonly input?: number | undefined;
  readonly difficulty?: number | undefined;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: Uint8Array;
  /** What its guests find in their `/`. */
  readonly files: readonly InputFile[];
  /** Globs (`glob.ts`): which of a guest's files are kept when it has exited. */
  readonly outputs: readonly string[];
  /** Where the completion counter starts. */
  readonly complete: number;
  /** How long a run is expected to take; 0: not said. Feeds progress, limits nothing. */
  readonly durationMs: number;
  /** When the first run is due, if it waits for nothing: createdAt plus `start`, or the time that was given. */
  readonly firstDueAt: number;
  /** `start` as it was given, to be echoed. */
  readonly start: number | string;
  readonly delayMs: number;
  /** Runs in total, as submitted. 0 and 1 both mean one; with `cron`, 0 means: until the task is cancelled. */
  readonly repeats: number;
  /** Runs are due at the slots of this expression (`cron.ts`), instead of by `start` and `delay`. */
  readonly cron?: string | undefined;
  /** Of `cron`: an IANA name. */
  readonly timezone: string;
  /** `forbid`: a run is ready when the one before it has ended, no sooner. */
  readonly overlap: Overlap;
  /** What becomes of slots of `cron` that nobody served. */
  readonly catchup: Catchup;
  /** Tasks that have to succeed before this one counts its start: `dependency.ts`. Each is named once. */
  readonly after: readonly TaskId[];
  readonly timeoutMs: number;
  readonly cpuMs: number;
  readonly memoryBytes: number;
  readonly outputBytesMax: number;
  readonly outputLimit: "truncate" | "fail";
  readonly retries: number;
  readonly backoffMs: number;
  /** Outcomes that are tried again while retries are left. */
  readonly retryOn: readonly RetryableKind[];
  readonly priority: number;
  /** Worker labels that must hold. */
  readonly require: Readonly<Record<string, string>>;
}

export type RetryableKind = Extract<OutcomeKind, "exited" | "trapped" | "timed-out" | "memory-exceeded">;

export const RETRYABLE_KINDS: readonly RetryableKind[] = ["exited", "trapped", "timed-out", "memory-exceeded"];

export type TaskState = "scheduled" | "ready" | "running" | "succeeded" | "failed" | "cancelled";

export const TASK_STATES: readonly TaskState[] = ["scheduled", "ready", "running", "succeeded", "failed", "cancelled"];

/** How many of a task's runs are in which state. Runs that have no row yet are in none. */
export interface RunCounts {
  readonly scheduled: number;
  readonly ready: number;
  readonly running: number;
  readonly succeeded: number;
  readonly failed: number;
  readonly cancelled: number;
}

export interface Task {
  readonly spec: TaskSpec;
  /** Of the task in its store; never used twice, unlike the id. */
  readonly serial: number;
  readonly createdAt: number;
  /** When the first run of a task without cron is due. Undefined while it waits for other tasks, whose ends decide it. */
  readonly firstDueAt?: number | undefined;
  readonly counts: RunCounts;
  /** The first of its runs that is still known: those before it were forgotten for their age. `counts` has them too. */
  readonly firstRun: number;
  readonly isCancelled: boolean;
  readonly state: TaskState;
  /** Due time of the next run that waits for its time; undefined when none does. */
  readonly nextRunAt?: number | undefined;
  readonly finishedAt?: number | undefined;
  /** Of the run that finished last. */
  readonly result?: RunResult | undefined;
  /** Why it ended as it did, where there is something to say. */
  readonly reason?: string | undefined;
  /** When each running run's current attempt began; for progress. At most OPEN_RUNS_PER_TASK_MAX. */
  readonly runningSince: readonly number[];
}

/** Runs in total; Infinity for a task without end. */
export function totalRuns(spec: Pick<TaskSpec, "repeats" | "cron">): number {
  if (spec.cron !== undefined && spec.repeats === 0) return Infinity;
  return Math.max(1, spec.repeats);
}

/** Runs that can be looked at, the first so many: all there will be; of a task without end those made so far, or the first. */
export function knownRuns({ spec, counts }: Pick<Task, "spec" | "counts">): number {
  const total = totalRuns(spec);
  return total < Infinity ? total : Math.max(1, madeRuns(counts));
}

/** Runs that the store has; those after them are still to be made. */
export function madeRuns(counts: RunCounts): number {
  return counts.scheduled + counts.ready + counts.running + settledRuns(counts);
}

/** When run `index` (from 1) of a task without cron is due: nominal, whatever the runs before it took. */
export function dueAt(spec: Pick<TaskSpec, "firstDueAt" | "delayMs">, index: number): number {
  return spec.firstDueAt + (index - 1) * spec.delayMs;
}

export function settledRuns(counts: RunCounts): number {
  return counts.succeeded + counts.failed + counts.cancelled;
}

/** A task's state, from its runs. */
export function taskState(total: number, counts: RunCounts, isCancelled: boolean): TaskState {
  if (isCancelled) return "cancelled";
  if (counts.running > 0) return "running";
  if (counts.ready > 0) return "ready";
  if (settledRuns(counts) < total) return "scheduled";
  if (counts.failed > 0) return "failed";
  return counts.cancelled > 0 ? "cancelled" : "succeeded";
}

/** States that a task does not leave by itself. */
export type FinishedState = Extract<TaskState, "succeeded" | "failed" | "cancelled">;

export function isFinished(state: TaskState): state is FinishedState {
  return state === "succeeded" || state === "failed" || state === "cancelled";
}

/** Where a task stands: its state, only that that one which waits for others is told from one that waits for its time. */
export type TaskStanding = TaskState | "waiting";

export const TASK_STANDINGS: readonly TaskStanding[] = ["waiting", ...TASK_STATES];

/** What happens to a task as a whole. What happens to its runs is in `run.ts`, and its state follows from theirs. */
export type TaskEvent =
  /** The tasks that it runs after have all succeeded; or one of them will not. */
  | "dependencies-met"
  | "dependency-broken"
  /** An operator's word. */
  | "cancel"
  | "retry";

export const TASK_EVENTS: readonly TaskEvent[] = ["dependencies-met", "dependency-broken", "cancel", "retry"];

export type TaskChange =
  /** `open`: it has runs, or is about to; after `retry` it may have to wait for others first. */
  | { readonly kind: "changed"; readonly to: "open" | "cancelled" }
  | {
      readonly kind: "refused";
      readonly why: "not-waiting" | "already-finished" | "not-finished" | "nothing-to-retry";
    };

/**
 * The state table of tasks. A store may refuse one thing more: the retry of a task that would wait for one which will not
 * succeed (`dependency.ts`).
 */
export function taskTransition(standing: TaskStanding, event: TaskEvent): TaskChange {
  const isOver = standing !== "waiting" && isFinished(standing);
  switch (event) {
    case "dependencies-met":
      return standing === "waiting" ? { kind: "changed", to: "open" } : { kind: "refused", why: "not-waiting" };
    case "dependency-broken":
      return standing === "waiting" ? { kind: "changed", to: "cancelled" } : { kind: "refused", why: "not-waiting" };
    case "cancel":
      return isOver ? { kind: "refused", why: "already-finished" } : { kind: "changed", to: "cancelled" };
    case "retry":
      if (!isOver) return { kind: "refused", why: "not-finished" };
      if (standing === "succeeded") return { kind: "refused", why: "nothing-to-retry" };
      return { kind: "changed", to: "open" };
  }
}

/** The completion counter: where it started, plus one for each run that succeeded. */
export function completions(task: Task): number {
  return task.spec.complete + task.counts.succeeded;
}

/** A run that is under way counts for at most this much until it is settled. */
const RUNNING_PROGRESS_MAX = 0.95;

/**
 * 0 to 1: settled runs, plus for each running one its share of the expected duration, over all runs. Of a task without end,
 * the share of the run that is under way; of several, the one that began last.
 */
export function progress(task: Task, now: number): number {
  const { durationMs } = task.spec;
  const shares = task.runningSince.map((startedAt) =>
    durationMs > 0 ? Math.min(RUNNING_PROGRESS_MAX, Math.max(0, now - startedAt) / durationMs) : 0,
  );
  const total = totalRuns(task.spec);
  if (total === Infinity) return shares.at(-1) ?? 0;
  // With the task all its runs are cancelled, those too that were never made.
  if (task.isCancelled) return 1;
  return Math.min(1, (settledRuns(task.counts) + shares.reduce((sum, share) => sum + share, 0)) / total);
}
