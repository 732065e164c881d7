/** Writes WebAssembly binaries by hand, sound ones and others, for tests of whatever reads them. */

export const CORE = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00] as const;
export const COMPONENT = [0x00, 0x61, 0x73, 0x6d, 0x0d, 0x00, 0x01, 0x00] as const;

export const I32 = 0x7f;
export const I64 = 0x7e;

/** An unsigned number in LEB128. */
export function u(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value; ;) {
    const low = rest % 128;
    rest = Math.floor(rest / 128);
    bytes.push(rest > 0 ? low + 128 : low);
    if (rest === 0) return bytes;
  }
}

export function name(text: string): number[] {
  const bytes = new TextEncoder().encode(text);
  return [...u(bytes.length), ...bytes];
}

export function list(items: readonly (readonly number[])[]): number[] {
  return [...u(items.length), ...items.flat()];
}

export function section(id: number, content: readonly number[]): number[] {
  return [id, ...u(content.length), ...content];
}

export function functionType(parameters: readonly number[], results: readonly number[]): number[] {
  return [0x60, ...u(parameters.length), ...parameters, ...u(results.length), ...results];
}

export function core(...sections: readonly (readonly number[])[]): Uint8Array {
  return Uint8Array.from([...CORE, ...sections.flat()]);
}

export function component(...sections: readonly (readonly number[])[]): Uint8Array {
  return Uint8Array.from([...COMPONENT, ...sections.flat()]);
}

/** The sections of a module that exports functions which return 0 or nothing, by name and type. */
export function exportedFunctions(
  functions: readonly {
    readonly name: string;
    readonly parameters: readonly number[];
    readonly results: readonly number[];
  }[],
): number[][] {
  return [
    section(1, list(functions.map(({ parameters, results }) => functionType(parameters, results)))),
    section(3, list(functions.map((_, index) => u(index)))),
    section(7, list(functions.map((wanted, index) => [...name(wanted.name), 0x00, ...u(index)]))),
    section(10, list(functions.map(({ results }) => body(results)))),
  ];
}

function body(results: readonly number[]): number[] {
  const zeros = results.flatMap((type) => [type === I64 ? 0x42 : 0x41, 0x00]);
  const code = [0x00, ...zeros, 0x0b];
  return [...u(code.length), ...code];
}
