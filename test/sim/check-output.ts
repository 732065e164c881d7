/** G8: logs are gap-free up to their cap, and say where they were cut. */
import type { AttemptId, AttemptState } from "../../src/model/run.ts";
import { type TaskRow, rememberedRuns } from "../support/memory-store-state.ts";
import { guestBytes, guestPlan } from "./guest-plan.ts";
import { type History, logPieces } from "./history.ts";
import type { Tally } from "./tally.ts";

export function checkOutput(history: History, tally: Tally): readonly string[] {
  return [...history.looks, history].flatMap(({ tasks }) =>
    tasks.flatMap((task) => rememberedRuns(task).flatMap((run) => checkLog(task, run.index, tally))),
  );
}

function checkLog(task: TaskRow, index: number, tally: Tally): readonly string[] {
  const run = task.runs[index - 1];
  if (run === undefined) return [];
  const where = `${task.spec.id} run ${index}`;
  const found: string[] = [];
  const lengths = new Map<number, number>();
  let at = 0;
  for (const { attempt, start, bytes } of logPieces(task, index)) {
    if (start !== at) found.push(`G8: the log of ${where} has a gap at ${at}`);
    at = start + bytes.length;
    const from = lengths.get(attempt) ?? 0;
    const id: AttemptId = { task: task.spec.id, serial: task.serial, run: index, attempt };
    const wanted = guestBytes(id, from, from + bytes.length);
    if (Buffer.compare(wanted, bytes) !== 0)
      found.push(`G8: the log of ${where} has not what attempt ${attempt} wrote`);
    lengths.set(attempt, from + bytes.length);
  }
  if (at !== run.log.bytes) found.push(`G8: the log of ${where} has ${at} bytes and is said to have ${run.log.bytes}`);
  if (at > 0) tally.saw("G8: a log is whole");
  if (at > task.spec.outputBytesMax) found.push(`G8: the log of ${where} is longer than it may be`);
  for (const { number, state, outcome } of run.attempts) {
    // It had no guest.
    if (outcome?.kind === "rejected") continue;
    const id: AttemptId = { task: task.spec.id, serial: task.serial, run: index, attempt: number };
    const missing = missingBytes(task, id, state, lengths.get(number) ?? 0);
    if (missing <= 0) continue;
    if (at >= task.spec.outputBytesMax && run.outcome !== undefined) tally.saw("G8: a log says where it was cut");
    if (at < task.spec.outputBytesMax)
      found.push(`G8: the log of ${where} lacks ${missing} bytes of attempt ${number}`);
    else if (!run.outputTruncated && run.outcome !== undefined)
      found.push(`G8: the log of ${where} was cut and does not say so`);
  }
  return found;
}

/** Bytes that a guest wrote which ended by itself, and that are not in the log. */
function missingBytes(task: TaskRow, id: AttemptId, state: AttemptState, kept: number): number {
  if (state !== "succeeded" && state !== "failed") return 0;
  return guestPlan(task.spec.args, id).outputBytes - kept;
}
