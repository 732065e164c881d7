/** `wasi:filesystem/types` over a guest's private files. Nothing here waits, and nothing reaches the machine's files. */
import { GUEST_FDS_MAX } from "../../../../base/limits.ts";
import { ERRNO, refuse } from "../files/errno.ts";
import type { Errno } from "../files/errno.ts";
import type { DirectoryInode, FileInode, FileTree, Inode } from "../files/file-tree.ts";
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
} from "../files/path-operations.ts";
import { asFileCall } from "./failure.ts";
import { exposeResource, ResourceHold } from "./resource.ts";
import type { ResourceCount } from "./resource.ts";
import { InputStream, OutputStream } from "./streams.ts";

const READ_BYTES_MAX = 1_048_576;

export interface FileWorld {
  readonly tree: FileTree;
  readonly count: ResourceCount;
  /** Descriptors that the guest has opened and not dropped. */
  open: number;
}

export interface DescriptorFlags {
  readonly read?: boolean;
  readonly write?: boolean;
  readonly mutateDirectory?: boolean;
}

interface PathFlags {
  readonly symlinkFollow?: boolean;
}

interface OpenFlags {
  readonly create?: boolean;
  readonly directory?: boolean;
  readonly exclusive?: boolean;
  readonly truncate?: boolean;
}

interface Datetime {
  readonly seconds: bigint;
  readonly nanoseconds: number;
}

type NewTimestamp =
  { readonly tag: "no-change" } | { readonly tag: "now" } | { readonly tag: "timestamp"; readonly val: Datetime };

interface Stat {
  readonly type: string;
  readonly linkCount: bigint;
  readonly size: bigint;
  readonly dataAccessTimestamp: Datetime;
  readonly dataModificationTimestamp: Datetime;
  readonly statusChangeTimestamp: Datetime;
}

const encoder = new TextEncoder();
const NS_PER_SECOND = 1_000_000_000n;
const TYPE_NAMES = { file: "regular-file", directory: "directory", symlink: "symbolic-link" } as const;

export class Descriptor {
  readonly #hold: ResourceHold;
  readonly #world: FileWorld;
  readonly #inode: FileInode | DirectoryInode;
  readonly #flags: DescriptorFlags;

  constructor(world: FileWorld, inode: FileInode | DirectoryInode, flags: DescriptorFlags) {
    if (world.open >= GUEST_FDS_MAX) refuse(ERRNO.MFILE);
    this.#hold = new ResourceHold(world.count, { release: () => this.#release() });
    this.#world = world;
    this.#inode = inode;
    this.#flags = flags;
    world.open++;
    if (inode.kind === "file") world.tree.hold(inode);
  }

  [Symbol.dispose](): void {
    this.#hold.drop();
  }

  readViaStream(offset: bigint): InputStream {
    const file = this.#readable();
    let at = Number(offset);
    return new InputStream(this.#world.count, (length) => {
      const bytes = this.#readAt(file, at, length);
      at += bytes.length;
      return bytes;
    });
  }

  writeViaStream(offset: bigint): OutputStream {
    const file = this.#writable();
    let at = Number(offset);
    return new OutputStream(this.#world.count, (bytes) => {
      this.#world.tree.write(file, at, bytes);
      at += bytes.length;
    });
  }

  appendViaStream(): OutputStream {
    const file = this.#writable();
    return new OutputStream(this.#world.count, (bytes) => this.#world.tree.write(file, file.size, bytes));
  }

  advise(): void {
    this.#file(ERRNO.BADF);
  }

  syncData(): void {}

  sync(): void {}

  getFlags(): DescriptorFlags {
    return this.#inode.kind === "directory" ? { ...this.#flags, mutateDirectory: true } : this.#flags;
  }

  getType(): string {
    return TYPE_NAMES[this.#inode.kind];
  }

  setSize(size: bigint): void {
    const file = this.#file(ERRNO.BADF);
    asFileCall(() => {
      if (this.#flags.write !== true) refuse(ERRNO.INVAL);
      this.#world.tree.resize(file, Number(size));
    });
  }

  setTimes(accessed: NewTimestamp, modified: NewTimestamp): void {
    this.#setTimes(this.#inode, accessed, modified);
  }

  read(length: bigint, offset: bigint): [Uint8Array, boolean] {
    const file = this.#readable();
    const bytes = this.#readAt(file, Number(offset), Number(length));
    return [bytes, Number(offset) + bytes.length >= file.size];
  }

  write(bytes: Uint8Array, offset: bigint): bigint {
    asFileCall(() => this.#world.tree.write(this.#writable(), Number(offset), bytes));
    return BigInt(bytes.length);
  }

  readDirectory(): DirectoryEntryStream {
    return new DirectoryEntryStream(
      this.#world.count,
      asFileCall(() => this.#directory()),
    );
  }

  createDirectoryAt(path: string): void {
    asFileCall(() => createDirectory(this.#world.tree, this.#directory(), path));
  }

  stat(): Stat {
    return statOf(this.#inode);
  }

  statAt(flags: PathFlags, path: string): Stat {
    return asFileCall(() => statOf(lookUp(this.#directory(), path, flags.symlinkFollow === true)));
  }

  setTimesAt(flags: PathFlags, path: string, accessed: NewTimestamp, modified: NewTimestamp): void {
    const inode = asFileCall(() => lookUp(this.#directory(), path, flags.symlinkFollow === true));
    this.#setTimes(inode, accessed, modified);
  }

  linkAt(flags: PathFlags, oldPath: string, to: Descriptor, newPath: string): void {
    asFileCall(() => {
      if (flags.symlinkFollow === true) refuse(ERRNO.INVAL);
      createLink(this.#world.tree, this.#directory(), oldPath, to.#directory(), newPath);
    });
  }

  openAt(pathFlags: PathFlags, path: string, openFlags: OpenFlags, flags: DescriptorFlags): Descriptor {
    return asFileCall(() => {
      const inode = openPath(this.#world.tree, this.#directory(), path, {
        followLast: pathFlags.symlinkFollow === true,
        creates: openFlags.create === true,
        isExclusive: openFlags.exclusive === true,
        wantsDirectory: openFlags.directory === true,
        truncates: openFlags.truncate === true,
        isForWriting: flags.write === true,
      });
      const opened = new Descriptor(this.#world, inode, flags);
      if (inode.kind === "file" && openFlags.truncate === true) this.#world.tree.resize(inode, 0);
      return opened;
    });
  }

  readlinkAt(path: string): string {
    return asFileCall(() => readLink(this.#directory(), path));
  }

  removeDirectoryAt(path: string): void {
    asFileCall(() => removeDirectory(this.#world.tree, this.#directory(), path));
  }

  renameAt(oldPath: string, to: Descriptor, newPath: string): void {
    asFileCall(() => renamePath(this.#world.tree, this.#directory(), oldPath, to.#directory(), newPath));
  }

  symlinkAt(text: string, path: string): void {
    asFileCall(() => createSymlink(this.#world.tree, this.#directory(), text, path));
  }

  unlinkFileAt(path: string): void {
    asFileCall(() => unlinkFile(this.#world.tree, this.#directory(), path));
  }

  isSameObject(other: Descriptor): boolean {
    return other.#inode === this.#inode;
  }

  metadataHash(): { lower: bigint; upper: bigint } {
    return { lower: this.#inode.id, upper: 0n };
  }

  metadataHashAt(flags: PathFlags, path: string): { lower: bigint; upper: bigint } {
    const inode = asFileCall(() => lookUp(this.#directory(), path, flags.symlinkFollow === true));
    return { lower: inode.id, upper: 0n };
  }

  #release(): void {
    this.#world.open--;
    if (this.#inode.kind === "file") this.#world.tree.drop(this.#inode);
  }

  #readable(): FileInode {
    const file = this.#file(ERRNO.ISDIR);
    return asFileCall(() => (this.#flags.read === true ? file : refuse(ERRNO.BADF)));
  }

  #writable(): FileInode {
    const file = this.#file(ERRNO.ISDIR);
    return asFileCall(() => (this.#flags.write === true ? file : refuse(ERRNO.BADF)));
  }

  #file(otherwise: Errno): FileInode {
    return asFileCall(() => (this.#inode.kind === "file" ? this.#inode : refuse(otherwise)));
  }

  /** All of a guest's directories may be changed, whatever flags they were opened with: they are its own. */
  #directory(): DirectoryInode {
    return this.#inode.kind === "directory" ? this.#inode : refuse(ERRNO.NOTDIR);
  }

  #readAt(file: FileInode, offset: number, length: number): Uint8Array {
    const room = Math.min(length, READ_BYTES_MAX, Math.max(0, file.size - offset));
    const bytes = new Uint8Array(room);
    this.#world.tree.read(file, offset, bytes);
    return bytes;
  }

  #setTimes(inode: Inode, accessed: NewTimestamp, modified: NewTimestamp): void {
    const nowNs = this.#world.count.powers.realtimeNs();
    inode.accessedNs = newTime(inode.accessedNs, accessed, nowNs);
    inode.modifiedNs = newTime(inode.modifiedNs, modified, nowNs);
    inode.changedNs = nowNs;
  }
}

export class DirectoryEntryStream {
  readonly #hold: ResourceHold;
  readonly #entries: Iterator<[string, Inode]>;

  constructor(count: ResourceCount, directory: DirectoryInode) {
    this.#hold = new ResourceHold(count);
    this.#entries = [...directory.entries].values();
  }

  readDirectoryEntry(): { type: string; name: string } | undefined {
    const next = this.#entries.next();
    if (next.done === true) return undefined;
    const [name, inode] = next.value;
    return { type: TYPE_NAMES[inode.kind], name };
  }

  [Symbol.dispose](): void {
    this.#hold.drop();
  }
}

function statOf(inode: Inode): Stat {
  const size = inode.kind === "file" ? inode.size : inode.kind === "symlink" ? encoder.encode(inode.target).length : 0;
  return {
    type: TYPE_NAMES[inode.kind],
    linkCount: BigInt(inode.links),
    size: BigInt(size),
    dataAccessTimestamp: datetimeOf(inode.accessedNs),
    dataModificationTimestamp: datetimeOf(inode.modifiedNs),
    statusChangeTimestamp: datetimeOf(inode.changedNs),
  };
}

export function datetimeOf(ns: bigint): Datetime {
  return { seconds: ns / NS_PER_SECOND, nanoseconds: Number(ns % NS_PER_SECOND) };
}

function newTime(oldNs: bigint, wanted: NewTimestamp, nowNs: bigint): bigint {
  if (wanted.tag === "no-change") return oldNs;
  if (wanted.tag === "now") return nowNs;
  return wanted.val.seconds * NS_PER_SECOND + BigInt(wanted.val.nanoseconds);
}

export const EXPOSED_DESCRIPTOR = exposeResource(Descriptor);
export const EXPOSED_DIRECTORY_ENTRY_STREAM = exposeResource(DirectoryEntryStream);
