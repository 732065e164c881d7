/**
 * From a guest's path to what it names. A path is resolved below the directory it was given with and never leaves it:
 * `..` above that directory, absolute paths and symbolic links to either are refused, whatever they point at. Pure.
 */
import { ERRNO, refuse } from "./errno.ts";
import type { DirectoryInode, Inode } from "./file-tree.ts";

export const PATH_BYTES_MAX = 4096;
const SYMLINKS_MAX = 32;

/**
 * What becomes of a symbolic link that the path ends in: it is followed; it is followed only if a slash comes after it,
 * as a look at what is there does; or it is what is meant, as for all that makes, moves or removes a name.
 */
export type LastLink = "follow" | "keep-unless-slash" | "keep";

export interface ResolvedPath {
  /** The directory that holds, or would hold, the last name. */
  readonly parent: DirectoryInode;
  /** The last name; empty when the path names the base directory itself or ends in `.` or `..`. */
  readonly name: string;
  /** What is there now. A symbolic link only where it was not followed. */
  readonly inode: Inode | undefined;
  /** The path ended in a slash, so only a directory will do: checked already, unless the link was to be kept. */
  readonly mustBeDirectory: boolean;
}

/** Resolves `path` below `base`. Every part but the last must exist and be a directory. */
export function resolvePath(base: DirectoryInode, path: string, lastLink: LastLink): ResolvedPath {
  if (path.length === 0) refuse(ERRNO.NOENT);
  if (path.length > PATH_BYTES_MAX) refuse(ERRNO.NAMETOOLONG);
  if (path.includes("\0")) refuse(ERRNO.INVAL);
  if (path.startsWith("/")) refuse(ERRNO.PERM);
  const trail: DirectoryInode[] = [base];
  const todo = splitPath(path);
  let mustBeDirectory = path.endsWith("/");
  let symlinks = 0;
  for (;;) {
    const here = trail[trail.length - 1] ?? base;
    const part = todo.pop();
    if (part === undefined) return { parent: here, name: "", inode: here, mustBeDirectory };
    if (here.isRemoved) refuse(ERRNO.NOENT);
    if (part === ".") continue;
    if (part === "..") {
      if (trail.length === 1) refuse(ERRNO.PERM);
      trail.pop();
      continue;
    }
    const inode = here.entries.get(part);
    const isLast = todo.length === 0;
    const isFollowed = !isLast || lastLink === "follow" || (mustBeDirectory && lastLink === "keep-unless-slash");
    if (inode?.kind === "symlink" && isFollowed) {
      if (++symlinks > SYMLINKS_MAX) refuse(ERRNO.LOOP);
      if (inode.target.startsWith("/")) refuse(ERRNO.PERM);
      if (isLast && inode.target.endsWith("/")) mustBeDirectory = true;
      todo.push(...splitPath(inode.target));
      if (todo.length > PATH_BYTES_MAX) refuse(ERRNO.NAMETOOLONG);
      continue;
    }
    if (isLast) {
      const isThere = inode !== undefined && lastLink !== "keep";
      if (mustBeDirectory && isThere && inode.kind !== "directory") refuse(ERRNO.NOTDIR);
      return { parent: here, name: part, inode, mustBeDirectory };
    }
    if (inode === undefined) refuse(ERRNO.NOENT);
    if (inode.kind !== "directory") refuse(ERRNO.NOTDIR);
    trail.push(inode);
  }
}

/** The parts of a path, last first, so that the next to look at is popped. */
function splitPath(path: string): string[] {
  return path
    .split("/")
    .filter((part) => part !== "")
    .reverse();
}

/** True if `inode` is `directory` or lies above it: moving it there would cut a circle off the tree. */
export function isAncestor(inode: Inode, directory: DirectoryInode): boolean {
  for (let at: DirectoryInode | undefined = directory; at !== undefined; at = at.parent) {
    if (at === inode) return true;
  }
  return false;
}
