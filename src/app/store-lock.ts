/** One gateway per database: two would each give the runs of the other away, and delete its files. */
import { failed, messageOf } from "../base/errors.ts";
import { FileLock, holderText } from "../net/file-lock.ts";
import { StoreFailure, notWritableText } from "../store/trouble.ts";

/**
 * Held until it is disposed or the process ends. Beside the file, whose own locks are for whoever reads it or makes a
 * backup. The path is the file's own name (`resolveStorePath`): by a link's it would be another lock. Two hard links of a
 * file are two locks, against which nothing is done. Rejects with `failed`: `store-in-use`, or `store-unavailable`.
 */
export async function lockStore(storePath: string): Promise<FileLock> {
  const path = `${storePath}.lock`;
  let lock: FileLock | undefined;
  try {
    lock = await FileLock.take(path);
  } catch (error) {
    throw new StoreFailure("not-writable", notWritableText(storePath, `${path}: ${messageOf(error)}`), error);
  }
  if (lock !== undefined) return lock;
  throw failed(
    `the database ${storePath} is in use by another gateway${await holderText(path)}: stop that one, or give this one its ` +
      "own with --store or --data",
    { code: "store-in-use" },
  );
}
