/** What is told of a task that was to run again. */
import type { TaskId } from "../../base/ids.ts";
import type { Task } from "../../model/task.ts";
import type { RetryTaskResult, SubmitterFull } from "../../store/store.ts";
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
      throw new Refusal(
        "dependency-failed",
        `The task ${id} cannot run again: ${result.task.reason ?? "it runs after one that has not succeeded"}. Retry that one first, or submit this one anew.`,
      );
  }
}
