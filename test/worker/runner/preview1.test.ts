/** The preview 1 host under calls that no program makes: in this process, since it is the host that is tried. */
import { describe, expect, test } from "vitest";
import { GUEST_FDS_MAX, GUEST_FILES_BYTES_MAX, GUEST_FILES_MAX } from "../../../src/base/limits.ts";
import type { Inode } from "../../../src/worker/runner/child/files/file-tree.ts";
import type { GuestPowers } from "../../../src/worker/runner/child/files/powers.ts";
import type { Preview1Host } from "../../../src/worker/runner/child/preview1/host.ts";
import { asUnstable, openPreview1, preview1Import } from "../../../src/worker/runner/child/preview1/preview1.ts";
import { fc } from "../../support/properties.ts";

const PAGE = 65_536;
const ERRNO = { SUCCESS: 0, FAULT: 21, LOOP: 32, MFILE: 33, NAMETOOLONG: 37, NOENT: 44, NOSPC: 51, PERM: 63 };

/** Of every call: `i` an i32, `I` an i64. */
const SIGNATURES: Readonly<Record<string, string>> = {
  args_get: "ii",
  args_sizes_get: "ii",
  environ_get: "ii",
  environ_sizes_get: "ii",
  clock_res_get: "ii",
  clock_time_get: "iIi",
  fd_advise: "iIIi",
  fd_allocate: "iII",
  fd_close: "i",
  fd_datasync: "i",
  fd_fdstat_get: "ii",
  fd_fdstat_set_flags: "ii",
  fd_fdstat_set_rights: "iII",
  fd_filestat_get: "ii",
  fd_filestat_set_size: "iI",
  fd_filestat_set_times: "iIIi",
  fd_pread: "iiiIi",
  fd_prestat_dir_name: "iii",
  fd_prestat_get: "ii",
  fd_pwrite: "iiiIi",
  fd_read: "iiii",
  fd_readdir: "iiiIi",
  fd_renumber: "ii",
  fd_seek: "iIii",
  fd_sync: "i",
  fd_tell: "ii",
  fd_write: "iiii",
  path_create_directory: "iii",
  path_filestat_get: "iiiii",
  path_filestat_set_times: "iiiiIIi",
  path_link: "iiiiiii",
  path_open: "iiiiiIIii",
  path_readlink: "iiiiii",
  path_remove_directory: "iii",
  path_rename: "iiiiii",
  path_symlink: "iiiii",
  path_unlink_file: "iii",
  poll_oneoff: "iiii",
  proc_exit: "i",
  proc_raise: "i",
  random_get: "ii",
  sched_yield: "",
  sock_accept: "iii",
  sock_recv: "iiiiii",
  sock_send: "iiiii",
  sock_shutdown: "ii",
};

class Left extends Error {}

function open(isUnstable = false): { host: Preview1Host; memory: Uint8Array; slept: () => number } {
  let nowNs = 1_000_000_000n;
  let slept = 0;
  const powers: GuestPowers = {
    realtimeNs: () => nowNs,
    monotonicNs: () => nowNs++,
    cpuNs: () => 0n,
    fillRandom: (bytes) => void bytes.fill(7),
    sleep(durationMs) {
      slept++;
      nowNs += BigInt(Math.ceil(durationMs * 1e6));
    },
    writeOutput: () => {},
  };
  const leave = (): never => {
    throw new Left();
  };
  const args = ["one", "zwei"];
  const env = { KEY: "value" };
  const stdin = new Uint8Array(100);
  const host = openPreview1({ powers, args, env, stdin, exit: leave, raise: leave });
  const memory = new WebAssembly.Memory({ initial: 2 });
  host.memory.attach(memory);
  return { host: isUnstable ? asUnstable(host) : host, memory: new Uint8Array(memory.buffer), slept: () => slept };
}

function invoke(host: Preview1Host, name: string, ...args: readonly unknown[]): number {
  const call = preview1Import(host, name);
  if (call === undefined) throw new Error(`there is no ${name}`);
  return call(...args);
}

/** Numbers as they make hosts stumble: small ones, addresses in memory, its edges, and anything at all. */
const i32 = fc.oneof(
  fc.integer({ min: -2, max: 16 }),
  fc.integer({ min: 0, max: 2 * PAGE }),
  fc.constantFrom(2 * PAGE - 1, 2 * PAGE - 8, 2 ** 31 - 1, -(2 ** 31), -1),
  fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
);
const i64 = fc.oneof(
  fc.bigInt({ min: -2n, max: 64n }),
  fc.constantFrom(2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n, 2n ** 32n, 268_435_455n),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
);
const anyCall = fc.constantFrom(...Object.entries(SIGNATURES)).chain(([name, signature]) =>
  fc.record({
    name: fc.constant(name),
    args: fc.tuple(...signature.split("").map((type) => (type === "i" ? i32 : i64))),
  }),
);

describe("the preview 1 host", () => {
  test("answers any calls with an error number, or ends the guest", () => {
    fc.assert(
      fc.property(
        fc.array(anyCall, { minLength: 1, maxLength: 60 }),
        fc.uint8Array({ minLength: 512, maxLength: 512 }),
        fc.boolean(),
        (calls, content, isUnstable) => {
          const { host, memory } = open(isUnstable);
          memory.set(content);
          for (const { name, args } of calls) {
            let errno: number;
            try {
              errno = invoke(host, name, ...args);
            } catch (thrown) {
              if (thrown instanceof Left) return;
              throw new Error(`${name}(${args.join(", ")})`, { cause: thrown });
            }
            expect(errno).toBeGreaterThanOrEqual(0);
            expect(errno).toBeLessThanOrEqual(76);
          }
          expect(bytesOf(host.tree.root)).toBeLessThanOrEqual(GUEST_FILES_BYTES_MAX);
        },
      ),
      { numRuns: 2_000 },
    );
  });

  test("offers exactly the calls of preview 1", () => {
    const { host } = open();
    for (const name of Object.keys(SIGNATURES)) expect(preview1Import(host, name)).toBeTypeOf("function");
    for (const name of ["__proto__", "constructor", "toString", ""]) expect(preview1Import(host, name)).toBeUndefined();
  });

  test("answers EFAULT to every pointer before there is a memory", () => {
    const { host } = open();
    const fresh = openPreview1({
      powers: host.powers,
      args: [],
      env: {},
      stdin: new Uint8Array(0),
      exit: () => {
        throw new Left();
      },
      raise: () => {
        throw new Left();
      },
    });
    expect(invoke(fresh, "fd_fdstat_get", 1, 0)).toBe(ERRNO.FAULT);
    expect(invoke(fresh, "random_get", 0, 1)).toBe(ERRNO.FAULT);
  });

  test("sees a memory that has grown", () => {
    const { host } = open();
    const memory = new WebAssembly.Memory({ initial: 1 });
    host.memory.attach(memory);
    expect(invoke(host, "random_get", PAGE, 8)).toBe(ERRNO.FAULT);
    memory.grow(1);
    expect(invoke(host, "random_get", PAGE, 8)).toBe(ERRNO.SUCCESS);
  });

  test("keeps the number of descriptors below its limit", () => {
    const { host, memory } = open();
    memory.set(new TextEncoder().encode("f"), 0);
    const openFile = () => invoke(host, "path_open", 3, 0, 0, 1, 1, 2n, 0n, 0, 64);
    let opened = 0;
    while (openFile() === ERRNO.SUCCESS) opened++;
    expect(opened).toBe(GUEST_FDS_MAX - 4);
    expect(openFile()).toBe(ERRNO.MFILE);
  });

  test("keeps the number of files below its limit", () => {
    const { host, memory } = open();
    const encoder = new TextEncoder();
    let made = 0;
    for (; ; made++) {
      const name = encoder.encode(String(made));
      memory.set(name, 0);
      const errno = invoke(host, "path_create_directory", 3, 0, name.length);
      if (errno !== ERRNO.SUCCESS) {
        expect(errno).toBe(ERRNO.NOSPC);
        break;
      }
    }
    expect(made).toBe(GUEST_FILES_MAX);
  });

  test.each([
    ["/etc/passwd", ERRNO.PERM],
    ["../x", ERRNO.PERM],
    ["a/../../x", ERRNO.NOENT],
    ["./../x", ERRNO.PERM],
    ["", ERRNO.NOENT],
    ["n".repeat(300), ERRNO.NAMETOOLONG],
    ["d/".repeat(3000), ERRNO.NAMETOOLONG],
  ])("opens nothing at %s", (path, errno) => {
    const { host, memory } = open();
    const bytes = new TextEncoder().encode(path);
    memory.set(bytes, 0);
    expect(invoke(host, "path_open", 3, 1, 0, bytes.length, 1, 2n, 0n, 0, PAGE)).toBe(errno);
  });

  test("sleeps once for a poll of several clocks", () => {
    const { host, memory, slept } = open();
    const view = new DataView(memory.buffer);
    for (const [index, dueNs] of [5_000_000n, 1_000_000n, 9_000_000n].entries()) {
      const at = index * 48;
      view.setBigUint64(at, BigInt(index + 100), true);
      view.setUint32(at + 16, 1, true);
      view.setBigUint64(at + 24, dueNs, true);
    }
    expect(invoke(host, "poll_oneoff", 0, 1024, 3, 2048)).toBe(ERRNO.SUCCESS);
    expect([slept(), view.getUint32(2048, true), view.getBigUint64(1024, true)]).toEqual([1, 1, 101n]);
  });

  test("answers a poll of stdin at once, clocks or not", () => {
    const { host, memory, slept } = open();
    const view = new DataView(memory.buffer);
    view.setUint32(16, 1, true);
    view.setBigUint64(24, 2n ** 60n, true);
    view.setUint8(48 + 8, 1);
    view.setUint32(48 + 16, 0, true);
    expect(invoke(host, "poll_oneoff", 0, 1024, 2, 2048)).toBe(ERRNO.SUCCESS);
    expect([slept(), view.getUint32(2048, true), view.getBigUint64(1024 + 16, true)]).toEqual([0, 1, 100n]);
  });
});

function bytesOf(inode: Inode): number {
  if (inode.kind === "file") return inode.bytes.length;
  if (inode.kind === "symlink") return 0;
  return inode.entries.values().reduce((sum, entry) => sum + bytesOf(entry), 0);
}
