/** Files as JSON: those that a task is given, and those that are kept of its runs. */
import { z } from "zod";
import { type FileContent, type InputFile, formatFileReference, isUnresolved } from "../model/task-file.ts";

export const inputFileSchema = z.object({
  /** Below the guest's `/`. */
  path: z.string(),
  /** Null, as `sha256`: it is looked up when a run starts. */
  bytes: z.number().nullable(),
  sha256: z.string().nullable(),
  /** The kept file of another task that it is, `@<task>/<path>`. */
  from: z.string().optional(),
});

export const keptFileSchema = z.object({ path: z.string(), bytes: z.number(), sha256: z.string() });

export type InputFileJson = z.infer<typeof inputFileSchema>;
export type KeptFileJson = z.infer<typeof keptFileSchema>;

export function inputFileJson(file: InputFile): InputFileJson {
  return {
    path: file.path,
    bytes: isUnresolved(file) ? null : file.bytes,
    sha256: file.digest ?? null,
    ...(file.from !== undefined && { from: formatFileReference(file.from) }),
  };
}

export function keptFileJson({ path, bytes, digest }: FileContent): KeptFileJson {
  return { path, bytes, sha256: digest };
}
