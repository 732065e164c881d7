/** Small guests, written as bytecode by the tests that run them. */
import { core, functionType, I32, I64, list, name, section, u } from "./wasm-bytes.ts";

export { I32, I64 };

export interface WasmFunction {
  /** Exported under this name. */
  readonly export?: string;
  /** In the name section. */
  readonly name?: string;
  readonly parameters?: readonly number[];
  readonly results?: readonly number[];
  /** Types of its locals behind the parameters. */
  readonly locals?: readonly number[];
  /** Instructions, without the closing `end`. */
  readonly body: readonly number[];
}

export interface WasmImport {
  readonly module?: string;
  readonly name: string;
  readonly parameters: readonly number[];
  readonly results?: readonly number[];
}

export interface WasmModule {
  readonly imports?: readonly WasmImport[];
  /** Pages, and the name it is exported under (default `memory`; null: not exported). */
  readonly memory?: { readonly min: number; readonly max?: number; readonly export?: string | null };
  /** Entries of one table of functions. */
  readonly table?: number;
  /** Numbered behind the imports. */
  readonly functions: readonly WasmFunction[];
  readonly data?: readonly { readonly at: number; readonly bytes: Uint8Array | string }[];
  /** Index of the start function. */
  readonly start?: number;
}

export function buildWasm(module: WasmModule): Uint8Array {
  const { imports = [], functions, memory, table, data = [], start } = module;
  const types = [...imports, ...functions].map(({ parameters = [], results = [] }) =>
    functionType(parameters, results),
  );
  const exports = functions.flatMap((made, index) =>
    made.export === undefined ? [] : [[...name(made.export), 0x00, ...u(imports.length + index)]],
  );
  if (memory !== undefined && memory.export !== null) exports.push([...name(memory.export ?? "memory"), 0x02, 0x00]);
  const optional = (isThere: boolean, id: number, content: () => number[]): number[] =>
    isThere ? section(id, content()) : [];
  return core(
    section(1, list(types)),
    section(2, list(imports.map((wanted, i) => [...name(wanted.module ?? WASI), ...name(wanted.name), 0x00, ...u(i)]))),
    section(3, list(functions.map((_, index) => u(imports.length + index)))),
    optional(table !== undefined, 4, () => list([[0x70, 0x00, ...u(table ?? 0)]])),
    optional(memory !== undefined, 5, () => list([limits(memory?.min ?? 0, memory?.max)])),
    section(7, list(exports)),
    optional(start !== undefined, 8, () => u(start ?? 0)),
    section(10, list(functions.map(encodeBody))),
    section(
      11,
      list(
        data.map(({ at, bytes }) => {
          const raw = typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes;
          return [0x00, ...i32(at), 0x0b, ...u(raw.length), ...raw];
        }),
      ),
    ),
    section(0, [...name("name"), ...section(1, functionNames(imports.length, functions))]),
  );
}

const WASI = "wasi_snapshot_preview1";

function limits(min: number, max: number | undefined): number[] {
  return max === undefined ? [0x00, ...u(min)] : [0x01, ...u(min), ...u(max)];
}

function encodeBody({ locals = [], body }: WasmFunction): number[] {
  const code = [...list(locals.map((type) => [...u(1), type])), ...body, 0x0b];
  return [...u(code.length), ...code];
}

function functionNames(imported: number, functions: readonly WasmFunction[]): number[] {
  return list(
    functions.flatMap((made, index) => (made.name === undefined ? [] : [[...u(imported + index), ...name(made.name)]])),
  );
}

// Instructions.

export function i32(value: number): number[] {
  return [0x41, ...signed(BigInt(value | 0))];
}

export function i64(value: bigint): number[] {
  return [0x42, ...signed(value)];
}

export function call(index: number, ...operands: readonly (readonly number[])[]): number[] {
  return [...operands.flat(), 0x10, ...u(index)];
}

/** `(loop br 0)`: runs for ever. */
export const SPIN = [0x03, 0x40, 0x0c, 0x00, 0x0b] as const;
export const DROP = [0x1a] as const;

export function local(index: number): number[] {
  return [0x20, ...u(index)];
}

/** Repeats the body for ever. */
export function forever(...body: readonly (readonly number[])[]): number[] {
  return [0x03, 0x40, ...body.flat(), 0x0c, 0x00, 0x0b];
}

export function load32(address: readonly number[]): number[] {
  return [...address, 0x28, 0x02, 0x00];
}

export function store32(address: readonly number[], value: readonly number[]): number[] {
  return [...address, ...value, 0x36, 0x02, 0x00];
}

export function store64(address: readonly number[], value: readonly number[]): number[] {
  return [...address, ...value, 0x37, 0x03, 0x00];
}

function signed(value: bigint): number[] {
  const bytes: number[] = [];
  for (let rest = value; ;) {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    const isDone = (rest === 0n && (low & 0x40) === 0) || (rest === -1n && (low & 0x40) !== 0);
    bytes.push(isDone ? low : low | 0x80);
    if (isDone) return bytes;
  }
}
