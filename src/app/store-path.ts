/** The name that a database's file has itself, whatever links the name that was given goes through. */
import { readlink, realpath } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import { STORE_PATH_LINKS_MAX } from "../base/limits.ts";

/**
 * SQLite follows links to the file, and keeps its log beside that: whatever else belongs beside it has to be put, and looked
 * for, there. So also of a file that is not there yet, to which a link may lead all the same. What cannot be resolved stays
 * as it is, for opening it to say why.
 */
export async function resolveStorePath(path: string): Promise<string> {
  // Not by `resolve`, for which "link/.." is the folder that the link is in.
  let name = path;
  for (let links = 0; links <= STORE_PATH_LINKS_MAX; links++) {
    const real = await realpath(name).catch(() => undefined);
    if (real !== undefined) return real;
    const folder = await realpath(dirname(name)).catch(() => undefined);
    if (folder === undefined) break;
    const target = await readlink(join(folder, basename(name))).catch(() => undefined);
    if (target === undefined) return join(folder, basename(name));
    name = isAbsolute(target) ? target : `${folder}/${target}`;
  }
  return resolve(path);
}
