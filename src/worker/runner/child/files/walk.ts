/** Goes through all regular files of a tree. Symbolic links are no files, and lead nowhere from here. */
import type { GlobWalk } from "../../../../model/glob.ts";
import type { DirectoryInode, FileInode } from "./file-tree.ts";

export interface FileInTree {
  /** Below the root, without a slash at the beginning. */
  readonly path: string;
  readonly file: FileInode;
}

/** A file that has several names comes under each. */
export function* filesBelow(root: DirectoryInode): Generator<FileInode, void> {
  const folders = [root];
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    for (const inode of folder.entries.values()) {
      if (inode.kind === "directory") folders.push(inode);
      else if (inode.kind === "file") yield inode;
    }
  }
}

/**
 * The files whose paths match. Folders in which none can are not gone into, and a path is never read from its beginning
 * again: however deep a tree is, each name in it is looked at once.
 */
export function* matchingFiles(root: DirectoryInode, globs: GlobWalk): Generator<FileInTree, void> {
  const folders = [{ prefix: "", folder: root, walk: globs }];
  for (let at = folders.pop(); at !== undefined; at = folders.pop()) {
    for (const [name, inode] of at.folder.entries) {
      const walk = at.walk.advance(name);
      if (walk === undefined) continue;
      const path = at.prefix + name;
      if (inode.kind === "directory") {
        const below = walk.advance("/");
        if (below !== undefined) folders.push({ prefix: `${path}/`, folder: inode, walk: below });
      } else if (inode.kind === "file" && walk.matches) yield { path, file: inode };
    }
  }
}
