/** Goes through all regular files of a tree. Symbolic links are no files, and lead nowhere from here. */
import type { DirectoryInode, FileInode } from "./file-tree.ts";

export interface FileInTree {
  /** Below the root, without a slash at the beginning. */
  readonly path: string;
  readonly file: FileInode;
}

/** A file that has several names comes under each. What lies under a path longer than `pathLengthMax` is left out. */
export function* filesBelow(root: DirectoryInode, pathLengthMax: number): Generator<FileInTree, void> {
  const folders: { readonly prefix: string; readonly folder: DirectoryInode }[] = [{ prefix: "", folder: root }];
  for (let at = folders.pop(); at !== undefined; at = folders.pop()) {
    for (const [name, inode] of at.folder.entries) {
      const path = at.prefix + name;
      if (path.length > pathLengthMax) continue;
      if (inode.kind === "directory") folders.push({ prefix: `${path}/`, folder: inode });
      else if (inode.kind === "file") yield { path, file: inode };
    }
  }
}
