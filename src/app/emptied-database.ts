/** Tells a database that was emptied from one that is new, by what is beside it. Without its log SQLite itself cannot. */
import { readdir, stat } from "node:fs/promises";
import { failed } from "../base/errors.ts";

/**
 * A database without a byte is no new one where modules and files of its tasks are: somebody or something has emptied it.
 * Rejects with `failed`, code `store-unavailable`.
 */
export async function refuseEmptied(storePath: string, blobsFolder: string): Promise<void> {
  const file = await stat(storePath).catch(() => undefined);
  if (file?.size !== 0) return;
  const names = await readdir(blobsFolder).catch(() => []);
  if (!names.some((name) => /^[0-9a-f]{2}$/.test(name))) return;
  throw failed(
    `the database ${storePath} is empty, but ${blobsFolder} has what belongs to its tasks: restore the database from a ` +
      "backup, or remove the empty file to begin with an empty database",
    { code: "store-unavailable" },
  );
}
