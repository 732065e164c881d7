/**
 * A transpiled component as one run of bytes: a little-endian u32 length, a JSON list of `[name, bytes]`, then the parts
 * in that order. It goes from the transpiling process to the pool, and into the pool's cache. What decodes it trusts
 * nothing in it.
 */
import { TRANSPILED_GLUE_BYTES_MAX } from "../../base/limits.ts";
import { mib } from "../../base/wording.ts";

export interface ComponentParts {
  /** JavaScript that derives from a stranger's component. */
  readonly glue: Uint8Array;
  readonly cores: readonly { readonly name: string; readonly bytes: Uint8Array }[];
}

const LENGTH_BYTES = 4;
const PARTS_MAX = 1_024;

export function encodeComponentParts(files: readonly (readonly [string, Uint8Array])[]): Uint8Array {
  const list = new TextEncoder().encode(JSON.stringify(files.map(([name, bytes]) => [name, bytes.length])));
  const total = files.reduce((sum, [, bytes]) => sum + bytes.length, LENGTH_BYTES + list.length);
  const encoded = new Uint8Array(total);
  new DataView(encoded.buffer).setUint32(0, list.length, true);
  encoded.set(list, LENGTH_BYTES);
  let at = LENGTH_BYTES + list.length;
  for (const [, bytes] of files) {
    encoded.set(bytes, at);
    at += bytes.length;
  }
  return encoded;
}

/** The parts, as views of `encoded`; undefined when it is cut short or otherwise not such a run of bytes. */
export function decodeComponentParts(encoded: Uint8Array): ComponentParts | undefined {
  if (encoded.length < LENGTH_BYTES) return undefined;
  const listLength = new DataView(encoded.buffer, encoded.byteOffset).getUint32(0, true);
  let at = LENGTH_BYTES + listLength;
  if (at > encoded.length) return undefined;
  const list = parseList(new TextDecoder().decode(encoded.subarray(LENGTH_BYTES, at)));
  if (list === undefined) return undefined;
  let glue: Uint8Array | undefined;
  const cores: { name: string; bytes: Uint8Array }[] = [];
  for (const [name, length] of list) {
    const bytes = encoded.subarray(at, at + length);
    if (bytes.length !== length) return undefined;
    at += length;
    if (name.endsWith(".wasm")) cores.push({ name, bytes });
    else if (name.endsWith(".js") && glue === undefined) glue = bytes;
  }
  return glue === undefined || at !== encoded.length ? undefined : { glue, cores };
}

/** Why glue of more than `TRANSPILED_GLUE_BYTES_MAX` is not taken. */
export function tooMuchGlue(glueBytes: number): string {
  return (
    `it becomes ${mib(glueBytes)} MiB of JavaScript when transpiled, and ${mib(TRANSPILED_GLUE_BYTES_MAX)} is the cap: ` +
    "give it fewer functions with simpler types"
  );
}

function parseList(text: string): [string, number][] | undefined {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!Array.isArray(raw) || raw.length > PARTS_MAX) return undefined;
  const list: [string, number][] = [];
  for (const entry of raw) {
    if (!Array.isArray(entry)) return undefined;
    const name: unknown = entry[0];
    const length: unknown = entry[1];
    if (typeof name !== "string" || typeof length !== "number" || !Number.isInteger(length) || length < 0)
      return undefined;
    list.push([name, length]);
  }
  return list;
}
