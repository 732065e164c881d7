/**
 * Reads the outside of a component: the names and kinds it imports and exports at its top, and what the core modules
 * inside it allocate, at any depth up to a limit; and of instances what is in them, which takes following all types and
 * aliases (`component-types.ts`). How the core modules are wired is stepped over.
 *
 * A component's sections come in any order and number. Imports and exports of components inside are met inside, so they
 * are no one else's business.
 */
import {
  COMPONENT_DEPTH_MAX,
  COMPONENT_FUNCTIONS_MAX,
  COMPONENT_MODULES_MAX,
  WASM_EXPORTS_MAX,
  WASM_IMPORTS_MAX,
  WASM_MEMORIES_MAX,
  WASM_NAMES_BYTES_MAX,
  WASM_TABLES_MAX,
} from "../base/limits.ts";
import { Scope, ScopeBudget } from "./component-scope.ts";
import type { Exports, Item, TypeEntry } from "./component-scope.ts";
import { ComponentTypes, UnknownForm } from "./component-types.ts";
import type { ExternKind, InterfaceItem, MemoryType, ModuleExport, ModuleImport, TableType } from "./module.ts";
import { readCoreModule, readSection } from "./wasm-core.ts";
import type { CoreOutside } from "./wasm-core.ts";
import { MalformedModule, NameBudget } from "./wasm-reader.ts";
import type { WasmReader, WorkBudget } from "./wasm-reader.ts";

const SECTION_NAMES = [
  "custom section",
  "core module section",
  "core instance section",
  "core type section",
  "component section",
  "instance section",
  "alias section",
  "type section",
  "canonical function section",
  "start section",
  "import section",
  "export section",
  "value section",
] as const;

const CORE_MODULE_SECTION = 1;
const COMPONENT_SECTION = 4;
const INSTANCE_SECTION = 5;
const ALIAS_SECTION = 6;
const TYPE_SECTION = 7;
const CANONICAL_SECTION = 8;
const IMPORT_SECTION = 10;
const EXPORT_SECTION = 11;

/** `\0asm`, version 1, layer 0. */
export const CORE_HEADER = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00] as const;
/** `\0asm`, version 13, layer 1. */
export const COMPONENT_HEADER = [0x00, 0x61, 0x73, 0x6d, 0x0d, 0x00, 0x01, 0x00] as const;

/** Reads a component's sections; `reader` stands behind the header. Throws `MalformedModule`. */
export function readComponent(reader: WasmReader, budget: WorkBudget): CoreOutside {
  const component = new Component(budget);
  component.readAll(reader);
  return component.outside();
}

class Component {
  readonly #budget: WorkBudget;
  readonly #names = new NameBudget(WASM_NAMES_BYTES_MAX);
  readonly #imports: ModuleImport[] = [];
  readonly #exports: ModuleExport[] = [];
  readonly #memories: MemoryType[] = [];
  readonly #tables: TableType[] = [];
  #codeBytes = 0;
  #hasStartFunction = false;
  #usesGc = false;
  #modules = 0;
  #listed = 0;
  readonly #scopes = new ScopeBudget();
  /** Names of what is inside, which are not those of its outside. */
  readonly #types = new ComponentTypes(this.#scopes, new NameBudget(WASM_NAMES_BYTES_MAX));

  constructor(budget: WorkBudget) {
    this.#budget = budget;
  }

  outside(): CoreOutside {
    return {
      imports: this.#imports,
      exports: this.#exports,
      memories: this.#memories,
      tables: this.#tables,
      codeBytes: this.#codeBytes,
      hasStartFunction: this.#hasStartFunction,
      usesGc: this.#usesGc,
    };
  }

  readAll(reader: WasmReader): void {
    this.#read(reader, new Scope(this.#scopes), 0);
  }

  #read(reader: WasmReader, scope: Scope, depth: number): void {
    if (depth > COMPONENT_DEPTH_MAX) {
      throw new MalformedModule(`it has components inside components more than ${COMPONENT_DEPTH_MAX} deep`);
    }
    while (!reader.isAtEnd) {
      this.#budget.spendSection();
      const { id, section } = readSection(reader, (number) => SECTION_NAMES[number] ?? "custom section");
      if (SECTION_NAMES[id] === undefined) throw new MalformedModule(`it has a section of an unknown kind (${id})`);
      if (id === CORE_MODULE_SECTION) this.#readCoreModule(section);
      else if (id === COMPONENT_SECTION) this.#readInner(section, scope, depth + 1);
      else if (id === IMPORT_SECTION && depth === 0) this.#readImports(section, scope);
      else if (id === EXPORT_SECTION && depth === 0) this.#readExports(section, scope);
      else this.#follow(id, section, scope);
    }
  }

  /** Reads what makes up a scope. After a form that is not known, nothing of it is any more. */
  #follow(id: number, section: WasmReader, scope: Scope): void {
    const read = this.#followers[id];
    if (read === undefined || scope.isLost) return;
    this.#budget.spendBytes(section);
    try {
      read(section, scope);
    } catch (thrown) {
      if (!(thrown instanceof UnknownForm)) throw thrown;
      scope.isLost = true;
      return;
    }
    section.expectEnd();
  }

  readonly #followers: Readonly<Record<number, (section: WasmReader, scope: Scope) => void>> = {
    [INSTANCE_SECTION]: (section, scope) => this.#types.readInstances(section, scope),
    [ALIAS_SECTION]: (section, scope) => this.#types.readAliases(section, scope),
    [TYPE_SECTION]: (section, scope) => this.#types.readTypes(section, scope),
    [CANONICAL_SECTION]: (section, scope) => this.#types.readCanonicals(section, scope),
    [IMPORT_SECTION]: (section, scope) => this.#types.readInnerImports(section, scope),
    [EXPORT_SECTION]: (section, scope) => this.#types.readInnerExports(section, scope),
  };

  #readInner(section: WasmReader, outer: Scope, depth: number): void {
    expectHeader(section, COMPONENT_HEADER);
    const scope = new Scope(this.#scopes, outer);
    this.#read(section, scope, depth);
    outer.add({ kind: "component", exports: scope.isLost ? undefined : scope.exports });
  }

  #readCoreModule(section: WasmReader): void {
    this.#modules += 1;
    if (this.#modules > COMPONENT_MODULES_MAX) {
      throw new MalformedModule(`it has more than ${COMPONENT_MODULES_MAX} core modules in it`);
    }
    expectHeader(section, CORE_HEADER);
    const core = this.#inside(section);
    this.#codeBytes += core.codeBytes;
    this.#hasStartFunction ||= core.hasStartFunction;
    this.#usesGc ||= core.usesGc;
    // What a core module inside imports is another's, which is counted there.
    this.#memories.push(...core.memories.filter((memory) => !memory.isImported));
    this.#tables.push(...core.tables);
    if (this.#memories.length > WASM_MEMORIES_MAX) {
      throw new MalformedModule(`it has more than ${WASM_MEMORIES_MAX} memories`);
    }
    if (this.#tables.length > WASM_TABLES_MAX) throw new MalformedModule(`it has more than ${WASM_TABLES_MAX} tables`);
  }

  #inside(section: WasmReader): CoreOutside {
    try {
      return readCoreModule(section, this.#budget);
    } catch (thrown) {
      if (!(thrown instanceof MalformedModule)) throw thrown;
      throw new MalformedModule(`core module ${this.#modules} inside it is wrong: ${thrown.message}`);
    }
  }

  #readImports(section: WasmReader, scope: Scope): void {
    this.#budget.spendBytes(section);
    const length = section.count("imports", WASM_IMPORTS_MAX - this.#imports.length);
    for (let index = 0; index < length; index += 1) {
      const name = readExternName(section, this.#names);
      const start = section.position;
      const kind = readExternType(section);
      const item = this.#types.readExternType(section.at(start), scope);
      scope.add(item, name);
      if (kind !== undefined) this.#imports.push({ module: "", name, kind, ...this.#itemsOf(item) });
    }
    section.expectEnd();
  }

  #readExports(section: WasmReader, scope: Scope): void {
    this.#budget.spendBytes(section);
    const length = section.count("exports", WASM_EXPORTS_MAX - this.#exports.length);
    for (let index = 0; index < length; index += 1) {
      const name = readExternName(section, this.#names);
      const kind = readSort(section);
      const item = scope.item(ITEM_KINDS[kind] ?? "other", section.u32());
      if (section.byte() !== 0) readExternType(section);
      scope.export(name, item);
      this.#exports.push({ name, kind, ...this.#itemsOf(item) });
    }
    section.expectEnd();
  }

  #itemsOf(item: Item): { readonly items?: readonly InterfaceItem[] | null } {
    if (item.kind !== "instance") return {};
    if (item.exports === undefined) return { items: null };
    this.#listed += item.exports.size;
    if (this.#listed > COMPONENT_FUNCTIONS_MAX) {
      throw new MalformedModule(`its interfaces have more than ${COMPONENT_FUNCTIONS_MAX} functions and types`);
    }
    return { items: listItems(item.exports) };
  }
}

function listItems(exports: Exports): InterfaceItem[] {
  return Array.from(exports, ([name, item]): InterfaceItem => {
    if (item.kind === "function") return { name, kind: "function", signature: item.signature };
    if (item.kind === "type") return { name, kind: "type", signature: item.type && definitionOf(item.type) };
    return { name, kind: "other" };
  });
}

/** One that another interface has named goes by that name. */
function definitionOf({ text, definition }: TypeEntry): string {
  return text.includes("/") ? text : (definition ?? text);
}

const ITEM_KINDS: Readonly<Partial<Record<ExternKind, Item["kind"]>>> = {
  function: "function",
  type: "type",
  instance: "instance",
  component: "component",
};

function expectHeader(section: WasmReader, header: readonly number[]): void {
  for (const expected of header) {
    if (section.byte() !== expected) throw section.malformed("does not begin with the header it should have");
  }
}

/** A name may be marked as an interface's, 1, which says no more than the name does. */
function readExternName(section: WasmReader, names: NameBudget): string {
  const form = section.byte();
  if (form > 1) throw section.malformed(`has a name of an unknown form (${form})`);
  return names.read(section);
}

/**
 * Passes the type of an import, or the one an export is given, and tells its kind. Undefined: a type that is equal to one
 * the component has already, so that nobody needs to grant anything.
 */
function readExternType(section: WasmReader): ExternKind | undefined {
  const form = section.byte();
  switch (form) {
    case 0x00: // A core module; 0x11 says so again.
      if (section.byte() !== 0x11) throw section.malformed("has a core item that is no module");
      section.u32();
      return "module";
    case 0x01:
      section.u32();
      return "function";
    case 0x03: // A type equal to another, or a new resource.
      if (section.byte() !== 0x00) return "type";
      section.u32();
      return undefined;
    case 0x04:
      section.u32();
      return "component";
    case 0x05:
      section.u32();
      return "instance";
    default:
      throw section.malformed(`has an item of an unknown kind (${form})`);
  }
}

/** What an export names, before its index. */
function readSort(section: WasmReader): ExternKind {
  const sort = section.byte();
  switch (sort) {
    case 0x00:
      if (section.byte() !== 0x11) throw section.malformed("exports a core item that is no module");
      return "module";
    case 0x01:
      return "function";
    case 0x03:
      return "type";
    case 0x04:
      return "component";
    case 0x05:
      return "instance";
    default:
      throw section.malformed(`has an item of an unknown kind (${sort})`);
  }
}
