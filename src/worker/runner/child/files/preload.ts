/** Puts the files that a task was given into a guest's `/`. */
import { ERRNO, refuse } from "./errno.ts";
import type { DirectoryInode, FileTree } from "./file-tree.ts";

export interface GivenFile {
  /** As the pool sends it: names joined by slashes, none of them `.` or `..`. */
  readonly path: string;
  /** Becomes the tree's: it is not copied. */
  readonly bytes: Uint8Array;
}

/** Throws `WasiFailure` where a file does not fit, or two are in each other's way. */
export function preloadFile(tree: FileTree, { path, bytes }: GivenFile): void {
  const names = path.split("/");
  const name = names.pop() ?? "";
  let folder = tree.root;
  for (const each of names) folder = folderIn(tree, folder, each);
  tree.adopt(tree.createFile(folder, name), bytes);
}

function folderIn(tree: FileTree, parent: DirectoryInode, name: string): DirectoryInode {
  const found = parent.entries.get(name);
  if (found === undefined) return tree.createDirectory(parent, name);
  return found.kind === "directory" ? found : refuse(ERRNO.NOTDIR);
}
