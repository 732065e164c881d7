/**
 * Reads files of this worker's cache, and finds out whether they still are what they were when they were fetched: a disk
 * may lose or change them, and so may people. Whoever reads one for a guest does it through here. One that is not what it
 * should be is nobody's fault but this machine's: it is an `overloaded` error, by whose code the attempt has it fetched
 * again (`held-attempt.ts`).
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { open, stat } from "node:fs/promises";
import { ClusterError, messageOf, overloaded } from "../base/errors.ts";
import type { Digest } from "../base/ids.ts";
import { CACHED_FILE_READ_BYTES } from "../base/limits.ts";

const DAMAGED = "cached-file-damaged";

/** What is thrown for a file that is gone, cannot be read, or has other bytes than it should. */
export function damagedFile(path: string, what: string, cause?: unknown): ClusterError {
  return overloaded(`${path}, of this worker's cache, ${what}`, { code: DAMAGED, cause });
}

export function isDamagedFile(thrown: unknown): boolean {
  return thrown instanceof ClusterError && thrown.code === DAMAGED;
}

/** All of a file that has this digest. Rejects as `damagedFile`. */
export async function readChecked(path: string, digest: Digest): Promise<Uint8Array> {
  const check = new ContentCheck(path, digest);
  try {
    await using file = await open(path);
    const { size } = await file.stat();
    const bytes = Buffer.allocUnsafeSlow(size);
    for (let at = 0; at < size;) {
      const { bytesRead } = await file.read(bytes, at, Math.min(CACHED_FILE_READ_BYTES, size - at), at);
      if (bytesRead === 0) throw damagedFile(path, "ends before its size");
      check.add(bytes.subarray(at, at + bytesRead));
      at += bytesRead;
    }
    check.end();
    return bytes;
  } catch (error) {
    throw unreadable(path, error);
  }
}

/** That a file is there, and has this size where one is given: for whoever reads it by itself. Rejects as `damagedFile`. */
export async function checkPresence(path: string, bytes?: number): Promise<void> {
  try {
    const { size } = await stat(path);
    if (bytes !== undefined && size !== bytes) throw damagedFile(path, `has ${size} bytes in place of ${bytes}`);
  } catch (error) {
    throw unreadable(path, error);
  }
}

/** The error by which a read failed, as one of the file. */
export function unreadable(path: string, error: unknown): unknown {
  return error instanceof ClusterError ? error : damagedFile(path, `cannot be read: ${messageOf(error)}`, error);
}

/** Content that is read in pieces, held against its digest. */
export class ContentCheck {
  readonly #path: string;
  readonly #digest: Digest;
  readonly #hash = createHash("sha256");

  constructor(path: string, digest: Digest) {
    this.#path = path;
    this.#digest = digest;
  }

  add(piece: Uint8Array): void {
    this.#hash.update(piece);
  }

  /** That was all. Throws as `damagedFile`. */
  end(): void {
    if (this.#hash.digest("hex") !== this.#digest) throw damagedFile(this.#path, "has changed since it was fetched");
  }
}
