/**
 * What can be done to a guest's files by path, the same for both of its hosts (preview 1 and WASI 0.2). Each takes a
 * base directory that the path is resolved below; rights are the callers' affair. Failures are `WasiFailure`.
 */
import { ERRNO, refuse } from "./errno.ts";
import type { DirectoryInode, FileTree, Inode } from "./file-tree.ts";
import { isAncestor, PATH_BYTES_MAX, resolvePath } from "./paths.ts";
import type { ResolvedPath } from "./paths.ts";

export interface OpenHow {
  readonly followLast: boolean;
  readonly creates: boolean;
  readonly isExclusive: boolean;
  readonly wantsDirectory: boolean;
  readonly truncates: boolean;
  readonly isForWriting: boolean;
}

/** What is at the path; ENOENT if nothing is. */
export function lookUp(base: DirectoryInode, path: string, followLast: boolean): Inode {
  return resolvePath(base, path, followLast ? "follow" : "keep-unless-slash").inode ?? refuse(ERRNO.NOENT);
}

/** What an open gives: what is there, or a new file where it asks for one. Truncation is left to the caller. */
export function openPath(
  tree: FileTree,
  base: DirectoryInode,
  path: string,
  how: OpenHow,
): Exclude<Inode, { kind: "symlink" }> {
  if (how.wantsDirectory && (how.creates || how.isExclusive || how.truncates)) refuse(ERRNO.INVAL);
  const mustBeNew = how.creates && how.isExclusive;
  if (how.creates && path.endsWith("/")) {
    // No file is made under such a name, whatever is there; only what comes before it has to exist.
    const isOpen = resolvePath(base, path, "keep").name === "";
    refuse(mustBeNew && isOpen ? ERRNO.EXIST : ERRNO.ISDIR);
  }
  const found = resolvePath(base, path, how.followLast && !mustBeNew ? "follow" : "keep-unless-slash");
  if (found.inode === undefined) {
    if (!how.creates) refuse(ERRNO.NOENT);
    if (found.mustBeDirectory) refuse(ERRNO.ISDIR);
    return tree.createFile(found.parent, found.name);
  }
  if (mustBeNew) refuse(ERRNO.EXIST);
  if (found.inode.kind === "symlink") refuse(ERRNO.LOOP);
  if (how.wantsDirectory && found.inode.kind !== "directory") refuse(ERRNO.NOTDIR);
  const isForFile = how.isForWriting || how.creates || how.truncates;
  if (found.inode.kind === "directory" && isForFile) refuse(ERRNO.ISDIR);
  return found.inode;
}

export function createDirectory(tree: FileTree, base: DirectoryInode, path: string): void {
  const target = resolvePath(base, path, "keep");
  if (target.inode !== undefined) refuse(ERRNO.EXIST);
  tree.createDirectory(target.parent, target.name);
}

export function createLink(
  tree: FileTree,
  from: DirectoryInode,
  oldPath: string,
  to: DirectoryInode,
  newPath: string,
): void {
  const { inode } = resolvePath(from, oldPath, "keep-unless-slash");
  const target = resolvePath(to, newPath, "keep");
  if (inode === undefined) refuse(ERRNO.NOENT);
  checkNew(target);
  if (inode.kind === "directory") refuse(ERRNO.PERM);
  tree.link(target.parent, target.name, inode);
}

export function createSymlink(tree: FileTree, base: DirectoryInode, text: string, path: string): void {
  if (text.startsWith("/")) refuse(ERRNO.PERM);
  if (text.length > PATH_BYTES_MAX) refuse(ERRNO.NAMETOOLONG);
  if (text.includes("\0")) refuse(ERRNO.INVAL);
  const target = resolvePath(base, path, "keep");
  if (text.length === 0) refuse(ERRNO.NOENT);
  checkNew(target);
  tree.createSymlink(target.parent, target.name, text);
}

/** That a name, which will not be a directory's, is free. */
function checkNew(target: ResolvedPath): void {
  const { inode, mustBeDirectory } = target;
  if (inode === undefined && mustBeDirectory) refuse(ERRNO.NOENT);
  if (inode !== undefined) refuse(mustBeDirectory && inode.kind !== "directory" ? ERRNO.NOTDIR : ERRNO.EXIST);
}

export function readLink(base: DirectoryInode, path: string): string {
  const inode = lookUp(base, path, false);
  return inode.kind === "symlink" ? inode.target : refuse(ERRNO.INVAL);
}

export function removeDirectory(tree: FileTree, base: DirectoryInode, path: string): void {
  const found = resolvePath(base, path, "keep");
  if (found.inode === undefined) refuse(ERRNO.NOENT);
  if (found.inode.kind !== "directory") refuse(ERRNO.NOTDIR);
  if (found.name === "") refuse(ERRNO.INVAL);
  if (found.inode.entries.size > 0) refuse(ERRNO.NOTEMPTY);
  tree.remove(found.parent, found.name);
}

export function unlinkFile(tree: FileTree, base: DirectoryInode, path: string): void {
  const found = resolvePath(base, path, "keep");
  if (found.inode === undefined) refuse(ERRNO.NOENT);
  if (found.inode.kind === "directory") refuse(ERRNO.ISDIR);
  if (found.mustBeDirectory) refuse(ERRNO.NOTDIR);
  tree.remove(found.parent, found.name);
}

export function renamePath(
  tree: FileTree,
  from: DirectoryInode,
  oldPath: string,
  to: DirectoryInode,
  newPath: string,
): void {
  const source = resolvePath(from, oldPath, "keep");
  const target = resolvePath(to, newPath, "keep");
  const { inode } = source;
  // A path that ends in `.` or `..` names no entry that could move.
  if (source.name === "" || target.name === "") refuse(ERRNO.BUSY);
  if (inode === undefined) refuse(ERRNO.NOENT);
  const isSame = target.inode === inode;
  if (target.inode !== undefined && !isSame && isAncestor(target.inode, source.parent)) refuse(ERRNO.NOTEMPTY);
  if (inode.kind === "directory") {
    if (isAncestor(inode, target.parent)) refuse(ERRNO.INVAL);
    if (target.inode !== undefined && target.inode.kind !== "directory") refuse(ERRNO.NOTDIR);
    if (!isSame && target.inode?.kind === "directory" && target.inode.entries.size > 0) refuse(ERRNO.NOTEMPTY);
  } else {
    if (source.mustBeDirectory || target.mustBeDirectory) refuse(ERRNO.NOTDIR);
    if (target.inode?.kind === "directory") refuse(ERRNO.ISDIR);
  }
  tree.rename(source.parent, source.name, target.parent, target.name);
}
