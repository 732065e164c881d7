/** Values of columns, checked: a file that holds something else is damaged. */
import type { SQLOutputValue } from "node:sqlite";
import { DamagedRow } from "./damaged-row.ts";

type Column = SQLOutputValue | undefined;

export function decodeNumber(value: Column): number {
  if (typeof value === "number") return value;
  throw unexpected(value);
}

export function decodeText(value: Column): string {
  if (typeof value === "string") return value;
  throw unexpected(value);
}

export function decodeBytes(value: Column): Uint8Array<ArrayBuffer> {
  if (value instanceof Uint8Array && value.buffer instanceof ArrayBuffer)
    return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  throw unexpected(value);
}

/** NULL is undefined. */
export function decodeOptionalNumber(value: Column): number | undefined {
  return value === null ? undefined : decodeNumber(value);
}

export function decodeOptionalText(value: Column): string | undefined {
  return value === null ? undefined : decodeText(value);
}

/** Text that was written from a value of type T. */
export function decodeBranded<T extends string>(value: Column): T {
  return decodeText(value) as T;
}

/** Text that is one of these. */
export function decodeOneOf<T extends string>(values: readonly T[], value: Column): T {
  const found = values.find((each) => each === value);
  if (found === undefined) throw new DamagedRow(`a column holds none of ${values.join(", ")}`);
  return found;
}

function unexpected(value: Column): Error {
  return new DamagedRow(`a column holds ${value === undefined ? "nothing" : `a ${typeof value}`}`);
}
