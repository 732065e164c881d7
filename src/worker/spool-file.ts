/**
 * The part of an attempt's output that does not fit into memory: a file of records, appended at its end and read back
 * from its beginning, in order, once. Emptied whenever all has been read; removed on disposal.
 *
 * Uses of the file take turns, so that callers need not wait for each other. After disposal nothing happens any more.
 *
 * The records may also stand in a file that is somebody else's (kept-outcomes.ts): that is read, and left as it is.
 */
import { failed } from "../base/errors.ts";
import { OUTPUT_CHUNK_BYTES_MAX } from "../base/limits.ts";
import type { OutputStream } from "../model/output.ts";
import { type Files, type OpenFile, writeWhole } from "./files.ts";

export interface SpoolRecord {
  readonly stream: OutputStream;
  readonly bytes: Uint8Array;
}

/** Output of an attempt in a file that is somebody else's, as records. */
export interface KeptOutput {
  readonly path: string;
  /** Of the first record, and behind the last, in the file. */
  readonly readAt: number;
  readonly writeAt: number;
  /** Of the first record's first byte, in the attempt's log. */
  readonly offset: number;
  /** The log's length. */
  readonly outputBytes: number;
}

/** Stream (1 byte) and length (4 bytes) before each record's bytes. */
const HEADER_BYTES = 5;
/** Read at once; a record fits, whatever its size. */
const BLOCK_BYTES = HEADER_BYTES + OUTPUT_CHUNK_BYTES_MAX;
/** Small records cost more in memory than they hold. */
const RECORDS_PER_READ_MAX = 1_024;

export class SpoolFile implements AsyncDisposable {
  readonly #path: string;
  readonly #files: Files;
  #file: OpenFile | undefined;
  #readAt = 0;
  #writeAt = 0;
  /** Writes that wait for their turn, or have it. */
  #writes = 0;
  #turn: Promise<void> = Promise.resolve();
  #isDisposed = false;

  readonly #isOwn: boolean;

  /** Nothing is made before it is needed. `path` belongs to this alone, unless the file has records already: `kept`. */
  constructor(path: string, files: Files, kept?: { readonly readAt: number; readonly writeAt: number }) {
    this.#path = path;
    this.#files = files;
    this.#isOwn = kept === undefined;
    this.#readAt = kept?.readAt ?? 0;
    this.#writeAt = kept?.writeAt ?? 0;
  }

  get isEmpty(): boolean {
    return this.#writes === 0 && this.#readAt === this.#writeAt;
  }

  /** Takes the bytes whole or, when it rejects, not at all. */
  append(stream: OutputStream, bytes: Uint8Array): Promise<void> {
    this.#writes++;
    return this.#inTurn(() => this.#append(stream, bytes)).finally(() => this.#writes--);
  }

  /** Hands the next records, some or none, to `take`, and forgets them. */
  readBack(take: (record: SpoolRecord) => void): Promise<void> {
    return this.#inTurn(() => this.#readBack(take));
  }

  /** `begin`, then `write` with each record that was not read back, in order; nothing else happens meanwhile. */
  copy(begin: () => Promise<void>, write: (record: SpoolRecord) => Promise<void>): Promise<void> {
    return this.#inTurn(async () => {
      await begin();
      for (let at = this.#readAt; at < this.#writeAt;) at = await this.#readBlock(at, write);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    await this.#turn;
    if (this.#file === undefined) return;
    await this.#file.close();
    if (this.#isOwn) await this.#files.rm(this.#path, { force: true });
  }

  #inTurn(use: () => Promise<void>): Promise<void> {
    const turn = this.#turn.then(() => (this.#isDisposed ? undefined : use()));
    this.#turn = turn.catch(() => {});
    return turn;
  }

  async #append(stream: OutputStream, bytes: Uint8Array): Promise<void> {
    this.#file ??= await this.#files.open(this.#path, "w+", 0o600);
    let end = this.#writeAt;
    for (let at = 0; at < bytes.length; at += OUTPUT_CHUNK_BYTES_MAX) {
      const piece = bytes.subarray(at, at + OUTPUT_CHUNK_BYTES_MAX);
      const record = encodeRecord({ stream, bytes: piece });
      await writeWhole(this.#file, record, end);
      end += record.length;
    }
    this.#writeAt = end;
  }

  async #readBack(take: (record: SpoolRecord) => void): Promise<void> {
    if (this.#readAt === this.#writeAt) return;
    this.#readAt = await this.#readBlock(this.#readAt, take);
    if (this.#readAt < this.#writeAt || !this.#isOwn) return;
    this.#readAt = 0;
    this.#writeAt = 0;
    await this.#file?.truncate(0);
  }

  /** Hands over the records of one block, and returns where the next one begins. */
  async #readBlock(position: number, take: (record: SpoolRecord) => Promise<void> | void): Promise<number> {
    this.#file ??= await this.#files.open(this.#path, "r");
    const block = Buffer.allocUnsafeSlow(Math.min(BLOCK_BYTES, this.#writeAt - position));
    await readWhole(this.#file, block, position);
    let at = 0;
    for (let records = 0; records < RECORDS_PER_READ_MAX && at + HEADER_BYTES <= block.length; records++) {
      const end = at + HEADER_BYTES + block.readUInt32LE(at + 1);
      if (end > block.length) break;
      const stream = block.readUInt8(at) === 1 ? "stderr" : "stdout";
      await take({ stream, bytes: block.subarray(at + HEADER_BYTES, end) });
      at = end;
    }
    if (at === 0) throw failed("a record of the spool file is not whole");
    return position + at;
  }
}

/** A record's bytes in a file: OUTPUT_CHUNK_BYTES_MAX at most. */
export function encodeRecord({ stream, bytes }: SpoolRecord): Uint8Array {
  const record = Buffer.alloc(HEADER_BYTES + bytes.length);
  record.writeUInt8(stream === "stderr" ? 1 : 0, 0);
  record.writeUInt32LE(bytes.length, 1);
  record.set(bytes, HEADER_BYTES);
  return record;
}

async function readWhole(file: OpenFile, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const { bytesRead } = await file.read(bytes, at, bytes.length - at, position + at);
    if (bytesRead === 0) throw failed("the spool file is shorter than what was written to it");
    at += bytesRead;
  }
}
