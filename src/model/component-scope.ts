/**
 * What a component's own definitions are called by, and what is known of each: its types as text, its functions by their
 * type, its instances and components by what they export. Where something cannot be followed it is left unknown, and is
 * nothing that anybody could rely on.
 *
 * A type's text is that of WIT without blanks: `result<list<u8>,stream-error>`. Records, variants, enums, flags and resources
 * go by the name under which their interface exports them, which validation demands they have: by that alone inside the
 * interface, with the interface's own before it, `wasi:io/error.error`, where another uses it. All else stands in full.
 */
import { COMPONENT_ITEMS_MAX, COMPONENT_TEXT_LENGTH_MAX, COMPONENT_TEXTS_LENGTH_MAX } from "../base/limits.ts";
import { MalformedModule } from "./wasm-reader.ts";

export interface TypeEntry {
  readonly kind: "value" | "nominal" | "function" | "instance" | "component";
  readonly text: string;
  /** Of a record or its like that has been given its name: what it is. */
  readonly definition?: string | undefined;
  /** Of the type of an instance or a component. */
  readonly exports?: Exports | undefined;
}

export type Item =
  | { readonly kind: "function"; readonly signature: string | undefined }
  | { readonly kind: "type"; readonly type: TypeEntry | undefined }
  | { readonly kind: "instance" | "component"; readonly exports: Exports | undefined }
  | { readonly kind: "other" };

export type Exports = ReadonlyMap<string, Item>;

/** What takes the place of a text that is too long: it equals none. */
const CUT = "…";

/** Bounds what is made of one file, everything inside it included. */
export class ScopeBudget {
  #items = COMPONENT_ITEMS_MAX;
  #textLength = COMPONENT_TEXTS_LENGTH_MAX;

  spendItem(): void {
    this.#items -= 1;
    if (this.#items < 0)
      throw new MalformedModule(`it has more than ${COMPONENT_ITEMS_MAX} types, instances and the like`);
  }

  /** The text, if there is room for it. */
  text(made: string): string {
    this.#textLength -= Math.min(made.length, COMPONENT_TEXT_LENGTH_MAX);
    return made.length > COMPONENT_TEXT_LENGTH_MAX || this.#textLength < 0 ? CUT : made;
  }
}

/** The index spaces of a component, or of a component's or an instance's type. */
export class Scope {
  readonly parent: Scope | undefined;
  readonly depth: number;
  readonly #budget: ScopeBudget;
  readonly #types: (TypeEntry | undefined)[] = [];
  readonly #functions: (string | undefined)[] = [];
  readonly #instances: { readonly exports: Exports | undefined; readonly name: string }[] = [];
  readonly #components: (Exports | undefined)[] = [];
  readonly exports = new Map<string, Item>();
  /** A part of it could not be followed, so that no index after it is known. */
  isLost = false;

  constructor(budget: ScopeBudget, parent?: Scope) {
    this.#budget = budget;
    this.parent = parent;
    this.depth = parent === undefined ? 0 : parent.depth + 1;
  }

  type(index: number): TypeEntry | undefined {
    return this.isLost ? undefined : this.#types[index];
  }

  component(index: number): Exports | undefined {
    return this.isLost ? undefined : this.#components[index];
  }

  instance(index: number): Exports | undefined {
    return this.isLost ? undefined : this.#instances[index]?.exports;
  }

  addType(type: TypeEntry | undefined): void {
    this.#budget.spendItem();
    this.#types.push(type && { ...type, text: this.#budget.text(type.text) });
  }

  /** `name` is an interface's, with its version, where it is one that is imported. */
  add(item: Item, name = ""): void {
    if (item.kind === "type") {
      this.addType(item.type);
      return;
    }
    this.#budget.spendItem();
    if (item.kind === "function") this.#functions.push(item.signature);
    else if (item.kind === "instance") this.#instances.push({ exports: item.exports, name: name.replace(/@.*$/, "") });
    else if (item.kind === "component") this.#components.push(item.exports);
  }

  /** The item of that kind and number; undefined: there is none, or nothing is known of it. */
  item(kind: Item["kind"], index: number): Item {
    if (kind === "function") return { kind, signature: this.isLost ? undefined : this.#functions[index] };
    if (kind === "type") return { kind, type: this.type(index) };
    if (kind === "instance") return { kind, exports: this.instance(index) };
    if (kind === "component") return { kind, exports: this.component(index) };
    return { kind };
  }

  /** What an instance exports under a name, as it is known outside of the instance. */
  aliasOf(instance: number, exportName: string, kind: Item["kind"]): Item {
    const found = this.instance(instance)?.get(exportName);
    if (found?.kind !== kind) return unknownItem(kind);
    if (found.kind !== "type" || found.type === undefined) return found;
    const { type } = found;
    const isPlain = type.kind === "value" && /^[a-z0-9]+$/.test(type.text);
    // One that the instance's interface uses itself has the other's name already.
    if (isPlain || type.text.includes("/") || this.#instances[instance]?.name === "") return found;
    return {
      kind: "type",
      type: { kind: "nominal", text: `${this.#instances[instance]?.name}.${exportName}`, definition: type.text },
    };
  }

  /** Exports an item, which takes a number of its own. One with a definition of its own gets its name by that. */
  export(name: string, item: Item): void {
    const named = item.kind === "type" ? { kind: item.kind, type: namedType(name, item.type) } : item;
    this.exports.set(name, named);
    this.add(named);
  }
}

export function unknownItem(kind: Item["kind"]): Item {
  switch (kind) {
    case "function":
      return { kind, signature: undefined };
    case "type":
      return { kind, type: undefined };
    case "instance":
    case "component":
      return { kind, exports: undefined };
    default:
      return { kind };
  }
}

function namedType(name: string, type: TypeEntry | undefined): TypeEntry | undefined {
  if (type?.kind !== "nominal" || type.definition !== undefined) return type;
  return { kind: "nominal", text: name, definition: type.text };
}
