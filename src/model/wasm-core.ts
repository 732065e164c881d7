/**
 * Reads the outside of a core module: what it imports, exports and allocates. It walks every section once, checks that
 * sections are whole, in order and of the counts they announce, and steps over code and segments without reading
 * them. The engine validates the rest when it compiles.
 */
import {
  WASM_EXPORTS_MAX,
  WASM_FUNCTIONS_MAX,
  WASM_GLOBALS_MAX,
  WASM_IMPORTS_MAX,
  WASM_MEMORIES_MAX,
  WASM_NAMES_BYTES_MAX,
  WASM_SEGMENTS_MAX,
  WASM_TABLES_MAX,
  WASM_TAGS_MAX,
} from "../base/limits.ts";
import type { ExternKind, MemoryType, ModuleExport, ModuleImport, TableType } from "./module.ts";
import { MalformedModule, NameBudget } from "./wasm-reader.ts";
import type { WasmReader, WorkBudget } from "./wasm-reader.ts";
import { readLimits, readValueType, skipConstantExpression, TypeTable } from "./wasm-types.ts";

export interface CoreOutside {
  readonly imports: readonly ModuleImport[];
  readonly exports: readonly ModuleExport[];
  readonly memories: readonly MemoryType[];
  readonly tables: readonly TableType[];
  readonly codeBytes: number;
  readonly hasStartFunction: boolean;
  readonly usesGc: boolean;
}

interface SectionForm {
  readonly name: string;
  /** It is stepped over and not read item by item. */
  readonly isSkipped?: true;
  /** Sections come in the order of their ranks, each at most once. */
  readonly rank: number;
}

/** By section id. The tag and data count sections came later than the numbering. */
const SECTIONS: ReadonlyMap<number, SectionForm> = new Map([
  [1, { name: "type section", rank: 1 }],
  [2, { name: "import section", rank: 2 }],
  [3, { name: "function section", rank: 3 }],
  [4, { name: "table section", rank: 4 }],
  [5, { name: "memory section", rank: 5 }],
  [13, { name: "tag section", rank: 6 }],
  [6, { name: "global section", rank: 7 }],
  [7, { name: "export section", rank: 8 }],
  [8, { name: "start section", rank: 9 }],
  [9, { name: "element section", rank: 10, isSkipped: true }],
  [12, { name: "data count section", rank: 11 }],
  [10, { name: "code section", rank: 12, isSkipped: true }],
  [11, { name: "data section", rank: 13, isSkipped: true }],
]);

const CUSTOM_SECTION = 0;

/** The external kinds of core imports and exports, by their byte. */
const CORE_KINDS = ["function", "table", "memory", "global", "tag"] as const satisfies readonly ExternKind[];
type CoreKind = (typeof CORE_KINDS)[number];

/**
 * Reads the next section's header: its id and a reader of its content, which `reader` has then passed. A section that
 * is longer than the file is how a truncated file shows.
 */
export function readSection(
  reader: WasmReader,
  nameOf: (id: number) => string,
): { readonly id: number; readonly section: WasmReader } {
  const id = reader.byte();
  const where = nameOf(id);
  const size = readSectionSize(reader, where);
  if (size > reader.remaining) throw cutShort(where);
  return { id, section: reader.take(size, where) };
}

function cutShort(where: string): MalformedModule {
  return new MalformedModule(`it ends in the middle of its ${where}: it is truncated`);
}

function readSectionSize(reader: WasmReader, where: string): number {
  // A number that the file's end cuts off is a truncated file, and no malformed one.
  const start = reader.position;
  for (const ahead = reader.at(start); ;) {
    if (ahead.isAtEnd) throw cutShort(where);
    if ((ahead.byte() & 0x80) === 0 || ahead.position - start >= 5) break;
  }
  return reader.u32();
}

/** Reads a core module's sections; `reader` stands behind the header. Throws `MalformedModule`. */
export function readCoreModule(reader: WasmReader, budget: WorkBudget): CoreOutside {
  const module = new CoreModule();
  let rank = 0;
  while (!reader.isAtEnd) {
    budget.spendSection();
    const { id, section } = readSection(reader, (number) => SECTIONS.get(number)?.name ?? "custom section");
    if (id === CUSTOM_SECTION) continue;
    const form = SECTIONS.get(id);
    if (form === undefined) throw new MalformedModule(`it has a section of an unknown kind (${id})`);
    if (form.rank === rank) throw new MalformedModule(`it has a second ${form.name}`);
    if (form.rank < rank) throw new MalformedModule(`its ${form.name} stands in the wrong place`);
    rank = form.rank;
    if (form.isSkipped !== true) budget.spendBytes(section);
    module.read(id, section);
  }
  return module.finish();
}

class CoreModule {
  readonly #names = new NameBudget(WASM_NAMES_BYTES_MAX);
  readonly #imports: ModuleImport[] = [];
  readonly #exports: ModuleExport[] = [];
  readonly #memories: MemoryType[] = [];
  readonly #tables: TableType[] = [];
  /** How many there are of each kind, imported ones included. */
  readonly #counts: Record<CoreKind, number> = { function: 0, table: 0, memory: 0, global: 0, tag: 0 };
  /** The type of each function. */
  readonly #functionTypes: number[] = [];
  #definedFunctions = 0;
  #types: TypeTable = TypeTable.EMPTY;
  #codeBytes = 0;
  #bodies = 0;
  #announcedSegments: number | undefined;
  #segments = 0;
  #hasStartFunction = false;

  read(id: number, section: WasmReader): void {
    switch (id) {
      case 1:
        this.#types = TypeTable.read(section);
        return;
      case 2:
        return this.#readImports(section);
      case 3:
        return this.#readFunctions(section);
      case 4:
        return this.#readTables(section);
      case 5:
        return this.#readMemories(section);
      case 6:
        return this.#readGlobals(section);
      case 7:
        return this.#readExports(section);
      case 8:
        return this.#readStart(section);
      case 9:
        section.count("element segments", WASM_SEGMENTS_MAX);
        return;
      case 10:
        return this.#readCode(section);
      case 11:
        this.#segments = section.count("data segments", WASM_SEGMENTS_MAX);
        return;
      case 12:
        this.#announcedSegments = section.u32();
        return section.expectEnd();
      case 13:
        return this.#readTags(section);
      default:
        throw section.malformed("is of an unknown kind");
    }
  }

  finish(): CoreOutside {
    if (this.#bodies !== this.#definedFunctions) {
      throw new MalformedModule(
        this.#bodies === 0
          ? `it declares ${this.#definedFunctions} functions and ends before their code: it is truncated`
          : `it declares ${this.#definedFunctions} functions and has the code of ${this.#bodies}`,
      );
    }
    if (this.#announcedSegments !== undefined && this.#announcedSegments !== this.#segments) {
      throw new MalformedModule(
        this.#segments === 0
          ? `it announces ${this.#announcedSegments} data segments and ends before them: it is truncated`
          : `it announces ${this.#announcedSegments} data segments and has ${this.#segments}`,
      );
    }
    return {
      imports: this.#imports,
      exports: this.#exports,
      memories: this.#memories,
      tables: this.#tables,
      codeBytes: this.#codeBytes,
      hasStartFunction: this.#hasStartFunction,
      usesGc: this.#types.usesGc,
    };
  }

  #readImports(section: WasmReader): void {
    const length = section.count("imports", WASM_IMPORTS_MAX);
    for (let index = 0; index < length; index += 1) {
      const module = this.#names.read(section);
      const name = this.#names.read(section);
      const kind = this.#readKind(section);
      this.#readImportType(section, kind);
      const target = this.#counts[kind];
      this.#counts[kind] += 1;
      const signature = kind === "function" ? this.#signatureOf(target) : undefined;
      this.#imports.push({ module, name, kind, ...(signature !== undefined && { signature }) });
    }
    section.expectEnd();
  }

  #readImportType(section: WasmReader, kind: CoreKind): void {
    switch (kind) {
      case "function":
        this.#functionTypes.push(this.#readTypeIndex(section));
        return;
      case "table":
        readValueType(section);
        readLimits(section);
        return;
      case "memory":
        this.#memories.push(readMemory(section, true));
        return;
      case "global":
        readValueType(section);
        section.byte();
        return;
      case "tag":
        section.byte();
        this.#readTypeIndex(section);
    }
  }

  #readFunctions(section: WasmReader): void {
    this.#definedFunctions = section.count("functions", WASM_FUNCTIONS_MAX);
    for (let index = 0; index < this.#definedFunctions; index += 1) {
      this.#functionTypes.push(this.#readTypeIndex(section));
    }
    this.#counts.function += this.#definedFunctions;
    section.expectEnd();
  }

  #readTables(section: WasmReader): void {
    const length = section.count("tables", WASM_TABLES_MAX);
    for (let index = 0; index < length; index += 1) {
      // 0x40 0x00 announces a table that an expression fills.
      const isFilled = section.peek() === 0x40;
      if (isFilled) section.skip(2);
      readValueType(section);
      const { min, max } = readLimits(section);
      this.#tables.push({ minEntries: min, maxEntries: max });
      if (isFilled) skipConstantExpression(section);
    }
    this.#counts.table += length;
    section.expectEnd();
  }

  #readMemories(section: WasmReader): void {
    const length = section.count("memories", WASM_MEMORIES_MAX);
    for (let index = 0; index < length; index += 1) this.#memories.push(readMemory(section, false));
    this.#counts.memory += length;
    section.expectEnd();
  }

  #readGlobals(section: WasmReader): void {
    const length = section.count("globals", WASM_GLOBALS_MAX);
    for (let index = 0; index < length; index += 1) {
      readValueType(section);
      section.byte();
      skipConstantExpression(section);
    }
    this.#counts.global += length;
    section.expectEnd();
  }

  #readTags(section: WasmReader): void {
    const length = section.count("tags", WASM_TAGS_MAX);
    for (let index = 0; index < length; index += 1) {
      section.byte();
      this.#readTypeIndex(section);
    }
    this.#counts.tag += length;
    section.expectEnd();
  }

  #readExports(section: WasmReader): void {
    const length = section.count("exports", WASM_EXPORTS_MAX);
    for (let index = 0; index < length; index += 1) {
      const name = this.#names.read(section);
      const kind = this.#readKind(section);
      const target = section.u32();
      if (target >= this.#counts[kind]) throw section.malformed(`exports a ${kind} that is not there`);
      this.#exports.push(kind === "function" ? { name, kind, signature: this.#signatureOf(target) } : { name, kind });
    }
    section.expectEnd();
  }

  #readStart(section: WasmReader): void {
    if (section.u32() >= this.#counts.function) throw section.malformed("names a function that is not there");
    section.expectEnd();
    this.#hasStartFunction = true;
  }

  #readCode(section: WasmReader): void {
    this.#codeBytes = section.remaining;
    this.#bodies = section.count("function bodies", WASM_FUNCTIONS_MAX);
    // No body is gone over that was not paid for as a function.
    if (this.#bodies !== this.#definedFunctions) return;
    for (let index = 0; index < this.#bodies; index += 1) section.skip(section.u32());
    section.expectEnd();
  }

  #readKind(section: WasmReader): CoreKind {
    const byte = section.byte();
    const kind = CORE_KINDS[byte];
    if (kind === undefined) throw section.malformed(`has an item of an unknown kind (${byte})`);
    return kind;
  }

  #readTypeIndex(section: WasmReader): number {
    const index = section.u32();
    if (!this.#types.has(index)) throw section.malformed(`uses a type ${index} that is not there`);
    return index;
  }

  #signatureOf(functionIndex: number): string | undefined {
    const type = this.#functionTypes[functionIndex];
    return type === undefined ? undefined : this.#types.signature(type);
  }
}

function readMemory(section: WasmReader, isImported: boolean): MemoryType {
  const { min, max, isShared, is64 } = readLimits(section);
  return { minPages: min, maxPages: max, isShared, is64, isImported };
}
