/** `/tasks` and `/tasks/{id}`: list, show, wait for, cancel, delete. Submitting is `submit.ts`. */
import { type Request, Router } from "express";
import { taskJson } from "../../api/task-json.ts";
import { type TaskId, parseTaskId } from "../../base/ids.ts";
import { LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX, TASK_WAIT_MS_MAX } from "../../base/limits.ts";
import { TASK_STATES, type Task, isFinished } from "../../model/task.ts";
import type { OpenRun } from "../../store/inspection.ts";
import { UnreadableTask } from "../../store/trouble.ts";
import { recordDone } from "./audited.ts";
import { submitBatch } from "./batch.ts";
import { explain } from "./explain.ts";
import { sendTagged } from "./etag.ts";
import type { HttpContext } from "./http-context.ts";
import { Refusal, noSuchTask } from "./problem.ts";
import { retriedTask } from "./retried-task.ts";
import { requireTakingWork } from "./taking-work.ts";
import { Query, nextPageLink } from "./query.ts";
import { shownTask } from "./shown-task.ts";
import { submitTask } from "./submit.ts";
import { TaskWatch } from "./task-watch.ts";

export function tasksRouter(context: HttpContext): Router {
  const { store, tasks, clock } = context;
  const router = Router();
  router.post("/tasks", submitTask(context));
  router.post("/tasks/batch", submitBatch(context));
  router.get("/tasks", async (request, response) => {
    const query = new Query(request);
    const options = {
      state: query.choice("state", TASK_STATES),
      limit: query.integer("limit", { min: 1, max: LIST_LIMIT_MAX }) ?? LIST_LIMIT_DEFAULT,
      cursor: query.text("cursor"),
    };
    const page = await store.listTasks(options).catch((thrown: unknown) => {
      // The refusal names the task, and what comes behind it can be read all the same.
      if (thrown instanceof UnreadableTask) response.setHeader("link", nextPageLink(request, thrown.cursor));
      throw thrown;
    });
    if (page.cursor !== undefined) response.setHeader("link", nextPageLink(request, page.cursor));
    const now = clock.now();
    sendTagged(
      request,
      response,
      page.tasks.map((task) => taskJson(task, now)),
    );
  });
  router.get("/tasks/:id", async (request, response) => {
    const id = taskIdOf(request);
    const waitMs = Math.min(new Query(request).durationMs("wait") ?? 0, TASK_WAIT_MS_MAX);
    const gone = new AbortController();
    response.on("close", () => gone.abort());
    const task = waitMs === 0 ? await store.getTask(id) : await finishedTask(context, id, waitMs, gone.signal);
    if (task === undefined) throw noSuchTask(id);
    sendTagged(request, response, taskJson(task, clock.now()));
  });
  router.post("/tasks/:id/cancel", async (request, response) => {
    const id = taskIdOf(request);
    const result = await tasks.cancel(id, "cancelled by request");
    if (result.kind === "no-such-task") throw noSuchTask(id);
    if (result.kind === "already-finished") {
      throw new Refusal(
        "already-finished",
        `The task ${id} has finished (${result.task.state}): nothing is left to cancel.`,
      );
    }
    recordDone(context, request, "task.cancelled", id);
    response.json(shownTask(context, request, result.task));
  });
  router.get("/tasks/:id/explain", async (request, response) => {
    const id = taskIdOf(request);
    const now = clock.now();
    const inspection = await store.inspectTask(id, now);
    if (inspection === undefined) throw noSuchTask(id);
    const gatewayTrouble = context.readiness.notReadyBecause();
    const { storeHealth, starts } = context;
    // What is left of a disk that is nearly full is kept for runs that were accepted: they are started.
    const storeTrouble = storeHealth.trouble() === "disk-nearly-full" ? undefined : storeHealth.refusesBecause();
    const { serial, spec } = inspection.task;
    const blobWaitMs = ({ index }: OpenRun) => starts?.blobWaitMs({ serial, index }, spec);
    const workers = context.workers.list();
    response.json(explain({ inspection, workers, gatewayTrouble, storeTrouble, blobWaitMs, now }));
  });
  router.post("/tasks/:id/retry", async (request, response) => {
    const id = taskIdOf(request);
    requireTakingWork(context);
    context.grants.get(request)?.beginSubmit();
    const submitter = (await store.getTask(id))?.spec.submitter;
    const limit = submitter === undefined ? undefined : context.tokens.limitOf(submitter);
    const retried = retriedTask(id, await tasks.retry(id, limit));
    recordDone(context, request, "task.retried", id);
    response.json(shownTask(context, request, retried));
  });
  router.delete("/tasks/:id", async (request, response) => {
    const id = taskIdOf(request);
    if (!(await tasks.delete(id))) throw noSuchTask(id);
    recordDone(context, request, "task.deleted", id);
    response.status(204).end();
  });
  return router;
}

/** The path's task id. Throws a Refusal: text that is no id names no task. */
export function taskIdOf(request: Request): TaskId {
  const text = String(request.params["id"] ?? "");
  const id = parseTaskId(text);
  if (id === undefined) throw noSuchTask(text);
  return id;
}

/** The task as soon as it has finished, or as it is when the wait is over. */
async function finishedTask(
  { store, events, clock, closing }: HttpContext,
  id: TaskId,
  waitMs: number,
  gone: AbortSignal,
): Promise<Task | undefined> {
  using watch = new TaskWatch(events, id);
  const over = new AbortController();
  using _ = clock.setTimer(waitMs, () => over.abort());
  const signal = AbortSignal.any([over.signal, closing, gone]);
  for (;;) {
    const task = await store.getTask(id);
    if (task === undefined || isFinished(task.state) || signal.aborted) return task;
    try {
      await watch.changed({ signal });
    } catch {
      return await store.getTask(id);
    }
  }
}
