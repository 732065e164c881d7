/**
 * What runs a task, by name: one of the three ways into a module of WebAssembly, or the kind of an executor that some
 * workers bring themselves. Workers say which of these they have; a task goes to those that have its own.
 */

export const WASM_ENTRIES = ["command", "run", "component"] as const;

/** Which way into a module a task takes. */
export type WasmEntry = (typeof WASM_ENTRIES)[number];

/** Of an executor that is not ours. */
export type CustomKind = string & { readonly __brand: "CustomKind" };

export type Entry = WasmEntry | CustomKind;

/** What a kind's name is like, in words. */
export const KIND_PATTERN_TEXT = "1 to 32 lower-case letters, digits or hyphens, the first a letter";

const KIND_PATTERN = /^[a-z][a-z0-9-]{0,31}$/;

export function isWasmEntry(entry: string): entry is WasmEntry {
  return WASM_ENTRIES.some((wasm) => wasm === entry);
}

/** Undefined: the text is no kind's name, or one of the names that WebAssembly has. */
export function parseCustomKind(text: string): CustomKind | undefined {
  return KIND_PATTERN.test(text) && !isWasmEntry(text) ? (text as CustomKind) : undefined;
}

/** Undefined: the text names nothing that could run a task. */
export function parseEntry(text: string): Entry | undefined {
  return isWasmEntry(text) ? text : parseCustomKind(text);
}

/** What a worker that says nothing of it runs. */
export const KINDS_DEFAULT: readonly Entry[] = [...WASM_ENTRIES];
