/** Preview 1 calls on descriptors. Reading and writing go straight between guest memory and the file: no copies wait. */
import { ERRNO, refuse, WasiFailure } from "../files/errno.ts";
import type { Inode } from "../files/file-tree.ts";
import { FD_FLAGS_ALL, FD_FLAGS } from "./fd-table.ts";
import type { Descriptor, FileDescriptor } from "./fd-table.ts";
import type { Preview1Host } from "./host.ts";
import { RIGHTS } from "./rights.ts";
import { encodeText } from "./guest-memory.ts";
import { fileTypeOf, newTimes, writeFilestat } from "./filestat.ts";

const WHENCE = { SET: 0, CUR: 1, END: 2 } as const;
const ADVICE_MAX = 5;
const PREOPEN_DIRECTORY = 0;
const DIRENT_BYTES = 24;
const U32_MAX = 0xffff_ffff;
/** Output up to this size is passed on in one piece, however many buffers it comes in. */
const GATHERED_BYTES_MAX = 65_536;

export const FD_CALLS = {
  fd_advise(host: Preview1Host, fd: number, offset: bigint, length: bigint, advice: number): void {
    host.fds.getFile(fd, RIGHTS.FD_ADVISE);
    if (offset < 0n || length < 0n || advice < 0 || advice > ADVICE_MAX) refuse(ERRNO.INVAL);
  },

  fd_allocate(host: Preview1Host, fd: number, offset: bigint, length: bigint): void {
    const { inode } = host.fds.getFile(fd, RIGHTS.FD_ALLOCATE | RIGHTS.FD_WRITE);
    if (offset < 0n || length <= 0n) refuse(ERRNO.INVAL);
    const end = Number(offset + length);
    if (end > inode.size) host.tree.resize(inode, end);
  },

  fd_close(host: Preview1Host, fd: number): void {
    host.fds.close(fd);
  },

  fd_datasync(host: Preview1Host, fd: number): void {
    syncedBy(host, fd, RIGHTS.FD_DATASYNC);
  },

  fd_sync(host: Preview1Host, fd: number): void {
    syncedBy(host, fd, RIGHTS.FD_SYNC);
  },

  fd_fdstat_get(host: Preview1Host, fd: number, result: number): void {
    const descriptor = host.fds.get(fd);
    const at = result >>> 0;
    const bytes = host.memory.slice(at, 24);
    bytes.fill(0);
    host.memory.writeU8(at, fileTypeOf(descriptor));
    host.memory.writeU16(at + 2, descriptor.flags);
    host.memory.writeU64(at + 8, BigInt(descriptor.rights));
    host.memory.writeU64(at + 16, BigInt(descriptor.inheriting));
  },

  fd_fdstat_set_flags(host: Preview1Host, fd: number, flags: number): void {
    if (host.fds.get(fd).kind === "directory") refuse(ERRNO.BADF);
    const descriptor = host.fds.getWith(fd, RIGHTS.FD_FDSTAT_SET_FLAGS);
    if ((flags & ~FD_FLAGS_ALL) !== 0) refuse(ERRNO.INVAL);
    descriptor.flags = flags;
  },

  fd_fdstat_set_rights(host: Preview1Host, fd: number, base: bigint, inheriting: bigint): void {
    const descriptor = host.fds.get(fd);
    const wanted = BigInt.asUintN(64, base);
    const wantedInheriting = BigInt.asUintN(64, inheriting);
    if ((wanted & ~BigInt(descriptor.rights)) !== 0n) refuse(ERRNO.NOTCAPABLE);
    if ((wantedInheriting & ~BigInt(descriptor.inheriting)) !== 0n) refuse(ERRNO.NOTCAPABLE);
    descriptor.rights = Number(wanted);
    descriptor.inheriting = Number(wantedInheriting);
  },

  fd_filestat_get(host: Preview1Host, fd: number, result: number): void {
    const descriptor = host.fds.getWith(fd, RIGHTS.FD_FILESTAT_GET);
    writeFilestat(host, result >>> 0, descriptor);
  },

  fd_filestat_set_size(host: Preview1Host, fd: number, size: bigint): void {
    const descriptor = host.fds.get(fd);
    if (descriptor.kind !== "file") refuse(descriptor.kind === "directory" ? ERRNO.BADF : ERRNO.INVAL);
    // As `ftruncate` says it of a file that is not open for writing.
    if ((descriptor.rights & RIGHTS.FD_WRITE) === 0) refuse(ERRNO.INVAL);
    if ((descriptor.rights & RIGHTS.FD_FILESTAT_SET_SIZE) === 0) refuse(ERRNO.NOTCAPABLE);
    if (size < 0n) refuse(ERRNO.INVAL);
    host.tree.resize(descriptor.inode, Number(size));
  },

  fd_filestat_set_times(host: Preview1Host, fd: number, accessed: bigint, modified: bigint, flags: number): void {
    const descriptor = host.fds.getWith(fd, RIGHTS.FD_FILESTAT_SET_TIMES);
    if (descriptor.kind !== "file" && descriptor.kind !== "directory") refuse(ERRNO.BADF);
    newTimes(host.powers, descriptor.inode, accessed, modified, flags);
  },

  fd_read(host: Preview1Host, fd: number, iovs: number, count: number, result: number): void {
    const descriptor = host.fds.getWith(fd, RIGHTS.FD_READ);
    if (descriptor.kind === "directory") refuse(ERRNO.ISDIR);
    if (descriptor.kind === "output") refuse(ERRNO.BADF);
    const read = eachBuffer(host, iovs, count, (buffer) => {
      const taken = readSome(host, descriptor, descriptor.position, buffer);
      descriptor.position += taken;
      return taken;
    });
    host.memory.writeU32(result >>> 0, read);
  },

  fd_pread(host: Preview1Host, fd: number, iovs: number, count: number, offset: bigint, result: number): void {
    const descriptor = host.fds.getFile(fd, RIGHTS.FD_READ | RIGHTS.FD_SEEK);
    let at = positionOf(offset);
    const read = eachBuffer(host, iovs, count, (buffer) => {
      const taken = readSome(host, descriptor, at, buffer);
      at += taken;
      return taken;
    });
    host.memory.writeU32(result >>> 0, read);
  },

  fd_write(host: Preview1Host, fd: number, iovs: number, count: number, result: number): void {
    const descriptor = host.fds.getWith(fd, RIGHTS.FD_WRITE);
    let written: number;
    if (descriptor.kind === "output") {
      written = writeOutput(host, descriptor.stream, iovs, count);
    } else if (descriptor.kind === "file") {
      if ((descriptor.flags & FD_FLAGS.APPEND) !== 0) descriptor.position = descriptor.inode.size;
      written = eachBuffer(host, iovs, count, (buffer) => {
        host.tree.write(descriptor.inode, descriptor.position, buffer);
        descriptor.position += buffer.length;
        return buffer.length;
      });
    } else {
      refuse(descriptor.kind === "directory" ? ERRNO.ISDIR : ERRNO.BADF);
    }
    host.memory.writeU32(result >>> 0, written);
  },

  fd_pwrite(host: Preview1Host, fd: number, iovs: number, count: number, offset: bigint, result: number): void {
    const { inode, flags } = host.fds.getFile(fd, RIGHTS.FD_WRITE | RIGHTS.FD_SEEK);
    // As on Linux: a file that is open for appending is appended to, wherever one wants to write.
    let at = (flags & FD_FLAGS.APPEND) === 0 ? positionOf(offset) : inode.size;
    const written = eachBuffer(host, iovs, count, (buffer) => {
      host.tree.write(inode, at, buffer);
      at += buffer.length;
      return buffer.length;
    });
    host.memory.writeU32(result >>> 0, written);
  },

  fd_seek(host: Preview1Host, fd: number, offset: bigint, origin: number, result: number): void {
    if (origin < 0 || origin > WHENCE.END) refuse(ERRNO.INVAL);
    const whence = host.isUnstable ? (origin + 1) % 3 : origin;
    const descriptor = host.fds.getFile(fd, offset === 0n && whence === WHENCE.CUR ? RIGHTS.FD_TELL : RIGHTS.FD_SEEK);
    let base: number;
    if (whence === WHENCE.SET) base = 0;
    else if (whence === WHENCE.CUR) base = descriptor.position;
    else base = descriptor.inode.size;
    const position = BigInt(base) + offset;
    if (position < 0n) refuse(ERRNO.INVAL);
    if (position > BigInt(Number.MAX_SAFE_INTEGER)) refuse(ERRNO.OVERFLOW);
    descriptor.position = Number(position);
    host.memory.writeU64(result >>> 0, position);
  },

  fd_tell(host: Preview1Host, fd: number, result: number): void {
    host.memory.writeU64(result >>> 0, BigInt(host.fds.getFile(fd, RIGHTS.FD_TELL).position));
  },

  fd_renumber(host: Preview1Host, from: number, to: number): void {
    host.fds.renumber(from, to);
  },

  fd_prestat_get(host: Preview1Host, fd: number, result: number): void {
    const name = preopenName(host.fds.get(fd));
    host.memory.writeU32(result >>> 0, PREOPEN_DIRECTORY);
    host.memory.writeU32((result >>> 0) + 4, name.length);
  },

  fd_prestat_dir_name(host: Preview1Host, fd: number, address: number, length: number): void {
    const name = preopenName(host.fds.get(fd));
    if (length >>> 0 < name.length) refuse(ERRNO.NAMETOOLONG);
    host.memory.writeBytes(address >>> 0, name);
  },

  fd_readdir(host: Preview1Host, fd: number, address: number, length: number, cookie: bigint, result: number): void {
    const directory = host.fds.getDirectory(fd, RIGHTS.FD_READDIR);
    const buffer = host.memory.slice(address >>> 0, length >>> 0);
    host.memory.slice(result >>> 0, 4);
    const start = BigInt.asUintN(64, cookie);
    const { inode } = directory;
    if (start === 0n || directory.listing === undefined) directory.listing = [".", "..", ...inode.entries.keys()];
    let used = 0;
    for (let index = Number(start); index < directory.listing.length && used < buffer.length; index++) {
      const name = directory.listing[index] ?? "";
      const entry = name === "." ? inode : name === ".." ? (inode.parent ?? inode) : inode.entries.get(name);
      if (entry === undefined) continue;
      const record = encodeDirent(name, entry, index + 1).subarray(0, buffer.length - used);
      buffer.set(record, used);
      used += record.length;
    }
    host.memory.writeU32(result >>> 0, used);
  },
};

/** There is nothing to wait for: it is all in memory. Directories are not synced, as little as other hosts do it. */
function syncedBy(host: Preview1Host, fd: number, right: number): void {
  if (host.fds.get(fd).kind === "directory") refuse(ERRNO.BADF);
  host.fds.getWith(fd, right);
}

function encodeDirent(name: string, inode: Inode, nextCookie: number): Uint8Array {
  const nameBytes = encodeText(name);
  const record = new Uint8Array(DIRENT_BYTES + nameBytes.length);
  const view = new DataView(record.buffer);
  view.setBigUint64(0, BigInt(nextCookie), true);
  view.setBigUint64(8, inode.id, true);
  view.setUint32(16, nameBytes.length, true);
  view.setUint8(20, fileTypeOf(inode));
  record.set(nameBytes, DIRENT_BYTES);
  return record;
}

function preopenName(descriptor: Descriptor): Uint8Array {
  if (descriptor.kind !== "directory" || descriptor.preopenName === undefined) refuse(ERRNO.BADF);
  return encodeText(descriptor.preopenName);
}

function positionOf(offset: bigint): number {
  if (offset < 0n) refuse(ERRNO.INVAL);
  return Number(offset);
}

function readSome(
  host: Preview1Host,
  from: FileDescriptor | (Descriptor & { kind: "stdin" }),
  at: number,
  into: Uint8Array,
): number {
  if (from.kind === "file") return host.tree.read(from.inode, at, into);
  const taken = from.bytes.subarray(at, at + into.length);
  into.set(taken);
  return taken.length;
}

/** Output goes on as one piece where it is small, so that a line arrives as a line. */
function writeOutput(host: Preview1Host, stream: "stdout" | "stderr", iovs: number, count: number): number {
  const pieces: Uint8Array[] = [];
  let gathered = 0;
  const flush = (): void => {
    const [first] = pieces;
    if (first === undefined) return;
    const whole = pieces.length === 1 ? first : new Uint8Array(gathered);
    if (pieces.length > 1) {
      pieces.reduce((at, piece) => {
        whole.set(piece, at);
        return at + piece.length;
      }, 0);
    }
    pieces.length = 0;
    gathered = 0;
    host.powers.writeOutput(stream, whole);
  };
  const written = eachBuffer(host, iovs, count, (buffer) => {
    if (gathered + buffer.length > GATHERED_BYTES_MAX) flush();
    pieces.push(buffer);
    gathered += buffer.length;
    return buffer.length;
  });
  flush();
  return written;
}

/**
 * Hands each buffer of an iovec list to `move`, which answers how many bytes it moved; stops at the first that was not
 * moved whole. All vectors are checked before the first is used, so that a bad one moves nothing.
 */
function eachBuffer(host: Preview1Host, iovs: number, count: number, move: (buffer: Uint8Array) => number): number {
  const first = iovs >>> 0;
  const vectors = count >>> 0;
  if (vectors > U32_MAX / 8) refuse(ERRNO.INVAL);
  host.memory.slice(first, vectors * 8);
  let total = 0;
  for (let index = 0; index < vectors; index++) {
    const length = host.memory.readU32(first + 8 * index + 4);
    host.memory.slice(host.memory.readU32(first + 8 * index), length);
    total += length;
    if (total > U32_MAX) refuse(ERRNO.INVAL);
  }
  let moved = 0;
  for (let index = 0; index < vectors; index++) {
    const buffer = host.memory.slice(
      host.memory.readU32(first + 8 * index),
      host.memory.readU32(first + 8 * index + 4),
    );
    if (buffer.length === 0) continue;
    const step = moveAfter(moved, buffer, move);
    moved += step;
    if (step < buffer.length) break;
  }
  return moved;
}

/** What failed after something was moved is told by the next call: this one has its count to give. */
function moveAfter(moved: number, buffer: Uint8Array, move: (buffer: Uint8Array) => number): number {
  try {
    return move(buffer);
  } catch (thrown) {
    if (moved > 0 && thrown instanceof WasiFailure) return 0;
    throw thrown;
  }
}
