/** Why a task ended as it did, in a sentence, from the outcome of the run that decided it. */
import { assertNever } from "../base/errors.ts";
import { type Outcome, hasSucceeded } from "../model/outcome.ts";

/** Undefined for a run that succeeded: there is nothing to say. `total` is how many runs the task has. */
export function failureReason(outcome: Outcome, index: number, total: number): string | undefined {
  if (hasSucceeded(outcome)) return undefined;
  const what = sentence(outcome);
  return total > 1 ? `run ${index} ${what}` : what;
}

function sentence(outcome: Outcome): string {
  switch (outcome.kind) {
    case "lost":
      return outcome.reason;
    case "exited":
      return `exited with code ${outcome.code}`;
    case "trapped":
      return `trapped: ${outcome.reason}`;
    case "timed-out":
      return `timed out: ${outcome.reason}`;
    case "memory-exceeded":
      return `used more memory than it may: ${outcome.reason}`;
    case "output-exceeded":
      return outcome.reason ?? "wrote more output than it may";
    case "cancelled":
      return `was cancelled: ${outcome.reason}`;
    case "rejected":
      return `was rejected: ${outcome.reason}`;
    default:
      return assertNever(outcome);
  }
}
