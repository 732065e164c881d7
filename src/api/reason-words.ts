/** Why a task or a run has failed, for people: the words that programs compare, with what they mean. */
import { LOST_ATTEMPTS_MAX } from "../base/limits.ts";
import { POISONED } from "../model/run.ts";

/** As the store puts it into the reason of a task, with several runs or one. */
const IS_POISONED = new RegExp(`^(run \\d+ )?${POISONED}$`);

/** A reason that says all by itself is returned as it is. */
export function reasonInWords(reason: string): string {
  if (!IS_POISONED.test(reason)) return reason;
  return `${reason}: ${LOST_ATTEMPTS_MAX} attempts each took their worker or runner down`;
}
