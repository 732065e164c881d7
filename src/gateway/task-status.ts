/** How far a task is, as clients over RPC are told. */
import type { TaskStatus } from "../caps/client-codec.ts";
import { type Task, completions, progress, totalRuns } from "../model/task.ts";

/** `now` is wall-clock time. */
export function taskStatus(task: Task, now: number): TaskStatus {
  const { spec, counts, state, reason, createdAt, nextRunAt, finishedAt, result } = task;
  return {
    id: spec.id,
    state,
    reason,
    completions: completions(task),
    runs: totalRuns(spec) === Infinity ? 0 : totalRuns(spec),
    succeeded: counts.succeeded,
    failed: counts.failed,
    cancelled: counts.cancelled,
    progress: progress(task, now),
    createdAt,
    nextRunAt,
    finishedAt,
    result,
  };
}
