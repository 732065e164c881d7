/**
 * Scalars between wire and model. Everything that comes in is checked here: a value that does not fit fails the call
 * with `failed`, code `invalid-message`, and costs nothing else.
 */
import type { Data, List, Struct } from "capnp-es";
import { type ClusterError, failed } from "../base/errors.ts";
import { type Digest, parseDigest } from "../base/ids.ts";
import { isFilePath } from "../model/file-path.ts";

export function invalidMessage(what: string): ClusterError {
  return failed(`the peer sent ${what}`, { code: "invalid-message" });
}

/** Bytes from which on a copy costs more than what is kept of the message with them. */
const KEPT_BYTES_MIN = 16 * 1024;

/** A count, offset or duration. */
export function decodeUint(value: bigint, name: string): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw invalidMessage(`${name} ${value}, which is too large`);
  return Number(value);
}

/** Milliseconds and the like that a peer measured. */
export function decodeMeasure(value: number, name: string): number {
  if (!Number.isFinite(value) || value < 0) throw invalidMessage(`${name} ${value}`);
  return value;
}

export function decodeText(text: string, lengthMax: number, name: string): string {
  if (text.length > lengthMax) throw invalidMessage(`${name} of ${text.length} characters; ${lengthMax} are allowed`);
  return text;
}

/** A path below a guest's `/`, as it is written everywhere. */
export function decodeFilePath(text: string): string {
  if (!isFilePath(text)) throw invalidMessage("a file's path that is none");
  return text;
}

/** The bytes, the caller's own: copied out of the message, unless they are most of it and nobody else needs the rest. */
export function decodeData(field: Data, bytesMax: number, name: string): Uint8Array {
  if (field.length > bytesMax) throw invalidMessage(`${name} of ${field.length} bytes; ${bytesMax} are allowed`);
  const bytes = field.toUint8Array();
  return bytes.byteLength >= KEPT_BYTES_MIN && 2 * bytes.byteLength > bytes.buffer.byteLength ? bytes : bytes.slice();
}

/** `field` is what the generated `_initX(bytes.length)` returned. */
export function encodeData(field: Data, bytes: Uint8Array): void {
  if (bytes.length > 0) field.copyBuffer(bytes);
}

/** Bytes of a SHA-256. */
export const DIGEST_BYTES = 32;

export function decodeDigest(field: Data): Digest {
  return digestOf(decodeData(field, DIGEST_BYTES, "a digest"));
}

export function digestOf(bytes: Uint8Array): Digest {
  const digest = parseDigest(Buffer.from(bytes).toString("hex"));
  if (digest === undefined) throw invalidMessage("a digest that is not a SHA-256");
  return digest;
}

export function encodeDigest(field: Data, digest: Digest): void {
  encodeData(field, Buffer.from(digest, "hex"));
}

export function checkLength(list: List<unknown>, lengthMax: number, name: string): number {
  if (list.length > lengthMax) throw invalidMessage(`${list.length} ${name}; ${lengthMax} are allowed`);
  return list.length;
}

interface Pair extends Struct {
  name: string;
  value: string;
}

/** A list of name-value pairs as a record without a prototype's names in the way. */
export function decodePairs(
  list: List<Pair>,
  countMax: number,
  lengthMax: number,
  name: string,
): Record<string, string> {
  const record: [string, string][] = [];
  const length = checkLength(list, countMax, name);
  for (let index = 0; index < length; index++) {
    const pair = list.get(index);
    record.push([decodeText(pair.name, lengthMax, name), decodeText(pair.value, lengthMax, name)]);
  }
  return Object.fromEntries(record);
}

export function encodePairs(init: (length: number) => List<Pair>, record: Readonly<Record<string, string>>): void {
  const entries = Object.entries(record);
  const list = init(entries.length);
  entries.forEach(([name, value], index) => {
    const pair = list.get(index);
    pair.name = name;
    pair.value = value;
  });
}

interface TextList {
  readonly length: number;
  get(index: number): string;
  set(index: number, text: string): void;
}

export function encodeTexts(init: (length: number) => TextList, texts: readonly string[]): void {
  const list = init(texts.length);
  texts.forEach((text, index) => list.set(index, text));
}

export function decodeTexts(
  list: TextList & List<unknown>,
  countMax: number,
  lengthMax: number,
  name: string,
): string[] {
  const length = checkLength(list, countMax, name);
  return Array.from({ length }, (_, index) => decodeText(list.get(index), lengthMax, name));
}
