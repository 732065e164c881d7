/** What is told of a task that was to run again. */
import type { TaskId } from "../../base/ids.ts";
import type { Task } from "../../model/task.ts";
import type { RetryTaskResult, SubmitterFull } from "../../store/store.ts";
import type { UnmetDependency } from "../../store/inspection.ts";
import { Refusal, noSuchTask } from "./problem.ts";

/** The task, if it does. Throws a Refusal where it does not. */
export function retriedTask(id: TaskId, result: Exclude<RetryTaskResult, SubmitterFull>): Task {
  switch (result.kind) {
    case "retried":
      return result.task;
    case "no-such-task":
      throw noSuchTask(id);
    case "not-finished":
      throw new Refusal(
        "not-finished",
        `The task ${id} is ${result.task.state}: wait until it has finished, or cancel it first.`,
      );
    case "nothing-to-retry":
      throw new Refusal(
        "nothing-to-retry",
        `All runs of the task ${id} have succeeded: submit it again to run it once more.`,
      );
    case "dependency-broken":
      throw new Refusal("dependency-failed", `The task ${id} cannot run again: ${brokenBy(result.by)}.`);
  }
}

/** What stands in the way now. Why the task was cancelled may be another one's end, which has been mended since. */
function brokenBy({ id, state }: UnmetDependency): string {
  if (id === undefined) return "a task that it runs after was deleted; submit it anew, without that one";
  const how = state === "failed" ? "has failed" : "was cancelled";
  return `it runs after ${id}, which ${how}; retry that one first, or submit this one anew`;
}
