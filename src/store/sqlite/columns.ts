/** Values of columns, checked: a file that holds something else is damaged. */
import type { SQLOutputValue } from "node:sqlite";
import { type Digest, type PeerId, type TaskId, parseDigest, parseTaskId, parseWorkerId } from "../../base/ids.ts";
import { type TokenId, parseTokenId } from "../../model/token.ts";
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

/** How many of something: whole, and none at least. */
export function decodeCount(value: Column): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw unexpected(value);
}

export function decodeOptionalCount(value: Column): number | undefined {
  return value === null ? undefined : decodeCount(value);
}

/** A duration, or another amount that need not be whole. */
export function decodeAmount(value: Column): number {
  if (typeof value === "number" && Number.isFinite(value) && value >= 0) return value;
  throw unexpected(value);
}

export function decodeOptionalAmount(value: Column): number | undefined {
  return value === null ? undefined : decodeAmount(value);
}

/** A moment that a Date can be. */
export function decodeTime(value: Column): number {
  if (typeof value === "number" && Math.abs(value) <= DATE_MS_MAX) return value;
  throw unexpected(value);
}

export function decodeOptionalTime(value: Column): number | undefined {
  return value === null ? undefined : decodeTime(value);
}

export function decodeTaskId(value: Column): TaskId {
  return decodeParsed(value, parseTaskId);
}

export function decodeDigest(value: Column): Digest {
  return decodeParsed(value, parseDigest);
}

export function decodeWorker(value: Column): PeerId {
  return decodeParsed(value, parseWorkerId);
}

export function decodeTokenId(value: Column): TokenId {
  return decodeParsed(value, parseTokenId);
}

function decodeParsed<T>(value: Column, parse: (text: string) => T | undefined): T {
  const parsed = parse(decodeText(value));
  if (parsed === undefined) throw unexpected(value);
  return parsed;
}

/** Text that is one of these. */
export function decodeOneOf<T extends string>(values: readonly T[], value: Column): T {
  const found = values.find((each) => each === value);
  if (found === undefined) throw new DamagedRow(`a column holds none of ${values.join(", ")}`);
  return found;
}

function unexpected(value: Column): Error {
  const what = typeof value === "string" ? JSON.stringify(value.slice(0, SHOWN_LENGTH_MAX)) : String(value);
  return new DamagedRow(
    `a column holds ${value === undefined ? "nothing" : value instanceof Uint8Array ? "bytes" : what}, which it cannot`,
  );
}

/** Of text that should not be there. */
const SHOWN_LENGTH_MAX = 40;
/** ECMA-262, time values. */
const DATE_MS_MAX = 8.64e15;
