/** The operation by which a finished task runs again. It runs inside a transaction of the store's thread. */
import { slotsAfterSetBack } from "../../model/schedule.ts";
import { taskTransition } from "../../model/task.ts";
import { decodeOptionalNumber } from "./columns.ts";
import type { Database } from "./database.ts";
import { takeBackEnd } from "./dependency-ends.ts";
import { waitAgain } from "./dependency-rows.ts";
import type { Answer, Args } from "./messages.ts";
import { loadOpenRuns, makeRuns } from "./run-rows.ts";
import { countUnfinished, fullFor } from "./queue-rows.ts";
import { type TaskRecord, loadTaskById, readTaskWire, saveTask, standingOf } from "./task-rows.ts";

export function retryTask(db: Database, { id, now, limit }: Args<"retryTask">): Answer<"retryTask"> {
  const task = loadTaskById(db, id);
  if (task === undefined) return { kind: "no-such-task" };
  const change = taskTransition(standingOf(task), "retry");
  if (change.kind === "refused") {
    const kind = change.why === "nothing-to-retry" ? "nothing-to-retry" : "not-finished";
    return { kind, task: readTaskWire(db, task, false) };
  }
  const full = limit?.submitter === task.submitter ? fullFor(db, limit, 1) : undefined;
  if (full !== undefined) return full;
  const by = task.isWaiting ? waitAgain(db, task) : undefined;
  if (by !== undefined) return { kind: "dependency-broken", task: readTaskWire(db, task, false), by };
  takeBackEnd(db, task.serial);
  countUnfinished(db, task, 1);
  task.finishedAt = undefined;
  task.isCancelled = false;
  task.reason = undefined;
  task.slots = slotsAfterSetBack(task.slots, now);
  const madeBefore = task.made;
  task.retrying = { from: 1, to: madeBefore };
  const { ready } = makeRuns(db, task, { now, missedBefore: now }, Infinity);
  saveTask(db, task, now);
  const open = loadOpenRuns(db, task).map(({ index, cursor }) => ({ index, ...cursor }));
  const attempts = new Map(open.map(({ index, attempt }) => [index, attempt]));
  return {
    kind: "retried",
    task: readTaskWire(db, task, false),
    ready: ready.map((index) => ({ index, attempt: attempts.get(index) ?? 0 })),
    scheduled: open
      .filter(({ index, state }) => index <= madeBefore && state === "scheduled")
      .map(({ index, attempt }) => ({ index, attempt })),
    heldUntil: heldUntil(db, task),
  };
}

/** When the first of its ready runs may be leased that wait for the lease of a cancelled attempt. */
function heldUntil(db: Database, { serial }: TaskRecord): number | undefined {
  const row = db.get(
    `SELECT min(not_before) AS not_before FROM runs INDEXED BY runs_open
     WHERE task = ? AND outcome IS NULL AND state = 'ready' AND not_before > 0`,
    serial,
  );
  return decodeOptionalNumber(row?.not_before);
}
