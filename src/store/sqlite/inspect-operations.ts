/** The operation that reads all that explains where a task is. */
import { EXPLAINED_AHEAD_MAX, EXPLAINED_ITEMS_MAX } from "../../base/limits.ts";
import type { TaskId } from "../../base/ids.ts";
import { DEPENDENCY_STATES } from "../../model/dependency.ts";
import { RUN_STATES } from "../../model/run.ts";
import { TASK_STATES, type TaskState } from "../../model/task.ts";
import {
  decodeCount,
  decodeNumber,
  decodeOneOf,
  decodeOptionalText,
  decodeTaskId,
  decodeTime,
  decodeWorker,
} from "./columns.ts";
import { DamagedRow } from "./damaged-row.ts";
import type { Database, Row } from "./database.ts";
import type { Answer, Args, OpenRunWire } from "./messages.ts";
import { type TaskRecord, loadTaskById, readTaskWire, standingOf } from "./task-rows.ts";

export function inspectTask(db: Database, { id, now }: Args<"inspectTask">): Answer<"inspectTask"> {
  const task = loadTaskById(db, id);
  if (task === undefined) return undefined;
  const openRuns = db
    .all(
      `SELECT * FROM runs INDEXED BY runs_open WHERE task = ? AND outcome IS NULL ORDER BY idx LIMIT ?`,
      task.serial,
      EXPLAINED_ITEMS_MAX,
    )
    .map((row) => openRun(db, row));
  const first = openRuns.find(({ state, notBefore }) => state === "ready" && notBefore <= now);
  const ahead = first === undefined ? 0 : countAhead(db, task, first);
  const unmetCount = decodeNumber(
    db.get("SELECT count(*) AS count FROM dependencies WHERE dependent = ? AND state <> 'met'", task.serial)?.count,
  );
  if (standingOf(task) === "waiting" && unmetCount === 0)
    throw new DamagedRow("a task waits, and for none that there is");
  return {
    task: readTaskWire(db, task, false),
    openRuns,
    waitsFor: unmet(db, task),
    unmetCount,
    readyAhead: Math.min(ahead, EXPLAINED_AHEAD_MAX),
    isMoreAhead: ahead > EXPLAINED_AHEAD_MAX,
  };
}

function openRun(db: Database, row: Row): OpenRunWire {
  const serial = decodeCount(row.task);
  const index = decodeCount(row.idx);
  const attempt = decodeCount(row.attempt);
  const isRunning = row.state === "running";
  const isHeld = row.state === "ready" && decodeNumber(row.not_before) > 0 && row.lease_until !== null;
  const latest =
    attempt === 0
      ? undefined
      : db.get(
          "SELECT outcome, worker FROM attempts WHERE task = ? AND run = ? AND number = ?",
          serial,
          index,
          attempt,
        );
  const lostOn = db.all(
    "SELECT DISTINCT worker FROM attempts WHERE task = ? AND run = ? AND state = 'lost' LIMIT ?",
    serial,
    index,
    EXPLAINED_ITEMS_MAX,
  );
  return {
    index,
    state: decodeOneOf(RUN_STATES, row.state),
    dueAt: decodeTime(row.due_at),
    notBefore: decodeTime(row.not_before),
    cancelledOn: isHeld && latest !== undefined ? decodeWorker(latest.worker) : undefined,
    attempt,
    lost: decodeCount(row.lost),
    lostOn: lostOn.map((each) => decodeWorker(each.worker)),
    worker: isRunning ? decodeWorker(row.worker) : undefined,
    startedAt: isRunning ? decodeTime(row.started_at) : undefined,
    lastOutcome: decodeOptionalText(latest?.outcome ?? null),
  };
}

/** Ready runs with the same requirement that come before this one; counted no further than one beyond the limit. */
function countAhead(db: Database, task: TaskRecord, { index, dueAt }: OpenRunWire): number {
  const { requirement, serial, plan } = task;
  const row = db.get(
    `SELECT count(*) AS count FROM (
       SELECT 1 FROM (
         SELECT 1 FROM runs WHERE state = 'ready' AND not_before = 0 AND requirement = ?1 AND priority > ?2 LIMIT ?6)
       UNION ALL
       SELECT 1 FROM (
         SELECT 1 FROM runs WHERE state = 'ready' AND not_before = 0 AND requirement = ?1 AND priority = ?2
           AND (due_at, task, idx) < (?3, ?4, ?5) LIMIT ?6)
       LIMIT ?6)`,
    requirement,
    plan.priority,
    dueAt,
    serial,
    index,
    EXPLAINED_AHEAD_MAX + 1,
  );
  return decodeNumber(row?.count);
}

/** In the order of the contract. */
function unmet(
  db: Database,
  task: TaskRecord,
): readonly { readonly id: TaskId | undefined; readonly state: TaskState | "deleted" }[] {
  return db
    .all(
      `SELECT d.state AS stands, t.id, t.state FROM dependencies d LEFT JOIN tasks t ON t.serial = d.dependency
       WHERE d.dependent = ? AND d.state <> 'met'
       ORDER BY CASE WHEN t.state IS NULL THEN 0 WHEN t.state IN ('failed', 'cancelled') THEN 1 WHEN t.state = 'succeeded' THEN 3 ELSE 2 END,
         d.dependency LIMIT ?`,
      task.serial,
      EXPLAINED_ITEMS_MAX,
    )
    .map((row) => {
      decodeOneOf(DEPENDENCY_STATES, row.stands);
      return row.id === null
        ? { id: undefined, state: "deleted" }
        : { id: decodeTaskId(row.id), state: decodeOneOf(TASK_STATES, row.state) };
    });
}
