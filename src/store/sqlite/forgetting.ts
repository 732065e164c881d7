/**
 * Forgetting tasks. The task's own row goes at once, with all by which others would find it; what it has that is not small
 * is removed later, in pieces, by its serial, which is kept in `graves` until then: nothing refers to it any more.
 */
import { STORE_DEPENDENTS_LOOKED_AT_MAX } from "../../base/limits.ts";
import type { TaskId } from "../../base/ids.ts";
import type { FinishedPosition, FreedBlobs } from "../store.ts";
import { decodeNumber } from "./columns.ts";
import type { Database } from "./database.ts";
import { noteEnd } from "./dependency-ends.ts";
import { blobsOfTask, joinFreed } from "./file-rows.ts";
import type { Answer, Args } from "./messages.ts";
import { attemptId, loadOpenRuns } from "./run-rows.ts";
import { countUnfinished, forgetOpenRuns } from "./queue-rows.ts";
import { dropRequirement } from "./requirement-rows.ts";
import { type TaskRecord, decodeTaskRecord, loadTaskById } from "./task-rows.ts";

export function deleteTask(db: Database, args: { readonly id: TaskId }): Answer<"deleteTask"> {
  const task = loadTaskById(db, args.id);
  if (task === undefined) return { kind: "no-such-task" };
  const running = loadOpenRuns(db, task)
    .filter((run) => run.cursor.state === "running")
    .map((run) => attemptId(task, run));
  const wasUnfinished = task.finishedAt === undefined;
  return { kind: "deleted", running, wasUnfinished, ...forget(db, task) };
}

export function forgetFinished(db: Database, args: Args<"forgetFinished">): Answer<"forgetFinished"> {
  const { endedBefore, limit, after = { finishedAt: -Infinity, serial: 0 } } = args;
  const rows = db.all(
    `SELECT * FROM tasks WHERE finished_at IS NOT NULL AND (finished_at, serial) > (?, ?) AND finished_at < ?
     ORDER BY finished_at, serial LIMIT ?`,
    after.finishedAt,
    after.serial,
    endedBefore,
    limit,
  );
  const forgotten: TaskId[] = [];
  const freed: FreedBlobs[] = [];
  let last: FinishedPosition | undefined;
  for (const row of rows) {
    const task = decodeTaskRecord(row);
    last = { finishedAt: decodeNumber(row.finished_at), serial: task.serial };
    if (isWanted(db, task.serial)) continue;
    freed.push(forget(db, task).freed);
    forgotten.push(task.plan.id);
  }
  return { forgotten, freed: joinFreed(freed), next: rows.length < limit ? undefined : last };
}

/** Whether a task that has not ended runs after this one: it may still want its files. */
function isWanted(db: Database, serial: number): boolean {
  const dependents = db.all(
    "SELECT dependent FROM dependencies WHERE dependency = ? ORDER BY dependent DESC LIMIT ?",
    serial,
    STORE_DEPENDENTS_LOOKED_AT_MAX,
  );
  return (
    dependents.length === STORE_DEPENDENTS_LOOKED_AT_MAX ||
    dependents.some(
      ({ dependent = null }) =>
        db.get("SELECT 1 FROM tasks WHERE serial = ? AND finished_at IS NULL", dependent) !== undefined,
    )
  );
}

function forget(db: Database, task: TaskRecord): { readonly hasDependents: boolean; readonly freed: FreedBlobs } {
  const freed = blobsOfTask(db, task.serial, task.plan.module);
  // These are found by their state, so they cannot stay.
  db.run("DELETE FROM runs INDEXED BY runs_open WHERE task = ? AND outcome IS NULL", task.serial);
  db.run("DELETE FROM tasks WHERE serial = ?", task.serial);
  const hasDependents = noteEnd(db, { serial: task.serial, id: task.plan.id, end: "deleted" });
  dropRequirement(db, task);
  if (task.finishedAt === undefined) countUnfinished(db, task, -1);
  forgetOpenRuns(db, task);
  db.run("INSERT INTO graves (serial) VALUES (?)", task.serial);
  return { hasDependents, freed };
}

/** Removes rows of tasks that were forgotten, about as many as `rowsMax`. False: none are left. */
export function purge(db: Database, rowsMax: number): boolean {
  for (let room = rowsMax; room > 0;) {
    const grave = db.get("SELECT serial FROM graves ORDER BY serial LIMIT 1");
    if (grave === undefined) return false;
    const serial = decodeNumber(grave.serial);
    for (const sql of PURGES) {
      room -= db.run(sql, serial, room);
      if (room <= 0) return true;
    }
    // A submission that may be repeated needs it still.
    if (db.get("SELECT 1 FROM submitted_tasks WHERE serial = ? LIMIT 1", serial) === undefined) {
      db.run("DELETE FROM specs WHERE serial = ?", serial);
    }
    db.run("DELETE FROM graves WHERE serial = ?", serial);
    room -= 2;
  }
  return true;
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
