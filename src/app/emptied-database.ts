/** Tells a database that was emptied, or taken away, from one that is new, by what is beside it. SQLite itself cannot. */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { failed } from "../base/errors.ts";

/** A file with less in it is no database: this is what SQLite's begin with. */
const HEADER_BYTES = 100;

/**
 * A database that is not there, or empty, is no new one where modules and files of its tasks are: somebody or something has
 * emptied it, or moved it, or another one was named. To begin with an empty one would be to delete them all. Rejects with
 * `failed`, code `store-unavailable`.
 */
export async function refuseEmptied(storePath: string, blobsFolder: string): Promise<void> {
  const file = await stat(storePath).catch(() => undefined);
  if (file !== undefined && (!file.isFile() || file.size >= HEADER_BYTES)) return;
  if (!(await hasBlobs(blobsFolder))) return;
  throw failed(
    `the database ${storePath} is ${file === undefined ? "not there" : "empty"}, but ${blobsFolder} has what belongs to its ` +
      `tasks: put it back where it was, or restore it from a backup; or move ${file === undefined ? "" : "it and "}${blobsFolder} ` +
      "away to begin with an empty database",
    { code: "store-unavailable" },
  );
}

async function hasBlobs(folder: string): Promise<boolean> {
  for (const name of await readdir(folder).catch(() => [])) {
    if (!/^[0-9a-f]{2}$/.test(name)) continue;
    const blobs = await readdir(join(folder, name)).catch(() => []);
    if (blobs.length > 0) return true;
  }
  return false;
}
