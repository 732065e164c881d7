/** Preview 1 calls on descriptors: what they may be used for, what they answer, and how reads and writes are told. */
import { describe, expect, test } from "vitest";
import { GUEST_FILES_BYTES_MAX } from "../../../src/base/limits.ts";
import { FileTree } from "../../../src/worker/runner/child/files/file-tree.ts";
import { asUnstable, openPreview1, preview1Import } from "../../../src/worker/runner/child/preview1/preview1.ts";

const E = { SUCCESS: 0, BADF: 8, INVAL: 28, NOSPC: 51, NOTDIR: 54, NOTSOCK: 57, SPIPE: 70, NOTCAPABLE: 76 };
const RIGHT = { READ: 2n, SEEK: 4n, WRITE: 64n, SET_SIZE: 1n << 22n };
const OFLAG = { CREAT: 1, DIRECTORY: 2 };
const APPEND = 1;
const ROOT = 3;
/** Where calls put their results, and where buffers lie. */
const AT = { result: 64, vectors: 128, path: 256, stat: 512, bytes: 1024 };

function openGuest(stdin = "") {
  let nowNs = 1n;
  const powers = {
    realtimeNs: () => nowNs++,
    monotonicNs: () => nowNs++,
    cpuNs: () => 0n,
    fillRandom: () => {},
    sleep: () => {},
    writeOutput: () => {},
  };
  const leave = (): never => {
    throw new Error("it left");
  };
  const host = openPreview1({
    powers,
    tree: new FileTree(() => powers.realtimeNs()),
    args: [],
    env: {},
    stdin: new TextEncoder().encode(stdin),
    exit: leave,
    raise: leave,
  });
  const memory = new WebAssembly.Memory({ initial: 1 });
  host.memory.attach(memory);
  const view = new DataView(memory.buffer);
  const bytes = new Uint8Array(memory.buffer);
  const call = (name: string, ...args: readonly unknown[]): number =>
    preview1Import(host, name)?.(...args) ?? expect.fail(`there is no ${name}`);
  const openPath = (path: string, how: { oflags?: number; rights?: bigint; fdflags?: number } = {}) => {
    const name = new TextEncoder().encode(path);
    bytes.set(name, AT.path);
    const { oflags = 0, rights = 0n, fdflags = 0 } = how;
    const errno = call("path_open", ROOT, 1, AT.path, name.length, oflags, rights, 0n, fdflags, AT.result);
    return { errno, fd: view.getUint32(AT.result, true) };
  };
  /** Sets up buffers of the given lengths, one behind the other. */
  const vectors = (...lengths: readonly number[]): void => {
    let at = AT.bytes;
    lengths.forEach((length, index) => {
      view.setUint32(AT.vectors + 8 * index, at, true);
      view.setUint32(AT.vectors + 8 * index + 4, length, true);
      at += length;
    });
  };
  const write = (fd: number, text: string): number => {
    const content = new TextEncoder().encode(text);
    bytes.set(content, AT.bytes);
    vectors(content.length);
    return call("fd_write", fd, AT.vectors, 1, AT.result);
  };
  const size = (fd: number): bigint => {
    expect(call("fd_filestat_get", fd, AT.stat)).toBe(E.SUCCESS);
    return view.getBigUint64(AT.stat + 32, true);
  };
  return { host, view, call, openPath, vectors, write, size };
}

const readWrite = { oflags: OFLAG.CREAT, rights: RIGHT.READ | RIGHT.WRITE };

describe("rights", () => {
  test("to read and to write are those that were asked for", () => {
    const { openPath, write, vectors, call } = openGuest();
    openPath("f", readWrite);
    const reader = openPath("f", { rights: RIGHT.READ }).fd;
    const writer = openPath("f", { rights: RIGHT.WRITE }).fd;
    expect([write(reader, "x"), write(writer, "x")]).toEqual([E.BADF, E.SUCCESS]);
    vectors(1);
    expect(call("fd_read", writer, AT.vectors, 1, AT.result)).toBe(E.BADF);
    expect(call("fd_read", reader, AT.vectors, 1, AT.result)).toBe(E.SUCCESS);
  });

  test("of other kinds need no asking", () => {
    const { openPath, call } = openGuest();
    expect(openPath(".", { oflags: OFLAG.DIRECTORY }).errno).toBe(E.SUCCESS);
    const { fd } = openPath("f", { oflags: OFLAG.CREAT, rights: RIGHT.WRITE });
    expect(call("fd_seek", fd, 3n, 0, AT.result)).toBe(E.SUCCESS);
    expect(call("fd_filestat_set_size", fd, 9n)).toBe(E.SUCCESS);
  });

  test("that were given up are gone, and do not come back", () => {
    const { openPath, call, write } = openGuest();
    const { fd } = openPath("f", readWrite);
    expect(call("fd_fdstat_set_rights", fd, RIGHT.READ, 0n)).toBe(E.SUCCESS);
    expect([write(fd, "x"), call("fd_seek", fd, 1n, 0, AT.result)]).toEqual([E.BADF, E.NOTCAPABLE]);
    expect(call("fd_fdstat_set_rights", fd, RIGHT.READ | RIGHT.WRITE, 0n)).toBe(E.NOTCAPABLE);
  });

  test("that a directory gave up are not in what is opened below it", () => {
    const { openPath, call } = openGuest();
    expect(call("fd_fdstat_get", ROOT, AT.stat)).toBe(E.SUCCESS);
    expect(call("fd_fdstat_set_rights", ROOT, 0x1fff_ffffn & ~0n, 0n)).toBe(E.NOTCAPABLE);
    expect(call("fd_fdstat_set_rights", ROOT, (1n << 13n) | (1n << 10n), RIGHT.READ | RIGHT.SEEK)).toBe(E.SUCCESS);
    const { fd } = openPath("f", readWrite);
    expect(call("fd_filestat_set_size", fd, 1n)).toBe(E.INVAL);
    expect(call("fd_tell", fd, AT.result)).toBe(E.NOTCAPABLE);
  });
});

describe("a file", () => {
  test("that is open to be read is not resized", () => {
    const { openPath, call } = openGuest();
    openPath("f", readWrite);
    expect(call("fd_filestat_set_size", openPath("f", { rights: RIGHT.READ }).fd, 1n)).toBe(E.INVAL);
  });

  test("that is open for appending begins at its start and is written at its end, wherever one wants to", () => {
    const { openPath, call, write, vectors, view, size } = openGuest();
    write(openPath("f", readWrite).fd, "12345");
    const { fd } = openPath("f", { ...readWrite, fdflags: APPEND });
    expect([call("fd_tell", fd, AT.result), view.getBigUint64(AT.result, true)]).toEqual([E.SUCCESS, 0n]);
    write(fd, "67");
    vectors(1);
    expect(call("fd_pwrite", fd, AT.vectors, 1, 0n, AT.result)).toBe(E.SUCCESS);
    expect(size(fd)).toBe(8n);
  });

  test("that meets the quota halfway through a write has what fitted", () => {
    const { openPath, call, vectors, view, size } = openGuest();
    const { fd } = openPath("f", readWrite);
    expect(call("fd_filestat_set_size", fd, BigInt(GUEST_FILES_BYTES_MAX - 4))).toBe(E.SUCCESS);
    call("fd_seek", fd, 0n, 2, AT.result);
    vectors(4, 4);
    expect(call("fd_write", fd, AT.vectors, 2, AT.result)).toBe(E.SUCCESS);
    expect([view.getUint32(AT.result, true), size(fd)]).toEqual([4, BigInt(GUEST_FILES_BYTES_MAX)]);
    expect(call("fd_write", fd, AT.vectors, 2, AT.result)).not.toBe(E.SUCCESS);
  });
});

describe("a directory", () => {
  test.each<[string, readonly unknown[]]>([
    ["fd_read", [AT.vectors, 0, AT.result]],
    ["fd_write", [AT.vectors, 0, AT.result]],
    ["fd_pread", [AT.vectors, 0, 0n, AT.result]],
    ["fd_seek", [0n, 0, AT.result]],
    ["fd_tell", [AT.result]],
    ["fd_advise", [0n, 0n, 0]],
    ["fd_allocate", [0n, 1n]],
    ["fd_sync", []],
    ["fd_datasync", []],
    ["fd_fdstat_set_flags", [4]],
    ["fd_filestat_set_size", [0n]],
    ["sock_shutdown", [0]],
  ])("is no descriptor for %s", (name, args) => {
    expect(openGuest().call(name, ROOT, ...args)).toBe(E.BADF);
  });
});

describe("a stream", () => {
  test("has no place, and is no socket and no directory", () => {
    const { call } = openGuest();
    expect(call("fd_seek", 1, 0n, 0, AT.result)).toBe(E.SPIPE);
    expect(call("sock_shutdown", 1, 0)).toBe(E.NOTSOCK);
    expect(call("path_create_directory", 1, AT.path, 1)).toBe(E.NOTDIR);
  });

  test.each([
    ["text", 0, 4n],
    ["", 1, 0n],
  ])("of input tells a poll whether more will come (%j)", (stdin, flags, bytes) => {
    const { call, view } = openGuest(stdin);
    view.setUint8(AT.bytes + 8, 1);
    expect(call("poll_oneoff", AT.bytes, AT.stat, 1, AT.result)).toBe(E.SUCCESS);
    expect(view.getBigUint64(AT.stat + 16, true)).toBe(bytes);
    expect(view.getUint16(AT.stat + 24, true)).toBe(flags);
  });
});

test("snapshot 0 numbers the starting points of a seek in its own way", () => {
  const { host, openPath, write, view } = openGuest();
  const { fd } = openPath("f", readWrite);
  write(fd, "12345");
  const seek = preview1Import(asUnstable(host), "fd_seek");
  const seekTo = (offset: bigint, origin: number) => [
    seek?.(fd, offset, origin, AT.result),
    view.getBigUint64(AT.result, true),
  ];
  // From where it is, from the end, from the start.
  expect([seekTo(-2n, 0), seekTo(-1n, 1), seekTo(2n, 2)]).toEqual([
    [0, 3n],
    [0, 4n],
    [0, 2n],
  ]);
});
