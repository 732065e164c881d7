/**
 * Small changes to a core module's bytes that let its host hold it, none of which the guest can see:
 *
 * - its memory's maximum becomes the task's cap, so that the engine itself refuses to grow past it;
 * - its memory is exported if it was not, so that its size can be told at the end;
 * - its start function becomes an export, called right after instantiation, so that the calls it makes find a memory.
 *
 * Pure. What is not changed is handed on as views of the original bytes, so that a large module costs no copy.
 */
import { WasmReader } from "../../model/wasm-reader.ts";

export const WASM_PAGE_BYTES = 65_536;
const HEADER_BYTES = 8;
const SECTION = { memory: 5, export: 7, start: 8 } as const;
const EXPORT_KIND = { function: 0, memory: 2 } as const;
const HAS_MAX = 1;

export interface Surgery {
  /** The module's new bytes, in order. */
  readonly chunks: readonly Uint8Array[];
  /** The export under which the module's memory is found; undefined if it has none. */
  readonly memoryExport: string | undefined;
  /** The export to call first, where there was a start function. */
  readonly startExport: string | undefined;
}

export interface SurgeryOptions {
  /** Leaves the start function as it is: for a component's modules, which are started by what surrounds them. */
  readonly keepsStart?: boolean;
}

interface Section {
  readonly id: number;
  /** Of the whole section, its id and length included. */
  readonly start: number;
  readonly bodyStart: number;
  readonly end: number;
}

/**
 * Operates on a module that `inspectModule` has accepted and that has at most one memory, its own, 32-bit and not
 * shared. `pagesMax` is at least the memory's minimum. Throws `MalformedModule` on anything else.
 */
export function operateOnModule(bytes: Uint8Array, pagesMax: number, options: SurgeryOptions = {}): Surgery {
  const sections = readSections(bytes);
  const find = (id: number): Section | undefined => sections.find((section) => section.id === id);
  const memory = find(SECTION.memory);
  const exports = find(SECTION.export);
  const start = options.keepsStart === true ? undefined : find(SECTION.start);
  const known = exports === undefined ? [] : readExports(bytes, exports);
  const hasMemory = memory !== undefined && readMemory(bytes, memory) !== undefined;
  const memoryExport = known.find(({ kind }) => kind === EXPORT_KIND.memory)?.name;
  const names = new Set(known.map(({ name }) => name));
  const hiddenMemory = hasMemory && memoryExport === undefined ? unusedName("memory", names) : undefined;
  const hiddenStart = start === undefined ? undefined : unusedName("start", names);
  const additions: Uint8Array[] = [];
  if (hiddenMemory !== undefined) additions.push(encodeExport(hiddenMemory, EXPORT_KIND.memory, 0));
  if (start !== undefined && hiddenStart !== undefined) {
    const index = readerOf(bytes, start).u32();
    additions.push(encodeExport(hiddenStart, EXPORT_KIND.function, index));
  }
  const replaced = new Map<Section, readonly Uint8Array[]>();
  if (start !== undefined) replaced.set(start, []);
  if (memory !== undefined && hasMemory) replaced.set(memory, [cappedMemory(bytes, memory, pagesMax)]);
  let opening: readonly Uint8Array[] = [];
  if (additions.length > 0) {
    const section = exportSection(bytes, exports, known.length, additions);
    if (exports === undefined) opening = section;
    else replaced.set(exports, section);
  }
  return {
    chunks: assemble(bytes, sections, replaced, opening),
    memoryExport: memoryExport ?? hiddenMemory,
    startExport: hiddenStart,
  };
}

/** Copies `bytes` with the changes made; neighbours that did not change are one view. `opening` is a new export section. */
function assemble(
  bytes: Uint8Array,
  sections: readonly Section[],
  replaced: ReadonlyMap<Section, readonly Uint8Array[]>,
  opening: readonly Uint8Array[],
): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  let from = 0;
  let pending = opening;
  const cut = (at: number, insert: readonly Uint8Array[], resume: number): void => {
    if (at > from) chunks.push(bytes.subarray(from, at));
    chunks.push(...insert);
    from = resume;
  };
  for (const section of sections) {
    // Sections stand in the order of their ids, but for custom ones (0), the data count (12) and tags (13).
    if (pending.length > 0 && section.id > SECTION.export && section.id !== 13) {
      cut(section.start, pending, section.start);
      pending = [];
    }
    const insert = replaced.get(section);
    if (insert !== undefined) cut(section.start, insert, section.end);
  }
  cut(bytes.length, pending, bytes.length);
  return chunks;
}

function readSections(bytes: Uint8Array): Section[] {
  const reader = new WasmReader(bytes, { start: HEADER_BYTES, end: bytes.length, where: "sections" });
  const sections: Section[] = [];
  while (!reader.isAtEnd) {
    const start = reader.position;
    const id = reader.byte();
    const size = reader.u32();
    const bodyStart = reader.position;
    reader.skip(size);
    sections.push({ id, start, bodyStart, end: reader.position });
  }
  return sections;
}

function readerOf(bytes: Uint8Array, section: Section): WasmReader {
  return new WasmReader(bytes, { start: section.bodyStart, end: section.end, where: `section ${section.id}` });
}

function readMemory(bytes: Uint8Array, section: Section): { min: number; max: number | undefined } | undefined {
  const reader = readerOf(bytes, section);
  if (reader.u32() === 0) return undefined;
  const flags = reader.byte();
  if ((flags & ~HAS_MAX) !== 0) throw reader.malformed("has a memory that is shared or 64-bit");
  const min = reader.u32();
  const max = flags === HAS_MAX ? reader.u32() : undefined;
  reader.expectEnd();
  return { min, max };
}

function cappedMemory(bytes: Uint8Array, section: Section, pagesMax: number): Uint8Array {
  const memory = readMemory(bytes, section);
  if (memory === undefined || (memory.max !== undefined && memory.max <= pagesMax)) {
    return bytes.subarray(section.start, section.end);
  }
  const body = [1, HAS_MAX, ...encodeU32(memory.min), ...encodeU32(pagesMax)];
  return Uint8Array.from([SECTION.memory, ...encodeU32(body.length), ...body]);
}

function readExports(bytes: Uint8Array, section: Section): { name: string; kind: number }[] {
  const reader = readerOf(bytes, section);
  const count = reader.u32();
  const found: { name: string; kind: number }[] = [];
  for (let index = 0; index < count; index++) {
    const name = reader.name();
    found.push({ name, kind: reader.byte() });
    reader.u32();
  }
  return found;
}

function exportSection(
  bytes: Uint8Array,
  section: Section | undefined,
  count: number,
  additions: readonly Uint8Array[],
): Uint8Array[] {
  let old = bytes.subarray(0, 0);
  if (section !== undefined) {
    const reader = readerOf(bytes, section);
    reader.u32();
    old = bytes.subarray(reader.position, section.end);
  }
  const newCount = encodeU32(count + additions.length);
  const size = additions.reduce((sum, addition) => sum + addition.length, newCount.length + old.length);
  return [Uint8Array.from([SECTION.export, ...encodeU32(size), ...newCount]), old, ...additions];
}

function encodeExport(name: string, kind: number, index: number): Uint8Array {
  const nameBytes = new TextEncoder().encode(name);
  return Uint8Array.from([...encodeU32(nameBytes.length), ...nameBytes, kind, ...encodeU32(index)]);
}

function unusedName(base: string, taken: ReadonlySet<string>): string {
  let name = `capmesh:${base}`;
  while (taken.has(name)) name += "'";
  return name;
}

function encodeU32(value: number): number[] {
  const bytes: number[] = [];
  let left = value >>> 0;
  do {
    bytes.push((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
    left >>>= 7;
  } while (left > 0);
  return bytes;
}
