/**
 * A run's log: rows of bytes that follow each other without a gap. Small writes go into the row before them, so that a
 * guest that writes byte by byte does not make a row of each; a row may hold pieces of both streams (`segments`).
 */
import { OUTPUT_ROW_BYTES_MAX, RESULT_TEXT_BYTES_MAX, STORE_PAGE_BYTES_MAX } from "../../base/limits.ts";
import { resultText } from "../result-text.ts";
import type { OutputStream } from "../../model/output.ts";
import type { AppendResult, OutputChunk, OutputPage } from "../store.ts";
import { decodeBytes, decodeCount, decodeNumber, decodeText } from "./columns.ts";
import { DamagedRow } from "./damaged-row.ts";
import type { Database, Row } from "./database.ts";
import type { AppendOutputArgs, ReadOutputArgs } from "./messages.ts";
import { loadRun, type RunRecord } from "./run-rows.ts";
import { loadTaskById } from "./task-rows.ts";

/** A row without its bytes. */
interface LogRow {
  readonly row: number;
  readonly start: number;
  readonly end: number;
  readonly attempt: number;
  readonly segments: readonly Segment[];
}

/** Bytes of one stream, in the run's log. */
interface Segment {
  readonly stream: OutputStream;
  readonly start: number;
  readonly end: number;
}

/** Rows that one page looks through for bytes of the stream that was asked for, and pieces that it may be in. */
const ROWS_PER_PAGE_MAX = 4_096;
const CHUNKS_PER_PAGE_MAX = 4_096;

export function appendOutput(db: Database, args: AppendOutputArgs): AppendResult {
  const run = loadRun(db, args.id.serial, args.id.run);
  if (run === undefined || run.cursor.state !== "running" || run.cursor.attempt !== args.id.attempt) {
    return { kind: "stale" };
  }
  const durableOffset = run.outputBytes - run.attemptOffset;
  const room = Math.max(0, outputBytesMax(db, run.serial) - run.outputBytes);
  // Behind a log that is full nothing can be missing.
  if (args.offset > durableOffset && room > 0) return { kind: "gap", durableOffset };
  const fresh = args.bytes.subarray(Math.max(0, durableOffset - args.offset));
  const kept = fresh.subarray(0, room);
  const outputTruncated = run.outputTruncated || fresh.length > kept.length;
  if (kept.length > 0) appendBytes(db, run, args.stream, kept);
  if (kept.length > 0 || outputTruncated !== run.outputTruncated) {
    db.run(
      "UPDATE runs SET output_bytes = ?, output_truncated = ? WHERE task = ? AND idx = ?",
      run.outputBytes + kept.length,
      Number(outputTruncated),
      run.serial,
      run.index,
    );
  }
  const end = fresh.length === 0 ? durableOffset : args.offset + args.bytes.length;
  return { kind: "appended", durableOffset: end, runOffset: run.attemptOffset };
}

function outputBytesMax(db: Database, serial: number): number {
  return decodeNumber(db.get("SELECT output_bytes_max FROM tasks WHERE serial = ?", serial)?.output_bytes_max);
}

function appendBytes(db: Database, run: RunRecord, stream: OutputStream, bytes: Uint8Array): void {
  const segment = `${stream === "stdout" ? bytes.length : -bytes.length},`;
  const last = db.get(
    `SELECT row, attempt, length(bytes) AS size, length(segments) AS marks FROM output
     WHERE task = ? AND run = ? ORDER BY start DESC LIMIT 1`,
    run.serial,
    run.index,
  );
  const hasRoom =
    last !== undefined &&
    decodeNumber(last.attempt) === run.cursor.attempt &&
    decodeNumber(last.size) + bytes.length <= OUTPUT_ROW_BYTES_MAX &&
    decodeNumber(last.marks) + segment.length <= OUTPUT_ROW_BYTES_MAX;
  if (hasRoom) {
    db.run(
      "UPDATE output SET bytes = CAST(bytes || ? AS BLOB), segments = segments || ? WHERE row = ?",
      bytes,
      segment,
      decodeNumber(last.row),
    );
    return;
  }
  db.run(
    "INSERT INTO output (task, run, start, attempt, segments, bytes) VALUES (?, ?, ?, ?, ?, ?)",
    run.serial,
    run.index,
    run.outputBytes,
    run.cursor.attempt,
    segment,
    bytes,
  );
}

export function readOutput(db: Database, args: ReadOutputArgs): OutputPage | undefined {
  const task = loadTaskById(db, args.task);
  const run = task === undefined ? undefined : loadRun(db, task.serial, args.run);
  if (run === undefined) return undefined;
  const chunks: OutputChunk[] = [];
  let nextOffset = args.offset;
  let room = Math.min(args.bytesMax, STORE_PAGE_BYTES_MAX);
  for (const row of logRows(db, run, args.offset)) {
    let bytes: Uint8Array | undefined;
    for (const segment of row.segments) {
      const start = Math.max(segment.start, args.offset);
      if (start >= segment.end) continue;
      if (args.stream === undefined || segment.stream === args.stream) {
        if (room <= 0 || chunks.length >= CHUNKS_PER_PAGE_MAX) return page(run, chunks, nextOffset);
        const end = Math.min(segment.end, start + room);
        bytes ??= readBytes(db, row);
        chunks.push({
          attempt: row.attempt,
          stream: segment.stream,
          offset: start,
          bytes: bytes.slice(start - row.start, end - row.start),
        });
        room -= end - start;
        nextOffset = end;
        if (end < segment.end) return page(run, chunks, nextOffset);
      } else {
        nextOffset = segment.end;
      }
    }
  }
  return page(run, chunks, nextOffset);
}

function page(run: RunRecord, chunks: readonly OutputChunk[], nextOffset: number): OutputPage {
  const { state } = run.cursor;
  return {
    chunks,
    nextOffset,
    outputBytes: run.outputBytes,
    isComplete: state === "succeeded" || state === "failed" || state === "cancelled",
    isTruncated: run.outputTruncated,
  };
}

/** What the latest attempt wrote to each stream, as a result shows it. */
export function readResultTexts(db: Database, run: RunRecord): { readonly stdout: string; readonly stderr: string } {
  if (run.outputBytes === run.attemptOffset) return { stdout: "", stderr: "" };
  const heads = { stdout: new StreamHead(), stderr: new StreamHead() };
  // An attempt's log begins in a row of its own.
  const rows = db.iterate(
    "SELECT row, start, attempt, segments FROM output WHERE task = ? AND run = ? AND start >= ? ORDER BY start",
    run.serial,
    run.index,
    run.attemptOffset,
  );
  for (const found of rows) {
    const row = decodeLogRow(found);
    let bytes: Uint8Array | undefined;
    for (const segment of row.segments) {
      if (heads[segment.stream].isFull) continue;
      bytes ??= readBytes(db, row);
      heads[segment.stream].add(bytes.subarray(segment.start - row.start, segment.end - row.start));
    }
    if (heads.stdout.isFull && heads.stderr.isFull) break;
  }
  return { stdout: heads.stdout.text(), stderr: heads.stderr.text() };
}

/** The beginning of a stream: what a result shows, and a little more, to see where it is cut. */
class StreamHead {
  readonly #pieces: Uint8Array[] = [];
  #bytes = 0;

  get isFull(): boolean {
    return this.#bytes > RESULT_TEXT_BYTES_MAX;
  }

  add(bytes: Uint8Array): void {
    this.#pieces.push(bytes);
    this.#bytes += bytes.length;
  }

  text(): string {
    const [only] = this.#pieces;
    return resultText(only !== undefined && this.#pieces.length === 1 ? only : Buffer.concat(this.#pieces));
  }
}

/** The rows of the log from the one that holds `offset`, a bounded number. Throws DamagedRow where bytes are missing. */
function* logRows(db: Database, run: RunRecord, offset: number): Generator<LogRow> {
  const rows = db.iterate(
    `SELECT row, start, attempt, segments FROM output
     WHERE task = ?1 AND run = ?2 AND start >= coalesce(
       (SELECT max(start) FROM output WHERE task = ?1 AND run = ?2 AND start <= ?3), 0)
     ORDER BY start LIMIT ${ROWS_PER_PAGE_MAX}`,
    run.serial,
    run.index,
    offset,
  );
  let count = 0;
  let end = 0;
  for (const found of rows) {
    const row = decodeLogRow(found);
    if (count === 0 ? row.start > offset : row.start !== end) throw incomplete();
    yield row;
    count += 1;
    end = row.end;
  }
  if (count < ROWS_PER_PAGE_MAX && end !== run.outputBytes) throw incomplete();
}

function incomplete(): DamagedRow {
  return new DamagedRow("the log of a run is not whole");
}

function decodeLogRow(row: Row): LogRow {
  const start = decodeCount(row.start);
  const segments: Segment[] = [];
  let end = start;
  for (const mark of decodeText(row.segments).split(",").slice(0, -1)) {
    const size = Number(mark);
    if (!Number.isSafeInteger(size) || size === 0) throw new DamagedRow("a piece of a log is none");
    const stream = size > 0 ? "stdout" : "stderr";
    const last = segments.at(-1);
    const segmentStart = last?.stream === stream ? last.start : end;
    if (last?.stream === stream) segments.pop();
    end += Math.abs(size);
    segments.push({ stream, start: segmentStart, end });
  }
  return { row: decodeNumber(row.row), start, end, attempt: decodeCount(row.attempt), segments };
}

function readBytes(db: Database, row: LogRow): Uint8Array {
  const bytes = decodeBytes(db.get("SELECT bytes FROM output WHERE row = ?", row.row)?.bytes);
  if (bytes.length !== row.end - row.start) throw incomplete();
  return bytes;
}
