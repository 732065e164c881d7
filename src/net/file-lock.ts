/**
 * A file that one process holds. The kernel releases it when the process ends, however it ends.
 *
 * Node has no file locks of its own; SQLite takes real ones (fcntl), so the lock is an open exclusive transaction on an
 * otherwise unused database file.
 */
import { chmodSync, closeSync, lstatSync, openSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { DatabaseSync } from "node:sqlite";
import { FILE_LOCK_BUSY_MS_MAX } from "../base/limits.ts";
import { writePrivateFile } from "./private-file.ts";

/** SQLite's "another connection holds the lock". */
const SQLITE_BUSY = 5;

export class FileLock implements Disposable {
  #lock: DatabaseSync | undefined;

  private constructor(lock: DatabaseSync) {
    this.#lock = lock;
  }

  /**
   * Makes the file if need be, for its owner alone; its folder has to be there. Undefined: another process holds it, or
   * another FileLock of this one. Of several that take it at once one gets it. Rejects where there can be no such file.
   */
  static async take(path: string): Promise<FileLock | undefined> {
    let lock: DatabaseSync | undefined;
    try {
      makePrivate(path);
      // Each of two that come at once is for a moment in the other's way, and gives way while it waits.
      lock = new DatabaseSync(path, { timeout: FILE_LOCK_BUSY_MS_MAX });
      // In memory, so that nothing is ever written and a folder on a full disk can still be locked.
      lock.exec("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE");
    } catch (error) {
      lock?.close();
      if (isBusy(error)) return undefined;
      throw error;
    }
    // Who holds it is only told, never trusted.
    await writePrivateFile(holderPath(path), `${process.pid}\n`).catch(() => undefined);
    return new FileLock(lock);
  }

  /** Idempotent. The file stays. */
  [Symbol.dispose](): void {
    this.#lock?.close();
    this.#lock = undefined;
  }
}

/** Who holds the lock, ` (pid 123)`, as far as that is known; else nothing. */
export async function holderText(path: string): Promise<string> {
  const text = await readFile(holderPath(path), "latin1").catch(() => "");
  return /^\d{1,10}$/.test(text.trim()) ? ` (pid ${text.trim()})` : "";
}

/**
 * Whoever can read the file can hold it. One that is there is not opened: the kernel takes all of a process's locks on a
 * file away when it closes any handle of it.
 */
function makePrivate(path: string): void {
  try {
    closeSync(openSync(path, "wx", 0o600));
  } catch {
    // It is there, or cannot be made, which SQLite then says.
    restrict(path);
  }
}

/** One of an earlier version may be readable for others. */
function restrict(path: string): void {
  try {
    if (lstatSync(path).isFile()) chmodSync(path, 0o600);
  } catch {
    // Somebody else's, or none.
  }
}

function holderPath(path: string): string {
  return `${path}.pid`;
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && "errcode" in error && error.errcode === SQLITE_BUSY;
}
