/** The files that a task is given, and those that are kept of its runs. */
import type { Digest, TaskId } from "../base/ids.ts";

/** Content under a path below a guest's `/`. */
export interface FileContent {
  /** As `parseFilePath` gives it. */
  readonly path: string;
  readonly digest: Digest;
  readonly bytes: number;
}

/** A file kept of another task. */
export interface FileReference {
  readonly task: TaskId;
  /** From 1. Undefined: the latest run that kept it. */
  readonly run?: number | undefined;
  readonly path: string;
}

/** A file that a task's guests find in their `/`. */
export type InputFile =
  /** `from` says where the content was found when the task was submitted. */
  | (FileContent & { readonly from?: FileReference | undefined })
  /** To be looked up whenever a run is leased: what it refers to was still to come when the task was submitted. */
  | { readonly path: string; readonly from: FileReference; readonly digest?: undefined };

/** It is to be looked up when a run is leased. */
export function isUnresolved(file: InputFile): file is Extract<InputFile, { readonly digest?: undefined }> {
  return file.digest === undefined;
}

/** A reference as it is written in a form, `@<task>[#<run>]/<path>`. */
export function formatFileReference({ task, run, path }: FileReference): string {
  return run === undefined ? `@${task}/${path}` : `@${task}#${run}/${path}`;
}
