/**
 * A file that one process holds. The kernel releases it when the process ends, however it ends.
 *
 * Node has no file locks of its own; SQLite takes real ones (fcntl), so the lock is an open exclusive transaction on an
 * otherwise unused database file.
 */
import { readFile } from "node:fs/promises";
import { DatabaseSync } from "node:sqlite";
import { writePrivateFile } from "./private-file.ts";

/** SQLite's "another connection holds the lock". */
const SQLITE_BUSY = 5;

export class FileLock implements Disposable {
  #lock: DatabaseSync | undefined;

  private constructor(lock: DatabaseSync) {
    this.#lock = lock;
  }

  /**
   * Makes the file if need be; its folder has to be there. Undefined: another process holds it, or another FileLock of this
   * one. Rejects where there can be no such file.
   */
  static async take(path: string): Promise<FileLock | undefined> {
    let lock: DatabaseSync | undefined;
    try {
      lock = new DatabaseSync(path);
      // In memory, so that nothing is ever written and a folder on a full disk can still be locked.
      lock.exec(
        "PRAGMA busy_timeout = 0; PRAGMA journal_mode = MEMORY; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE",
      );
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

function holderPath(path: string): string {
  return `${path}.pid`;
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && "errcode" in error && error.errcode === SQLITE_BUSY;
}
