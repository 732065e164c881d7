/**
 * What a pool and its runner say to each other, in frames (`sandbox/frame.ts`) on one pipe each way. The runner trusts
 * the pool. The pool trusts nothing of a runner that has held a guest: it checks kinds and lengths, and `parseGuestEnd`
 * every field.
 *
 * Order of a run: the parts of the module if the runner has not got it, each `file` that the guest is given, `stdin` if
 * there is any, `run`; then the runner sends output as it comes, `truncated` when it drops the first, and one `end`. A
 * runner serves one run at a time and sends `ready` once, when it is up.
 *
 * After a run that `keepsFiles` comes `collect`, answered by a `file` and its `fileBytes` for each that matches, and one
 * `filesEnd`. Until then, or until the next run, the runner holds what the guest has left.
 */
import { Buffer } from "node:buffer";
import { isAmount, isRecord } from "../../base/json-shapes.ts";
import { REASON_LENGTH_MAX } from "../../base/limits.ts";
import { cutTo } from "../../base/wording.ts";
import { FRAME_HEADER_BYTES } from "../../sandbox/frame.ts";

/** Pool to runner. */
export const REQUEST = {
  /** u32 key, u32 part, then a core module's bytes. A core module has part 0 only. */
  core: 1,
  /** u32 key, then the JavaScript that a component was transpiled to. */
  glue: 2,
  /** u32 key: the module is no longer needed. */
  forget: 3,
  stdin: 4,
  /** A `RunOrder` as JSON. */
  run: 5,
  /** u32 length of a path, the path, then the file's bytes. */
  file: 6,
  /** A `CollectOrder` as JSON. */
  collect: 7,
  /** Nothing: the engine is to give back what nobody uses, and says `tidied` when it has. */
  tidy: 8,
} as const;

/** Runner to pool. */
export const REPLY = {
  ready: 1,
  stdout: 2,
  stderr: 3,
  end: 4,
  truncated: 5,
  /** The file's length as a little-endian f64, then its path. */
  file: 6,
  fileBytes: 7,
  /** A `CollectReport` as JSON. */
  filesEnd: 8,
  tidied: 9,
} as const;

/**
 * `ready` says how much CPU time starting took, in milliseconds, as a little-endian f64, and as a u32 which process it
 * is to those outside; 0: the one that was started. No guest has been near it yet.
 */
export const READY_FRAME_BYTES = 12;

/** A name in a component's transpiled JavaScript for each of its core modules, by part. */
export interface ComponentCores {
  readonly coreNames: readonly string[];
}

export interface RunOrder {
  readonly key: number;
  readonly entry: OrderedEntry;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly outputBytesMax: number;
  readonly outputLimit: "truncate" | "fail";
  /** Once the guest has exited, `collect` will be asked. */
  readonly keepsFiles: boolean;
}

export interface CollectOrder {
  /** Globs; none: nothing is wanted any more. */
  readonly outputs: readonly string[];
}

export interface CollectReport {
  /** What the runner has used for it. */
  readonly cpuMs: number;
  /** There are more files than may be kept: what there is too much of. Then none was sent. */
  readonly exceeded?: string | undefined;
}

export interface FileHead {
  readonly path: string;
  readonly bytes: number;
}

export type OrderedEntry =
  | (CoreLayout & { readonly kind: "command" })
  | (CoreLayout & { readonly kind: "run"; readonly input: number; readonly difficulty: number })
  | (ComponentCores & { readonly kind: "component" });

/** Where the pool has put what a core module hides; see `module-surgery.ts`. */
export interface CoreLayout {
  readonly memoryExport: string | undefined;
  readonly startExport: string | undefined;
}

/** How a guest ended, as its runner saw it. */
export type GuestEnd =
  | { readonly kind: "exited"; readonly code: number }
  | { readonly kind: "trapped"; readonly reason: string }
  | { readonly kind: "rejected"; readonly reason: string }
  | { readonly kind: "output-exceeded" };

export interface RunReport {
  readonly end: GuestEnd;
  readonly value?: string | undefined;
  /** What the runner has used since its last report, or since it was ready: all runs together, all that it used. */
  readonly cpuMs: number;
  readonly memoryBytes: number;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** What stands before a part of a module. */
export function encodeU32s(...values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * 4);
  const view = new DataView(bytes.buffer);
  values.forEach((value, index) => view.setUint32(index * 4, value, true));
  return bytes;
}

/** A whole `run` frame. */
export function encodeRunOrder(order: RunOrder): Uint8Array {
  const text = JSON.stringify(order);
  const length = Buffer.byteLength(text);
  const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + length);
  frame.writeUInt8(REQUEST.run, 0);
  frame.writeUInt32LE(length, 1);
  frame.write(text, FRAME_HEADER_BYTES);
  return frame;
}

/** The payload of an `end` frame. A guest has a say in its reason, which is cut so that the frame is never too long. */
export function encodeRunReport(report: RunReport): string {
  const { end } = report;
  const isLong = "reason" in end && end.reason.length > REASON_LENGTH_MAX;
  const cut = isLong ? { ...end, reason: cutTo(REASON_LENGTH_MAX, end.reason) } : end;
  return JSON.stringify(isLong ? { ...report, end: cut } : report);
}

/** The report in an `end` frame; undefined when it is not one, which only a runner that a guest took over sends. */
export function parseRunReport(text: string): RunReport | undefined {
  const raw = parseJson(text);
  if (!isRecord(raw)) return undefined;
  const end = parseGuestEnd(raw["end"]);
  const { value, cpuMs, memoryBytes } = raw;
  if (end === undefined || !isAmount(cpuMs) || !isAmount(memoryBytes)) return undefined;
  if (value !== undefined && (typeof value !== "string" || !/^\d{1,10}$/.test(value))) return undefined;
  return { end, value, cpuMs, memoryBytes };
}

/** What stands before the bytes in a `file` frame to a runner. */
export function encodeGivenPath(path: string): Uint8Array {
  const text = encoder.encode(path);
  const encoded = new Uint8Array(4 + text.length);
  new DataView(encoded.buffer).setUint32(0, text.length, true);
  encoded.set(text, 4);
  return encoded;
}

/** The payload of a `file` frame from the pool, which is trusted. The bytes are a view of it. */
export function parseFilePayload(payload: Uint8Array): { readonly path: string; readonly bytes: Uint8Array } {
  const end = 4 + new DataView(payload.buffer, payload.byteOffset).getUint32(0, true);
  return { path: decoder.decode(payload.subarray(4, end)), bytes: payload.subarray(end) };
}

/** The payload of a `file` frame to the pool. */
export function encodeFileHead({ path, bytes }: FileHead): Uint8Array {
  const text = encoder.encode(path);
  const encoded = new Uint8Array(8 + text.length);
  new DataView(encoded.buffer).setFloat64(0, bytes, true);
  encoded.set(text, 8);
  return encoded;
}

/** Undefined when it is none. The path is not looked at. */
export function parseFileHead(payload: Uint8Array): FileHead | undefined {
  if (payload.length < 8) return undefined;
  const bytes = new DataView(payload.buffer, payload.byteOffset).getFloat64(0, true);
  if (!Number.isSafeInteger(bytes) || bytes < 0) return undefined;
  return { path: decoder.decode(payload.subarray(8)), bytes };
}

/** The payload of a `filesEnd` frame. */
export function encodeCollectReport({ cpuMs, exceeded }: CollectReport): Uint8Array {
  return encoder.encode(JSON.stringify({ cpuMs, exceeded: exceeded && cutTo(REASON_LENGTH_MAX, exceeded) }));
}

/** Undefined when it is none. */
export function parseCollectReport(payload: Uint8Array): CollectReport | undefined {
  const raw = parseJson(decoder.decode(payload));
  if (!isRecord(raw)) return undefined;
  const { cpuMs, exceeded } = raw;
  if (!isAmount(cpuMs) || (exceeded !== undefined && typeof exceeded !== "string")) return undefined;
  return { cpuMs, exceeded: exceeded && cutTo(REASON_LENGTH_MAX, exceeded) };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function parseGuestEnd(raw: unknown): GuestEnd | undefined {
  if (!isRecord(raw)) return undefined;
  const { kind, code, reason } = raw;
  if (kind === "exited" && typeof code === "number" && Number.isInteger(code)) return { kind, code };
  if ((kind === "trapped" || kind === "rejected") && typeof reason === "string") {
    return { kind, reason: cutTo(REASON_LENGTH_MAX, reason) };
  }
  return kind === "output-exceeded" ? { kind } : undefined;
}
