/**
 * The part of an attempt's output that does not fit into memory: a file of records, appended at its end and read back
 * from its beginning, in order, once. Emptied whenever all has been read; removed on disposal.
 *
 * Uses of the file take turns, so that callers need not wait for each other. After disposal nothing happens any more.
 */
import { failed } from "../base/errors.ts";
import { OUTPUT_CHUNK_BYTES_MAX } from "../base/limits.ts";
import type { OutputStream } from "../model/output.ts";
import type { Files, OpenFile } from "./files.ts";

export interface SpoolRecord {
  readonly stream: OutputStream;
  readonly bytes: Uint8Array;
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

  /** Nothing is made before it is needed. `path` belongs to this alone. */
  constructor(path: string, files: Files) {
    this.#path = path;
    this.#files = files;
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

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    await this.#turn;
    if (this.#file === undefined) return;
    await this.#file.close();
    await this.#files.rm(this.#path, { force: true });
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
      const record = Buffer.alloc(HEADER_BYTES + piece.length);
      record.writeUInt8(stream === "stderr" ? 1 : 0, 0);
      record.writeUInt32LE(piece.length, 1);
      record.set(piece, HEADER_BYTES);
      await writeWhole(this.#file, record, end);
      end += record.length;
    }
    this.#writeAt = end;
  }

  async #readBack(take: (record: SpoolRecord) => void): Promise<void> {
    const file = this.#file;
    if (file === undefined || this.#readAt === this.#writeAt) return;
    const block = Buffer.allocUnsafeSlow(Math.min(BLOCK_BYTES, this.#writeAt - this.#readAt));
    await readWhole(file, block, this.#readAt);
    let at = 0;
    for (let records = 0; records < RECORDS_PER_READ_MAX && at + HEADER_BYTES <= block.length; records++) {
      const end = at + HEADER_BYTES + block.readUInt32LE(at + 1);
      if (end > block.length) break;
      take({
        stream: block.readUInt8(at) === 1 ? "stderr" : "stdout",
        bytes: block.subarray(at + HEADER_BYTES, end),
      });
      at = end;
    }
    this.#readAt += at;
    if (this.#readAt < this.#writeAt) return;
    this.#readAt = 0;
    this.#writeAt = 0;
    await file.truncate(0);
  }
}

/** One write may take less than all. */
async function writeWhole(file: OpenFile, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, at, bytes.length - at, position + at);
    at += bytesWritten;
  }
}

async function readWhole(file: OpenFile, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const { bytesRead } = await file.read(bytes, at, bytes.length - at, position + at);
    if (bytesRead === 0) throw failed("the spool file is shorter than what was written to it");
    at += bytesRead;
  }
}
