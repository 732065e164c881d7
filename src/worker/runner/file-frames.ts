/** Sends a guest's input files to its runner, from this machine's disk, a piece at a time. */
import { once } from "node:events";
import { open } from "node:fs/promises";
import type { Writable } from "node:stream";
import { overloaded } from "../../base/errors.ts";
import { CHUNK_BYTES_MAX } from "../../base/limits.ts";
import type { GuestFile } from "../guest.ts";
import { encodeFrameHeader } from "../../sandbox/frame.ts";
import { encodeGivenPath, REQUEST } from "./wire.ts";

/**
 * Resolves when all are written, or the runner takes no more: its end is noticed elsewhere. Rejects when a file cannot be
 * read or is not as long as it should be; then the runner has half a frame, and is of no more use.
 */
export async function sendFiles(orders: Writable, files: readonly GuestFile[], ended: AbortSignal): Promise<void> {
  for (const file of files) await sendFile(orders, file, ended);
}

async function sendFile(orders: Writable, file: GuestFile, ended: AbortSignal): Promise<void> {
  await using source = await open(file.contentPath, "r");
  const path = encodeGivenPath(file.path);
  await write(orders, encodeFrameHeader(REQUEST.file, path.length + file.bytes), ended);
  await write(orders, path, ended);
  for (let at = 0; at < file.bytes;) {
    const chunk = new Uint8Array(Math.min(CHUNK_BYTES_MAX, file.bytes - at));
    const { bytesRead } = await source.read(chunk, 0, chunk.length, at);
    if (bytesRead === 0) throw overloaded(`the input file ${file.path} is shorter on this disk than it should be`);
    await write(orders, chunk.subarray(0, bytesRead), ended);
    at += bytesRead;
  }
}

async function write(orders: Writable, bytes: Uint8Array, ended: AbortSignal): Promise<void> {
  if (ended.aborted || !orders.writable || orders.write(bytes)) return;
  await once(orders, "drain", { signal: ended }).catch(() => {});
}
