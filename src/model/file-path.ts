/**
 * The path of a file below a guest's private directory `/`: names joined by single slashes, without a leading one. It
 * cannot lead out of that directory, nor name it. Whatever comes from outside, a form or a runner, passes `parseFilePath`.
 */
import { FILE_NAME_BYTES_MAX, FILE_PATH_BYTES_MAX } from "../base/limits.ts";

export type ParsedFilePath =
  | { readonly ok: true; readonly path: string }
  /** Ends the sentence that the path begins. */
  | { readonly ok: false; readonly reason: string };

const encoder = new TextEncoder();

/** The path without `.` parts, which name nothing: `./a/b` is `a/b`. */
export function parseFilePath(text: string): ParsedFilePath {
  if (text === "") return refused("is empty: name the file");
  if (text.includes("\0")) return refused("has a zero byte in it");
  if (!text.isWellFormed()) return refused("is no valid text");
  if (text.startsWith("/")) return refused("begins with a slash: name it from the guest's own directory on, as a/b");
  const names = text.split("/").filter((name) => name !== ".");
  if (names.length === 0 || names.includes("")) return refused("has an empty part: write a/b, and the name of a file");
  if (names.includes("..")) return refused("has a part .. which could lead out of the guest's directory");
  const path = names.join("/");
  if (byteLength(path) > FILE_PATH_BYTES_MAX) return refused(`is longer than ${FILE_PATH_BYTES_MAX} bytes`);
  if (names.some((name) => byteLength(name) > FILE_NAME_BYTES_MAX)) {
    return refused(`has a part that is longer than ${FILE_NAME_BYTES_MAX} bytes`);
  }
  return { ok: true, path };
}

/** It is a path as `parseFilePath` gives it. */
export function isFilePath(text: string): boolean {
  const parsed = parseFilePath(text);
  return parsed.ok && parsed.path === text;
}

/** The directories above a file, the outermost first: of `a/b/c` these are `a` and `a/b`. */
export function foldersAbove(path: string): string[] {
  const folders: string[] = [];
  for (let at = path.indexOf("/"); at >= 0; at = path.indexOf("/", at + 1)) folders.push(path.slice(0, at));
  return folders;
}

function refused(reason: string): ParsedFilePath {
  return { ok: false, reason };
}

function byteLength(text: string): number {
  // A UTF-16 unit takes three bytes at most.
  return text.length * 3 <= FILE_NAME_BYTES_MAX ? text.length : encoder.encode(text).length;
}
