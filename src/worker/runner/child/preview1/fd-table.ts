/** A guest's descriptors: 0 to 2 are its streams, 3 is its private directory `/`, the rest it opens itself. */
import { GUEST_FDS_MAX } from "../../../../base/limits.ts";
import { ERRNO, refuse } from "../files/errno.ts";
import type { DirectoryInode, FileInode, FileTree } from "../files/file-tree.ts";
import { DIRECTORY_RIGHTS, FILE_RIGHTS, OUTPUT_RIGHTS, RIGHTS, STDIN_RIGHTS } from "./rights.ts";

export const FD_FLAGS = { APPEND: 1, DSYNC: 2, NONBLOCK: 4, RSYNC: 8, SYNC: 16 } as const;
export const FD_FLAGS_ALL = 31;

interface DescriptorBase {
  rights: number;
  inheriting: number;
  flags: number;
}

export interface StdinDescriptor extends DescriptorBase {
  readonly kind: "stdin";
  readonly bytes: Uint8Array;
  position: number;
}

export interface OutputDescriptor extends DescriptorBase {
  readonly kind: "output";
  readonly stream: "stdout" | "stderr";
}

export interface FileDescriptor extends DescriptorBase {
  readonly kind: "file";
  readonly inode: FileInode;
  position: number;
}

export interface DirectoryDescriptor extends DescriptorBase {
  readonly kind: "directory";
  readonly inode: DirectoryInode;
  /** The name under which it was handed to the guest; undefined when the guest opened it. */
  readonly preopenName: string | undefined;
  /** The names as they were when reading began at the start, so that removing files while reading skips none. */
  listing: readonly string[] | undefined;
}

export type Descriptor = StdinDescriptor | OutputDescriptor | FileDescriptor | DirectoryDescriptor;

export class FdTable {
  readonly #tree: FileTree;
  readonly #open = new Map<number, Descriptor>();
  /** No free number lies below it. */
  #lowestFree = 4;

  constructor(tree: FileTree, stdin: Uint8Array) {
    this.#tree = tree;
    const output = { kind: "output", rights: OUTPUT_RIGHTS, inheriting: 0, flags: 0 } as const;
    this.#open.set(0, { kind: "stdin", bytes: stdin, position: 0, rights: STDIN_RIGHTS, inheriting: 0, flags: 0 });
    this.#open.set(1, { ...output, stream: "stdout" });
    this.#open.set(2, { ...output, stream: "stderr" });
    this.#open.set(3, {
      kind: "directory",
      inode: tree.root,
      preopenName: "/",
      listing: undefined,
      rights: DIRECTORY_RIGHTS,
      inheriting: DIRECTORY_RIGHTS | FILE_RIGHTS,
      flags: 0,
    });
  }

  /** The descriptor; EBADF when there is none. */
  get(fd: number): Descriptor {
    return this.#open.get(fd) ?? refuse(ERRNO.BADF);
  }

  /** The descriptor if it carries all of `rights`. A stream or file that cannot be read or written so is EBADF. */
  getWith(fd: number, rights: number): Descriptor {
    const descriptor = this.get(fd);
    const missing = rights & ~descriptor.rights;
    if (missing !== 0) refuse((missing & (RIGHTS.FD_READ | RIGHTS.FD_WRITE)) !== 0 ? ERRNO.BADF : ERRNO.NOTCAPABLE);
    return descriptor;
  }

  getDirectory(fd: number, rights: number): DirectoryDescriptor {
    const descriptor = this.get(fd);
    if (descriptor.kind !== "directory") refuse(ERRNO.NOTDIR);
    if ((rights & ~descriptor.rights) !== 0) refuse(ERRNO.NOTCAPABLE);
    return descriptor;
  }

  getFile(fd: number, rights: number): FileDescriptor {
    const descriptor = this.get(fd);
    if (descriptor.kind === "directory") refuse(ERRNO.BADF);
    if (descriptor.kind !== "file") refuse(ERRNO.SPIPE);
    if ((rights & ~descriptor.rights) !== 0) {
      refuse((rights & (RIGHTS.FD_READ | RIGHTS.FD_WRITE)) !== 0 ? ERRNO.BADF : ERRNO.NOTCAPABLE);
    }
    return descriptor;
  }

  /** Adds a descriptor under the lowest free number. */
  add(descriptor: Descriptor): number {
    if (this.#open.size >= GUEST_FDS_MAX) refuse(ERRNO.MFILE);
    let fd = this.#lowestFree;
    while (this.#open.has(fd)) fd++;
    this.#lowestFree = fd + 1;
    this.#set(fd, descriptor);
    return fd;
  }

  close(fd: number): void {
    const descriptor = this.get(fd);
    this.#open.delete(fd);
    if (fd < this.#lowestFree) this.#lowestFree = fd;
    if (descriptor.kind === "file") this.#tree.drop(descriptor.inode);
  }

  /** Gives `from` the number `to`, closing what had it. */
  renumber(from: number, to: number): void {
    const descriptor = this.get(from);
    const replaced = this.get(to);
    if (from === to) return;
    if (replaced.kind === "file") this.#tree.drop(replaced.inode);
    this.#open.set(to, descriptor);
    this.#open.delete(from);
    if (from < this.#lowestFree) this.#lowestFree = from;
  }

  #set(fd: number, descriptor: Descriptor): void {
    this.#open.set(fd, descriptor);
    if (descriptor.kind === "file") this.#tree.hold(descriptor.inode);
  }
}
