/**
 * The types of a core module: its type section, value types, limits of tables and memories, and constant expressions
 * as far as it takes to pass over them. Nothing here checks that a module is valid, which is the engine's part; it
 * finds where things begin and end. What is not known by its form is refused, since its end cannot be found.
 */
import { WASM_TYPES_MAX, WASM_SIGNATURE_LENGTH_MAX, WASM_TYPE_ITEMS_MAX } from "../base/limits.ts";
import type { WasmReader } from "./wasm-reader.ts";

/** Names of the value types and abstract heap types that are one byte. */
const TYPE_NAMES: ReadonlyMap<number, string> = new Map([
  [0x7f, "i32"],
  [0x7e, "i64"],
  [0x7d, "f32"],
  [0x7c, "f64"],
  [0x7b, "v128"],
  [0x78, "i8"],
  [0x77, "i16"],
  [0x74, "nullexnref"],
  [0x73, "nullfuncref"],
  [0x72, "nullexternref"],
  [0x71, "nullref"],
  [0x70, "funcref"],
  [0x6f, "externref"],
  [0x6e, "anyref"],
  [0x6d, "eqref"],
  [0x6c, "i31ref"],
  [0x6b, "structref"],
  [0x6a, "arrayref"],
  [0x69, "exnref"],
]);

const REF_NULL = 0x63;
const REF = 0x64;
const FUNCTION = 0x60;
const STRUCT = 0x5f;
const ARRAY = 0x5e;
const SUB = 0x50;
const SUB_FINAL = 0x4f;
const RECURSIVE_GROUP = 0x4e;

/** The types of a module by index, kept as the places where they stand. */
export class TypeTable {
  readonly #section: WasmReader | undefined;
  /** Where the function type of each index begins, after its form byte; -1 for a struct or array. */
  readonly #starts: readonly number[];
  readonly #signatures = new Map<number, string | undefined>();
  /** It defines structs or arrays, which live in the engine's heap and not in a linear memory. */
  readonly usesGc: boolean;

  private constructor(section: WasmReader | undefined, starts: readonly number[]) {
    this.#section = section;
    this.#starts = starts;
    this.usesGc = starts.includes(-1);
  }

  static readonly EMPTY: TypeTable = new TypeTable(undefined, []);

  static read(section: WasmReader): TypeTable {
    const starts: number[] = [];
    const groups = section.count("types", WASM_TYPES_MAX);
    for (let group = 0; group < groups; group += 1) {
      if (section.peek() === RECURSIVE_GROUP) {
        section.byte();
        const members = section.count("types", WASM_TYPES_MAX - starts.length);
        for (let member = 0; member < members; member += 1) starts.push(skipSubType(section));
      } else {
        starts.push(skipSubType(section));
      }
      if (starts.length > WASM_TYPES_MAX) throw section.malformed(`has more than ${WASM_TYPES_MAX} types`);
    }
    section.expectEnd();
    return new TypeTable(section, starts);
  }

  has(index: number): boolean {
    return index < this.#starts.length;
  }

  /** A function type as text, `(i32,i32)->(i32)`; cut with `…` where it is long. Undefined: not a function type. */
  signature(index: number): string | undefined {
    if (this.#signatures.has(index)) return this.#signatures.get(index);
    const start = this.#starts[index];
    const text =
      this.#section === undefined || start === undefined || start < 0
        ? undefined
        : signatureText(this.#section.at(start));
    this.#signatures.set(index, text);
    return text;
  }
}

interface Limits {
  readonly min: number;
  readonly max?: number | undefined;
  readonly isShared: boolean;
  readonly is64: boolean;
}

export function readLimits(reader: WasmReader): Limits {
  const flags = reader.byte();
  if (flags > 7) throw reader.malformed(`has a table or memory with unknown flags 0x${flags.toString(16)}`);
  const is64 = (flags & 4) !== 0;
  const min = is64 ? reader.u64() : reader.u32();
  const max = (flags & 1) === 0 ? undefined : is64 ? reader.u64() : reader.u32();
  return { min, max, isShared: (flags & 2) !== 0, is64 };
}

/** Passes a value type and gives its name. */
export function readValueType(reader: WasmReader): string {
  const form = reader.byte();
  if (form === REF || form === REF_NULL) {
    const heapType = reader.s33();
    return `(ref ${form === REF_NULL ? "null " : ""}${heapType >= 0 ? heapType : heapTypeName(heapType)})`;
  }
  const name = TYPE_NAMES.get(form);
  if (name === undefined) throw reader.malformed(`has a value type 0x${form.toString(16)} that is not known`);
  return name;
}

/** Passes a constant expression, the `end` that closes it included. */
export function skipConstantExpression(reader: WasmReader): void {
  for (;;) {
    const opcode = reader.byte();
    switch (opcode) {
      case 0x0b: // end
        return;
      case 0x23: // global.get
      case 0xd2: // ref.func
        reader.u32();
        break;
      case 0x41: // i32.const
        reader.skipSigned(32);
        break;
      case 0x42: // i64.const
        reader.skipSigned(64);
        break;
      case 0x43: // f32.const
        reader.skip(4);
        break;
      case 0x44: // f64.const
        reader.skip(8);
        break;
      case 0xd0: // ref.null
        reader.s33();
        break;
      case 0x6a: // i32.add, i32.sub, i32.mul, i64.add, i64.sub, i64.mul
      case 0x6b:
      case 0x6c:
      case 0x7c:
      case 0x7d:
      case 0x7e:
        break;
      case 0xfb:
        skipGcInstruction(reader);
        break;
      case 0xfd:
        if (reader.u32() !== 0x0c) throw reader.malformed("has a constant that is not known");
        reader.skip(16); // v128.const
        break;
      default:
        throw reader.malformed(`has an instruction 0x${opcode.toString(16)} in a constant`);
    }
  }
}

function skipGcInstruction(reader: WasmReader): void {
  const opcode = reader.u32();
  switch (opcode) {
    case 0x00: // struct.new, struct.new_default, array.new, array.new_default
    case 0x01:
    case 0x06:
    case 0x07:
      reader.u32();
      break;
    case 0x08: // array.new_fixed
      reader.u32();
      reader.u32();
      break;
    case 0x1a: // any.convert_extern, extern.convert_any, ref.i31
    case 0x1b:
    case 0x1c:
      break;
    default:
      throw reader.malformed(`has an instruction 0xfb 0x${opcode.toString(16)} in a constant`);
  }
}

function heapTypeName(heapType: number): string {
  return TYPE_NAMES.get(heapType & 0x7f)?.replace(/ref$/, "") ?? "?";
}

/** Passes one type; where its parameters begin, or -1 if it is not a function's. */
function skipSubType(reader: WasmReader): number {
  let form = reader.byte();
  if (form === SUB || form === SUB_FINAL) {
    const supertypes = reader.count("supertypes of a type", WASM_TYPE_ITEMS_MAX);
    for (let index = 0; index < supertypes; index += 1) reader.u32();
    form = reader.byte();
  }
  const start = reader.position;
  switch (form) {
    case FUNCTION:
      skipValueTypes(reader);
      skipValueTypes(reader);
      return start;
    case STRUCT: {
      const fields = reader.count("fields of a struct", WASM_TYPE_ITEMS_MAX);
      for (let index = 0; index < fields; index += 1) skipField(reader);
      return -1;
    }
    case ARRAY:
      skipField(reader);
      return -1;
    default:
      throw reader.malformed(`has a type of a form 0x${form.toString(16)} that is not known`);
  }
}

function skipField(reader: WasmReader): void {
  readValueType(reader);
  reader.byte();
}

function skipValueTypes(reader: WasmReader): void {
  const length = reader.count("parameters or results of a function", WASM_TYPE_ITEMS_MAX);
  for (let index = 0; index < length; index += 1) readValueType(reader);
}

function signatureText(reader: WasmReader): string {
  const parameters = valueTypesText(reader);
  const results = valueTypesText(reader);
  return `${parameters}->${results}`;
}

function valueTypesText(reader: WasmReader): string {
  const length = reader.count("parameters or results of a function", WASM_TYPE_ITEMS_MAX);
  const names: string[] = [];
  for (let index = 0; index < length; index += 1) names.push(readValueType(reader));
  const text = names.join(",");
  return text.length > WASM_SIGNATURE_LENGTH_MAX ? `(${text.slice(0, WASM_SIGNATURE_LENGTH_MAX)}…)` : `(${text})`;
}
