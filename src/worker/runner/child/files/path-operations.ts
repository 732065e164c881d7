/**
 * What can be done to a guest's files by path, the same for both of its hosts (preview 1 and WASI 0.2). Each takes a
 * base directory that the path is resolved below; rights are the callers' affair. Failures are `WasiFailure`.
 */
import { ERRNO, refuse } from "./errno.ts";
import type { DirectoryInode, FileTree, Inode } from "./file-tree.ts";
import { isAncestor, PATH_BYTES_MAX, resolvePath } from "./paths.ts";

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
  return resolvePath(base, path, followLast).inode ?? refuse(ERRNO.NOENT);
}

/** What an open gives: what is there, or a new file where it asks for one. Truncation is left to the caller. */
export function openPath(
  tree: FileTree,
  base: DirectoryInode,
  path: string,
  how: OpenHow,
): Exclude<Inode, { kind: "symlink" }> {
  if (how.creates && how.wantsDirectory) refuse(ERRNO.INVAL);
  const found = resolvePath(base, path, how.followLast);
  if (found.inode === undefined) {
    if (!how.creates) refuse(ERRNO.NOENT);
    if (found.mustBeDirectory) refuse(ERRNO.ISDIR);
    return tree.createFile(found.parent, found.name);
  }
  if (how.creates && how.isExclusive) refuse(ERRNO.EXIST);
  if (found.inode.kind === "symlink") refuse(ERRNO.LOOP);
  if (how.wantsDirectory && found.inode.kind !== "directory") refuse(ERRNO.NOTDIR);
  const isForFile = how.isForWriting || how.creates || how.truncates;
  if (found.inode.kind === "directory" && isForFile) refuse(ERRNO.ISDIR);
  return found.inode;
}

export function createDirectory(tree: FileTree, base: DirectoryInode, path: string): void {
  const target = resolvePath(base, path, false);
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
  const inode = lookUp(from, oldPath, false);
  const target = resolvePath(to, newPath, false);
  if (inode.kind === "directory") refuse(ERRNO.PERM);
  if (target.inode !== undefined) refuse(ERRNO.EXIST);
  if (target.mustBeDirectory) refuse(ERRNO.NOENT);
  tree.link(target.parent, target.name, inode);
}

export function createSymlink(tree: FileTree, base: DirectoryInode, text: string, path: string): void {
  const target = resolvePath(base, path, false);
  if (text.length === 0) refuse(ERRNO.NOENT);
  if (text.length > PATH_BYTES_MAX) refuse(ERRNO.NAMETOOLONG);
  if (text.includes("\0")) refuse(ERRNO.INVAL);
  if (text.startsWith("/")) refuse(ERRNO.PERM);
  if (target.inode !== undefined) refuse(ERRNO.EXIST);
  if (target.mustBeDirectory) refuse(ERRNO.NOENT);
  tree.createSymlink(target.parent, target.name, text);
}

export function readLink(base: DirectoryInode, path: string): string {
  const inode = lookUp(base, path, false);
  return inode.kind === "symlink" ? inode.target : refuse(ERRNO.INVAL);
}

export function removeDirectory(tree: FileTree, base: DirectoryInode, path: string): void {
  const found = resolvePath(base, path, false);
  if (found.inode === undefined) refuse(ERRNO.NOENT);
  if (found.inode.kind !== "directory") refuse(ERRNO.NOTDIR);
  if (found.name === "") refuse(ERRNO.INVAL);
  if (found.inode.entries.size > 0) refuse(ERRNO.NOTEMPTY);
  tree.remove(found.parent, found.name);
}

export function unlinkFile(tree: FileTree, base: DirectoryInode, path: string): void {
  const found = resolvePath(base, path, false);
  if (found.inode === undefined) refuse(ERRNO.NOENT);
  if (found.inode.kind === "directory") refuse(ERRNO.ISDIR);
  tree.remove(found.parent, found.name);
}

export function renamePath(
  tree: FileTree,
  from: DirectoryInode,
  oldPath: string,
  to: DirectoryInode,
  newPath: string,
): void {
  const source = resolvePath(from, oldPath, false);
  const target = resolvePath(to, newPath, false);
  const { inode } = source;
  if (inode === undefined) refuse(ERRNO.NOENT);
  if (source.name === "" || target.name === "") refuse(ERRNO.INVAL);
  if (inode.kind === "directory") {
    if (isAncestor(inode, target.parent)) refuse(ERRNO.INVAL);
    if (target.inode !== undefined && target.inode.kind !== "directory") refuse(ERRNO.NOTDIR);
    const isOther = target.inode !== inode;
    if (isOther && target.inode?.kind === "directory" && target.inode.entries.size > 0) refuse(ERRNO.NOTEMPTY);
  } else {
    if (target.inode?.kind === "directory") refuse(ERRNO.ISDIR);
    if (target.mustBeDirectory) refuse(ERRNO.NOTDIR);
  }
  tree.rename(source.parent, source.name, target.parent, target.name);
}
