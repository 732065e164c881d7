/** The input files of a submission: kept files of other tasks are looked up, and all content is made sure of. */
import { tooMuch } from "../../api/submission-files.ts";
import type { Submission } from "../../api/submission.ts";
import type { FieldError } from "../../api/problem.ts";
import type { Digest, TaskId } from "../../base/ids.ts";
import { FILES_COMMITTED_AT_ONCE } from "../../base/limits.ts";
import type { TaskState } from "../../model/task.ts";
import { type InputFile, formatFileReference, isUnresolved } from "../../model/task-file.ts";
import type { BlobStore, BlobWriter } from "../../store/blobs.ts";
import type { Store } from "../../store/store.ts";
import type { Grant } from "../grant.ts";

export type FoundFiles =
  | { readonly ok: true; readonly files: readonly InputFile[] }
  | { readonly ok: false; readonly errors: readonly FieldError[] };

export interface FindFilesInit {
  readonly store: Pick<Store, "findKeptFile" | "getTask">;
  /** Of whoever submits. */
  readonly grant: Grant;
  readonly batch?: BatchIds | undefined;
}

/** Ids of tasks that are submitted together, by the same. */
export interface BatchIds {
  readonly known: ReadonlySet<TaskId>;
  /** Some could not be read: they may be any. */
  readonly mayBeMore: boolean;
}

/**
 * Looks up the kept files that a submission names. Those of a task that it comes `after` and that has yet to succeed are
 * left as they are, and looked up whenever a run begins. Who may not read names files of the own tasks only.
 */
export async function findFiles(init: FindFilesInit, { files, after }: Submission): Promise<FoundFiles> {
  const { store } = init;
  const found: InputFile[] = [];
  const errors: FieldError[] = [];
  const tasks = new Set(files.flatMap((file) => (isUnresolved(file) ? [file.from.task] : [])));
  const states = new Map<TaskId, TaskState | undefined>();
  const isToCome = async (task: TaskId): Promise<boolean> => {
    if (!after.includes(task)) return false;
    if (!states.has(task)) states.set(task, (await store.getTask(task))?.state);
    return states.get(task) !== "succeeded";
  };
  for (const task of tasks) {
    if (!(await mayRead(init, task))) {
      const message = `names a file of ${task}: it is no task of yours, and your token has no power to read`;
      errors.push({ field: "files", message });
    }
  }
  if (errors.length > 0) return { ok: false, errors };
  for (const file of files) {
    if (!isUnresolved(file) || (await isToCome(file.from.task))) {
      found.push(file);
      continue;
    }
    const { task, path, run } = file.from;
    const kept = await store.findKeptFile(task, path, run);
    if (kept !== undefined) found.push({ ...file, digest: kept.digest, bytes: kept.bytes });
    else errors.push({ field: "files", message: missingMessage(file) });
  }
  if (errors.length === 0) errors.push(...tooMuch(found).map((message) => ({ field: "files", message })));
  return errors.length === 0 ? { ok: true, files: found } : { ok: false, errors };
}

async function mayRead({ store, grant, batch }: FindFilesInit, id: TaskId): Promise<boolean> {
  if (grant.can("read") || batch?.known.has(id) === true) return true;
  const task = await store.getTask(id);
  return task === undefined ? batch?.mayBeMore === true : task.spec.submitter === grant.actor;
}

/** What the task will refer to. */
export function digestsOf(files: readonly InputFile[]): readonly Digest[] {
  return files.flatMap(({ digest }) => digest ?? []);
}

/**
 * Says what is missing of the kept files that were found: the task that kept one may have been deleted since. Nothing can
 * go any more once the caller has pinned them.
 */
export async function findMissing(blobs: Pick<BlobStore, "open">, files: readonly InputFile[]): Promise<FieldError[]> {
  const errors: FieldError[] = [];
  for (const file of files) {
    if (file.digest === undefined || file.from === undefined) continue;
    await using blob = await blobs.open(file.digest);
    if (blob === undefined) errors.push({ field: "files", message: missingMessage(file) });
  }
  return errors;
}

/** Makes the files durable that came with the submission. */
export async function commitFiles(writers: readonly BlobWriter[]): Promise<void> {
  const left = [...writers];
  const commitLeft = async (): Promise<void> => {
    for (let writer = left.pop(); writer !== undefined; writer = left.pop()) await writer.commit();
  };
  await Promise.all(Array.from({ length: Math.min(FILES_COMMITTED_AT_ONCE, writers.length) }, commitLeft));
}

function missingMessage(file: InputFile): string {
  const name = file.from === undefined ? file.path : formatFileReference(file.from);
  const task = file.from?.task ?? "";
  return `names ${name}, and no such file was kept: see GET /tasks/${task}/runs, or name the task in after as well if it is still to come`;
}
