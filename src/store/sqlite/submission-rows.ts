/**
 * Submissions that came with a key of their submitter's: what they made, as it was told then, for SUBMISSION_KEPT_MS. A
 * task's spec stays for as long, though the task be deleted, so that the answer can be given again.
 */
import { SUBMISSIONS_KEPT_MAX, SUBMISSION_KEPT_MS, SUBMISSION_PURGE_ROWS_MAX } from "../../base/limits.ts";
import type { SubmissionKey } from "../store.ts";
import { decodeNumber, decodeText } from "./columns.ts";
import type { Database } from "./database.ts";
import type { TaskWire } from "./messages.ts";
import { decodeStoredTask } from "./stored-shapes.ts";
import { readSpec } from "./task-rows.ts";

/** `key-mismatch`: the key was used for something else. */
export type KeptSubmission =
  { readonly kind: "repeated"; readonly tasks: readonly TaskWire[] } | { readonly kind: "key-mismatch" };

export function findSubmission(db: Database, key: SubmissionKey, now: number): KeptSubmission | undefined {
  const row = db.get(
    "SELECT number, fingerprint FROM submissions WHERE submitter = ? AND key = ? AND created_at > ?",
    key.submitter,
    key.key,
    now - SUBMISSION_KEPT_MS,
  );
  if (row === undefined) return undefined;
  if (decodeText(row.fingerprint) !== key.fingerprint) return { kind: "key-mismatch" };
  const tasks = db
    .all("SELECT serial, told FROM submitted_tasks WHERE submission = ? ORDER BY position", decodeNumber(row.number))
    .map((each) => ({
      ...decodeStoredTask(decodeText(each.told)),
      firstRun: 1,
      spec: readSpec(db, decodeNumber(each.serial)),
    }));
  return { kind: "repeated", tasks };
}

/** Keeps what the key has made. `tasks` are as they are told. */
export function keepSubmission(db: Database, key: SubmissionKey, tasks: readonly TaskWire[], now: number): void {
  makeRoom(db, key, now);
  const number = db.insert(
    "INSERT INTO submissions (submitter, key, fingerprint, created_at) VALUES (?, ?, ?, ?)",
    key.submitter,
    key.key,
    key.fingerprint,
    now,
  );
  db.run("UPDATE counters SET value = value + 1 WHERE name = 'submissions'");
  for (const [position, task] of tasks.entries()) {
    db.run(
      "INSERT INTO submitted_tasks (submission, position, serial, told) VALUES (?, ?, ?, ?)",
      number,
      position,
      task.serial,
      JSON.stringify(task),
    );
  }
}

/** Removes what has had its time, a bounded number, and in any case what the key stood for and what there is no room for. */
function makeRoom(db: Database, key: SubmissionKey, now: number): void {
  const own = db.get("SELECT number FROM submissions WHERE submitter = ? AND key = ?", key.submitter, key.key);
  if (own !== undefined) forgetTasks(db, decodeNumber(own.number), Infinity);
  let room = SUBMISSION_PURGE_ROWS_MAX;
  while (room > 0) {
    const oldest = db.get(
      "SELECT number, created_at FROM submissions WHERE created_at > -1 ORDER BY created_at LIMIT 1",
    );
    if (oldest === undefined) return;
    const isOver = decodeNumber(oldest.created_at) <= now - SUBMISSION_KEPT_MS;
    const count = decodeNumber(db.get("SELECT value FROM counters WHERE name = 'submissions'")?.value);
    if (!isOver && count < SUBMISSIONS_KEPT_MAX) return;
    room -= forgetTasks(db, decodeNumber(oldest.number), isOver ? room : Infinity);
  }
}

/** Forgets a submission if it has at most so many tasks, else as many of these. Returns how many rows that took. */
function forgetTasks(db: Database, number: number, limit: number): number {
  const rows = db.all(
    "SELECT position, serial FROM submitted_tasks WHERE submission = ? ORDER BY position LIMIT ?",
    number,
    Math.min(limit, Number.MAX_SAFE_INTEGER),
  );
  for (const row of rows) {
    const serial = decodeNumber(row.serial);
    db.run("DELETE FROM submitted_tasks WHERE submission = ? AND position = ?", number, decodeNumber(row.position));
    // Of a task that is gone, the spec was kept for this alone.
    if (db.get("SELECT 1 FROM tasks WHERE serial = ?", serial) === undefined) {
      db.run("DELETE FROM specs WHERE serial = ?", serial);
    }
  }
  if (rows.length < limit) {
    db.run("DELETE FROM submissions WHERE number = ?", number);
    db.run("UPDATE counters SET value = value - 1 WHERE name = 'submissions'");
  }
  return rows.length + 1;
}
