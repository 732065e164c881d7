/** Operations on tasks, and what is looked up of their runs. Each runs inside a transaction of the store's thread. */
import { assert } from "../../base/errors.ts";
import { STORE_PAGE_BYTES_MAX, STORE_PURGE_ROWS_MAX } from "../../base/limits.ts";
import type { TaskId } from "../../base/ids.ts";
import type { AttemptId } from "../../model/run.ts";
import type { FreedBlobs } from "../store.ts";
import { decodeNumber, decodeOptionalText } from "./columns.ts";
import type { Database } from "./database.ts";
import { blobsOfTask, forgetArrived, joinFreed } from "./file-rows.ts";
import { noteEnd } from "./dependency-ends.ts";
import type { Answer, ListTasksArgs, SpecWire } from "./messages.ts";
import { attemptId, decide, finishAttempt, finishRun, loadOpenRuns, readRunWires } from "./run-rows.ts";
import {
  type TaskRecord,
  decodeSpecWire,
  decodeTaskRecord,
  dropRequirement,
  countUnfinished,
  loadTaskById,
  readRunningSince,
  readTaskWire,
  saveTask,
  taskWire,
} from "./task-rows.ts";

export function getTask(db: Database, args: { readonly id: TaskId }): Answer<"getTask"> {
  const task = loadTaskById(db, args.id);
  return task === undefined ? undefined : readTaskWire(db, task, false);
}

export function listTasks(db: Database, args: ListTasksArgs): Answer<"listTasks"> {
  const found: { task: TaskRecord; spec: SpecWire; result: string | undefined }[] = [];
  let bytes = 0;
  let hasMore = false;
  for (const row of db.iterate(
    `SELECT t.*, s.spec, s.submitter, s.stdin, r.result FROM tasks t
     JOIN specs s ON s.serial = t.serial
     LEFT JOIN runs r ON r.task = t.serial AND r.idx = t.result_run
     WHERE ${args.state === undefined ? "" : "t.state = ?3 AND"} t.serial < ?1 ORDER BY t.serial DESC LIMIT ?2`,
    args.belowSerial,
    args.limit + 1,
    ...(args.state === undefined ? [] : [args.state]),
  )) {
    const spec = decodeSpecWire(row);
    const result = decodeOptionalText(row.result);
    bytes += spec.text.length + spec.stdin.length + (result?.length ?? 0);
    hasMore = found.length === args.limit || (found.length > 0 && bytes > STORE_PAGE_BYTES_MAX);
    if (hasMore) break;
    found.push({ task: decodeTaskRecord(row), spec, result });
  }
  const withRunning = found.filter(({ task }) => task.counts.running > 0).map(({ task }) => task.serial);
  const since = readRunningSince(db, withRunning);
  const tasks = found.map(({ task, spec, result }) =>
    taskWire(task, { spec, result, runningSince: since.get(task.serial) ?? [] }),
  );
  return { tasks, hasMore };
}

export function countUnfinishedTasks(db: Database): number {
  return readCounter(db, "unfinished");
}

export function measureQueue(db: Database): Answer<"measureQueue"> {
  return { tasks: readCounter(db, "unfinished"), bytes: readCounter(db, "unfinished_bytes") };
}

function readCounter(db: Database, name: string): number {
  return decodeNumber(db.get("SELECT value FROM counters WHERE name = ?", name)?.value);
}

export function listRuns(
  db: Database,
  args: { readonly id: TaskId; readonly fromIndex: number; readonly limit: number },
): Answer<"listRuns"> {
  const task = loadTaskById(db, args.id);
  if (task === undefined) return undefined;
  return readRunWires(db, task, { fromIndex: args.fromIndex, limit: args.limit, bytesMax: STORE_PAGE_BYTES_MAX });
}

export function getLatestStartedRun(db: Database, args: { readonly id: TaskId }): Answer<"getLatestStartedRun"> {
  const task = loadTaskById(db, args.id);
  if (task?.latestRun === undefined) return undefined;
  return readRunWires(db, task, { fromIndex: task.latestRun, limit: 1, bytesMax: STORE_PAGE_BYTES_MAX })[0];
}

export function cancelTask(
  db: Database,
  args: { readonly id: TaskId; readonly reason: string; readonly now: number },
): Answer<"cancelTask"> {
  const task = loadTaskById(db, args.id);
  if (task === undefined) return { kind: "no-such-task" };
  if (task.finishedAt !== undefined) return { kind: "already-finished", task: readTaskWire(db, task, false) };
  const running: AttemptId[] = [];
  const freed: FreedBlobs[] = [];
  const open = loadOpenRuns(db, task);
  for (const run of open) {
    const change = decide(task, run, { kind: "cancel", reason: args.reason });
    assert(change.kind === "changed" && change.outcome !== undefined, "an open run can be cancelled");
    if (change.attemptState !== undefined) {
      running.push(attemptId(task, run));
      finishAttempt(db, run, change.attemptState, change.outcome, args.now);
      freed.push(forgetArrived(db, run));
    }
    finishRun(db, task, run, change.next, {
      outcome: JSON.stringify(change.outcome),
      outputTruncated: run.outputTruncated,
    });
  }
  task.isCancelled = true;
  task.reason = args.reason;
  saveTask(db, task, args.now);
  const runs = open.map(({ index, cursor }) => ({ index, attempt: cursor.attempt }));
  const { hasDependents } = task;
  return {
    kind: "cancelled",
    task: readTaskWire(db, task, false),
    running,
    runs,
    hasDependents,
    freed: joinFreed(freed),
  };
}

/** What the task has that is not small is removed later, in pieces: nothing refers to it any more. */
export function deleteTask(db: Database, args: { readonly id: TaskId }): Answer<"deleteTask"> {
  const task = loadTaskById(db, args.id);
  if (task === undefined) return { kind: "no-such-task" };
  const running = loadOpenRuns(db, task)
    .filter((run) => run.cursor.state === "running")
    .map((run) => attemptId(task, run));
  const freed = blobsOfTask(db, task.serial, task.plan.module);
  // These are found by their state, so they cannot stay.
  db.run("DELETE FROM runs INDEXED BY runs_open WHERE task = ? AND outcome IS NULL", task.serial);
  db.run("DELETE FROM tasks WHERE serial = ?", task.serial);
  const hasDependents = noteEnd(db, { serial: task.serial, id: task.plan.id, end: "deleted" });
  dropRequirement(db, task);
  if (task.finishedAt === undefined) countUnfinished(db, task, -1);
  db.run("INSERT INTO graves (serial) VALUES (?)", task.serial);
  purge(db);
  return { kind: "deleted", running, hasDependents, freed };
}

/** Removes rows of tasks that were deleted, a bounded number. False: none are left. */
export function purge(db: Database): boolean {
  const grave = db.get("SELECT serial FROM graves ORDER BY serial LIMIT 1");
  if (grave === undefined) return false;
  const serial = decodeNumber(grave.serial);
  let room = STORE_PURGE_ROWS_MAX;
  for (const sql of PURGES) {
    room -= db.run(sql, serial, room);
    if (room <= 0) return true;
  }
  // A submission that may be repeated needs it still.
  if (db.get("SELECT 1 FROM submitted_tasks WHERE serial = ? LIMIT 1", serial) === undefined) {
    db.run("DELETE FROM specs WHERE serial = ?", serial);
  }
  db.run("DELETE FROM graves WHERE serial = ?", serial);
  return db.get("SELECT 1 FROM graves LIMIT 1") !== undefined;
}

const PURGES: readonly string[] = [
  `DELETE FROM kept_files WHERE task = ?1 AND (run, path) IN
     (SELECT run, path FROM kept_files WHERE task = ?1 ORDER BY run, path LIMIT ?2)`,
  `DELETE FROM arrived_files WHERE task = ?1 AND (run, path) IN
     (SELECT run, path FROM arrived_files WHERE task = ?1 ORDER BY run, path LIMIT ?2)`,
  `DELETE FROM input_files WHERE task = ?1 AND digest IN
     (SELECT digest FROM input_files WHERE task = ?1 ORDER BY digest LIMIT ?2)`,
  "DELETE FROM output WHERE row IN (SELECT row FROM output WHERE task = ?1 LIMIT ?2)",
  `DELETE FROM attempts WHERE task = ?1 AND (run, number) IN
     (SELECT run, number FROM attempts WHERE task = ?1 ORDER BY run, number LIMIT ?2)`,
  "DELETE FROM runs WHERE task = ?1 AND idx IN (SELECT idx FROM runs WHERE task = ?1 ORDER BY idx LIMIT ?2)",
  `DELETE FROM dependencies WHERE dependent = ?1 AND dependency IN
     (SELECT dependency FROM dependencies WHERE dependent = ?1 LIMIT ?2)`,
];
