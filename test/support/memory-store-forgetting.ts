/** A MemoryStore's runs of tasks without end that are forgotten for their age: what counts of them stays where they were. */
import { STORE_FORGET_OUTPUT_BYTES } from "../../src/base/limits.ts";
import type { Digest } from "../../src/base/ids.ts";
import { totalRuns } from "../../src/model/task.ts";
import type { ForgetRunsResult } from "../../src/store/store.ts";
import { freedOf } from "./memory-store-files.ts";
import { emptyLog } from "./memory-store-log.ts";
import { type RunRow, type TaskRow, type Transaction, isOpen, rememberedRuns, withRun } from "./memory-store-state.ts";

/** When it was over. */
interface EndedWithin {
  readonly endedFrom: number;
  readonly endedBefore: number;
}

export function forgetRuns(tx: Transaction, ended: EndedWithin, limit: number, after: number): ForgetRunsResult {
  const looked = [...tx.state.tasks.values()]
    .filter((task) => task.serial > after && task.finishedAt === undefined && totalRuns(task.spec) === Infinity)
    .slice(0, limit);
  const freed: Digest[] = [];
  let forgotten = 0;
  let bytes = 0;
  for (const found of looked) {
    let task = found;
    for (const run of rememberedRuns(found)) {
      if (!mayGo(task, run, ended)) break;
      task = { ...withRun(task, remainsOf(run)), firstRun: run.index + 1 };
      freed.push(...run.keptFiles.map(({ digest }) => digest));
      forgotten += 1;
      bytes += run.log.bytes;
      if (forgotten < limit && bytes < STORE_FORGET_OUTPUT_BYTES) continue;
      tx.saveTask(task, 0);
      return { forgotten, freed: freedOf(freed), next: task.serial - 1 };
    }
    if (task !== found) tx.saveTask(task, 0);
  }
  return { forgotten, freed: freedOf(freed), next: looked.length < limit ? undefined : looked.at(-1)?.serial };
}

function mayGo(task: TaskRow, run: RunRow, { endedFrom, endedBefore }: EndedWithin): boolean {
  const { retrying, latestRun, resultRun } = task;
  if (retrying !== undefined || isOpen(run) || run.index === latestRun || run.index === resultRun) return false;
  const endedAt = Math.max(run.dueAt, ...run.attempts.map(({ finishedAt = Infinity }) => finishedAt));
  return endedFrom <= endedAt && endedAt < endedBefore;
}

/** What still counts of a run that is forgotten. */
function remainsOf({ index, cursor, dueAt, outcome }: RunRow): RunRow {
  return {
    index,
    cursor,
    dueAt,
    outcome,
    notBefore: 0,
    startedAt: 0,
    leaseUntil: 0,
    attempts: [],
    log: emptyLog(),
    attemptOffset: 0,
    outputTruncated: false,
    arrivedFiles: [],
    keptFiles: [],
  };
}
