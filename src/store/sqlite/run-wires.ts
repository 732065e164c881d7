/** Runs and their attempts, as they are told. */
import { ATTEMPT_STATES, RUN_STATES } from "../../model/run.ts";
import type { FileContent } from "../../model/task-file.ts";
import {
  decodeAmount,
  decodeCount,
  decodeNumber,
  decodeOneOf,
  decodeOptionalAmount,
  decodeOptionalText,
  decodeOptionalTime,
  decodeTime,
  decodeWorker,
} from "./columns.ts";
import type { Database, Row } from "./database.ts";
import { readKeptFiles } from "./file-rows.ts";
import type { AttemptWire, RunWire } from "./messages.ts";
import type { TaskRecord } from "./task-rows.ts";

/**
 * `limit` runs from `fromIndex` on as they are told, or from the first that is known; as many as `bytesMax` allows, but one
 * at least.
 */
export function readRunWires(
  db: Database,
  task: TaskRecord,
  range: { readonly fromIndex: number; readonly limit: number; readonly bytesMax: number },
): readonly RunWire[] {
  const fromIndex = Math.max(range.fromIndex, task.firstRun);
  const toIndex = fromIndex + range.limit - 1;
  const rows: Row[] = [];
  let bytes = 0;
  const found = db.iterate(
    "SELECT * FROM runs WHERE task = ? AND idx BETWEEN ? AND ? ORDER BY idx",
    task.serial,
    fromIndex,
    toIndex,
  );
  for (const row of found) {
    bytes += decodeOptionalText(row.result)?.length ?? 0;
    if (rows.length > 0 && bytes > range.bytesMax) break;
    rows.push(row);
  }
  const kept = readKeptFiles(db, task.serial, fromIndex, fromIndex + rows.length - 1);
  const attempts = readAttempts(db, task.serial, fromIndex, kept.toIndex);
  return rows.slice(0, kept.toIndex - fromIndex + 1).map((row) => {
    const index = decodeNumber(row.idx);
    return decodeRunWire(task, row, attempts.get(index) ?? [], kept.files.get(index) ?? []);
  });
}

/** Attempts of the runs `fromIndex` to `toIndex`, by run. */
export function readAttempts(
  db: Database,
  serial: number,
  fromIndex: number,
  toIndex: number,
): ReadonlyMap<number, readonly AttemptWire[]> {
  const attempts = new Map<number, AttemptWire[]>();
  const rows = db.all(
    "SELECT * FROM attempts WHERE task = ? AND run BETWEEN ? AND ? ORDER BY run, number",
    serial,
    fromIndex,
    toIndex,
  );
  for (const row of rows) {
    const run = decodeNumber(row.run);
    const ofRun = attempts.get(run) ?? [];
    ofRun.push(decodeAttemptWire(row));
    attempts.set(run, ofRun);
  }
  return attempts;
}

function decodeRunWire(
  task: TaskRecord,
  row: Row,
  attempts: readonly AttemptWire[],
  files: readonly FileContent[],
): RunWire {
  const wallMs = decodeOptionalAmount(row.wall_ms);
  return {
    task: task.plan.id,
    serial: task.serial,
    index: decodeCount(row.idx),
    state: decodeOneOf(RUN_STATES, row.state),
    dueAt: decodeTime(row.due_at),
    attempts,
    outcome: decodeOptionalText(row.outcome),
    result: decodeOptionalText(row.result),
    usage:
      wallMs === undefined
        ? undefined
        : { wallMs, cpuMs: decodeAmount(row.cpu_ms), memoryBytes: decodeAmount(row.memory_bytes) },
    outputBytes: decodeCount(row.output_bytes),
    outputTruncated: decodeNumber(row.output_truncated) !== 0,
    files,
  };
}

function decodeAttemptWire(row: Row): AttemptWire {
  return {
    number: decodeCount(row.number),
    worker: decodeWorker(row.worker),
    state: decodeOneOf(ATTEMPT_STATES, row.state),
    startedAt: decodeTime(row.started_at),
    finishedAt: decodeOptionalTime(row.finished_at),
    outcome: decodeOptionalText(row.outcome),
  };
}
