/**
 * The folder in which one process keeps what must survive it: identity, store, blobs, module cache. One process per
 * folder: the first holds a lock that the kernel releases when the process ends, however it ends.
 *
 * Node has no file locks of its own; SQLite takes real ones (fcntl), so the lock is an open exclusive transaction on an
 * otherwise unused database file `lock`.
 */
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { failed, messageOf } from "../base/errors.ts";
import { ensurePrivateFolder, writePrivateFile } from "./private-file.ts";

const LOCK_FILE = "lock";
const HOLDER_FILE = "lock.pid";
/** Folders tried by `openFirstFree`; more processes of one role on a machine have folders given by name. */
const CANDIDATES_MAX = 1_024;
/** SQLite's "another connection holds the lock". */
const SQLITE_BUSY = 5;

export class DataDirectory implements AsyncDisposable {
  readonly path: string;
  #lock: DatabaseSync | undefined;

  private constructor(path: string, lock: DatabaseSync) {
    this.path = path;
    this.#lock = lock;
  }

  /**
   * Makes the folder (mode 0700) if need be and locks it until disposed or the process ends. Rejects with `failed`:
   * `data-directory-in-use`, or `data-directory-unusable`.
   */
  static async open(path: string): Promise<DataDirectory> {
    const absolute = resolve(path);
    const lock = await lockFolder(absolute);
    if (lock !== undefined) return new DataDirectory(absolute, lock);
    const holder = await readHolder(absolute);
    throw failed(
      `the data directory ${absolute} is in use by another process${holder === undefined ? "" : ` (pid ${holder})`}: ` +
        "stop that one, or give this one its own with --data <dir>",
      { code: "data-directory-in-use" },
    );
  }

  /** Opens the first that is not in use of `base`, `base-2`, `base-3`, … */
  static async openFirstFree(base: string): Promise<DataDirectory> {
    for (let number = 1; number <= CANDIDATES_MAX; number++) {
      const absolute = resolve(number === 1 ? base : `${base}-${number}`);
      const lock = await lockFolder(absolute);
      if (lock !== undefined) return new DataDirectory(absolute, lock);
    }
    throw failed(`${base} and ${CANDIDATES_MAX - 1} more beside it are in use: give a folder with --data <dir>`, {
      code: "data-directory-in-use",
    });
  }

  /** Releases the lock. Idempotent. What is in the folder stays. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#lock?.close();
    this.#lock = undefined;
  }
}

/** The held lock; undefined if another process (or another DataDirectory of this one) holds it. */
async function lockFolder(folder: string): Promise<DatabaseSync | undefined> {
  let lock: DatabaseSync | undefined;
  try {
    await ensurePrivateFolder(folder);
    lock = new DatabaseSync(join(folder, LOCK_FILE));
    // In memory, so that nothing is ever written and a folder on a full disk can still be locked.
    lock.exec(
      "PRAGMA busy_timeout = 0; PRAGMA journal_mode = MEMORY; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE",
    );
  } catch (error) {
    lock?.close();
    if (isBusy(error)) return undefined;
    throw failed(`cannot use ${folder} as data directory (--data): ${messageOf(error)}`, {
      code: "data-directory-unusable",
      cause: error,
    });
  }
  // Who holds it is only told, never trusted.
  await writePrivateFile(join(folder, HOLDER_FILE), `${process.pid}\n`).catch(() => undefined);
  return lock;
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && "errcode" in error && error.errcode === SQLITE_BUSY;
}

async function readHolder(folder: string): Promise<string | undefined> {
  const text = await readFile(join(folder, HOLDER_FILE), "latin1").catch(() => "");
  return /^\d{1,10}$/.test(text.trim()) ? text.trim() : undefined;
}
