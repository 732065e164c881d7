/**
 * Reads the type, alias and instance sections of a component, and the functions it lifts, into its scope. What it does not
 * know by its form ends the following of that scope, and is not refused: whoever asks for what lies behind it is told
 * that it is unknown.
 */
import { COMPONENT_DEPTH_MAX, COMPONENT_TEXT_LENGTH_MAX, WASM_TYPE_ITEMS_MAX, WASM_TYPES_MAX } from "../base/limits.ts";
import { Scope, unknownItem } from "./component-scope.ts";
import type { Exports, Item, ScopeBudget, TypeEntry } from "./component-scope.ts";
import type { NameBudget, WasmReader } from "./wasm-reader.ts";

/** A form that is not known: how long it is nobody can tell. */
export class UnknownForm extends Error {
  override readonly name = "UnknownForm";
}

const PRIMITIVES: ReadonlyMap<number, string> = new Map([
  [0x7f, "bool"],
  [0x7e, "s8"],
  [0x7d, "u8"],
  [0x7c, "s16"],
  [0x7b, "u16"],
  [0x7a, "s32"],
  [0x79, "u32"],
  [0x78, "s64"],
  [0x77, "u64"],
  [0x76, "f32"],
  [0x75, "f64"],
  [0x74, "char"],
  [0x73, "string"],
  [0x64, "error-context"],
]);

const SORTS: ReadonlyMap<number, Item["kind"]> = new Map([
  [0x00, "other"],
  [0x01, "function"],
  [0x02, "other"],
  [0x03, "type"],
  [0x04, "component"],
  [0x05, "instance"],
]);

/** Components inside components, and types inside types in the innermost. */
const SCOPES_DEPTH_MAX = 2 * COMPONENT_DEPTH_MAX;
const CORE_SORT = 0x00;
const UNKNOWN_TEXT = "?";

export class ComponentTypes {
  readonly #budget: ScopeBudget;
  readonly #names: NameBudget;

  constructor(budget: ScopeBudget, names: NameBudget) {
    this.#budget = budget;
    this.#names = names;
  }

  readTypes(section: WasmReader, scope: Scope): void {
    const length = section.count("types", WASM_TYPES_MAX);
    for (let index = 0; index < length; index += 1) scope.addType(this.#readType(section, scope));
  }

  readAliases(section: WasmReader, scope: Scope): void {
    const length = section.count("aliases", WASM_TYPES_MAX);
    for (let index = 0; index < length; index += 1) this.#readAlias(section, scope);
  }

  readInstances(section: WasmReader, scope: Scope): void {
    const length = section.count("instances", WASM_TYPES_MAX);
    for (let index = 0; index < length; index += 1) {
      scope.add({ kind: "instance", exports: this.#readInstance(section, scope) });
    }
  }

  /** Of the canonical functions those that are lifted are the component's; the others are for its core modules. */
  readCanonicals(section: WasmReader, scope: Scope): void {
    const length = section.count("canonical functions", WASM_TYPES_MAX);
    for (let index = 0; index < length; index += 1) {
      const form = section.byte();
      switch (form) {
        case 0x00:
          section.byte();
          section.u32();
          skipCanonicalOptions(section);
          scope.add({ kind: "function", signature: functionText(scope.type(section.u32())) });
          break;
        case 0x01:
          section.byte();
          section.u32();
          skipCanonicalOptions(section);
          break;
        case 0x02: // resource.new, resource.drop, resource.rep
        case 0x03:
        case 0x04:
          section.u32();
          break;
        default:
          throw new UnknownForm();
      }
    }
  }

  /** Imports of a component inside, whose types are all there is to know of them. */
  readInnerImports(section: WasmReader, scope: Scope): void {
    const length = section.count("imports", WASM_TYPES_MAX);
    for (let index = 0; index < length; index += 1) {
      const name = this.#readExternName(section);
      scope.add(this.readExternType(section, scope), name);
    }
  }

  readInnerExports(section: WasmReader, scope: Scope): void {
    const length = section.count("exports", WASM_TYPES_MAX);
    for (let index = 0; index < length; index += 1) {
      const name = this.#readExternName(section);
      const item = this.#readSortIndex(section, scope);
      if (section.byte() !== 0) this.readExternType(section, scope);
      scope.export(name, item);
    }
  }

  /** The name of an import or export. One may be marked as an interface's, 1, which says no more than the name does. */
  #readExternName(section: WasmReader): string {
    const form = section.byte();
    if (form > 1) throw new UnknownForm();
    return this.#names.read(section);
  }

  /** A sort and a number: what they are of. */
  #readSortIndex(section: WasmReader, scope: Scope): Item {
    const kind = readSort(section);
    return scope.item(kind, section.u32());
  }

  /** The type that an import has, or an export is given. */
  readExternType(section: WasmReader, scope: Scope): Item {
    const form = section.byte();
    switch (form) {
      case 0x00:
        section.byte();
        section.u32();
        return { kind: "other" };
      case 0x01:
        return { kind: "function", signature: functionText(scope.type(section.u32())) };
      case 0x03:
        if (section.byte() === 0x00) return { kind: "type", type: scope.type(section.u32()) };
        return { kind: "type", type: { kind: "nominal", text: "resource" } };
      case 0x04:
        return { kind: "component", exports: scope.type(section.u32())?.exports };
      case 0x05:
        return { kind: "instance", exports: scope.type(section.u32())?.exports };
      default:
        throw new UnknownForm();
    }
  }

  #readType(section: WasmReader, scope: Scope): TypeEntry | undefined {
    const form = section.byte();
    const primitive = PRIMITIVES.get(form);
    if (primitive !== undefined) return { kind: "value", text: primitive };
    switch (form) {
      case 0x40:
      case 0x43: // An asynchronous one.
        return this.#readFunction(form === 0x43 ? "async" : "", section, scope);
      case 0x41:
        return { kind: "component", text: UNKNOWN_TEXT, exports: this.#readDeclarations(section, scope) };
      case 0x42:
        return { kind: "instance", text: UNKNOWN_TEXT, exports: this.#readDeclarations(section, scope) };
      case 0x3f: // A resource of the component's own, which nobody outside of it makes.
        section.byte();
        if (section.byte() !== 0) section.u32();
        return { kind: "nominal", text: "resource of its own" };
      default:
        return this.#readValueDefinition(form, section, scope);
    }
  }

  #readValueDefinition(form: number, section: WasmReader, scope: Scope): TypeEntry {
    const value = (): string => this.#readValue(section, scope);
    const optional = (): string => (section.byte() === 0 ? "_" : value());
    const list = (readItem: () => string): string =>
      joined(section.count("parts of a type", WASM_TYPE_ITEMS_MAX), readItem);
    const label = (): string => this.#names.read(section);
    switch (form) {
      case 0x72:
        return { kind: "nominal", text: `record{${list(() => `${label()}:${value()}`)}}` };
      case 0x71:
        return { kind: "nominal", text: `variant{${list(() => this.#readCase(section, label(), optional()))}}` };
      case 0x70:
        return { kind: "value", text: `list<${value()}>` };
      case 0x6f:
        return { kind: "value", text: `tuple<${list(value)}>` };
      case 0x6e:
        return { kind: "nominal", text: `flags{${list(label)}}` };
      case 0x6d:
        return { kind: "nominal", text: `enum{${list(label)}}` };
      case 0x6b:
        return { kind: "value", text: `option<${value()}>` };
      case 0x6a:
        return { kind: "value", text: resultText(optional(), optional()) };
      case 0x66:
        return { kind: "value", text: `stream<${optional()}>` };
      case 0x65:
        return { kind: "value", text: `future<${optional()}>` };
      case 0x69:
        return { kind: "value", text: `own<${textOf(scope.type(section.u32()))}>` };
      case 0x68:
        return { kind: "value", text: `borrow<${textOf(scope.type(section.u32()))}>` };
      default:
        throw new UnknownForm();
    }
  }

  #readCase(section: WasmReader, label: string, payload: string): string {
    section.byte();
    return payload === "_" ? label : `${label}(${payload})`;
  }

  #readFunction(prefix: string, section: WasmReader, scope: Scope): TypeEntry {
    const parameters = joined(section.count("parameters of a function", WASM_TYPE_ITEMS_MAX), () => {
      this.#names.read(section);
      return this.#readValue(section, scope);
    });
    if (section.byte() === 0x00) {
      return { kind: "function", text: `${prefix}(${parameters})->${this.#readValue(section, scope)}` };
    }
    if (section.byte() !== 0x00) throw new UnknownForm();
    return { kind: "function", text: `${prefix}(${parameters})` };
  }

  #readValue(section: WasmReader, scope: Scope): string {
    const index = section.s33();
    if (index >= 0) return textOf(scope.type(index));
    const primitive = PRIMITIVES.get(index + 0x80);
    if (primitive === undefined) throw new UnknownForm();
    return primitive;
  }

  /** What the type of an instance, or of a component, says is exported. */
  #readDeclarations(section: WasmReader, parent: Scope): Exports {
    const scope = new Scope(this.#budget, parent);
    if (scope.depth > SCOPES_DEPTH_MAX)
      throw section.malformed(`has types in types more than ${COMPONENT_DEPTH_MAX} deep`);
    const length = section.count("declarations of a type", WASM_TYPES_MAX);
    for (let index = 0; index < length; index += 1) {
      const form = section.byte();
      switch (form) {
        case 0x01:
          scope.addType(this.#readType(section, scope));
          break;
        case 0x02:
          this.#readAlias(section, scope);
          break;
        case 0x03: {
          const name = this.#readExternName(section);
          scope.add(this.readExternType(section, scope), name);
          break;
        }
        case 0x04: {
          const name = this.#readExternName(section);
          scope.export(name, this.readExternType(section, scope));
          break;
        }
        default:
          throw new UnknownForm();
      }
    }
    return scope.exports;
  }

  #readAlias(section: WasmReader, scope: Scope): void {
    const kind = readSort(section);
    const form = section.byte();
    if (form === 0x02) {
      let outer: Scope | undefined = scope;
      const levels = section.u32();
      for (let level = 0; level < levels && outer !== undefined; level += 1) outer = outer.parent;
      scope.add(outer?.item(kind, section.u32()) ?? passIndex(section, kind));
      return;
    }
    if (form > 0x02) throw new UnknownForm();
    const instance = section.u32();
    const name = this.#names.read(section);
    // What a core instance exports is no item of the component's.
    scope.add(form === 0x00 ? scope.aliasOf(instance, name, kind) : { kind: "other" });
  }

  #readInstance(section: WasmReader, scope: Scope): Exports | undefined {
    const form = section.byte();
    if (form === 0x00) {
      const component = scope.component(section.u32());
      const length = section.count("arguments of an instance", WASM_TYPE_ITEMS_MAX);
      for (let index = 0; index < length; index += 1) {
        this.#names.read(section);
        this.#readSortIndex(section, scope);
      }
      return component;
    }
    if (form !== 0x01) throw new UnknownForm();
    const exports = new Map<string, Item>();
    const length = section.count("exports of an instance", WASM_TYPE_ITEMS_MAX);
    for (let index = 0; index < length; index += 1) {
      const name = this.#readExternName(section);
      exports.set(name, this.#readSortIndex(section, scope));
    }
    return exports;
  }
}

/** Items with commas between them. Once they are too long for any text, the rest is read and left out. */
function joined(length: number, readItem: () => string): string {
  let text = "";
  for (let index = 0; index < length; index += 1) {
    const item = readItem();
    if (text.length <= COMPONENT_TEXT_LENGTH_MAX) text += index === 0 ? item : `,${item}`;
  }
  return text;
}

function readSort(section: WasmReader): Item["kind"] {
  const sort = section.byte();
  const kind = SORTS.get(sort);
  if (kind === undefined) throw new UnknownForm();
  // A core item has a sort among these.
  if (sort === CORE_SORT) section.byte();
  return kind;
}

/** Of an item in a scope that is not there. */
function passIndex(section: WasmReader, kind: Item["kind"]): Item {
  section.u32();
  return unknownItem(kind);
}

function skipCanonicalOptions(section: WasmReader): void {
  const length = section.count("options of a canonical function", WASM_TYPE_ITEMS_MAX);
  for (let index = 0; index < length; index += 1) {
    const form = section.byte();
    if (form > 0x08) throw new UnknownForm();
    // The encodings of strings, and `async`, say nothing more.
    if (form > 0x02 && form !== 0x06) section.u32();
  }
}

function textOf(type: TypeEntry | undefined): string {
  return type?.text ?? UNKNOWN_TEXT;
}

function functionText(type: TypeEntry | undefined): string | undefined {
  return type?.kind === "function" ? type.text : undefined;
}

function resultText(ok: string, error: string): string {
  if (error !== "_") return `result<${ok},${error}>`;
  return ok === "_" ? "result" : `result<${ok}>`;
}
