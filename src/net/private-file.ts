/**
 * Small files that only their owner may read: keys, secrets, the port that was chosen. Written whole or not at all,
 * and durable when the promise resolves.
 */
import { randomBytes } from "node:crypto";
import { link, mkdir, open, readFile, rename, stat, unlink, type FileHandle } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { failed, messageOf } from "../base/errors.ts";
import { SETTINGS_FILE_BYTES_MAX } from "../base/limits.ts";

/** Others and the group: any right at all is one too many. */
const FOREIGN_MODE_BITS = 0o077;

/**
 * Makes the folder and its parents, mode 0700 for those it makes. Not by `mkdir`'s own recursion, which never ends below
 * a folder that says that nothing exists in it, as `/proc` does.
 */
export async function ensurePrivateFolder(folder: string): Promise<void> {
  const missing: string[] = [];
  for (let path = resolve(folder); !(await isFolder(path)); path = dirname(path)) missing.unshift(path);
  for (const path of missing) {
    try {
      await mkdir(path, 0o700);
    } catch (error) {
      // Somebody else may have made it in between.
      if (codeOf(error) !== "EEXIST" || !(await isFolder(path))) throw error;
    }
  }
}

/** Rejects when there is something else. The root is always a folder. */
async function isFolder(path: string): Promise<boolean> {
  try {
    if ((await stat(path)).isDirectory()) return true;
    throw failed(`${path} is not a folder`, { code: "not-a-folder" });
  } catch (error) {
    if (codeOf(error) === "ENOENT") return false;
    throw error;
  }
}

/** Writes the file, mode 0600, replacing it in one step. */
export async function writePrivateFile(path: string, content: string | Uint8Array): Promise<void> {
  const temporary = await writeTemporary(path, content);
  await rename(temporary, path);
  await syncFolder(dirname(path));
}

/**
 * Writes the file, mode 0600, unless it is there. False if it was: nothing was changed. Of several that race, one wins
 * and the file is whole for all.
 */
export async function createPrivateFile(path: string, content: string | Uint8Array): Promise<boolean> {
  const temporary = await writeTemporary(path, content);
  try {
    await link(temporary, path);
    await syncFolder(dirname(path));
    return true;
  } catch (error) {
    if (codeOf(error) === "EEXIST") return false;
    throw error;
  } finally {
    await unlink(temporary).catch(() => undefined);
  }
}

/**
 * Reads a file that must be ours alone; undefined if there is none. Rejects with `failed`: `file-not-private` when
 * another user owns it or others may read or write it, `file-too-large`, or `file-unreadable`.
 */
export async function readPrivateFile(
  path: string,
  { uid }: { uid?: number | undefined } = {},
): Promise<Buffer | undefined> {
  try {
    const file = await open(path, "r");
    try {
      return await readChecked(file, path, uid ?? process.getuid?.());
    } finally {
      await file.close();
    }
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    if (error instanceof Error && error.name === "ClusterError") throw error;
    throw failed(`cannot read ${path}: ${messageOf(error)}`, { code: "file-unreadable", cause: error });
  }
}

async function readChecked(file: FileHandle, path: string, uid: number | undefined): Promise<Buffer> {
  const found = await file.stat();
  if (!found.isFile()) throw failed(`${path} is not a regular file`, { code: "file-unreadable" });
  if (uid !== undefined && found.uid !== uid) {
    throw failed(`${path} belongs to another user (uid ${found.uid}, this is ${uid}): it is not trusted`, {
      code: "file-not-private",
    });
  }
  if (process.platform !== "win32" && (found.mode & FOREIGN_MODE_BITS) !== 0) {
    const mode = (found.mode & 0o777).toString(8).padStart(4, "0");
    throw failed(`${path} may be used by others (mode ${mode}): if nobody has read it, run "chmod 600 ${path}"`, {
      code: "file-not-private",
    });
  }
  if (found.size > SETTINGS_FILE_BYTES_MAX) {
    throw failed(`${path} is too large to be ours (${found.size} bytes)`, { code: "file-too-large" });
  }
  return await readFile(file);
}

async function writeTemporary(path: string, content: string | Uint8Array): Promise<string> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString("hex")}.tmp`);
  const file = await open(temporary, "wx", 0o600);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
  return temporary;
}

/** A rename is durable once its folder is synced. Not every system can open a folder; then there is nothing to do. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r").catch(() => undefined);
  if (handle === undefined) return;
  try {
    await handle.sync();
  } catch {
    // Some file systems refuse to sync a folder.
  } finally {
    await handle.close();
  }
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}
