/**
 * What a module is, from its bytes alone, and whether it may run here: its kind, its outside, the way in, the limits it
 * declares. What it may import is `wasi-imports.ts`. Pure: it compiles nothing and reads nothing else.
 *
 * The bytes are a stranger's: `inspectModule` never throws, takes time linear in their number, and makes nothing that
 * is larger than a small multiple of the limits in `base/limits.ts`. It refuses what it cannot follow. What it accepts
 * the engine may still refuse when it compiles.
 */
import { WASM_TABLE_ENTRIES_MAX } from "../base/limits.ts";
import { mib, shortened } from "../base/wording.ts";
import type { WasmEntry } from "./entry.ts";
import type { ModuleExport, ModuleInspection } from "./module.ts";
import { COMPONENT_HEADER, CORE_HEADER, readComponent } from "./wasm-component.ts";
import { readCoreModule } from "./wasm-core.ts";
import { MalformedModule, WasmReader, WorkBudget } from "./wasm-reader.ts";

type InspectResult =
  | { readonly ok: true; readonly inspection: ModuleInspection }
  /** A sentence for the person who sent the module. */
  | { readonly ok: false; readonly reason: string };

const HEADER_BYTES = 8;
const PAGE_BYTES = 65_536;
/** How much of something that is not a module is shown. */
const SHOWN_BYTES = 16;
/** How many of a module's exports are named when the one that was asked for is not among them. */
const SHOWN_EXPORTS = 8;
const SHOWN_LENGTH = 80;

const EXPECTED = "expected a .wasm file as a compiler writes it";

/** Files that are taken for modules, by how they begin. */
const LOOKALIKES: readonly { readonly start: string; readonly name: string }[] = [
  { start: "(module", name: "WebAssembly text: turn it into a binary first (`wat2wasm`)" },
  { start: "(component", name: "WebAssembly text: turn it into a binary first (`wasm-tools parse`)" },
  { start: "\x7fELF", name: "a native program: compile it for WebAssembly" },
  { start: "MZ", name: "a native program: compile it for WebAssembly" },
  { start: "\x1f\x8b", name: "a gzip file: unpack it first" },
  { start: "PK\x03\x04", name: "a zip file: unpack it first" },
  { start: "#!", name: "a script: only WebAssembly runs here" },
  { start: "<!DOCTYPE", name: "a web page: was an address downloaded instead of a file?" },
  { start: "<html", name: "a web page: was an address downloaded instead of a file?" },
];

/** Reads a module's outside. The bytes are borrowed, and not kept. */
export function inspectModule(bytes: Uint8Array): InspectResult {
  if (bytes.length === 0) return { ok: false, reason: `the file is empty: ${EXPECTED}` };
  const isCore = startsWith(bytes, CORE_HEADER);
  if (!isCore && !startsWith(bytes, COMPONENT_HEADER)) return { ok: false, reason: describeForeign(bytes) };
  const reader = new WasmReader(bytes, { start: HEADER_BYTES, end: bytes.length, where: "header" });
  try {
    const budget = new WorkBudget();
    const outside = isCore ? readCoreModule(reader, budget) : readComponent(reader, budget);
    return { ok: true, inspection: { kind: isCore ? "core" : "component", bytes: bytes.length, ...outside } };
  } catch (thrown) {
    if (!(thrown instanceof MalformedModule)) throw thrown;
    return { ok: false, reason: `the module cannot be read: ${thrown.message}` };
  }
}

type EntryResult = { readonly ok: true; readonly entry: WasmEntry } | { readonly ok: false; readonly reason: string };

/**
 * Which way into a module a task takes: the one it asks for (`wanted`), else a component's, else `run` if the task has
 * arguments for it (`input` or `difficulty`), else `_start`, else `run`.
 */
export function checkEntry(
  inspection: ModuleInspection,
  wanted: WasmEntry | undefined,
  hasRunArguments: boolean,
): EntryResult {
  if (inspection.kind === "component") return checkComponentEntry(inspection, wanted);
  if (wanted === "component") {
    return { ok: false, reason: "entry=component is asked for, and this is a core module: leave `entry` out" };
  }
  const entry = wanted ?? (hasRunArguments ? "run" : undefined);
  if (entry === "run") return checkRun(inspection);
  if (entry === "command" || findExport(inspection, "_start") !== undefined) return checkStart(inspection);
  if (findExport(inspection, "run") !== undefined) return checkRun(inspection);
  return {
    ok: false,
    reason: `the module has no way in: it exports neither \`_start\` nor \`run\`, but ${shownExports(inspection)}`,
  };
}

type LimitsResult = { readonly ok: true } | { readonly ok: false; readonly reason: string };

/**
 * Whether what a module allocates before its first instruction, and what no cap could hold later, is within a task's
 * limits. `memoryBytes` caps its linear memories together.
 */
export function checkLimits(inspection: ModuleInspection, memoryBytes: number): LimitsResult {
  const initialBytes = inspection.memories.reduce((sum, memory) => sum + memory.minPages * PAGE_BYTES, 0);
  if (initialBytes > memoryBytes) {
    return {
      ok: false,
      reason: `it begins with ${mib(initialBytes)} MiB of memory, and ${mib(memoryBytes)} is the cap`,
    };
  }
  const memories = checkMemories(inspection);
  if (memories !== undefined) return { ok: false, reason: memories };
  const entries = inspection.tables.reduce((sum, table) => sum + table.minEntries, 0);
  if (entries > WASM_TABLE_ENTRIES_MAX) {
    return { ok: false, reason: `its tables begin with ${entries} entries, and ${WASM_TABLE_ENTRIES_MAX} is the cap` };
  }
  if (inspection.usesGc === true) {
    return { ok: false, reason: "it uses garbage-collected types (struct, array), which no memory cap can hold" };
  }
  return { ok: true };
}

/** Why the memories are of a kind that no cap can be put on; a component's are its core modules', one or more each. */
function checkMemories({ kind, memories }: ModuleInspection): string | undefined {
  if (kind === "core" && memories.length > 1)
    return `it has ${memories.length} memories, and one is what a module may have`;
  if (memories.some((memory) => memory.is64)) return "it has a 64-bit memory: build it for wasm32";
  if (memories.some((memory) => memory.isShared)) return "it has a shared memory: build it without threads";
  return undefined;
}

function startsWith(bytes: Uint8Array, header: readonly number[]): boolean {
  return header.every((byte, index) => bytes[index] === byte);
}

function describeForeign(bytes: Uint8Array): string {
  const magic = CORE_HEADER.slice(0, 4);
  const isPrefix = bytes.length < HEADER_BYTES && magic.slice(0, bytes.length).every((byte, i) => bytes[i] === byte);
  if (isPrefix) return "the file ends in the middle of its header: it is truncated";
  if (startsWith(bytes, magic)) {
    const version = [...bytes.subarray(4, HEADER_BYTES)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    return `this is WebAssembly of a version that is not known (${version}): build it with a current toolchain`;
  }
  const start = String.fromCharCode(...bytes.subarray(0, SHOWN_BYTES));
  const lookalike = LOOKALIKES.find((candidate) => start.trimStart().startsWith(candidate.start));
  if (lookalike !== undefined) return `this is not a WebAssembly binary but ${lookalike.name}`;
  return `this is not WebAssembly: it starts with ${shownStart(bytes)}; ${EXPECTED}`;
}

function shownStart(bytes: Uint8Array): string {
  const start = [...bytes.subarray(0, SHOWN_BYTES)];
  const isText = start.every(
    (byte) => (byte >= 0x20 && byte < 0x7f) || byte === 0x0a || byte === 0x0d || byte === 0x09,
  );
  if (isText) return JSON.stringify(String.fromCharCode(...start));
  return `the bytes ${start.map((byte) => byte.toString(16).padStart(2, "0")).join(" ")}`;
}

function findExport(inspection: ModuleInspection, name: string): ModuleExport | undefined {
  return inspection.exports.find((candidate) => candidate.name === name);
}

function checkRun(inspection: ModuleInspection): EntryResult {
  const run = findExport(inspection, "run");
  if (run === undefined) {
    return {
      ok: false,
      reason: `the module does not export \`run\`, which the task asks for, but ${shownExports(inspection)}`,
    };
  }
  // Whichever of the other two is there is called first.
  const first = ["_start", "_initialize"].flatMap((name) => findExport(inspection, name) ?? []);
  const wrong = mistyped(run, "(i32,i32)->(i32)") ?? mistyped(first[0], "()->()");
  return wrong === undefined ? { ok: true, entry: "run" } : { ok: false, reason: wrong };
}

function checkStart(inspection: ModuleInspection): EntryResult {
  const start = findExport(inspection, "_start");
  if (start === undefined) {
    return {
      ok: false,
      reason: `the module does not export \`_start\`, as a command does, but ${shownExports(inspection)}`,
    };
  }
  const wrong = mistyped(start, "()->()");
  return wrong === undefined ? { ok: true, entry: "command" } : { ok: false, reason: wrong };
}

/** Why an export cannot be called as it should be; undefined if it can, or is not there. */
function mistyped(found: ModuleExport | undefined, expected: string): string | undefined {
  if (found === undefined || found.signature === expected) return undefined;
  const { name, kind, signature } = found;
  if (kind !== "function") return `the module's export \`${name}\` is a ${kind}, not a function`;
  return `the module's \`${name}\` has the type ${signature ?? "of another kind"}, and ${expected} is expected`;
}

function checkComponentEntry(inspection: ModuleInspection, wanted: WasmEntry | undefined): EntryResult {
  if (wanted !== undefined && wanted !== "component") {
    return { ok: false, reason: `entry=${wanted} is asked for, and this is a component: leave \`entry\` out` };
  }
  const run = inspection.exports.find(({ name, kind }) => kind === "instance" && COMPONENT_RUN.test(name));
  if (run !== undefined) {
    const wrong = mistypedRun(run) ?? unnameable(inspection);
    return wrong === undefined ? { ok: true, entry: "component" } : { ok: false, reason: wrong };
  }
  return {
    ok: false,
    reason: `the component does not export \`wasi:cli/run\` of 0.2, but ${shownExports(inspection)}`,
  };
}

/** Why the `run` of a component cannot be called as it should be. */
function mistypedRun({ name, items }: ModuleExport): string | undefined {
  if (items === undefined) return undefined;
  const run = items?.find((item) => item.name === "run");
  if (items === null) return `what it exports as \`${name}\` cannot be followed: build it with a current toolchain`;
  if (run?.kind !== "function") return `the component exports \`${name}\` without a function \`run\` in it`;
  if (run.signature === RUN_TYPE) return undefined;
  const found =
    run.signature === undefined ? "that cannot be followed" : `\`${shortened(SHOWN_LENGTH, run.signature)}\``;
  return `the \`run\` of \`${name}\` has the type ${found}, and \`${RUN_TYPE}\` is expected`;
}

/** Why a component's exports cannot be given names in JavaScript, which it is turned into. */
function unnameable({ exports }: ModuleInspection): string | undefined {
  const names = exports.flatMap(({ name, items }) => [
    ...name.replace(/@.*$/, "").split(/[:/]/),
    ...(items ?? []).map((item) => item.name),
  ]);
  const taken = names.find((name) => TAKEN_NAME.test(name));
  return (
    taken &&
    `the component exports something as \`${taken}\`, a name that is taken in what it is turned into: rename it`
  );
}

function shownExports(inspection: ModuleInspection): string {
  const names = inspection.exports.slice(0, SHOWN_EXPORTS).map(({ name }) => `\`${shortened(SHOWN_LENGTH, name)}\``);
  if (names.length === 0) return "nothing";
  const more = inspection.exports.length - names.length;
  return more > 0 ? `${names.join(", ")} and ${more} more` : names.join(", ");
}

const RUN_TYPE = "()->result";
/** What JavaScript lets nobody define, and what the transpiled component calls its own modules. */
const TAKEN_NAME = /^(?:arguments|module[0-9]+)$/;
const COMPONENT_RUN = /^wasi:cli\/run@0\.2\.\d+$/;
