/**
 * Forgetting runs: a task without end would keep them for ever. The oldest go, so that those which are known are always the
 * ones from `first_run` on, and everything that counts runs goes on counting all of them. Logs may be long: those of runs
 * that were forgotten are removed in pieces, by the steps that follow.
 */
import { STORE_FORGET_LOG_ROWS_MAX, STORE_FORGET_OUTPUT_BYTES, STORE_FORGET_ROWS_MAX } from "../../base/limits.ts";
import { RUN_STATES } from "../../model/run.ts";
import type { FreedBlobs } from "../store.ts";
import { decodeCount, decodeNumber, decodeOneOf, decodeOptionalNumber, decodeTime } from "./columns.ts";
import type { Database } from "./database.ts";
import { freeKeptOf, joinFreed } from "./file-rows.ts";
import type { Answer, Args } from "./messages.ts";
import { type TaskRecord, decodeTaskRecord } from "./task-rows.ts";

export function forgetRuns(db: Database, args: Args<"forgetRuns">): Answer<"forgetRuns"> {
  const { limit, after } = args;
  const rows = db.all(
    `SELECT * FROM tasks INDEXED BY tasks_endless WHERE total = 0 AND finished_at IS NULL AND serial > ?
     ORDER BY serial LIMIT ?`,
    after,
    limit,
  );
  const freed: FreedBlobs[] = [];
  let forgotten = 0;
  let bytes = 0;
  let rowsLeft = STORE_FORGET_ROWS_MAX;
  let logRowsLeft = STORE_FORGET_LOG_ROWS_MAX;
  let last: number | undefined;
  for (const row of rows) {
    const task = decodeTaskRecord(row);
    last = task.serial;
    logRowsLeft -= removeLogs(db, task, logRowsLeft);
    for (const run of logRowsLeft > 0 ? oldRuns(db, task, args, limit - forgotten) : []) {
      const step = forgetRun(db, task, run.index);
      freed.push(step.freed);
      rowsLeft -= step.rows;
      forgotten += 1;
      bytes += run.outputBytes;
      if (forgotten >= limit || bytes >= STORE_FORGET_OUTPUT_BYTES || rowsLeft <= 0) break;
    }
    if (forgotten >= limit || bytes >= STORE_FORGET_OUTPUT_BYTES || rowsLeft <= 0 || logRowsLeft <= 0) {
      return { forgotten, freed: joinFreed(freed), next: task.serial - 1 };
    }
  }
  return { forgotten, freed: joinFreed(freed), next: rows.length < limit ? undefined : last };
}

interface OldRun {
  readonly index: number;
  readonly outputBytes: number;
}

/** Those that may go, from the first one on. */
function oldRuns(
  db: Database,
  task: TaskRecord,
  { endedFrom, endedBefore }: Args<"forgetRuns">,
  limit: number,
): readonly OldRun[] {
  if (task.retrying !== undefined) return [];
  const shown = Math.min(task.resultRun ?? Infinity, task.latestRun ?? Infinity);
  const rows = db.all(
    `SELECT idx, due_at, output_bytes, state,
       (SELECT count(*) FROM attempts a WHERE a.task = r.task AND a.run = r.idx
          AND (a.finished_at IS NULL OR a.finished_at >= ?1)) AS young,
       (SELECT max(a.finished_at) FROM attempts a WHERE a.task = r.task AND a.run = r.idx) AS ended_at
     FROM runs r WHERE task = ?2 AND idx >= ?3 ORDER BY idx LIMIT ?4`,
    endedBefore,
    task.serial,
    task.firstRun,
    limit,
  );
  const old: OldRun[] = [];
  for (const row of rows) {
    const index = decodeCount(row.idx);
    const state = decodeOneOf(RUN_STATES, row.state);
    const isOpen = state === "scheduled" || state === "ready" || state === "running";
    if (index >= shown || isOpen || decodeNumber(row.young) > 0) break;
    const dueAt = decodeTime(row.due_at);
    if (dueAt >= endedBefore || Math.max(dueAt, decodeOptionalNumber(row.ended_at) ?? dueAt) < endedFrom) break;
    old.push({ index, outputBytes: decodeCount(row.output_bytes) });
  }
  return old;
}

/** Of runs that were forgotten before. Returns how many rows. */
function removeLogs(db: Database, task: TaskRecord, rowsMax: number): number {
  if (task.firstRun === 1) return 0;
  return db.run(
    "DELETE FROM output WHERE row IN (SELECT row FROM output WHERE task = ? AND run < ? LIMIT ?)",
    task.serial,
    task.firstRun,
    rowsMax,
  );
}

/** Its log stays for `removeLogs`. */
function forgetRun(
  db: Database,
  task: TaskRecord,
  index: number,
): { readonly freed: FreedBlobs; readonly rows: number } {
  const { serial } = task;
  const writesBefore = db.writes;
  const freed = freeKeptOf(db, { serial, index });
  db.run("DELETE FROM attempts WHERE task = ? AND run = ?", serial, index);
  db.run("DELETE FROM runs WHERE task = ? AND idx = ?", serial, index);
  task.firstRun = index + 1;
  db.run("UPDATE tasks SET first_run = ? WHERE serial = ?", task.firstRun, serial);
  return { freed, rows: db.writes - writesBefore };
}
