/** Preview 1 calls on paths: rights are checked here, the rest is `path-operations.ts`. */
import { ERRNO, refuse } from "../files/errno.ts";
import type { DirectoryInode, FileInode } from "../files/file-tree.ts";
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
import { FD_FLAGS_ALL } from "./fd-table.ts";
import type { Descriptor, DirectoryDescriptor } from "./fd-table.ts";
import { newTimes, writeFilestat } from "./filestat.ts";
import { encodeText } from "./guest-memory.ts";
import type { Preview1Host } from "./host.ts";
import { DIRECTORY_RIGHTS, FILE_RIGHTS, RIGHTS } from "./rights.ts";

const LOOKUP_SYMLINK_FOLLOW = 1;
const OFLAGS = { CREAT: 1, DIRECTORY: 2, EXCL: 4, TRUNC: 8 } as const;
const OFLAGS_ALL = 15;

export const PATH_CALLS = {
  path_create_directory(host: Preview1Host, fd: number, path: number, length: number): void {
    const base = directoryOf(host, fd, RIGHTS.PATH_CREATE_DIRECTORY);
    createDirectory(host.tree, base, textAt(host, path, length));
  },

  path_filestat_get(host: Preview1Host, fd: number, flags: number, path: number, length: number, result: number): void {
    const base = directoryOf(host, fd, RIGHTS.PATH_FILESTAT_GET);
    writeFilestat(host, result >>> 0, lookUp(base, textAt(host, path, length), follows(flags)));
  },

  path_filestat_set_times(
    host: Preview1Host,
    fd: number,
    flags: number,
    path: number,
    length: number,
    accessed: bigint,
    modified: bigint,
    timeFlags: number,
  ): void {
    const base = directoryOf(host, fd, RIGHTS.PATH_FILESTAT_SET_TIMES);
    const inode = lookUp(base, textAt(host, path, length), follows(flags));
    newTimes(host.powers, inode, accessed, modified, timeFlags);
  },

  path_link(
    host: Preview1Host,
    oldFd: number,
    flags: number,
    oldPath: number,
    oldLength: number,
    newFd: number,
    newPath: number,
    newLength: number,
  ): void {
    const from = directoryOf(host, oldFd, RIGHTS.PATH_LINK_SOURCE);
    const to = directoryOf(host, newFd, RIGHTS.PATH_LINK_TARGET);
    if (follows(flags)) refuse(ERRNO.INVAL);
    createLink(host.tree, from, textAt(host, oldPath, oldLength), to, textAt(host, newPath, newLength));
  },

  path_open(
    host: Preview1Host,
    fd: number,
    lookup: number,
    path: number,
    length: number,
    oflags: number,
    base: bigint,
    _inheriting: bigint,
    fdflags: number,
    result: number,
  ): void {
    host.memory.slice(result >>> 0, 4);
    if ((oflags & ~OFLAGS_ALL) !== 0 || (fdflags & ~FD_FLAGS_ALL) !== 0) refuse(ERRNO.INVAL);
    const directory = host.fds.getDirectory(fd, neededToOpen(oflags));
    const descriptor = open(host, directory, textAt(host, path, length), {
      lookup,
      oflags,
      fdflags,
      rights: lowRights(base),
    });
    host.memory.writeU32(result >>> 0, host.fds.add(descriptor));
    if (descriptor.kind === "file" && (oflags & OFLAGS.TRUNC) !== 0) host.tree.resize(descriptor.inode, 0);
  },

  path_readlink(
    host: Preview1Host,
    fd: number,
    path: number,
    length: number,
    buffer: number,
    bufferLength: number,
    result: number,
  ): void {
    const base = directoryOf(host, fd, RIGHTS.PATH_READLINK);
    const target = encodeText(readLink(base, textAt(host, path, length))).subarray(0, bufferLength >>> 0);
    host.memory.writeBytes(buffer >>> 0, target);
    host.memory.writeU32(result >>> 0, target.length);
  },

  path_remove_directory(host: Preview1Host, fd: number, path: number, length: number): void {
    const base = directoryOf(host, fd, RIGHTS.PATH_REMOVE_DIRECTORY);
    removeDirectory(host.tree, base, textAt(host, path, length));
  },

  path_rename(
    host: Preview1Host,
    fd: number,
    oldPath: number,
    oldLength: number,
    newFd: number,
    newPath: number,
    newLength: number,
  ): void {
    const from = directoryOf(host, fd, RIGHTS.PATH_RENAME_SOURCE);
    const to = directoryOf(host, newFd, RIGHTS.PATH_RENAME_TARGET);
    renamePath(host.tree, from, textAt(host, oldPath, oldLength), to, textAt(host, newPath, newLength));
  },

  path_symlink(
    host: Preview1Host,
    oldPath: number,
    oldLength: number,
    fd: number,
    newPath: number,
    newLength: number,
  ): void {
    const base = directoryOf(host, fd, RIGHTS.PATH_SYMLINK);
    createSymlink(host.tree, base, textAt(host, oldPath, oldLength), textAt(host, newPath, newLength));
  },

  path_unlink_file(host: Preview1Host, fd: number, path: number, length: number): void {
    unlinkFile(host.tree, directoryOf(host, fd, RIGHTS.PATH_UNLINK_FILE), textAt(host, path, length));
  },
};

interface OpenFlags {
  readonly lookup: number;
  readonly oflags: number;
  readonly fdflags: number;
  readonly rights: number;
}

function open(host: Preview1Host, directory: DirectoryDescriptor, path: string, flags: OpenFlags): Descriptor {
  const { oflags, fdflags } = flags;
  const inode = openPath(host.tree, directory.inode, path, {
    followLast: follows(flags.lookup),
    creates: (oflags & OFLAGS.CREAT) !== 0,
    isExclusive: (oflags & OFLAGS.EXCL) !== 0,
    wantsDirectory: (oflags & OFLAGS.DIRECTORY) !== 0,
    truncates: (oflags & OFLAGS.TRUNC) !== 0,
    isForWriting: (flags.rights & RIGHTS.FD_WRITE) !== 0,
  });
  const rights = grantedRights(flags.rights, inode) & directory.inheriting;
  const granted = { rights, inheriting: directory.inheriting };
  if (inode.kind === "directory") {
    return { kind: "directory", inode, preopenName: undefined, listing: undefined, flags: 0, ...granted };
  }
  return { kind: "file", inode, position: 0, flags: fdflags, ...granted };
}

/**
 * Of the rights asked for, only those to read and to write mean anything. All others are granted, asked for or not, as
 * far as the directory passes them on: today's programs ask for none, and count on having them.
 * `fd_fdstat_set_rights` takes rights away for good.
 */
function grantedRights(wanted: number, inode: FileInode | DirectoryInode): number {
  if (inode.kind === "directory") return DIRECTORY_RIGHTS;
  const readWrite = RIGHTS.FD_READ | RIGHTS.FD_WRITE;
  return (FILE_RIGHTS & ~readWrite) | (wanted & readWrite);
}

function neededToOpen(oflags: number): number {
  const creating = (oflags & OFLAGS.CREAT) === 0 ? 0 : RIGHTS.PATH_CREATE_FILE;
  const truncating = (oflags & OFLAGS.TRUNC) === 0 ? 0 : RIGHTS.PATH_FILESTAT_SET_SIZE;
  return RIGHTS.PATH_OPEN | creating | truncating;
}

function directoryOf(host: Preview1Host, fd: number, rights: number): DirectoryInode {
  return host.fds.getDirectory(fd, rights).inode;
}

function textAt(host: Preview1Host, address: number, length: number): string {
  return host.memory.readText(address >>> 0, length >>> 0);
}

function follows(flags: number): boolean {
  return (flags & LOOKUP_SYMLINK_FOLLOW) !== 0;
}

function lowRights(rights: bigint): number {
  return Number(BigInt.asUintN(30, rights));
}
