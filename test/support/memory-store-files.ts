/** A MemoryStore's operations on files. */
import type { Digest, TaskId } from "../../src/base/ids.ts";
import { KEPT_FILES_BYTES_MAX, KEPT_FILES_MAX, STORE_FREED_BLOBS_MAX } from "../../src/base/limits.ts";
import type { Outcome } from "../../src/model/outcome.ts";
import type { AttemptId } from "../../src/model/run.ts";
import type { FileContent } from "../../src/model/task-file.ts";
import type { FreedBlobs, KeepFileResult, KeptFile } from "../../src/store/store.ts";
import { type RunRow, type Transaction, rememberedRuns, withRun } from "./memory-store-state.ts";

export function keepFile(tx: Transaction, id: AttemptId, file: FileContent, hasBytes: boolean): KeepFileResult {
  const found = tx.find(id);
  if (found?.run.cursor.state !== "running" || found.run.cursor.attempt !== id.attempt) return "stale";
  const { task, run } = found;
  const arrived = run.arrivedFiles;
  const same = arrived.find(({ path }) => path === file.path);
  if (same !== undefined) return same.digest === file.digest && same.bytes === file.bytes ? "kept" : "conflict";
  const hasContent =
    task.spec.files.some(({ digest }) => digest === file.digest) ||
    arrived.some(({ digest, bytes }) => digest === file.digest && bytes === file.bytes);
  if (!hasBytes && !hasContent) return "needs-bytes";
  const bytes = arrived.reduce((sum, each) => sum + each.bytes, file.bytes);
  if (arrived.length >= KEPT_FILES_MAX || bytes > KEPT_FILES_BYTES_MAX) return "too-many";
  const { path, digest } = file;
  tx.saveTask(withRun(task, { ...run, arrivedFiles: [...arrived, { path, digest, bytes: file.bytes }] }), 0);
  return "kept";
}

export function findKeptFile(
  tx: Transaction,
  id: TaskId,
  path: string,
  { run, dependent }: { readonly run: number | undefined; readonly dependent: number | undefined },
): KeptFile | undefined {
  const task = tx.task(id);
  const waiting =
    dependent === undefined ? undefined : [...tx.state.tasks.values()].find(({ serial }) => serial === dependent);
  const isOther = !(waiting?.dependencies.some(({ serial }) => serial === task?.serial) ?? false);
  if (dependent !== undefined && isOther) return undefined;
  for (const each of task === undefined ? [] : rememberedRuns(task).toReversed()) {
    const file = each.keptFiles.find((kept) => kept.path === path);
    if (file !== undefined && (run === undefined || run === each.index)) return { ...file, run: each.index };
  }
  return undefined;
}

/** The run with its last attempt's files, kept or forgotten. `outcome` is the run's, if it is over. */
export function settleFiles(run: RunRow, outcome: Outcome | undefined): { settled: RunRow; freed: FreedBlobs } {
  const { arrivedFiles, keptFiles } = run;
  if (outcome?.kind !== "exited") {
    const kept = outcome === undefined ? keptFiles : [];
    const gone = outcome === undefined ? arrivedFiles : [...arrivedFiles, ...keptFiles];
    return { settled: { ...run, arrivedFiles: [], keptFiles: kept }, freed: freedOf(gone.map(({ digest }) => digest)) };
  }
  const sorted = arrivedFiles.toSorted((a, b) => Buffer.compare(Buffer.from(a.path), Buffer.from(b.path)));
  return {
    settled: { ...run, arrivedFiles: [], keptFiles: sorted },
    freed: freedOf(keptFiles.map(({ digest }) => digest)),
  };
}

export function freedOf(digests: readonly Digest[]): FreedBlobs {
  const distinct = [...new Set(digests)];
  return { digests: distinct.slice(0, STORE_FREED_BLOBS_MAX), hasMore: distinct.length > STORE_FREED_BLOBS_MAX };
}
