/** A guest's private files by path: what names what, what is refused and why, and that the tree stays whole. */
import { describe, expect, test } from "vitest";
import { GUEST_FILES_BYTES_MAX, GUEST_FILES_MAX } from "../../../src/base/limits.ts";
import { WasiFailure } from "../../../src/worker/runner/child/files/errno.ts";
import { FileTree, type DirectoryInode, type Inode } from "../../../src/worker/runner/child/files/file-tree.ts";
import {
  createDirectory,
  createLink,
  createSymlink,
  lookUp,
  openPath,
  readLink,
  removeDirectory,
  renamePath,
  unlinkFile,
} from "../../../src/worker/runner/child/files/path-operations.ts";
import { fc } from "../../support/properties.ts";

const E = { BUSY: 10, EXIST: 20, INVAL: 28, ISDIR: 31, LOOP: 32, NAMETOOLONG: 37, NOENT: 44 } as const;
const F = { NOSPC: 51, NOTDIR: 54, NOTEMPTY: 55, PERM: 63 } as const;
const READ = { followLast: true, creates: false, isExclusive: false, wantsDirectory: false };
const OPEN = { ...READ, truncates: false, isForWriting: false };

function makeTree(): FileTree {
  let nowNs = 0n;
  return new FileTree(() => nowNs++);
}

/** `d/` with `f` and `sub/` in it, `f`, and the links `to-f`, `to-d`, `nowhere`, `loop` and `out`. */
function makeWorld(): { readonly tree: FileTree; readonly root: DirectoryInode } {
  const tree = makeTree();
  const { root } = tree;
  createDirectory(tree, root, "d");
  createDirectory(tree, root, "d/sub");
  for (const path of ["f", "d/f"]) openPath(tree, root, path, { ...OPEN, creates: true });
  createSymlink(tree, root, "f", "to-f");
  createSymlink(tree, root, "d", "to-d");
  createSymlink(tree, root, "nothing", "nowhere");
  createSymlink(tree, root, "loop", "loop");
  createSymlink(tree, root, "../../etc", "out");
  return { tree, root };
}

function errnoOf(act: () => unknown): number {
  try {
    act();
    return 0;
  } catch (thrown) {
    if (thrown instanceof WasiFailure) return thrown.errno;
    throw thrown;
  }
}

type Act = (world: ReturnType<typeof makeWorld>) => unknown;
const open =
  (path: string, how: Partial<typeof OPEN> = {}): Act =>
  ({ tree, root }) =>
    openPath(tree, root, path, { ...OPEN, ...how });
const mkdir =
  (path: string): Act =>
  ({ tree, root }) =>
    createDirectory(tree, root, path);
const link =
  (from: string, to: string): Act =>
  ({ tree, root }) =>
    createLink(tree, root, from, root, to);
const symlink =
  (text: string, path: string): Act =>
  ({ tree, root }) =>
    createSymlink(tree, root, text, path);
const rename =
  (from: string, to: string): Act =>
  ({ tree, root }) =>
    renamePath(tree, root, from, root, to);
const rmdir =
  (path: string): Act =>
  ({ tree, root }) =>
    removeDirectory(tree, root, path);
const unlink =
  (path: string): Act =>
  ({ tree, root }) =>
    unlinkFile(tree, root, path);
const creates = { creates: true };

describe("an operation", () => {
  test.each<[string, number, Act]>([
    ["opens what is there", 0, open("d/../f")],
    ["opens through a link", 0, open("to-d/f")],
    ["opens nothing under no name", E.NOENT, open("")],
    ["opens no file as a directory", F.NOTDIR, open("f/")],
    ["does not follow a link that it is not to", E.LOOP, open("to-f", { followLast: false })],
    ["gives up on links in a circle", E.LOOP, open("loop")],
    ["makes no file behind a slash", E.ISDIR, open("new/", creates)],
    ["makes no file where a directory is", E.ISDIR, open("d", creates)],
    ["makes what a link points at", 0, open("nowhere", creates)],
    ["makes nothing new under a link's name", E.EXIST, open("nowhere", { ...creates, isExclusive: true })],
    ["makes no directory by opening it", E.INVAL, open("new", { ...creates, wantsDirectory: true })],
    ["cuts no directory", E.ISDIR, open("d", { truncates: true })],
    ["leaves its root by no path", F.PERM, open("d/../../f")],
    ["leaves its root by no absolute path", F.PERM, open("/f")],
    ["leaves its root by no link", F.PERM, open("out/passwd")],
    ["takes no path with a NUL in it", E.INVAL, open("f\0")],
    ["takes no name that is too long", E.NAMETOOLONG, open("x".repeat(256), creates)],
    ["counts the bytes of a name", E.NAMETOOLONG, open("é".repeat(128), creates)],
    ["takes no path that is too long", E.NAMETOOLONG, open("d/../".repeat(1_000))],
    ["makes a directory behind a slash", 0, mkdir("new/")],
    ["makes no directory over a link", E.EXIST, mkdir("nowhere/")],
    ["links a file", 0, link("f", "d/g")],
    ["links no directory", F.PERM, link("d", "g")],
    ["links to no name that is taken", E.EXIST, link("d", "f")],
    ["links a link, and not what it points at", 0, link("nowhere", "g")],
    ["makes no link behind a slash", E.NOENT, symlink("f", "new/")],
    ["makes no link to an absolute path", F.PERM, symlink("/f", "new")],
    ["moves a directory", 0, rename("d", "e")],
    ["moves a directory over an empty one", 0, rename("d", "d")],
    ["moves no directory into itself", E.INVAL, rename("d", "d/sub/e")],
    ["moves no directory over one that is not empty", F.NOTEMPTY, rename("d/sub", "d")],
    ["moves no directory over a file", F.NOTDIR, rename("d", "f")],
    ["moves no file over a directory", E.ISDIR, rename("f", "d/sub")],
    ["moves no file behind a slash", F.NOTDIR, rename("f", "g/")],
    ["moves nothing that ends in a dot", E.BUSY, rename("d/.", "e")],
    ["moves nothing that is not there", E.NOENT, rename("none", "e")],
    ["removes an empty directory behind a slash", 0, rmdir("d/sub/")],
    ["removes no directory that is not empty", F.NOTEMPTY, rmdir("d")],
    ["removes no root", E.INVAL, rmdir(".")],
    ["removes no file as a directory", F.NOTDIR, rmdir("f")],
    ["unlinks a link, and not what it points at", 0, unlink("nowhere")],
    ["unlinks no directory", E.ISDIR, unlink("d")],
    ["unlinks no file behind a slash", F.NOTDIR, unlink("f/")],
  ])("%s", (_what, errno, act) => {
    const world = makeWorld();
    expect(errnoOf(() => act(world))).toBe(errno);
  });

  test("on the target of a removed link finds it gone", () => {
    const { tree, root } = makeWorld();
    unlinkFile(tree, root, "to-f");
    expect(errnoOf(() => readLink(root, "to-f"))).toBe(E.NOENT);
    expect(lookUp(root, "f", true).kind).toBe("file");
  });
});

const NAMES = ["a", "b", "c"];
const anyPath = fc
  .array(fc.constantFrom(...NAMES, ".", "..", ""), { minLength: 1, maxLength: 5 })
  .map((parts) => parts.join("/"));

describe("a path", () => {
  test("without links names what its plain form names", () => {
    const tree = makeTree();
    const made = new Map<string, Inode>([["", tree.root]]);
    for (const a of NAMES) {
      made.set(a, tree.createDirectory(tree.root, a));
      const parent = made.get(a);
      for (const b of NAMES) if (parent?.kind === "directory") made.set(`${a}/${b}`, tree.createDirectory(parent, b));
    }
    fc.assert(
      fc.property(anyPath, (path) => {
        let found: Inode | undefined;
        const errno = errnoOf(() => (found = lookUp(tree.root, path, true)));
        expect({ errno, found }).toEqual(named(made, path));
      }),
      { numRuns: 1_000 },
    );
  });
});

/** What a path should name, worked out on its text alone. */
function named(made: ReadonlyMap<string, Inode>, path: string): { errno: number; found: Inode | undefined } {
  if (path === "") return { errno: E.NOENT, found: undefined };
  if (path.startsWith("/")) return { errno: F.PERM, found: undefined };
  const at: string[] = [];
  for (const part of path.split("/")) {
    if (part === "" || part === ".") continue;
    if (part === ".." && at.pop() === undefined) return { errno: F.PERM, found: undefined };
    if (part === "..") continue;
    at.push(part);
    if (!made.has(at.join("/"))) return { errno: E.NOENT, found: undefined };
  }
  return { errno: 0, found: made.get(at.join("/")) };
}

const anyAct: fc.Arbitrary<Act> = fc.oneof(
  anyPath.map((path) => open(path, creates)),
  anyPath.map(mkdir),
  fc.tuple(anyPath, anyPath).map(([from, to]) => link(from, to)),
  fc.tuple(anyPath, anyPath).map(([text, path]) => symlink(text, path)),
  fc.tuple(anyPath, anyPath).map(([from, to]) => rename(from, to)),
  anyPath.map(rmdir),
  anyPath.map(unlink),
);

describe("the tree", () => {
  test("stays whole whatever is done to it, and gives back all that it took", () => {
    fc.assert(
      fc.property(fc.array(anyAct, { maxLength: 80 }), (acts) => {
        const tree = makeTree();
        const world = { tree, root: tree.root };
        for (const act of acts) errnoOf(() => act(world));
        const names = countNames(tree.root);
        for (const [inode, count] of names) expect(inode.links).toBe(count);
        empty(tree, tree.root);
        for (let made = 0; made < GUEST_FILES_MAX; made++) tree.createFile(tree.root, String(made));
        expect(errnoOf(() => tree.createFile(tree.root, "more"))).toBe(F.NOSPC);
      }),
      { numRuns: 60 },
    );
  });

  test("counts what links point at, and takes it back", () => {
    const tree = makeTree();
    const file = tree.createFile(tree.root, "f");
    tree.resize(file, GUEST_FILES_BYTES_MAX - 10);
    tree.createSymlink(tree.root, "l", "0123456789");
    expect(errnoOf(() => tree.createSymlink(tree.root, "m", "x"))).toBe(F.NOSPC);
    tree.remove(tree.root, "l");
    expect(errnoOf(() => tree.createSymlink(tree.root, "m", "x"))).toBe(0);
  });

  test("gives the room of a file that was cut to others, and keeps what is left of it", () => {
    const tree = makeTree();
    const file = tree.createFile(tree.root, "f");
    tree.write(file, 0, Uint8Array.of(1, 2, 3));
    tree.resize(file, GUEST_FILES_BYTES_MAX);
    tree.resize(file, 2);
    tree.resize(tree.createFile(tree.root, "g"), GUEST_FILES_BYTES_MAX - 1_000);
    const read = new Uint8Array(4);
    tree.resize(file, 4);
    expect(tree.read(file, 0, read)).toBe(4);
    expect([...read]).toEqual([1, 2, 0, 0]);
  });
});

function countNames(root: DirectoryInode): Map<Inode, number> {
  const names = new Map<Inode, number>();
  const visit = (directory: DirectoryInode): void => {
    for (const inode of directory.entries.values()) {
      names.set(inode, (names.get(inode) ?? 0) + 1);
      if (inode.kind !== "directory") continue;
      expect(inode.parent).toBe(directory);
      expect(names.get(inode)).toBe(1);
      visit(inode);
    }
  };
  visit(root);
  return names;
}

function empty(tree: FileTree, directory: DirectoryInode): void {
  for (const [name, inode] of Array.from(directory.entries)) {
    if (inode.kind === "directory") empty(tree, inode);
    tree.remove(directory, name);
  }
}
