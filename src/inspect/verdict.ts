/**
 * What an inspection says of a module, and how it comes out of the process that read it: frames (`sandbox/frame.ts`), the
 * first when the process is up, then for each module the JSON of its verdict in as many as it takes. The bytes that were
 * read are a stranger's, so what comes out is checked in every field before anybody believes it.
 */
import { isAmount, isRecord } from "../base/json-shapes.ts";
import {
  COMPONENT_FUNCTIONS_MAX,
  REASON_LENGTH_MAX,
  WASM_EXPORTS_MAX,
  WASM_IMPORTS_MAX,
  WASM_MEMORIES_MAX,
  WASM_TABLES_MAX,
} from "../base/limits.ts";
import { cutTo } from "../base/wording.ts";
import type { ModuleInspection } from "../model/module.ts";

export type Verdict =
  | { readonly ok: true; readonly inspection: ModuleInspection }
  /** A sentence for the person who sent the module, of `REASON_LENGTH_MAX` at most. */
  | { readonly ok: false; readonly reason: string };

/** To the process: a module's bytes. */
export const INSPECT = 1;
/** From it. */
export const ANSWER = { ready: 1, more: 2, last: 3 } as const;

const KINDS: readonly unknown[] = ["core", "component"];
const EXTERN_KINDS: readonly unknown[] = [
  "function",
  "table",
  "memory",
  "global",
  "tag",
  "component",
  "instance",
  "type",
  "module",
];
const ITEM_KINDS: readonly unknown[] = ["function", "type", "other"];
/** Several core modules' each, in a component. */
const LISTED_MAX = { memories: WASM_MEMORIES_MAX, tables: WASM_TABLES_MAX } as const;

/** The verdict in a text; undefined when it is none. */
export function parseVerdict(text: string): Verdict | undefined {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isRecord(raw)) return undefined;
  const { reason } = raw;
  if (raw["ok"] === false) return isText(reason) ? { ok: false, reason: cutTo(REASON_LENGTH_MAX, reason) } : undefined;
  const inspection = parseInspection(raw["inspection"]);
  return raw["ok"] === true && inspection !== undefined ? { ok: true, inspection } : undefined;
}

/** Fields that are not known here are passed on: they are plain values, and whoever knows them can tell. */
function parseInspection(raw: unknown): ModuleInspection | undefined {
  if (!isRecord(raw)) return undefined;
  const { kind, bytes, codeBytes, imports, exports, memories, tables, hasStartFunction, usesGc } = raw;
  const isSound =
    KINDS.includes(kind) &&
    isAmount(bytes) &&
    isAmount(codeBytes) &&
    isListOf(imports, WASM_IMPORTS_MAX, isImport) &&
    isListOf(exports, WASM_EXPORTS_MAX, isExport) &&
    isListOf(memories, LISTED_MAX.memories, isMemory) &&
    isListOf(tables, LISTED_MAX.tables, isTable) &&
    typeof hasStartFunction === "boolean" &&
    (usesGc === undefined || typeof usesGc === "boolean");
  return isSound ? (raw as unknown as ModuleInspection) : undefined;
}

function isImport(raw: Record<string, unknown>): boolean {
  return isText(raw["module"]) && isText(raw["name"]) && EXTERN_KINDS.includes(raw["kind"]) && areItems(raw["items"]);
}

/** Of an instance, which may be one that could not be followed. */
function areItems(raw: unknown): boolean {
  if (raw === undefined || raw === null) return true;
  return isListOf(raw, COMPONENT_FUNCTIONS_MAX, ({ name, kind, signature }) => {
    return isText(name) && ITEM_KINDS.includes(kind) && (signature === undefined || isText(signature));
  });
}

function isExport(raw: Record<string, unknown>): boolean {
  const { name, kind, signature, items } = raw;
  const isNamed = isText(name) && EXTERN_KINDS.includes(kind);
  return isNamed && (signature === undefined || isText(signature)) && areItems(items);
}

function isMemory(raw: Record<string, unknown>): boolean {
  const { minPages, maxPages, isShared, is64, isImported } = raw;
  const areFlags = [isShared, is64, isImported].every((flag) => typeof flag === "boolean");
  return areFlags && isAmount(minPages) && (maxPages === undefined || isAmount(maxPages));
}

function isTable(raw: Record<string, unknown>): boolean {
  return isAmount(raw["minEntries"]) && (raw["maxEntries"] === undefined || isAmount(raw["maxEntries"]));
}

function isListOf(raw: unknown, max: number, isItem: (item: Record<string, unknown>) => boolean): boolean {
  return Array.isArray(raw) && raw.length <= max && raw.every((item) => isRecord(item) && isItem(item));
}

function isText(raw: unknown): raw is string {
  return typeof raw === "string";
}
