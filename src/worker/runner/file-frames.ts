/** Sends a guest's input files to its runner, from this machine's disk, a piece at a time. */
import { once } from "node:events";
import { open } from "node:fs/promises";
import type { Writable } from "node:stream";
import { CHUNK_BYTES_MAX } from "../../base/limits.ts";
import { ContentCheck, damagedFile, unreadable } from "../checked-content.ts";
import type { GuestFile } from "../guest.ts";
import { encodeFrameHeader } from "../../sandbox/frame.ts";
import { encodeGivenPath, REQUEST } from "./wire.ts";

/**
 * Resolves when all are written, or the runner takes no more: its end is noticed elsewhere. Rejects, as
 * `damagedFile`, when a file cannot be read or is not what it should be; then the runner has half of it, or what it should not have, and is
 * of no more use.
 */
export async function sendFiles(orders: Writable, files: readonly GuestFile[], ended: AbortSignal): Promise<void> {
  for (const file of files) await sendFile(orders, file, ended);
}

async function sendFile(orders: Writable, file: GuestFile, ended: AbortSignal): Promise<void> {
  const { contentPath, digest } = file;
  const check = new ContentCheck(contentPath, digest);
  try {
    await using source = await open(contentPath, "r");
    const path = encodeGivenPath(file.path);
    await write(orders, encodeFrameHeader(REQUEST.file, path.length + file.bytes), ended);
    await write(orders, path, ended);
    for (let at = 0; at < file.bytes;) {
      const chunk = new Uint8Array(Math.min(CHUNK_BYTES_MAX, file.bytes - at));
      const { bytesRead } = await source.read(chunk, 0, chunk.length, at);
      if (bytesRead === 0) throw damagedFile(contentPath, "is shorter than it should be");
      const piece = chunk.subarray(0, bytesRead);
      check.add(piece);
      await write(orders, piece, ended);
      at += bytesRead;
    }
    check.end();
  } catch (error) {
    throw unreadable(contentPath, error);
  }
}

async function write(orders: Writable, bytes: Uint8Array, ended: AbortSignal): Promise<void> {
  if (ended.aborted || !orders.writable || orders.write(bytes)) return;
  await once(orders, "drain", { signal: ended }).catch(() => {});
}
