/** Operations on files. Each runs inside a transaction of the store's thread. */
import { KEPT_FILES_BYTES_MAX, KEPT_FILES_MAX } from "../../base/limits.ts";
import type { FileContent } from "../../model/task-file.ts";
import type { KeepFileResult, KeptFile } from "../store.ts";
import { decodeNumber, decodeText } from "./columns.ts";
import type { Database } from "./database.ts";
import { decodeFile } from "./file-rows.ts";
import type { Args } from "./messages.ts";
import { type RunRecord, loadRun } from "./run-rows.ts";
import { loadTaskById } from "./task-rows.ts";

export function keepFile(db: Database, args: Args<"keepFile">): KeepFileResult {
  const { id, file, hasBytes } = args;
  const run = loadRun(db, id.serial, id.run);
  if (run === undefined || run.cursor.state !== "running" || run.cursor.attempt !== id.attempt) return "stale";
  const found = db.get(
    "SELECT digest, bytes FROM arrived_files WHERE task = ? AND run = ? AND path = ?",
    run.serial,
    run.index,
    file.path,
  );
  if (found !== undefined) {
    const isSame = decodeText(found.digest) === file.digest && decodeNumber(found.bytes) === file.bytes;
    return isSame ? "kept" : "conflict";
  }
  if (!hasBytes && !hasContent(db, run, file)) return "needs-bytes";
  const last = db.get(
    `SELECT files_so_far, bytes_so_far FROM arrived_files WHERE task = ? AND run = ?
     ORDER BY files_so_far DESC LIMIT 1`,
    run.serial,
    run.index,
  );
  const files = last === undefined ? 1 : decodeNumber(last.files_so_far) + 1;
  const bytes = last === undefined ? file.bytes : decodeNumber(last.bytes_so_far) + file.bytes;
  if (files > KEPT_FILES_MAX || bytes > KEPT_FILES_BYTES_MAX) return "too-many";
  db.run(
    `INSERT INTO arrived_files (task, run, path, digest, bytes, files_so_far, bytes_so_far)
     VALUES (?, ?, ?, ?, ?, ?, ?)`,
    run.serial,
    run.index,
    file.path,
    file.digest,
    file.bytes,
    files,
    bytes,
  );
  return "kept";
}

/** The attempt has the content already: of what was given to it, or of what it has handed over. */
function hasContent(db: Database, run: RunRecord, file: FileContent): boolean {
  const given = db.get("SELECT 1 FROM input_files WHERE task = ? AND digest = ?", run.serial, file.digest);
  if (given !== undefined) return true;
  const arrived = db.get(
    "SELECT 1 FROM arrived_files WHERE digest = ? AND task = ? AND run = ? AND bytes = ? LIMIT 1",
    file.digest,
    run.serial,
    run.index,
    file.bytes,
  );
  return arrived !== undefined;
}

export function findKeptFile(db: Database, args: Args<"findKeptFile">): KeptFile | undefined {
  const task = loadTaskById(db, args.task);
  if (task === undefined) return undefined;
  if (args.dependent !== undefined && !runsAfter(db, args.dependent, task.serial)) return undefined;
  const row =
    args.run === undefined
      ? db.get(
          "SELECT run, path, digest, bytes FROM kept_files WHERE task = ? AND path = ? ORDER BY run DESC LIMIT 1",
          task.serial,
          args.path,
        )
      : db.get(
          "SELECT run, path, digest, bytes FROM kept_files WHERE task = ? AND run = ? AND path = ?",
          task.serial,
          args.run,
          args.path,
        );
  return row === undefined ? undefined : { ...decodeFile(row), run: decodeNumber(row.run) };
}

function runsAfter(db: Database, dependent: number, dependency: number): boolean {
  const sql = "SELECT 1 FROM dependencies WHERE dependency = ? AND dependent = ?";
  return db.get(sql, dependency, dependent) !== undefined;
}

const USES: readonly string[] = [
  "SELECT 1 FROM held_modules WHERE digest = ?",
  "SELECT 1 FROM tasks WHERE module = ? LIMIT 1",
  "SELECT 1 FROM input_files f JOIN tasks t ON t.serial = f.task WHERE f.digest = ? LIMIT 1",
  "SELECT 1 FROM kept_files f JOIN tasks t ON t.serial = f.task WHERE f.digest = ? LIMIT 1",
  "SELECT 1 FROM arrived_files f JOIN tasks t ON t.serial = f.task WHERE f.digest = ? LIMIT 1",
];

export function isBlobUsed(db: Database, args: Args<"isBlobUsed">): boolean {
  return USES.some((sql) => db.get(sql, args.digest) !== undefined);
}
