/** The WASI 0.2 host, called as transpiled components call it. */
import { describe, expect, test } from "vitest";
import { GUEST_RESOURCES_MAX } from "../../../src/base/limits.ts";
import { GuestExit } from "../../../src/worker/runner/child/guest-exit.ts";
import type { Descriptor } from "../../../src/worker/runner/child/wasi2/descriptor.ts";
import { CallFailure } from "../../../src/worker/runner/child/wasi2/failure.ts";
import {
  type InputStream,
  type OutputStream,
  poll,
  type Pollable,
} from "../../../src/worker/runner/child/wasi2/streams.ts";
import { openWasi2, type Wasi2Imports } from "../../../src/worker/runner/child/wasi2/wasi2.ts";

interface World {
  readonly imports: Wasi2Imports;
  readonly root: Descriptor;
  readonly printed: string[];
  readonly slept: number[];
  readonly exit: GuestExit;
}

function open(stdin = ""): World {
  const printed: string[] = [];
  const slept: number[] = [];
  let nowNs = 5_000_000_000n;
  const exit = new GuestExit();
  const imports = openWasi2({
    powers: {
      realtimeNs: () => nowNs,
      monotonicNs: () => nowNs,
      cpuNs: () => 0n,
      fillRandom: (bytes) => void bytes.fill(1),
      sleep(durationMs) {
        slept.push(durationMs);
        nowNs += BigInt(Math.ceil(durationMs * 1e6));
      },
      writeOutput: (stream, bytes) => void printed.push(`${stream}: ${new TextDecoder().decode(bytes)}`),
    },
    exit,
    args: ["a"],
    env: { K: "v" },
    stdin: new TextEncoder().encode(stdin),
  });
  const [[root]] = invoke(imports, "wasi:filesystem/preopens", "getDirectories") as [[Descriptor, string]];
  return { imports, root, printed, slept, exit };
}

function invoke(imports: Wasi2Imports, face: string, name: string, ...args: readonly unknown[]): unknown {
  const called = imports[face]?.[name];
  if (typeof called !== "function") throw new Error(`there is no ${face}.${name}`);
  return Reflect.apply(called, undefined, args);
}

/** The payload of what a call throws: its error value. */
function failure(call: () => unknown): unknown {
  try {
    call();
  } catch (thrown) {
    if (thrown instanceof CallFailure) return thrown.payload;
    throw thrown;
  }
  return "no failure";
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (read: Uint8Array): string => new TextDecoder().decode(read);
const create = { create: true };
const readWrite = { read: true, write: true };

describe("streams", () => {
  test("end with `closed` when stdin has been read", () => {
    const { imports } = open("hello");
    const stdin = invoke(imports, "wasi:cli/stdin", "getStdin") as InputStream;
    expect(text(stdin.read(3n))).toBe("hel");
    expect(text(stdin.blockingRead(100n))).toBe("lo");
    expect(failure(() => stdin.read(1n))).toEqual({ tag: "closed" });
    expect(failure(() => stdin.blockingSkip(1n))).toEqual({ tag: "closed" });
  });

  test("carry stdout and stderr in the order written", () => {
    const { imports, printed } = open();
    const stdout = invoke(imports, "wasi:cli/stdout", "getStdout") as OutputStream;
    const stderr = invoke(imports, "wasi:cli/stderr", "getStderr") as OutputStream;
    stdout.write(bytes("one"));
    stderr.blockingWriteAndFlush(bytes("two"));
    stdout.blockingWriteZeroesAndFlush(1n);
    expect(printed).toEqual(["stdout: one", "stderr: two", "stdout: \0"]);
    expect(stdout.checkWrite()).toBeGreaterThan(0n);
  });

  test("splice from one to the other", () => {
    const { imports, printed } = open("through");
    const stdin = invoke(imports, "wasi:cli/stdin", "getStdin") as InputStream;
    const stdout = invoke(imports, "wasi:cli/stdout", "getStdout") as OutputStream;
    expect(stdout.splice(stdin, 4n)).toBe(4n);
    expect(printed).toEqual(["stdout: thro"]);
  });

  test("refuse more zeroes than can be asked for", () => {
    const { imports } = open();
    const stdout = invoke(imports, "wasi:cli/stdout", "getStdout") as OutputStream;
    expect(() => stdout.writeZeroes(2n ** 60n)).toThrow();
  });

  test("answer `closed` after a write that failed", () => {
    const { root } = open();
    const file = root.openAt({}, "f", create, readWrite);
    const output = file.writeViaStream(2n ** 40n);
    expect(failure(() => output.write(bytes("x")))).toMatchObject({ tag: "last-operation-failed" });
    expect(failure(() => output.write(bytes("x")))).toEqual({ tag: "closed" });
    expect(failure(() => output.checkWrite())).toEqual({ tag: "closed" });
    expect(failure(() => output.blockingFlush())).toEqual({ tag: "closed" });
  });
});

describe("resources", () => {
  const late = (imports: Wasi2Imports) =>
    invoke(imports, "wasi:clocks/monotonic-clock", "subscribeDuration", 1n) as Pollable;

  test("are limited in number, and free their places when they are dropped", () => {
    const { imports } = open();
    for (let n = 0; n < 2 * GUEST_RESOURCES_MAX; n++) late(imports)[Symbol.dispose]();
    expect(() => {
      for (let n = 0; n <= GUEST_RESOURCES_MAX; n++) late(imports);
    }).toThrow("resources");
  });

  test("are not dropped before what was made of them", () => {
    const { imports } = open();
    const stdin = invoke(imports, "wasi:cli/stdin", "getStdin") as InputStream;
    const pollable = stdin.subscribe();
    expect(() => stdin[Symbol.dispose]()).toThrow("before the pollables");
    pollable[Symbol.dispose]();
    stdin[Symbol.dispose]();
  });
});

describe("polling", () => {
  test("sleeps until the nearest is ready, and names all that are", () => {
    const { imports, slept } = open();
    const after = (ns: bigint) => invoke(imports, "wasi:clocks/monotonic-clock", "subscribeDuration", ns) as Pollable;
    expect([...poll([after(9_000_000n), after(2_000_000n), after(2_000_000n)])]).toEqual([1, 2]);
    expect(slept).toEqual([2]);
  });

  test("does not sleep while a stream is among them", () => {
    const { imports, slept } = open("x");
    const stdin = invoke(imports, "wasi:cli/stdin", "getStdin") as InputStream;
    const late = invoke(imports, "wasi:clocks/monotonic-clock", "subscribeDuration", 10n ** 18n) as Pollable;
    expect([...poll([late, stdin.subscribe()])]).toEqual([1]);
    expect(slept).toEqual([]);
  });

  test("of nothing is the guest's fault", () => {
    expect(() => poll([])).toThrow();
  });
});

describe("files", () => {
  test("are written, read, listed and removed", () => {
    const { root } = open();
    root.createDirectoryAt("d");
    const file = root.openAt({}, "d/f", create, readWrite);
    expect(file.write(bytes("content"), 0n)).toBe(7n);
    expect(file.read(100n, 3n).map((part) => (part instanceof Uint8Array ? text(part) : part))).toEqual(["tent", true]);
    file.appendViaStream().write(bytes("!"));
    expect(text(file.readViaStream(5n).read(10n))).toBe("nt!");
    expect(file.stat()).toMatchObject({ type: "regular-file", size: 8n, linkCount: 1n });
    const entries = root.openAt({}, "d", { directory: true }, { read: true }).readDirectory();
    expect(entries.readDirectoryEntry()).toEqual({ type: "regular-file", name: "f" });
    expect(entries.readDirectoryEntry()).toBeUndefined();
    root.unlinkFileAt("d/f");
    root.removeDirectoryAt("d");
    expect(failure(() => root.statAt({}, "d"))).toBe("no-entry");
  });

  test.each<[string, (root: Descriptor) => unknown, string]>([
    ["a path out of the root", (root) => root.openAt({}, "../etc", {}, { read: true }), "not-permitted"],
    ["an absolute path", (root) => root.openAt({}, "/etc/passwd", {}, { read: true }), "not-permitted"],
    [
      "a link out of the root",
      (root) => (root.symlinkAt("../..", "l"), root.statAt({ symlinkFollow: true }, "l/x")),
      "not-permitted",
    ],
    ["an absolute link", (root) => root.symlinkAt("/etc", "l"), "not-permitted"],
    ["what is not there", (root) => root.statAt({}, "none"), "no-entry"],
    ["a directory as a file", (root) => root.readViaStream(0n), "is-directory"],
    ["a file beyond all size", (root) => root.openAt({}, "f", create, readWrite).setSize(2n ** 50n), "file-too-large"],
    [
      "writing where only reading was asked",
      (root) => root.openAt({}, "f", create, { read: true }).write(bytes("x"), 0n),
      "bad-descriptor",
    ],
  ])("refuse %s", (_what, act, code) => {
    const { root } = open();
    expect(failure(() => act(root))).toBe(code);
  });

  test("may be changed below a directory that was opened only to be read", () => {
    const { root } = open();
    root.createDirectoryAt("d");
    root.openAt({}, "d", { directory: true }, { read: true }).createDirectoryAt("e");
    expect(root.statAt({}, "d/e").type).toBe("directory");
  });

  test("give their bytes back when the last descriptor of an unlinked file is dropped", () => {
    const { root } = open();
    const chunk = new Uint8Array(40 * 1_048_576);
    for (let round = 0; round < 3; round++) {
      const file = root.openAt({}, "big", create, readWrite);
      file.write(chunk, 0n);
      root.unlinkFileAt("big");
      file[Symbol.dispose]();
    }
    expect(failure(() => root.statAt({}, "big"))).toBe("no-entry");
  });
});

describe("the rest of a component's world", () => {
  test("is what it was given", () => {
    const { imports } = open();
    expect(invoke(imports, "wasi:cli/environment", "getEnvironment")).toEqual([["K", "v"]]);
    expect(invoke(imports, "wasi:cli/environment", "getArguments")).toEqual(["guest.wasm", "a"]);
    expect(invoke(imports, "wasi:clocks/wall-clock", "now")).toEqual({ seconds: 5n, nanoseconds: 0 });
    expect(invoke(imports, "wasi:random/random", "getRandomU64")).toBe(0x0101010101010101n);
  });

  test("has no sockets and no HTTP", () => {
    expect(Object.keys(open().imports).filter((face) => /socket|http/.test(face))).toEqual([]);
  });

  test("ends by `exit` with its code", () => {
    const { imports, exit } = open();
    expect(() => invoke(imports, "wasi:cli/exit", "exitWithCode", 9)).toThrow(WebAssembly.RuntimeError);
    expect(exit.end).toEqual({ kind: "exited", code: 9 });
  });

  test("gives no more random bytes at once than anybody needs", () => {
    expect(() => invoke(open().imports, "wasi:random/random", "getRandomBytes", 2n ** 40n)).toThrow();
  });
});

/** Names that everything has where it inherits, and those of the host's own. */
const FOREIGN = ["constructor", "toString", "valueOf", "hasOwnProperty", "call", "name", "count", "powers", "release"];

describe("what transpiled code finds", () => {
  test("of an interface is its functions alone", () => {
    const { imports } = open();
    const objects: readonly object[] = [imports, ...Object.values(imports)];
    const found = objects.flatMap((object) => FOREIGN.filter((name) => Reflect.has(object, name)));
    expect(found).toEqual([]);
  });

  test("of a class is neither what a function has nor a way to make an object", () => {
    const { imports } = open();
    const classes = Object.values(imports)
      .flatMap((functions) => Object.entries(functions))
      .flatMap(([name, value]) => (/^[A-Z]/.test(name) && typeof value === "function" ? [value] : []));
    expect(classes.length).toBe(8);
    for (const exposed of classes) {
      expect(Reflect.ownKeys(exposed)).toEqual(["prototype"]);
      expect(Object.getPrototypeOf(exposed)).toBeNull();
      expect(() => void Reflect.construct(exposed, [])).toThrow("no guest makes a resource");
    }
  });

  test("of a resource is its methods alone, and its class knows it", () => {
    const { imports, root } = open("hello");
    const { Descriptor: descriptor } = imports["wasi:filesystem/types"] ?? {};
    const stdin = invoke(imports, "wasi:cli/stdin", "getStdin") as InputStream;
    const stdout = invoke(imports, "wasi:cli/stdout", "getStdout") as OutputStream;
    for (const resource of [root, stdin, stdout, stdin.subscribe(), root.readDirectory()]) {
      expect(FOREIGN.filter((name) => Reflect.has(resource, name))).toEqual([]);
      expect(Reflect.ownKeys(resource)).toEqual([]);
    }
    expect(typeof descriptor === "function" && root instanceof descriptor).toBe(true);
  });
});
