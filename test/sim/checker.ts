/**
 * Says what a history breaks of what is promised (the guarantees by their numbers in the design). Pure: it knows nothing
 * of how the cluster works, only what it must never do.
 *
 * - G1: what was accepted is there at the end, as it was accepted, unless its deletion was asked for, or it was over for
 *   as long as it was to be kept, by a clock that is right; runs of a task without end the same, and their numbers never again.
 * - G2: once nothing goes wrong any more, every task comes to its end, and every run that ended had a guest. Where nothing
 *   goes wrong, what is due is ready soon, what is ready runs soon where a worker has room for it, what has ended is settled
 *   soon, and what was lost with its worker is ready again soon. What goes wrong with one worker is none of another's business.
 * - G3: a run has one result, that of the attempt under way, which the guest of that attempt gave. It is never both
 *   settled and lost.
 * - G4: guests of one run overlap only when the earlier attempt was given up before, and a guest without a lease ends.
 * - G5: each slot of a schedule is one run, ready once, and not before its time.
 * - G6: a guest ends when it is cancelled.
 * - G9: what takes its runner down is tried so often and not more; what is lost by nothing that it did is tried again.
 * - G10: a worker that an operator has drained is given no run; a process that is told to stop has ended within its grace.
 * - G8: a log has no gap, and all that a guest wrote which ended by itself; files are kept and found whole.
 */
import { checkAccepted } from "./check-accepted.ts";
import { checkBlame } from "./check-blame.ts";
import { checkDelays } from "./check-delays.ts";
import { checkDrained } from "./check-drained.ts";
import { checkFiles } from "./check-files.ts";
import { checkForgetting } from "./check-forgetting.ts";
import { checkGuests } from "./check-guests.ts";
import { checkOutput } from "./check-output.ts";
import { checkRuns } from "./check-runs.ts";
import { checkSchedule } from "./check-schedule.ts";
import { checkTold } from "./check-told.ts";
import { checkQueue } from "./check-queue.ts";
import { checkRecovery } from "./check-recovery.ts";
import type { History } from "./history.ts";
import type { Tally } from "./tally.ts";

/**
 * Every breach, in words, each with the number of what it breaks; empty if there is none. Counts what could have been one.
 */
export function check(history: History, tally: Tally): readonly string[] {
  return [
    ...checkAccepted(history, tally),
    ...checkForgetting(history, tally),
    ...checkRuns(history, tally),
    ...checkSchedule(history, tally),
    ...checkGuests(history, tally),
    ...checkBlame(history, tally),
    ...checkDelays(history, tally),
    ...checkDrained(history, tally),
    ...checkOutput(history, tally),
    ...checkFiles(history, tally),
    ...checkTold(history, tally),
    ...checkQueue(history, tally),
    ...checkRecovery(history, tally),
    ...history.leaks.map((leak) => `leak: ${leak}`),
    ...history.events.flatMap((event) => (event.kind === "complaint" ? [`complaint: ${event.message}`] : [])),
  ];
}
