/** Runs a core module once: a fresh instance, a fresh host, and the way in that the order names. */
import type { CoreLayout, GuestEnd, OrderedEntry } from "../wire.ts";
import { parseCallable } from "./callable.ts";
import type { FileTree } from "./files/file-tree.ts";
import type { GuestPowers } from "./files/powers.ts";
import type { GuestExit } from "./guest-exit.ts";
import { asUnstable, openPreview1, PREVIEW1_MODULE, preview1Import, UNSTABLE_MODULE } from "./preview1/preview1.ts";
import type { Preview1Host } from "./preview1/host.ts";
import { compileReason, trapReason } from "./trap-reason.ts";

export type CoreEntry = Exclude<OrderedEntry, { kind: "component" }>;

export interface CompiledCore {
  readonly module: WebAssembly.Module;
  readonly imports: readonly { readonly module: string; readonly name: string }[];
}

export interface CoreRun {
  readonly core: CompiledCore;
  readonly entry: CoreEntry;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: Uint8Array;
  readonly tree: FileTree;
}

export interface RunResult {
  readonly end: GuestEnd;
  readonly value?: string | undefined;
  readonly memoryBytes: number;
}

type EntryEnd = { readonly end: GuestEnd; readonly value?: string | undefined };

const SIGNAL_NAMES: ReadonlyMap<number, string> = new Map([
  [2, "INT"],
  [3, "QUIT"],
  [4, "ILL"],
  [6, "ABRT"],
  [8, "FPE"],
  [9, "KILL"],
  [11, "SEGV"],
  [13, "PIPE"],
  [15, "TERM"],
]);

/** Compiles the bytes. Throws `WebAssembly.CompileError`. */
export function compileCore(bytes: Uint8Array<ArrayBuffer>): CompiledCore {
  const module = new WebAssembly.Module(bytes);
  return { module, imports: WebAssembly.Module.imports(module) };
}

export function runCore(run: CoreRun, powers: GuestPowers, exit: GuestExit): RunResult {
  const host = openPreview1({
    powers,
    args: run.args,
    env: run.env,
    stdin: run.stdin,
    tree: run.tree,
    exit: (code) => exit.leave({ kind: "exited", code }),
    raise: (signal) =>
      exit.leave({ kind: "trapped", reason: `the guest raised signal ${SIGNAL_NAMES.get(signal) ?? signal}` }),
  });
  const imports = linkImports(run.core, host);
  if ("reason" in imports) return { end: { kind: "rejected", reason: imports.reason }, memoryBytes: 0 };
  let instance: WebAssembly.Instance;
  try {
    instance = new WebAssembly.Instance(run.core.module, imports.linked);
  } catch (thrown) {
    if (thrown instanceof WebAssembly.RuntimeError) {
      return { end: { kind: "trapped", reason: compileReason(thrown) }, memoryBytes: 0 };
    }
    return { end: { kind: "rejected", reason: compileReason(thrown) }, memoryBytes: 0 };
  }
  attachMemory(host, instance, run.entry);
  const ended = callEntry(instance, run.entry, exit);
  return { ...ended, memoryBytes: host.memory.byteLength };
}

function callEntry(instance: WebAssembly.Instance, entry: CoreEntry, exit: GuestExit): EntryEnd {
  const started = callGuest(exit, () => {
    if (entry.startExport !== undefined) callExport(instance, entry.startExport);
    if (entry.kind === "command" || hasExport(instance, "_start")) callExport(instance, "_start");
    else if (hasExport(instance, "_initialize")) callExport(instance, "_initialize");
  });
  const end = exit.end ?? started.end;
  if (entry.kind === "command" || end.kind !== "exited" || end.code !== 0) return { end };
  exit.reset();
  const ran = callGuest(exit, () => callExport(instance, "run", entry.input, entry.difficulty));
  if (ran.end.kind !== "exited" || exit.end !== undefined) return { end: exit.end ?? ran.end };
  return { end: ran.end, value: typeof ran.returned === "number" ? String(ran.returned >>> 0) : undefined };
}

/** Calls into the guest. What it throws, and why it was ended, become how it ended. */
export function callGuest(
  exit: GuestExit,
  call: () => unknown,
): { readonly end: GuestEnd; readonly returned?: unknown } {
  try {
    const returned = call();
    return { end: exit.end ?? { kind: "exited", code: 0 }, returned };
  } catch (thrown) {
    return { end: exit.end ?? { kind: "trapped", reason: trapReason(thrown) } };
  }
}

type Linked = { readonly linked: WebAssembly.Imports } | { readonly reason: string };

/** A module may import from either name, or, put together from parts of different age, from both. */
function linkImports(core: CompiledCore, host: Preview1Host): Linked {
  const linked = { [PREVIEW1_MODULE]: noCalls(), [UNSTABLE_MODULE]: noCalls() };
  let unstable: Preview1Host | undefined;
  for (const { module, name } of core.imports) {
    let granted: Preview1Host | undefined;
    if (module === PREVIEW1_MODULE) granted = host;
    else if (module === UNSTABLE_MODULE) granted = unstable ??= asUnstable(host);
    const call = granted === undefined ? undefined : preview1Import(granted, name);
    if (call === undefined) return { reason: `no host grants its import ${module}.${name}` };
    linked[granted === host ? PREVIEW1_MODULE : UNSTABLE_MODULE][name] = call;
  }
  return { linked };
}

function noCalls(): Record<string, WebAssembly.ImportValue> {
  return {};
}

function attachMemory(host: Preview1Host, instance: WebAssembly.Instance, layout: CoreLayout): void {
  const memory = layout.memoryExport === undefined ? undefined : instance.exports[layout.memoryExport];
  if (memory instanceof WebAssembly.Memory) host.memory.attach(memory);
}

function hasExport(instance: WebAssembly.Instance, name: string): boolean {
  return typeof instance.exports[name] === "function";
}

function callExport(instance: WebAssembly.Instance, name: string, ...args: readonly number[]): unknown {
  return parseCallable(instance.exports[name])?.call(undefined, ...args);
}
