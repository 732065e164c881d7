/** How attempts end that nobody carried out, why they are given up, and what an end says of its worker. */
import { type ClusterError, failed } from "../base/errors.ts";
import { type AttemptEnd, NO_USAGE, type Outcome, hasSucceeded } from "../model/outcome.ts";
import type { WorkerSign } from "./quarantine.ts";

/**
 * Why an attempt is given up.
 * - `silence`: its worker is out of reach, or came back without it.
 * - `no-answer`: its worker is there, and has not told how it ended.
 * - `gateway`: nobody but this gateway, or its operator, wants it.
 */
export type LossCause = "silence" | "no-answer" | "gateway";

export function lostEnd(reason: string): AttemptEnd {
  return unstartedEnd({ kind: "lost", reason });
}

export function unstartedEnd(outcome: Outcome): AttemptEnd {
  return { outcome, usage: NO_USAGE, outputBytes: 0, outputTruncated: false };
}

/** What whoever still uses an attempt that has ended is told. */
export function attemptIsOver(): ClusterError {
  return failed("this attempt is over", { code: "stale-attempt" });
}

/** What an end says of the worker. */
export function signOf(
  outcome: Outcome,
  session: { readonly isDraining: () => boolean },
): { readonly sign: WorkerSign; readonly what: string } {
  if (hasSucceeded(outcome)) return { sign: "succeeded", what: "succeeded" };
  switch (outcome.kind) {
    case "lost":
      return { sign: session.isDraining() ? "nothing" : "lost", what: outcome.reason };
    case "rejected":
      return { sign: "rejected", what: `rejected: ${outcome.reason}` };
    case "exited":
      return { sign: "failed", what: `exited with ${outcome.code}` };
    case "trapped":
    case "timed-out":
    case "memory-exceeded":
    case "cancelled":
      return { sign: "failed", what: `${outcome.kind}: ${outcome.reason}` };
    case "output-exceeded":
      return { sign: "failed", what: outcome.kind };
  }
}
