/**
 * The host of `wasi_snapshot_preview1`: the wall that a core module meets. It offers 46 calls and nothing else; each
 * checks every pointer, and none reaches a file, a socket or a process of the machine.
 *
 * What a guest's call fails with is its answer, an error number. What ends the guest (`exit`, `raise`) leaves by a wasm
 * trap, which unlike a thrown JavaScript value no `catch_all` of the guest's can stop.
 */
import { WasiFailure } from "../files/errno.ts";
import { FileTree } from "../files/file-tree.ts";
import type { GuestPowers } from "../files/powers.ts";
import { FD_CALLS } from "./fd-calls.ts";
import { FdTable } from "./fd-table.ts";
import { encodeText, GuestMemory } from "./guest-memory.ts";
import type { Preview1Host } from "./host.ts";
import { PATH_CALLS } from "./path-calls.ts";
import { POLL_CALLS } from "./poll.ts";
import { PROCESS_CALLS } from "./process-calls.ts";

export const PREVIEW1_MODULE = "wasi_snapshot_preview1";
export const UNSTABLE_MODULE = "wasi_unstable";

const CALLS: ReadonlyMap<string, HostCall> = new Map(
  Object.entries({ ...PROCESS_CALLS, ...FD_CALLS, ...PATH_CALLS, ...POLL_CALLS }).map(([name, call]) => [
    name,
    parseHostCall(call),
  ]),
);

/** A call with its parameters as wasm passes them: numbers for i32, bigints for i64. */
type HostCall = (host: Preview1Host, ...args: unknown[]) => void;

export interface Preview1Init {
  readonly powers: GuestPowers;
  /** argv without the program's own name. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: Uint8Array;
  /** Its private files. Default: none. */
  readonly tree?: FileTree | undefined;
  readonly exit: (code: number) => never;
  readonly raise: (signal: number) => never;
}

/** argv[0]. */
const PROGRAM_NAME = "guest.wasm";

export function openPreview1(init: Preview1Init): Preview1Host {
  const tree = init.tree ?? new FileTree(() => init.powers.realtimeNs());
  // Many guests never ask.
  let args: readonly Uint8Array[] | undefined;
  let env: readonly Uint8Array[] | undefined;
  return {
    memory: new GuestMemory(),
    tree,
    fds: new FdTable(tree, init.stdin),
    powers: init.powers,
    isUnstable: false,
    get args() {
      return (args ??= [PROGRAM_NAME, ...init.args].map(encodeText));
    },
    get env() {
      return (env ??= Object.entries(init.env).map(([key, value]) => encodeText(`${key}=${value}`)));
    },
    exit: init.exit,
    raise: init.raise,
  };
}

/** The same host as `wasi_unstable` knew it. */
export function asUnstable(host: Preview1Host): Preview1Host {
  return { ...host, isUnstable: true };
}

/** The import of that name for one run; undefined when there is none. A map, so that `__proto__` and its like are not. */
export function preview1Import(host: Preview1Host, name: string): ((...args: unknown[]) => number) | undefined {
  const call = CALLS.get(name);
  if (call === undefined) return undefined;
  return (...args) => {
    try {
      call(host, ...args);
      return 0;
    } catch (thrown) {
      if (thrown instanceof WasiFailure) return thrown.errno;
      throw thrown;
    }
  };
}

/**
 * Forgets a call's own parameter types. The guest's module may import it under any signature: a bigint where a number
 * belongs makes the call throw a TypeError, which ends the guest as trapped.
 */
function parseHostCall(call: unknown): HostCall {
  return call as HostCall;
}
