/**
 * A guest's private files: a tree in memory that lives as long as one run. It has hard links, symbolic links and times,
 * and a quota over bytes and entries, so that no program can make it grow past `GUEST_FILES_BYTES_MAX`.
 *
 * It knows nothing of descriptors or paths (see `paths.ts`) and touches no file of the host. Failures are `WasiFailure`.
 */
import { GUEST_FILES_BYTES_MAX, GUEST_FILES_MAX } from "../../../../base/limits.ts";
import { ERRNO, refuse } from "./errno.ts";

export const NAME_BYTES_MAX = 255;

interface InodeBase {
  readonly id: bigint;
  /** Names that refer to it, not counting open descriptors. */
  links: number;
  accessedNs: bigint;
  modifiedNs: bigint;
  changedNs: bigint;
}

export interface FileInode extends InodeBase {
  readonly kind: "file";
  /** The content is the first `size` bytes; what follows is zero. */
  bytes: Uint8Array;
  size: number;
  /** Descriptors that hold it. With no link and no holder its bytes go back to the quota. */
  holders: number;
}

export interface DirectoryInode extends InodeBase {
  readonly kind: "directory";
  readonly entries: Map<string, Inode>;
  /** Undefined for the root, and for a directory that has been removed. */
  parent: DirectoryInode | undefined;
  isRemoved: boolean;
}

export interface SymlinkInode extends InodeBase {
  readonly kind: "symlink";
  readonly target: string;
}

export type Inode = FileInode | DirectoryInode | SymlinkInode;

/** A file's room is given back once less than this share of it is used. */
const SHRINK_SHARE = 4;
const GROWTH_BYTES_MAX = 4_194_304;
const EMPTY = new Uint8Array(0);
const encoder = new TextEncoder();

export class FileTree {
  readonly root: DirectoryInode;
  readonly #nowNs: () => bigint;
  #nextId = 1n;
  #bytes = 0;
  #entries = 0;

  constructor(nowNs: () => bigint) {
    this.#nowNs = nowNs;
    this.root = { ...this.#base(), kind: "directory", entries: new Map(), parent: undefined, isRemoved: false };
    this.root.links = 1;
  }

  createFile(parent: DirectoryInode, name: string): FileInode {
    const file: FileInode = { ...this.#base(), kind: "file", bytes: EMPTY, size: 0, holders: 0 };
    this.#insert(parent, name, file);
    return file;
  }

  createDirectory(parent: DirectoryInode, name: string): DirectoryInode {
    const made: DirectoryInode = { ...this.#base(), kind: "directory", entries: new Map(), parent, isRemoved: false };
    this.#insert(parent, name, made);
    return made;
  }

  /** Its target counts as a file's bytes do. */
  createSymlink(parent: DirectoryInode, name: string, target: string): SymlinkInode {
    if (target.length > GUEST_FILES_BYTES_MAX - this.#bytes) refuse(ERRNO.NOSPC);
    const link: SymlinkInode = { ...this.#base(), kind: "symlink", target };
    this.#insert(parent, name, link);
    this.#bytes += target.length;
    return link;
  }

  /** A second name for what exists; directories have one name only. */
  link(parent: DirectoryInode, name: string, inode: FileInode | SymlinkInode): void {
    this.#insert(parent, name, inode);
    inode.changedNs = this.#nowNs();
  }

  /** Takes a name away. The inode lives on while descriptors hold it. */
  remove(parent: DirectoryInode, name: string): void {
    const inode = parent.entries.get(name);
    if (inode === undefined) refuse(ERRNO.NOENT);
    parent.entries.delete(name);
    this.#entries--;
    inode.links--;
    parent.modifiedNs = this.#nowNs();
    if (inode.kind === "directory") {
      inode.parent = undefined;
      inode.isRemoved = true;
    }
    if (inode.kind === "file") this.#reclaim(inode);
    if (inode.kind === "symlink" && inode.links === 0) this.#bytes -= inode.target.length;
  }

  /** Moves a name, replacing what has the new one; the caller has checked that this may be. */
  rename(from: DirectoryInode, name: string, to: DirectoryInode, newName: string): void {
    const inode = from.entries.get(name);
    if (inode === undefined) refuse(ERRNO.NOENT);
    checkName(newName);
    if (to.isRemoved) refuse(ERRNO.NOENT);
    const replaced = to.entries.get(newName);
    if (replaced === inode) return;
    if (replaced !== undefined) this.remove(to, newName);
    from.entries.delete(name);
    to.entries.set(newName, inode);
    if (inode.kind === "directory") inode.parent = to;
    from.modifiedNs = to.modifiedNs = inode.changedNs = this.#nowNs();
  }

  /** Gives an empty file its content, which becomes the tree's. */
  adopt(file: FileInode, bytes: Uint8Array): void {
    if (this.#bytes + bytes.length > GUEST_FILES_BYTES_MAX) refuse(ERRNO.NOSPC);
    this.#bytes += bytes.length;
    file.bytes = bytes;
    file.size = bytes.length;
  }

  hold(file: FileInode): void {
    file.holders++;
  }

  drop(file: FileInode): void {
    file.holders--;
    this.#reclaim(file);
  }

  /** Copies from the file at `offset`; answers how many bytes there were. */
  read(file: FileInode, offset: number, into: Uint8Array): number {
    const count = Math.min(into.length, Math.max(0, file.size - offset));
    if (count > 0) into.set(file.bytes.subarray(offset, offset + count));
    file.accessedNs = this.#nowNs();
    return count;
  }

  /** Writes all of `from` at `offset`, growing the file; a gap reads as zeros. */
  write(file: FileInode, offset: number, from: Uint8Array): void {
    if (from.length === 0) return;
    const end = offset + from.length;
    if (end > file.size) this.resize(file, end);
    file.bytes.set(from, offset);
    file.modifiedNs = file.changedNs = this.#nowNs();
  }

  /** Sets the size; what is added reads as zeros. */
  resize(file: FileInode, size: number): void {
    if (size > GUEST_FILES_BYTES_MAX) refuse(ERRNO.FBIG);
    if (size > file.bytes.length) this.#reserve(file, size);
    else if (size < file.bytes.length / SHRINK_SHARE) this.#shrink(file, size);
    else if (size < file.size) file.bytes.fill(0, size, file.size);
    file.size = size;
    file.modifiedNs = file.changedNs = this.#nowNs();
  }

  #reserve(file: FileInode, size: number): void {
    const roomLeft = GUEST_FILES_BYTES_MAX - this.#bytes + file.bytes.length;
    if (size > roomLeft) refuse(ERRNO.NOSPC);
    // A large file grows by less than twofold, so that what it does not use is not missed by the others.
    const ahead = Math.min(file.bytes.length, GROWTH_BYTES_MAX);
    const capacity = Math.min(roomLeft, Math.max(size, file.bytes.length + ahead, 256));
    const grown = new Uint8Array(capacity);
    grown.set(file.bytes.subarray(0, file.size));
    this.#bytes += capacity - file.bytes.length;
    file.bytes = grown;
  }

  /** Gives back most of what a file that was cut does not use. */
  #shrink(file: FileInode, size: number): void {
    const kept = file.bytes.slice(0, Math.min(size, file.size));
    const bytes = new Uint8Array(size);
    bytes.set(kept);
    this.#bytes += size - file.bytes.length;
    file.bytes = bytes;
  }

  #reclaim(file: FileInode): void {
    if (file.links > 0 || file.holders > 0) return;
    this.#bytes -= file.bytes.length;
    file.bytes = EMPTY;
    file.size = 0;
  }

  #insert(parent: DirectoryInode, name: string, inode: Inode): void {
    checkName(name);
    if (parent.isRemoved) refuse(ERRNO.NOENT);
    if (parent.entries.has(name)) refuse(ERRNO.EXIST);
    if (this.#entries >= GUEST_FILES_MAX) refuse(ERRNO.NOSPC);
    this.#entries++;
    parent.entries.set(name, inode);
    inode.links++;
    parent.modifiedNs = this.#nowNs();
  }

  #base(): InodeBase {
    const nowNs = this.#nowNs();
    return { id: this.#nextId++, links: 0, accessedNs: nowNs, modifiedNs: nowNs, changedNs: nowNs };
  }
}

function checkName(name: string): void {
  if (
    name.length > NAME_BYTES_MAX ||
    (name.length * 3 > NAME_BYTES_MAX && encoder.encode(name).length > NAME_BYTES_MAX)
  ) {
    refuse(ERRNO.NAMETOOLONG);
  }
}
