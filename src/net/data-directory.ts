/**
 * The folder in which one process keeps what must survive it: identity, store, blobs, module cache. One process per
 * folder: the first holds its lock.
 */
import { join, resolve } from "node:path";
import { failed, messageOf } from "../base/errors.ts";
import { FileLock, holderText } from "./file-lock.ts";
import { ensurePrivateFolder } from "./private-file.ts";

const LOCK_FILE = "lock";
/** Folders tried by `openFirstFree`; more processes of one role on a machine have folders given by name. */
const CANDIDATES_MAX = 1_024;

export class DataDirectory implements AsyncDisposable {
  readonly path: string;
  readonly #lock: FileLock;

  private constructor(path: string, lock: FileLock) {
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
    throw failed(
      `the data directory ${absolute} is in use by another process${await holderText(join(absolute, LOCK_FILE))}: ` +
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
    this.#lock[Symbol.dispose]();
  }
}

/** The held lock; undefined if another process (or another DataDirectory of this one) holds it. */
async function lockFolder(folder: string): Promise<FileLock | undefined> {
  try {
    await ensurePrivateFolder(folder);
    return await FileLock.take(join(folder, LOCK_FILE));
  } catch (error) {
    throw failed(`cannot use ${folder} as data directory (--data): ${messageOf(error)}`, {
      code: "data-directory-unusable",
      cause: error,
    });
  }
}
