/** A task as whoever asks may see it: who can submit may cancel and retry any, and is shown only the own. */
import type { Request } from "express";
import { type TaskJson, taskJson } from "../../api/task-json.ts";
import type { Task } from "../../model/task.ts";
import type { HttpContext } from "./http-context.ts";

/** Without `read`, a task of somebody else comes without what it was given and what it said. */
export function shownTask({ grants, clock }: HttpContext, request: Request, task: Task): TaskJson {
  const shown = taskJson(task, clock.now());
  const grant = grants.get(request);
  if (grant?.can("read") === true || grant?.actor === task.spec.submitter) return shown;
  return { ...shown, args: [], env: {}, stdin: "", stdinBytes: 0, result: null };
}
