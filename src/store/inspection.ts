/** What the store knows of where a task is, for an explanation. */
import type { PeerId, TaskId } from "../base/ids.ts";
import type { Outcome } from "../model/outcome.ts";
import type { RunState } from "../model/run.ts";
import type { Task, TaskState } from "../model/task.ts";

export interface TaskInspection {
  readonly task: Task;
  /** By index; the first EXPLAINED_ITEMS_MAX. */
  readonly openRuns: readonly OpenRun[];
  /**
   * Tasks that it runs after and that have not succeeded, as far as it knows: the first EXPLAINED_ITEMS_MAX, and how many there
   * are. Those come first that keep it from ever running: the deleted ones, the failed and cancelled ones; then those that are
   * under way, then those that have succeeded since.
   */
  readonly waitsFor: readonly UnmetDependency[];
  readonly unmetCount: number;
  /** Ready runs that come before its first one, of those that require the same; at most EXPLAINED_AHEAD_MAX. */
  readonly readyAhead: number;
  readonly isMoreAhead: boolean;
}

export interface UnmetDependency {
  /** Undefined for one that was deleted. */
  readonly id: TaskId | undefined;
  readonly state: TaskState | "deleted";
}

/** A run that is scheduled, ready or running. */
export interface OpenRun {
  readonly index: number;
  readonly state: RunState;
  readonly dueAt: number;
  /** While ready: not to be leased before. */
  readonly notBefore: number;
  /** What `notBefore` waits for is no back-off: the latest attempt was cancelled, and may still run on this worker. */
  readonly cancelledOn?: PeerId | undefined;
  /** The number of its latest attempt, or 0. */
  readonly attempt: number;
  /** Attempts that took their worker or runner down; and the workers on which any was lost. */
  readonly lost: number;
  readonly lostOn: readonly PeerId[];
  /** While running. */
  readonly worker?: PeerId | undefined;
  readonly startedAt?: number | undefined;
  /** Of its latest attempt, if that is over. */
  readonly lastOutcome?: Outcome | undefined;
}
