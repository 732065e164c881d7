/** A MemoryStore's operations on logs. */
import { STORE_PAGE_BYTES_MAX } from "../../src/base/limits.ts";
import type { TaskId } from "../../src/base/ids.ts";
import type { AttemptId } from "../../src/model/run.ts";
import { resultText } from "../../src/store/result-text.ts";
import type { OutputStream } from "../../src/model/output.ts";
import type { AppendResult, OutputChunk, OutputPage, ReadOutputOptions } from "../../src/store/store.ts";
import {
  type LogPiece,
  type RunLog,
  type RunRow,
  type Transaction,
  isOpen,
  knownRun,
  withRun,
} from "./memory-store-state.ts";

export function emptyLog(): RunLog {
  return { pieces: [], count: 0, bytes: 0 };
}

/** `bytes` are the store's own. */
export function appendOutput(
  tx: Transaction,
  id: AttemptId,
  offset: number,
  stream: OutputStream,
  bytes: Uint8Array,
): AppendResult {
  const found = tx.find(id);
  if (found?.run.cursor.state !== "running" || found.run.cursor.attempt !== id.attempt) return { kind: "stale" };
  const { task, run } = found;
  const durableOffset = run.log.bytes - run.attemptOffset;
  const room = Math.max(0, task.spec.outputBytesMax - run.log.bytes);
  // Behind a log that is full nothing can be missing.
  if (offset > durableOffset && room > 0) return { kind: "gap", durableOffset };
  const fresh = bytes.subarray(Math.max(0, durableOffset - offset));
  const kept = fresh.subarray(0, room);
  const outputTruncated = run.outputTruncated || fresh.length > kept.length;
  const piece: LogPiece = { attempt: id.attempt, stream, start: run.log.bytes, bytes: kept };
  const log = kept.length === 0 ? run.log : appended(run.log, piece);
  if (kept.length > 0 || outputTruncated !== run.outputTruncated) {
    tx.saveTask(withRun(task, { ...run, log, outputTruncated }), 0);
  }
  const end = fresh.length === 0 ? durableOffset : offset + bytes.length;
  return { kind: "appended", durableOffset: end, runOffset: run.attemptOffset };
}

function appended(log: RunLog, piece: LogPiece): RunLog {
  // What lies behind belongs to a state that was given up.
  log.pieces.length = log.count;
  log.pieces.push(piece);
  return { pieces: log.pieces, count: log.count + 1, bytes: log.bytes + piece.bytes.length };
}

export function readOutput(
  tx: Transaction,
  id: TaskId,
  index: number,
  options: ReadOutputOptions,
): OutputPage | undefined {
  const task = tx.task(id);
  const run = task && knownRun(task, index);
  if (run === undefined) return undefined;
  const { offset, stream } = options;
  const chunks: OutputChunk[] = [];
  let nextOffset = offset;
  let room = Math.min(options.bytesMax, STORE_PAGE_BYTES_MAX);
  for (const piece of piecesOf(run)) {
    const pieceEnd = piece.start + piece.bytes.length;
    const start = Math.max(piece.start, offset);
    if (start >= pieceEnd) continue;
    if (stream !== undefined && stream !== piece.stream) {
      nextOffset = pieceEnd;
      continue;
    }
    if (room <= 0) break;
    const end = Math.min(pieceEnd, start + room);
    const bytes = piece.bytes.slice(start - piece.start, end - piece.start);
    chunks.push({ attempt: piece.attempt, stream: piece.stream, offset: start, bytes });
    room -= end - start;
    nextOffset = end;
    if (end < pieceEnd) break;
  }
  return {
    chunks,
    nextOffset,
    outputBytes: run.log.bytes,
    isComplete: !isOpen(run),
    isTruncated: run.outputTruncated,
  };
}

/** The beginnings of what the latest attempt wrote to its two streams, for its result. */
export function resultTexts(run: RunRow): { readonly stdout: string; readonly stderr: string } {
  const text = (stream: OutputStream) =>
    resultText(
      Buffer.concat(
        piecesOf(run)
          .filter((piece) => piece.attempt === run.cursor.attempt && piece.stream === stream)
          .map((piece) => piece.bytes),
      ),
    );
  return { stdout: text("stdout"), stderr: text("stderr") };
}

function piecesOf(run: RunRow): readonly LogPiece[] {
  return run.log.pieces.slice(0, run.log.count);
}
