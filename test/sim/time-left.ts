/** How long the tasks of a store need at most to come to their ends while nothing goes wrong. */
import { LOST_ATTEMPTS_MAX, WORKER_REST_MAX_MS } from "../../src/base/limits.ts";
import { totalRuns } from "../../src/model/task.ts";
import type { TaskRow } from "../support/memory-store-state.ts";
import { guestPlan } from "./guest-plan.ts";

/** `now`: by the wall clock. */
export function msLeft(tasks: readonly TaskRow[], now: number): number {
  const open = tasks.filter(({ finishedAt }) => finishedAt === undefined);
  const lastDueMs = Math.max(0, ...open.map(lastDue)) - now;
  const workMs = open.reduce((sum, task) => sum + workLeftMs(task) + waitMs(task), 0);
  return Math.max(0, lastDueMs) + workMs;
}

function lastDue(task: TaskRow): number {
  const begins = Math.max(task.createdAt, task.firstDueAt);
  return Math.max(begins + scheduleMs(task), ...task.runs.map((run) => run.notBefore));
}

/** What has no end is not waited for. */
function runsToWaitFor(spec: TaskRow["spec"]): number {
  const total = totalRuns(spec);
  return total === Infinity ? 0 : total;
}

/** From a task's beginning to its last slot. */
function scheduleMs({ spec }: TaskRow): number {
  const total = runsToWaitFor(spec);
  // No expression of a scenario has slots further apart.
  return spec.cron === undefined ? (total - 1) * spec.delayMs : total * 5_000;
}

/** How long a task that waits for others takes to its last slot, from their ends. */
function waitMs(task: TaskRow): number {
  return task.isWaiting ? 6_000 + scheduleMs(task) : 0;
}

/** The time that guests and back-offs of the task still take, one after the other. */
function workLeftMs(task: TaskRow): number {
  const { spec, serial } = task;
  let sum = 0;
  for (let run = 1; run <= runsToWaitFor(spec); run += 1) {
    const row = task.runs[run - 1];
    // One that has failed or was cancelled may be about to be run again.
    if (row?.cursor.state === "succeeded") continue;
    const first = (row?.cursor.attempt ?? 0) + 1;
    // Those that are lost by their own doing are tried again, too.
    for (let attempt = first; attempt <= first + spec.retries + LOST_ATTEMPTS_MAX; attempt += 1) {
      const plan = guestPlan(spec.args, { task: spec.id, serial, run, attempt });
      sum += plan.ms + WORKER_REST_MAX_MS;
      if (plan.outcome.kind === "exited" && plan.outcome.code === 0) break;
      sum += spec.backoffMs * 2 ** spec.retries;
    }
  }
  return sum;
}
