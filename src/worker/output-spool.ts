/**
 * The output of one attempt, between its guest and its gateway.
 *
 * Attached to a gateway, it sends one write at a time and holds what is not yet durable, in memory; above a limit the
 * guest waits: a slow gateway slows the guest. Detached, the guest must not wait for a gateway that may be gone for
 * long: what does not fit into memory goes to a file, up to the attempt's output limit, which the runner enforces.
 *
 *     guest ──append──▶ [ memory ] ──write(offset)──▶ gateway, which answers with the durable offset
 *                          ▲   └ kept until durable
 *                       [ file ]  overflow while detached; read back in order
 *
 * Invariant: memory holds a gap-free range that begins at the durable offset; the file holds what follows it.
 */
import { type FileHandle, open, rm } from "node:fs/promises";
import { ClusterError, messageOf, toClusterError } from "../base/errors.ts";
import { Backoff } from "../base/backoff.ts";
import { type Clock, sleep } from "../base/clock.ts";
import { OUTPUT_CHUNK_BYTES_MAX, OUTPUT_IN_MEMORY_BYTES_MAX } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import type { Random } from "../base/random.ts";
import type { OutputClient, OutputStream } from "../caps/output.ts";

export interface OutputSpoolInit {
  /** Where the overflow goes. Made when needed, removed on disposal. */
  readonly path: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** The gateway no longer wants this attempt's output: the attempt is not the worker's any more. */
  readonly onRefused: (reason: string) => void;
}

interface Chunk {
  readonly stream: OutputStream;
  readonly bytes: Uint8Array;
}

/** Stream (1 byte) and length (4 bytes) before each chunk in the file. */
const RECORD_HEADER_BYTES = 5;

export class OutputSpool implements AsyncDisposable {
  readonly #init: OutputSpoolInit;
  readonly #memory: Chunk[] = [];
  #memoryBytes = 0;
  #durableOffset = 0;
  #appendedOffset = 0;
  #isDisposed = false;
  #output: OutputClient | undefined;
  #pumping: Promise<void> | undefined;
  #file: FileHandle | undefined;
  #fileReadAt = 0;
  #fileWriteAt = 0;
  #appending: Promise<void> = Promise.resolve();
  #fileTurn: Promise<void> = Promise.resolve();
  #changed = Promise.withResolvers<void>();

  constructor(init: OutputSpoolInit) {
    this.#init = init;
  }

  /** The first byte that is still here. */
  get durableOffset(): number {
    return this.#durableOffset;
  }

  /** Bytes written by the guest so far. */
  get outputBytes(): number {
    return this.#appendedOffset;
  }

  /** Takes what the guest wrote. Resolves when more is welcome. Calls are carried out in order. */
  append(stream: OutputStream, bytes: Uint8Array): Promise<void> {
    const appended = this.#appending.then(() => this.#append(stream, bytes));
    this.#appending = appended.catch(() => {});
    return appended;
  }

  /** Sends to `output`, which becomes the spool's, from `offset` on; below it all is durable. */
  attach(output: OutputClient, offset: number): void {
    this.detach();
    if (this.#isDisposed) {
      output[Symbol.dispose]();
      return;
    }
    this.#settleUpTo(offset);
    this.#output = output;
    this.#pump();
    this.#notify();
  }

  /** The gateway is out of reach. */
  detach(): void {
    this.#output?.[Symbol.dispose]();
    this.#output = undefined;
    this.#notify();
  }

  /** The guest has ended: no more is appended. Resolves when all is durable; rejects when the signal is aborted. */
  async drained({ signal }: { signal: AbortSignal }): Promise<void> {
    const aborted = Promise.withResolvers<never>();
    aborted.promise.catch(() => {});
    const onAbort = () => aborted.reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      while (this.#durableOffset < this.#appendedOffset && !this.#isDisposed) {
        signal.throwIfAborted();
        await Promise.race([this.#changed.promise, aborted.promise]);
      }
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    this.detach();
    await this.#appending;
    await this.#pumping;
    if (this.#file !== undefined) {
      await this.#file.close();
      await rm(this.#init.path, { force: true });
    }
  }

  async #append(stream: OutputStream, bytes: Uint8Array): Promise<void> {
    for (;;) {
      if (this.#isDisposed) return;
      const fits = this.#fileWriteAt === this.#fileReadAt && this.#memoryBytes < OUTPUT_IN_MEMORY_BYTES_MAX;
      if (fits) {
        this.#remember(stream, bytes);
        break;
      }
      if (this.#output === undefined) {
        await this.#withFile(() => this.#appendToFile(stream, bytes));
        break;
      }
      await this.#changed.promise;
    }
    this.#appendedOffset += bytes.length;
    this.#pump();
  }

  #remember(stream: OutputStream, bytes: Uint8Array): void {
    this.#memoryBytes += bytes.length;
    const last = this.#memory.at(-1);
    // Single bytes are merged, unless the chunk is being sent: the first one always may be.
    if (last?.stream === stream && this.#memory.length > 1 && last.bytes.length + bytes.length <= 4096) {
      this.#memory[this.#memory.length - 1] = { stream, bytes: Buffer.concat([last.bytes, bytes]) };
      return;
    }
    for (let at = 0; at < bytes.length; at += OUTPUT_CHUNK_BYTES_MAX) {
      this.#memory.push({ stream, bytes: bytes.subarray(at, at + OUTPUT_CHUNK_BYTES_MAX) });
    }
  }

  async #appendToFile(stream: OutputStream, bytes: Uint8Array): Promise<void> {
    this.#file ??= await open(this.#init.path, "w+", 0o600);
    for (let at = 0; at < bytes.length; at += OUTPUT_CHUNK_BYTES_MAX) {
      const piece = bytes.subarray(at, at + OUTPUT_CHUNK_BYTES_MAX);
      const record = Buffer.alloc(RECORD_HEADER_BYTES + piece.length);
      record.writeUInt8(stream === "stderr" ? 1 : 0, 0);
      record.writeUInt32LE(piece.length, 1);
      record.set(piece, RECORD_HEADER_BYTES);
      await this.#file.write(record, 0, record.length, this.#fileWriteAt);
      this.#fileWriteAt += record.length;
    }
  }

  /** Brings the next record of the file into memory. */
  async #readBack(): Promise<void> {
    const file = this.#file;
    if (file === undefined) return;
    const header = Buffer.alloc(RECORD_HEADER_BYTES);
    await file.read(header, 0, RECORD_HEADER_BYTES, this.#fileReadAt);
    const bytes = Buffer.alloc(header.readUInt32LE(1));
    await file.read(bytes, 0, bytes.length, this.#fileReadAt + RECORD_HEADER_BYTES);
    this.#fileReadAt += RECORD_HEADER_BYTES + bytes.length;
    this.#memory.push({ stream: header.readUInt8(0) === 1 ? "stderr" : "stdout", bytes });
    this.#memoryBytes += bytes.length;
    if (this.#fileReadAt === this.#fileWriteAt) {
      await file.truncate(0);
      this.#fileReadAt = 0;
      this.#fileWriteAt = 0;
    }
  }

  /** Keeps one sender going while there is something to send and somebody to send it to. */
  #pump(): void {
    if (this.#pumping !== undefined || this.#output === undefined) return;
    this.#pumping = this.#send()
      .catch((error: unknown) => this.#init.onRefused(`its output cannot be kept: ${messageOf(error)}`))
      .finally(() => {
        this.#pumping = undefined;
        // What came between the sender's last look and now.
        if (this.#output !== undefined && this.#hasMore()) this.#pump();
      });
  }

  #hasMore(): boolean {
    return !this.#isDisposed && (this.#memory.length > 0 || this.#fileReadAt < this.#fileWriteAt);
  }

  async #send(): Promise<void> {
    const backoff = new Backoff({ firstMs: 50, maxMs: 2_000, random: this.#init.random });
    while (this.#output !== undefined && this.#hasMore()) {
      const chunk = this.#memory[0];
      if (chunk === undefined) {
        await this.#withFile(() => this.#readBack());
        this.#notify();
        continue;
      }
      const output = this.#output;
      try {
        const durableOffset = await output.write(this.#durableOffset, chunk.stream, chunk.bytes);
        backoff.reset();
        this.#settleUpTo(durableOffset);
        this.#notify();
      } catch (thrown) {
        if (!(await this.#goesOnAfter(toClusterError(thrown), output, backoff))) return;
      }
    }
  }

  /** One use of the file at a time. */
  #withFile(use: () => Promise<void>): Promise<void> {
    const turn = this.#fileTurn.then(use);
    this.#fileTurn = turn.catch(() => {});
    return turn;
  }

  async #goesOnAfter(error: ClusterError, output: OutputClient, backoff: Backoff): Promise<boolean> {
    switch (error.type) {
      case "overloaded":
        await sleep(this.#init.clock, backoff.nextMs());
        return true;
      case "disconnected":
        // A newer output may have been attached meanwhile: then go on with it.
        if (this.#output === output) this.detach();
        return this.#output !== undefined;
      case "failed":
      case "unimplemented":
        if (this.#output !== output) return this.#output !== undefined;
        this.detach();
        this.#init.onRefused(error.message);
        return false;
    }
  }

  #settleUpTo(durableOffset: number): void {
    while (this.#durableOffset < durableOffset) {
      const chunk = this.#memory[0];
      if (chunk === undefined) return;
      const left = durableOffset - this.#durableOffset;
      if (left < chunk.bytes.length) {
        this.#memory[0] = { stream: chunk.stream, bytes: chunk.bytes.subarray(left) };
        this.#memoryBytes -= left;
        this.#durableOffset = durableOffset;
        return;
      }
      this.#memory.shift();
      this.#memoryBytes -= chunk.bytes.length;
      this.#durableOffset += chunk.bytes.length;
    }
  }

  #notify(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }
}
