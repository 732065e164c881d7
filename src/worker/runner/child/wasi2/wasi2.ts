/**
 * The host of WASI 0.2 for one run: the interfaces that `wasi:cli/command` needs, but for sockets, which nobody grants.
 * The names are those that jco's transpiled JavaScript looks up, without versions.
 */
import { FileTree } from "../files/file-tree.ts";
import type { GuestPowers } from "../files/powers.ts";
import type { GuestExit } from "../guest-exit.ts";
import { datetimeOf, Descriptor, EXPOSED_DESCRIPTOR, EXPOSED_DIRECTORY_ENTRY_STREAM } from "./descriptor.ts";
import type { FileWorld } from "./descriptor.ts";
import { exposeInterface, exposeResource, ResourceCount } from "./resource.ts";
import {
  EXPOSED_INPUT_STREAM,
  EXPOSED_IO_ERROR,
  EXPOSED_OUTPUT_STREAM,
  EXPOSED_POLLABLE,
  InputStream,
  IoError,
  OutputStream,
  poll,
  Pollable,
} from "./streams.ts";

export interface Wasi2Init {
  readonly powers: GuestPowers;
  readonly exit: GuestExit;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: Uint8Array;
  /** Its private files. Default: none. */
  readonly tree?: FileTree | undefined;
}

export type Wasi2Imports = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/** Random bytes in one call; more is no honest program's wish. */
const RANDOM_BYTES_MAX = 16_777_216n;
const RANDOM_CHUNK_BYTES = 65_536;
const PROGRAM_NAME = "guest.wasm";

/** Never handed out but for terminals' sake: see `openWasi2`. */
class TerminalInput {}
class TerminalOutput {}
const EXPOSED_TERMINAL_INPUT = exposeResource(TerminalInput);
const EXPOSED_TERMINAL_OUTPUT = exposeResource(TerminalOutput);

/**
 * stdout and stderr pass for terminals, as in preview 1, so that a C library writes line by line and people see it
 * while the guest runs.
 */
export function openWasi2(init: Wasi2Init): Wasi2Imports {
  const { exit, args, env } = init;
  const count = new ResourceCount(init.powers);
  const imports: Wasi2Imports = {
    "wasi:cli/environment": {
      getEnvironment: () => Object.entries(env),
      getArguments: () => [PROGRAM_NAME, ...args],
      initialCwd: () => "/",
    },
    "wasi:cli/exit": {
      exit: (status: { readonly tag: string }) => exit.leave({ kind: "exited", code: status.tag === "ok" ? 0 : 1 }),
      exitWithCode: (code: number) => exit.leave({ kind: "exited", code }),
    },
    "wasi:cli/terminal-input": { TerminalInput: EXPOSED_TERMINAL_INPUT },
    "wasi:cli/terminal-output": { TerminalOutput: EXPOSED_TERMINAL_OUTPUT },
    "wasi:cli/terminal-stdin": { getTerminalStdin: () => undefined },
    "wasi:cli/terminal-stdout": { getTerminalStdout: () => new TerminalOutput() },
    "wasi:cli/terminal-stderr": { getTerminalStderr: () => new TerminalOutput() },
    "wasi:io/error": { Error: EXPOSED_IO_ERROR },
    "wasi:io/poll": { Pollable: EXPOSED_POLLABLE, poll },
    "wasi:io/streams": { InputStream: EXPOSED_INPUT_STREAM, OutputStream: EXPOSED_OUTPUT_STREAM },
    ...openStreams(init, count),
    ...openClocks(count),
    ...openFiles(init, count),
    ...openRandom(init.powers),
  };
  const exposed = Object.entries(imports).map(([name, functions]) => [name, exposeInterface(functions)] as const);
  return exposeInterface(Object.fromEntries(exposed));
}

function openStreams({ powers, stdin }: Wasi2Init, count: ResourceCount): Wasi2Imports {
  let at = 0;
  const input = (length: number): Uint8Array => {
    const bytes = stdin.slice(at, at + length);
    at += bytes.length;
    return bytes;
  };
  return {
    "wasi:cli/stdin": { getStdin: () => new InputStream(count, input) },
    "wasi:cli/stdout": {
      getStdout: () => new OutputStream(count, (bytes) => powers.writeOutput("stdout", bytes)),
    },
    "wasi:cli/stderr": {
      getStderr: () => new OutputStream(count, (bytes) => powers.writeOutput("stderr", bytes)),
    },
  };
}

function openClocks(count: ResourceCount): Wasi2Imports {
  const { powers } = count;
  return {
    "wasi:clocks/monotonic-clock": {
      now: () => powers.monotonicNs(),
      resolution: () => 1000n,
      subscribeInstant: (whenNs: bigint) => new Pollable(count, whenNs),
      subscribeDuration: (durationNs: bigint) => new Pollable(count, powers.monotonicNs() + durationNs),
    },
    "wasi:clocks/wall-clock": {
      now: () => datetimeOf(powers.realtimeNs()),
      resolution: () => datetimeOf(1000n),
    },
  };
}

function openFiles({ tree: given }: Wasi2Init, count: ResourceCount): Wasi2Imports {
  const tree = given ?? new FileTree(() => count.powers.realtimeNs());
  const world: FileWorld = { tree, count, open: 0 };
  const flags = { read: true, write: false, mutateDirectory: true };
  return {
    "wasi:filesystem/preopens": { getDirectories: () => [[new Descriptor(world, tree.root, flags), "/"]] },
    "wasi:filesystem/types": {
      Descriptor: EXPOSED_DESCRIPTOR,
      DirectoryEntryStream: EXPOSED_DIRECTORY_ENTRY_STREAM,
      filesystemErrorCode: (error: IoError) => IoError.codeOf(error),
    },
  };
}

function openRandom(powers: GuestPowers): Wasi2Imports {
  const bytes = (length: bigint): Uint8Array => {
    if (length > RANDOM_BYTES_MAX) throw new Error(`${length} random bytes at once`);
    const filled = new Uint8Array(Number(length));
    for (let from = 0; from < filled.length; from += RANDOM_CHUNK_BYTES) {
      powers.fillRandom(filled.subarray(from, from + RANDOM_CHUNK_BYTES));
    }
    return filled;
  };
  const u64 = (): bigint => new DataView(bytes(8n).buffer).getBigUint64(0, true);
  const seed = [u64(), u64()];
  return {
    "wasi:random/random": { getRandomBytes: bytes, getRandomU64: u64 },
    "wasi:random/insecure": { getInsecureRandomBytes: bytes, getInsecureRandomU64: u64 },
    "wasi:random/insecure-seed": { insecureSeed: () => seed },
  };
}
