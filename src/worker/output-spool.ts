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
 *
 * A write that is under way when another gateway is attached is given up, not waited for: it may never be answered. The
 * same bytes are then sent again, which the protocol allows for.
 */
import { type ClusterError, messageOf, overloaded, toClusterError } from "../base/errors.ts";
import { Backoff } from "../base/backoff.ts";
import { unlessAborted } from "../base/abort.ts";
import { type Clock, sleep } from "../base/clock.ts";
import { OUTPUT_CHUNK_BYTES_MAX, OUTPUT_IN_MEMORY_BYTES_MAX, RESEND_FIRST_MS, RESEND_MAX_MS } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import type { Random } from "../base/random.ts";
import type { OutputClient } from "../caps/output.ts";
import type { AttemptEnd } from "../model/outcome.ts";
import type { OutputStream } from "../model/output.ts";
import { type Files, systemFiles } from "./files.ts";
import { type KeptOutput, SpoolFile, type SpoolRecord } from "./spool-file.ts";

export interface OutputSpoolInit {
  /** Where the overflow goes. Made when needed, removed on disposal. */
  readonly path: string;
  /** Output that an earlier process left in this file, all there is: it is read from there, and the file is left. */
  readonly kept?: KeptOutput | undefined;
  /** Default: the machine's. */
  readonly files?: Files | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Called once, when output is lost. What is appended from then on is dropped. */
  readonly onRefused: (refusal: OutputRefusal) => void;
}

/** Why output does not arrive: the gateway does not take it, or this machine could not keep it. */
export interface OutputRefusal {
  readonly by: "gateway" | "worker";
  readonly reason: string;
}

/** Bytes of one stream. They may grow, within `room`, also while they are being sent: a message has its own copy. */
interface Chunk {
  readonly stream: OutputStream;
  bytes: Uint8Array;
  /** Begins with `bytes`. */
  room: Uint8Array;
}

/** One gateway's output, from attach to detach. */
interface Link {
  readonly output: OutputClient;
  /** Aborted when detached. */
  readonly ended: AbortController;
  isSending: boolean;
}

/** Writes of one stream are put together up to this size: a guest that writes bytes one by one costs no message each. */
const MERGED_BYTES_MAX = 16 * 1024;
const ROOM_BYTES_MIN = 256;
/** One for all: nobody is told, and an error for each attempt would cost more than sending its output. */
const DETACHED = overloaded("the output was detached");
/** What a chunk costs in memory besides its bytes. */
const CHUNK_OVERHEAD_BYTES = 512;

export class OutputSpool implements AsyncDisposable {
  readonly #init: OutputSpoolInit;
  readonly #memory: Chunk[] = [];
  readonly #file: SpoolFile;
  #memoryBytes = 0;
  #durableOffset = 0;
  /** What the gateway has said is durable. Some of it may be in the file still. */
  #toldDurable = 0;
  #appendedOffset = 0;
  #state: "open" | "refused" | "disposed" = "open";
  #link: Link | undefined;
  #appending: Promise<void> = Promise.resolve();
  #changed = Promise.withResolvers<void>();

  constructor(init: OutputSpoolInit) {
    this.#init = init;
    this.#file = new SpoolFile(init.path, init.files ?? systemFiles, init.kept);
    this.#durableOffset = init.kept?.offset ?? 0;
    this.#appendedOffset = init.kept?.outputBytes ?? 0;
  }

  /** The first byte that is still here. */
  get durableOffset(): number {
    return this.#durableOffset;
  }

  /** Bytes written by the guest so far. */
  get outputBytes(): number {
    return this.#appendedOffset;
  }

  /** Bytes were, or will be, dropped: they could not be kept, or the gateway refused them. */
  get isRefused(): boolean {
    return this.#state === "refused";
  }

  /** Takes what the guest wrote. Resolves when more is welcome. Calls are carried out in order. Never rejects. */
  append(stream: OutputStream, bytes: Uint8Array): Promise<void> {
    this.#appending = this.#appending
      .then(() => this.#append(stream, bytes))
      .catch((error: unknown) => this.#refuse(notKept(error)));
    return this.#appending;
  }

  /** Sends to `output`, which becomes the spool's, from `offset` on; below it all is durable. */
  attach(output: OutputClient, offset: number): void {
    this.detach();
    if (this.#state !== "open") {
      output[Symbol.dispose]();
      return;
    }
    this.#toldDurable = Math.max(this.#toldDurable, offset);
    this.#settleUpTo(this.#toldDurable);
    this.#link = { output, ended: new AbortController(), isSending: false };
    this.#pump();
    this.#notify();
  }

  /** The gateway is out of reach. */
  detach(): void {
    const link = this.#link;
    if (link === undefined) return;
    this.#link = undefined;
    link.ended.abort(DETACHED);
    link.output[Symbol.dispose]();
    this.#notify();
  }

  /**
   * The guest has ended: no more is appended. Resolves when all is durable, or never will be; rejects when the signal is
   * aborted.
   */
  async drained({ signal }: { signal: AbortSignal }): Promise<void> {
    while (this.#durableOffset < this.#appendedOffset && this.#state === "open") {
      await unlessAborted(this.#changed.promise, signal);
    }
  }

  /** The end as it is to be told once all is drained: what does not arrive is no part of the log. */
  endedWith(end: AttemptEnd): AttemptEnd {
    if (this.#state !== "refused") return end;
    return { ...end, outputBytes: this.#durableOffset, outputTruncated: true };
  }

  /**
   * The guest has ended: copies what is not durable yet. `begin` is told where that begins and where it ends in the
   * attempt's log; `write` gets the records, in order.
   */
  async copy(to: {
    readonly begin: (offset: number, outputBytes: number) => Promise<void>;
    readonly write: (record: SpoolRecord) => Promise<void>;
  }): Promise<void> {
    await this.#appending;
    let isWanted = true;
    const begin = async (): Promise<void> => {
      // Without what was refused, nothing that follows has its place.
      isWanted = this.#state === "open";
      // Bytes in memory do not change any more; which of them are here does.
      const chunks = isWanted ? this.#memory.map(({ stream, bytes }) => ({ stream, bytes })) : [];
      await to.begin(this.#durableOffset, isWanted ? this.#appendedOffset : this.#durableOffset);
      for (const chunk of chunks) await to.write(chunk);
    };
    await this.#file.copy(begin, async (record) => {
      if (isWanted) await to.write(record);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#state === "disposed") return;
    this.#state = "disposed";
    this.detach();
    this.#notify();
    await this.#appending;
    await this.#file[Symbol.asyncDispose]();
    this.#memory.length = 0;
  }

  async #append(stream: OutputStream, bytes: Uint8Array): Promise<void> {
    while (this.#state === "open") {
      const fits = this.#file.isEmpty && this.#memoryBytes < OUTPUT_IN_MEMORY_BYTES_MAX;
      if (fits) {
        this.#remember(stream, bytes);
        break;
      }
      if (this.#link === undefined) {
        await this.#file.append(stream, bytes);
        break;
      }
      await this.#changed.promise;
    }
    if (this.#state !== "open") return;
    this.#appendedOffset += bytes.length;
    this.#pump();
  }

  #remember(stream: OutputStream, bytes: Uint8Array): void {
    const last = this.#memory.at(-1);
    if (last?.stream === stream && last.bytes.length + bytes.length <= MERGED_BYTES_MAX) {
      extend(last, bytes);
      this.#memoryBytes += bytes.length;
      return;
    }
    for (let at = 0; at < bytes.length; at += OUTPUT_CHUNK_BYTES_MAX) {
      const piece = ownBytes(bytes.subarray(at, at + OUTPUT_CHUNK_BYTES_MAX));
      this.#memory.push({ stream, bytes: piece, room: piece });
      this.#memoryBytes += piece.length + CHUNK_OVERHEAD_BYTES;
    }
  }

  /** Keeps one sender going while there is something to send and somebody to send it to. */
  #pump(): void {
    const link = this.#link;
    if (link === undefined || link.isSending || !this.#hasMore()) return;
    link.isSending = true;
    this.#send(link).catch((error: unknown) => this.#refuse(notKept(error)));
  }

  #hasMore(): boolean {
    return this.#memory.length > 0 || !this.#file.isEmpty;
  }

  async #send(link: Link): Promise<void> {
    const { signal } = link.ended;
    const backoff = new Backoff({ firstMs: RESEND_FIRST_MS, maxMs: RESEND_MAX_MS, random: this.#init.random });
    while (!signal.aborted && this.#hasMore()) {
      const chunk = this.#memory[0];
      if (chunk === undefined) {
        await this.#file.readBack(({ stream, bytes }) => this.#remember(stream, bytes));
        this.#settleUpTo(this.#toldDurable);
        this.#notify();
        continue;
      }
      try {
        const sentFrom = this.#durableOffset;
        this.#settleUpTo(await link.output.write(sentFrom, chunk.stream, chunk.bytes, { signal }));
        this.#notify();
        if (this.#durableOffset === sentFrom) throw overloaded("the gateway kept nothing of what was written");
        backoff.reset();
      } catch (thrown) {
        if (!signal.aborted) await this.#onFailedWrite(toClusterError(thrown), backoff, signal);
      }
    }
    link.isSending = false;
  }

  async #onFailedWrite(error: ClusterError, backoff: Backoff, signal: AbortSignal): Promise<void> {
    switch (error.type) {
      case "overloaded":
        await sleep(this.#init.clock, backoff.nextMs(), { signal }).catch(() => {});
        return;
      case "disconnected":
        this.detach();
        return;
      case "failed":
      case "unimplemented":
        this.#refuse({ by: "gateway", reason: `the gateway refused its output: ${error.message}` });
    }
  }

  #refuse(refusal: OutputRefusal): void {
    if (this.#state !== "open") return;
    this.#state = "refused";
    this.#init.log.warn("the output of an attempt is lost from here on", { ...refusal, offset: this.#durableOffset });
    this.detach();
    this.#notify();
    this.#init.onRefused(refusal);
  }

  #settleUpTo(durableOffset: number): void {
    while (this.#durableOffset < durableOffset) {
      const chunk = this.#memory[0];
      if (chunk === undefined) return;
      const left = durableOffset - this.#durableOffset;
      if (left < chunk.bytes.length) {
        chunk.bytes = chunk.bytes.subarray(left);
        chunk.room = chunk.bytes;
        this.#memoryBytes -= left;
        this.#durableOffset = durableOffset;
        return;
      }
      this.#memory.shift();
      this.#memoryBytes -= chunk.bytes.length + CHUNK_OVERHEAD_BYTES;
      this.#durableOffset += chunk.bytes.length;
    }
  }

  #notify(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }
}

function notKept(error: unknown): OutputRefusal {
  return { by: "worker", reason: `its output cannot be kept: ${messageOf(error)}` };
}

function extend(chunk: Chunk, bytes: Uint8Array): void {
  const length = chunk.bytes.length + bytes.length;
  if (chunk.room.length < length) {
    chunk.room = new Uint8Array(Math.min(MERGED_BYTES_MAX, Math.max(2 * length, ROOM_BYTES_MIN)));
    chunk.room.set(chunk.bytes);
  }
  chunk.room.set(bytes, chunk.bytes.length);
  chunk.bytes = chunk.room.subarray(0, length);
}

/** The bytes, without the rest of a large buffer that they may be a small part of. */
function ownBytes(bytes: Uint8Array): Uint8Array {
  return bytes.buffer.byteLength > 2 * bytes.length + ROOM_BYTES_MIN ? bytes.slice() : bytes;
}
