/**
 * The files of a submission: those whose content came with it, those that are kept files of other tasks, and the globs
 * that say what is to be kept of it.
 *
 *     files=@build/out/app.bin            of the latest run of the task `build` that has kept it, under that path
 *     files=@build#2/out/app.bin          of its run 2
 *     files=in/app.bin=@build/out/app.bin under another path
 */
import { parseTaskId } from "../base/ids.ts";
import {
  INPUT_ENTRIES_MAX,
  INPUT_FILES_BYTES_MAX,
  INPUT_FILES_MAX,
  OUTPUT_GLOBS_MAX,
  REPEATS_MAX,
} from "../base/limits.ts";
import { foldersAbove, parseFilePath } from "../model/file-path.ts";
import { compileGlob } from "../model/glob.ts";
import { type FileContent, type InputFile, isUnresolved } from "../model/task-file.ts";
import { type FormFields, shown } from "./form-fields.ts";

type UnresolvedFile = Extract<InputFile, { readonly digest?: undefined }>;

/** References are left to be looked up. `given` are the files that came with the submission, their paths unchecked. */
export function parseFiles(fields: FormFields, given: readonly FileContent[]): readonly InputFile[] {
  const files: InputFile[] = [];
  for (const file of given) {
    const parsed = parseFilePath(file.path);
    if (parsed.ok) files.push({ ...file, path: parsed.path });
    else fields.refuse("files", `has the name ${shown(file.path)}, which ${parsed.reason}`);
  }
  for (const text of fields.list("files")) {
    const reference = parseReference(text);
    if (typeof reference === "string") fields.refuse("files", reference);
    else files.push(reference);
  }
  for (const message of tooMuch(files)) fields.refuse("files", message);
  return files;
}

/** Globs, as they were given. */
export function parseOutputs(fields: FormFields): readonly string[] {
  const globs = fields.list("outputs");
  if (globs.length > OUTPUT_GLOBS_MAX) {
    fields.refuse("outputs", `has ${globs.length} globs, and ${OUTPUT_GLOBS_MAX} are the most`);
  }
  for (const glob of globs) {
    const compiled = compileGlob(glob);
    if (!compiled.ok) fields.refuse("outputs", `has ${shown(glob)}, which ${compiled.reason}`);
  }
  return globs;
}

/** What is wrong with all files together. Those that are to be looked up have no bytes yet. */
export function tooMuch(files: readonly InputFile[]): readonly string[] {
  const messages: string[] = [];
  if (files.length > INPUT_FILES_MAX) messages.push(`has ${files.length} files, and ${INPUT_FILES_MAX} are the most`);
  const bytes = files.reduce((sum, file) => sum + (isUnresolved(file) ? 0 : file.bytes), 0);
  if (bytes > INPUT_FILES_BYTES_MAX) {
    messages.push(`has ${bytes} bytes in all, and ${INPUT_FILES_BYTES_MAX} are the most`);
  }
  const paths = new Set<string>();
  const folders = new Set<string>();
  for (const { path } of files) {
    if (paths.has(path)) messages.push(`has ${shown(path)} twice: give each file a path of its own`);
    paths.add(path);
    for (const folder of foldersAbove(path)) folders.add(folder);
    // There may be hundreds above each file: with so many nothing else about them matters.
    if (paths.size + folders.size > INPUT_ENTRIES_MAX) {
      return [...messages, `has more than ${INPUT_ENTRIES_MAX} files and folders together`];
    }
  }
  for (const folder of folders) {
    if (paths.has(folder)) messages.push(`has ${shown(folder)} as a file and as a folder: give one another name`);
  }
  return messages;
}

/** What is wrong with it, as text, where it is none. */
function parseReference(text: string): UnresolvedFile | string {
  const mark = text.startsWith("@") ? 0 : text.indexOf("=@") + 1;
  const match = /^@([^/#]*)(?:#([1-9]\d{0,9}))?\/(.*)$/s.exec(text.slice(mark));
  const task = match?.[1] === undefined ? undefined : parseTaskId(match[1]);
  const run = match?.[2] === undefined ? undefined : Number(match[2]);
  if ((mark === 0 && !text.startsWith("@")) || task === undefined || (run ?? 0) > REPEATS_MAX) {
    return (
      `has ${shown(text)}, which is no file: send one as a file, as in -F files=@data.csv, or name a kept file of ` +
      "another task as @<task>/<path> (with curl: --form-string files=@<task>/<path>)"
    );
  }
  const kept = parseFilePath(match?.[3] ?? "");
  if (!kept.ok) return `has ${shown(text)}, whose path ${kept.reason}`;
  const placed = mark === 0 ? kept : parseFilePath(text.slice(0, mark - 1));
  if (!placed.ok) return `has ${shown(text)}, whose path for the guest ${placed.reason}`;
  return { path: placed.path, from: { task, run, path: kept.path } };
}
