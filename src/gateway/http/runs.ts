/**
 * `/tasks/{id}/runs`: the runs of a task. The store makes rows lazily, which is no business of a reader: a run that has
 * none yet is shown as it will be.
 */
import { Router } from "express";
import { type RunJson, outcomeJson, runJson } from "../../api/run-json.ts";
import { formatOptionalTime } from "../../api/time.ts";
import type { TaskId } from "../../base/ids.ts";
import { LIST_LIMIT_MAX, REPEATS_MAX } from "../../base/limits.ts";
import { type Task, dueAt, knownRuns, madeRuns, totalRuns } from "../../model/task.ts";
import type { HttpContext } from "./http-context.ts";
import { Refusal, noSuchTask } from "./problem.ts";
import { Query, nextPageLink } from "./query.ts";
import { taskIdOf } from "./tasks.ts";

export function runsRouter({ store }: HttpContext): Router {
  const router = Router();
  router.get("/tasks/:id/runs", async (request, response) => {
    const id = taskIdOf(request);
    const query = new Query(request);
    const limit = query.integer("limit", { min: 1, max: LIST_LIMIT_MAX }) ?? LIST_LIMIT_MAX;
    const cursor = query.integer("cursor", { min: 1, max: REPEATS_MAX }) ?? 1;
    const task = await store.getTask(id);
    if (task === undefined) throw noSuchTask(id);
    const first = Math.max(cursor, task.firstRun);
    const last = Math.min(knownRuns(task), first + limit - 1);
    const runs: RunJson[] = [];
    let next = first;
    // A page of the store may be shorter than was asked for; only an empty one says that there are no more rows.
    while (next <= last) {
      const page = await store.listRuns(id, { fromIndex: next, limit: last - next + 1 });
      if (page === undefined) throw noSuchTask(id);
      const newest = page.at(-1);
      if (newest === undefined) break;
      runs.push(...page.filter(({ index }) => index <= last).map(runJson));
      next = newest.index + 1;
    }
    for (; next <= last; next++) runs.push(futureRun(task, next));
    if (last < knownRuns(task)) response.setHeader("link", nextPageLink(request, String(last + 1)));
    response.json(runs);
  });
  router.get("/tasks/:id/runs/:index", async (request, response) => {
    const id = taskIdOf(request);
    const text = request.params.index;
    const task = await store.getTask(id);
    if (task === undefined) throw noSuchTask(id);
    const index = parseRunIndex(text, task);
    if (index === undefined) throw noSuchRun(id, text, task);
    const run = await store.getRun(id, index);
    // It has just been forgotten.
    if (run === undefined && index <= madeRuns(task.counts)) throw noSuchRun(id, text, task);
    response.json(run === undefined ? futureRun(task, index) : runJson(run));
  });
  return router;
}

/** From the task's first run that is known to its last. */
export function parseRunIndex(text: string, task: Task): number | undefined {
  const index = /^[1-9]\d{0,9}$/.test(text) ? Number(text) : undefined;
  return index !== undefined && index >= task.firstRun && index <= knownRuns(task) ? index : undefined;
}

export function noSuchRun(id: TaskId, text: string, task: Task): Refusal {
  const count = knownRuns(task);
  const soFar = totalRuns(task.spec) === Infinity ? " so far" : "";
  const known =
    count === task.firstRun ? `it has run ${count} only${soFar}` : `its runs are ${task.firstRun} to ${count}${soFar}`;
  const forgotten = task.firstRun === 1 ? "" : "; those before were forgotten for their age";
  return new Refusal(
    "no-such-run",
    `The task ${id} has no run ${JSON.stringify(text.slice(0, 32))}: ${known}${forgotten}.`,
  );
}

function nominalDueAt({ spec, firstDueAt, nextRunAt, counts }: Task, index: number): number | undefined {
  const { cron, delayMs } = spec;
  // The next one, which only waits for the run before it to end.
  if (cron !== undefined && counts.scheduled === 0 && index === madeRuns(counts) + 1) return nextRunAt;
  return cron === undefined && firstDueAt !== undefined ? dueAt({ firstDueAt, delayMs }, index) : undefined;
}

function futureRun(task: Task, index: number): RunJson {
  return {
    task: task.spec.id,
    index,
    state: task.isCancelled ? "cancelled" : "scheduled",
    dueAt: formatOptionalTime(nominalDueAt(task, index)),
    attempts: [],
    outcome: task.isCancelled
      ? outcomeJson({ kind: "cancelled", reason: task.reason ?? "its task was cancelled" })
      : null,
    result: null,
    usage: null,
    outputBytes: 0,
    outputTruncated: false,
    files: [],
  };
}
