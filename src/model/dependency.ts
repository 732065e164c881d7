/**
 * Tasks that run after others.
 *
 *     waiting ──all of `after` have succeeded──▶ counts from then on, as if it were created at that moment
 *        └─────one has failed, was cancelled or deleted──▶ cancelled, with the reason; so are those that wait for it
 *
 * What is waited for is the task that had the name when the one that waits was submitted. It counts as it ended: what is
 * done to it after it has succeeded changes nothing.
 */
import { DEPENDENCY_REASON_LENGTH_MAX } from "../base/limits.ts";
import type { TaskId } from "../base/ids.ts";

/** How a task that others wait for has ended. */
export const DEPENDENCY_ENDS = ["succeeded", "failed", "cancelled", "deleted"] as const;

export type DependencyEnd = (typeof DEPENDENCY_ENDS)[number];

/** Where a task stands with one that it waits for: `broken` if that will not succeed any more. */
export const DEPENDENCY_STATES = ["waiting", "met", "broken"] as const;

export type DependencyState = (typeof DEPENDENCY_STATES)[number];

/** Why a task is cancelled that waited for this one. `reason` is that one's own. */
export function brokenReason(id: TaskId, end: Exclude<DependencyEnd, "succeeded">, reason: string | undefined): string {
  const how = end === "failed" ? "failed" : `was ${end}`;
  return withoutMiddle(`it runs after ${id}, which ${how}${reason === undefined ? "" : `: ${reason}`}`);
}

/** Without its middle if it is long: the first words say what it waited for, the last ones what was at the bottom of it. */
function withoutMiddle(text: string): string {
  if (text.length <= DEPENDENCY_REASON_LENGTH_MAX) return text;
  const half = Math.floor((DEPENDENCY_REASON_LENGTH_MAX - 3) / 2);
  return `${text.slice(0, half)} … ${text.slice(-half)}`.toWellFormed();
}
