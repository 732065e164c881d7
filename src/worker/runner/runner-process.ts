/**
 * One runner process, seen from the pool: it is started, runs one guest at a time, and ends.
 *
 *     starting --ready--> idle <--run / end of run--> busy
 *         \_______________ any _______________/  --> ending    (killed, or gone: what it had said is still read)
 *                                                     ending --> ended
 *
 * A guest whose report had been read when its process was killed has ended as it says; the process takes no other.
 * The process is sandboxed (see `runner-cell.ts` and `sandbox/`) and not trusted: whatever it sends is checked, and nonsense ends it.
 * Output passes through with back-pressure: while the receiver is slow the pipe is not read, and the guest blocks.
 * It is long, as all that can happen to a process stands in one file.
 */
import type { ChildProcess } from "node:child_process";
import type { Readable, Writable } from "node:stream";
import { assert, failed, messageOf } from "../../base/errors.ts";
import {
  COLLECT_ABOVE_BYTES,
  IDLE_MEMORY_READ_EVERY_MS,
  MEMORY_CHECK_EVERY_MS,
  MODULE_BYTES_PER_RUNNER_MAX,
  MODULES_PER_RUNNER_MAX,
  RUNNER_END_FRAME_BYTES_MAX,
  RUNNER_OUTPUT_FRAME_BYTES_MAX,
  RUNNER_OUTPUT_QUEUE_BYTES_MAX,
  RUNNER_STDERR_LENGTH_MAX,
} from "../../base/limits.ts";
import type { Cell } from "../../sandbox/cell.ts";
import { parsePipe, watchEnd } from "../../sandbox/child-pipes.ts";
import { encodeFrameHeader, FRAME_HEADER_BYTES } from "../../sandbox/frame.ts";
import type { GuestFile, GuestIo } from "../guest.ts";
import { type MemoryUse, readMemoryUse } from "./memory-use.ts";
import { spawnRunner } from "./runner-cell.ts";
import type { RunnerTier } from "./runner-cell.ts";
import { type CollectRequest, type CollectVerdict, FileCollection } from "./file-collection.ts";
import { sendFiles } from "./file-frames.ts";
import { type Segment, takeSegment } from "./output-segments.ts";
import { encodeRunOrder, encodeU32s, parseRunReport, READY_FRAME_BYTES, REPLY, REQUEST } from "./wire.ts";
import type { CollectOrder, RunOrder, RunReport } from "./wire.ts";

export type RunnerState = "starting" | "idle" | "busy" | "ending" | "ended";

export interface GuestRequest {
  /** Names the module with its cap: equal keys, equal bytes. */
  readonly moduleKey: string;
  /** The module's parts, read only when the runner does not have it. */
  readonly loadParts: () => Promise<ModuleParts>;
  readonly order: Omit<RunOrder, "key">;
  readonly stdin: Uint8Array;
  /** What the guest finds in its `/`. */
  readonly files: readonly GuestFile[];
  readonly io: GuestIo;
}

export interface ModuleParts {
  /** The bytes of each core module, in chunks. */
  readonly cores: readonly (readonly Uint8Array[])[];
  readonly glue: Uint8Array | undefined;
}

/** A module that the process has. */
interface LoadedModule {
  readonly key: number;
  readonly bytes: number;
}

/** What was written of a guest's output, however it ended. */
interface WrittenOutput {
  readonly outputBytes: number;
  readonly hasTruncated: boolean;
}

export type RunnerVerdict = WrittenOutput &
  (
    | { readonly kind: "reported"; readonly report: RunReport }
    /** The process ended under the guest, by our hand or not. `stderr` is what it said last. */
    | { readonly kind: "died"; readonly reason: string; readonly stderr: string }
  );

interface RunUnderWay {
  readonly io: GuestIo;
  readonly outputBytesMax: number;
  readonly settle: (verdict: RunnerVerdict) => void;
  readonly segments: Segment[];
  queuedBytes: number;
  outputBytes: number;
  hasTruncated: boolean;
  isPumping: boolean;
  /** Some of it nobody took: whatever the guest reports, it has not told all. */
  isRefused: boolean;
  report: RunReport | undefined;
}

const NO_BYTES = new Uint8Array(0);
const decoder = new TextDecoder();
const encoder = new TextEncoder();

export class RunnerProcess {
  readonly tier: RunnerTier;
  readonly #child: ChildProcess;
  readonly #orders: Writable;
  readonly #replies: Readable;
  readonly #ready = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<void>();
  /** Aborted when it has ended. */
  readonly #gone = new AbortController();
  /** The modules that the process holds, by module key; least recently used first. */
  readonly #modules = new Map<string, LoadedModule>();
  #state: RunnerState = "starting";
  #run: RunUnderWay | undefined;
  #collection: FileCollection | undefined;
  #rest: Uint8Array = NO_BYTES;
  #nextKey = 1;
  #runs = 0;
  #cpuMs = 0;
  #stderr = "";
  #deathReason: string | undefined;
  #guestPid: number | undefined;
  #idleUse: MemoryUse | undefined;
  #idleSeenMs = -Infinity;
  #tidied: PromiseWithResolvers<MemoryUse | undefined> | undefined;
  /** What its last guest had may still be on its way back to the machine. */
  #hasLargeGarbage = false;

  /** Starts it. Throws where that fails at once: without a descriptor left, or a process. */
  constructor(cell: Cell, tier: RunnerTier) {
    this.tier = tier;
    const child = spawnRunner(cell, tier);
    this.#child = child;
    this.#ready.promise.catch(() => {});
    this.#orders = parsePipe(child, 3);
    this.#replies = parsePipe(child, 4);
    this.#replies.on("data", (chunk: Uint8Array) => this.#receive(chunk));
    const stderr = parsePipe(child, 2).setEncoding("utf8");
    stderr.on("data", (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-RUNNER_STDERR_LENGTH_MAX);
    });
    watchEnd(child, {
      started: this.#ready.promise,
      onExit: () => {
        this.#markEnding();
        this.#replies.resume();
      },
      onEnd: (reason) => this.#end(reason),
    });
  }

  /** The process to watch over and to kill: with it ends the one that runs guests. */
  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** The process that runs guests: what it uses is theirs. Behind walls it is not the one that was started. */
  get guestPid(): number | undefined {
    return this.#guestPid ?? this.#child.pid;
  }

  get state(): RunnerState {
    return this.#state;
  }

  /** Guests that it has begun to run. */
  get runs(): number {
    return this.#runs;
  }

  /** CPU time that it had used, in all, when it last said so: when it was ready, or its last guest ended. */
  get cpuMs(): number {
    return this.#cpuMs;
  }

  /** What memory it has between guests, looked at now and then: it grows by what it keeps. */
  idleUse(nowMs: number): MemoryUse | undefined {
    if (nowMs - this.#idleSeenMs >= IDLE_MEMORY_READ_EVERY_MS && this.guestPid !== undefined) {
      const seen = readMemoryUse(this.guestPid);
      const known = this.#hasLargeGarbage ? this.#idleUse : undefined;
      const isLess = seen !== undefined && known !== undefined && known.dataBytes < seen.dataBytes;
      this.#idleUse = isLess ? { ...seen, dataBytes: known.dataBytes } : seen;
      this.#idleSeenMs = nowMs;
    }
    return this.#idleUse;
  }

  /**
   * Has the engine give back what nobody uses. Only when idle; a guest that comes waits for it. Resolves with what it has
   * then, or undefined when that cannot be known.
   */
  collectGarbage(): Promise<MemoryUse | undefined> {
    assert(this.#state === "idle", "a runner that is not idle was to collect its garbage");
    this.#tidied ??= Promise.withResolvers<MemoryUse | undefined>();
    this.#send(REQUEST.tidy);
    return this.#tidied.promise;
  }

  /** Lets go of all modules. */
  forgetModules(): void {
    for (const moduleKey of this.#modules.keys()) this.#forget(moduleKey);
  }

  /** Resolves when it can run guests; rejects if it ended before. */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  /** Resolves when the process is gone and all that it had said has been read. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  holds(moduleKey: string): boolean {
    return this.#modules.has(moduleKey);
  }

  /**
   * Runs one guest. Only when idle. Resolves when all of its output has been passed on; rejects if the module's parts
   * cannot be read, and then the runner is as it was.
   */
  async run(request: GuestRequest): Promise<RunnerVerdict> {
    assert(this.#state === "idle", "a runner that is not idle was given a guest");
    this.#state = "busy";
    const { promise, resolve } = Promise.withResolvers<RunnerVerdict>();
    this.#run = {
      io: request.io,
      outputBytesMax: request.order.outputBytesMax,
      settle: resolve,
      segments: [],
      queuedBytes: 0,
      outputBytes: 0,
      hasTruncated: false,
      isPumping: false,
      isRefused: false,
      report: undefined,
    };
    let loaded = this.#modules.get(request.moduleKey);
    if (loaded === undefined) {
      let parts: ModuleParts;
      try {
        parts = await request.loadParts();
      } catch (error) {
        // It has ended meanwhile, which says more.
        if (this.state === "ended") return promise;
        this.#run = undefined;
        if (this.#state === "busy") this.#state = "idle";
        throw error;
      }
      loaded = this.#load(parts);
      // What it takes is this guest's, and is not to be held against the next.
      this.#idleSeenMs = -Infinity;
    }
    const { key } = loaded;
    this.#modules.delete(request.moduleKey);
    this.#modules.set(request.moduleKey, loaded);
    this.#runs++;
    if (request.files.length > 0) await this.#sendFiles(request.files);
    if (request.stdin.length > 0) this.#send(REQUEST.stdin, request.stdin);
    if (this.#orders.writable) this.#orders.write(encodeRunOrder({ ...request.order, key }));
    request.io.onBegun?.();
    return promise;
  }

  /** Has the files that the last guest has left handed over. Only when idle, after a run that keeps files. */
  async collect(request: CollectRequest): Promise<CollectVerdict> {
    assert(this.#state === "idle", "a runner that is not idle was asked for files");
    this.#state = "busy";
    const collection = new FileCollection(request, () => this.#replies.resume());
    this.#collection = collection;
    const order: CollectOrder = { outputs: request.outputs };
    this.#send(REQUEST.collect, encoder.encode(JSON.stringify(order)));
    try {
      const verdict = await collection.verdict;
      if (verdict.kind !== "died") this.#cpuMs += verdict.cpuMs;
      if (this.#state === "busy") this.#state = "idle";
      return verdict;
    } catch (error) {
      // Whatever else it says nobody wants to hear.
      this.#distrust(`files that nobody takes: ${messageOf(error)}`);
      throw error;
    } finally {
      this.#collection = undefined;
    }
  }

  /** Ends the process at once, whatever it is doing. Idempotent. */
  kill(): void {
    this.#markEnding();
    this.#child.kill("SIGKILL");
  }

  #endTidying(use: MemoryUse | undefined): void {
    this.#idleSeenMs = -Infinity;
    this.#tidied?.resolve(use);
    this.#tidied = undefined;
  }

  #told({ cpuMs, memoryBytes }: RunReport): void {
    this.#cpuMs += cpuMs;
    this.#hasLargeGarbage = memoryBytes >= COLLECT_ABOVE_BYTES;
    // What it has left is looked at before the next, where that is worth it.
    if (cpuMs >= MEMORY_CHECK_EVERY_MS) this.#idleSeenMs = -Infinity;
  }

  #markEnding(): void {
    if (this.#state !== "ended") this.#state = "ending";
  }

  async #sendFiles(files: readonly GuestFile[]): Promise<void> {
    try {
      await sendFiles(this.#orders, files, this.#gone.signal);
    } catch (error) {
      this.#run = undefined;
      this.kill();
      throw error;
    }
  }

  #load(parts: ModuleParts): LoadedModule {
    const bytes = parts.cores.flat().reduce((sum, chunk) => sum + chunk.length, parts.glue?.length ?? 0);
    this.#makeRoom(bytes);
    const key = this.#nextKey++;
    parts.cores.forEach((chunks, part) => this.#send(REQUEST.core, encodeU32s(key, part), ...chunks));
    if (parts.glue !== undefined) this.#send(REQUEST.glue, encodeU32s(key), parts.glue);
    return { key, bytes };
  }

  #makeRoom(bytes: number): void {
    let total = bytes;
    for (const module of this.#modules.values()) total += module.bytes;
    for (const [moduleKey, module] of this.#modules) {
      if (this.#modules.size < MODULES_PER_RUNNER_MAX && total <= MODULE_BYTES_PER_RUNNER_MAX) return;
      total -= module.bytes;
      this.#forget(moduleKey);
    }
  }

  #forget(moduleKey: string): void {
    const module = this.#modules.get(moduleKey);
    this.#modules.delete(moduleKey);
    if (module !== undefined) this.#send(REQUEST.forget, encodeU32s(module.key));
  }

  #send(kind: number, ...chunks: readonly Uint8Array[]): void {
    if (!this.#orders.writable) return;
    this.#orders.cork();
    this.#orders.write(
      encodeFrameHeader(
        kind,
        chunks.reduce((sum, chunk) => sum + chunk.length, 0),
      ),
    );
    for (const chunk of chunks) this.#orders.write(chunk);
    this.#orders.uncork();
  }

  #receive(chunk: Uint8Array): void {
    let bytes = chunk;
    if (this.#rest.length > 0) {
      bytes = new Uint8Array(this.#rest.length + chunk.length);
      bytes.set(this.#rest);
      bytes.set(chunk, this.#rest.length);
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    let at = 0;
    while (bytes.length - at >= FRAME_HEADER_BYTES) {
      const kind = view.getUint8(at);
      const length = view.getUint32(at + 1, true);
      if (length > (kind === REPLY.end ? RUNNER_END_FRAME_BYTES_MAX : RUNNER_OUTPUT_FRAME_BYTES_MAX)) {
        this.#distrust("a frame that is too long");
        return;
      }
      const start = at + FRAME_HEADER_BYTES;
      if (bytes.length - start < length) break;
      at = start + length;
      this.#handleFrame(kind, bytes.subarray(start, at));
    }
    this.#rest = at === bytes.length ? NO_BYTES : bytes.slice(at);
    // Of a process that ends little is left to read, and its end is told only when all of it has been read.
    const isEnding = this.#state === "ending";
    if (this.#collection?.isFull === true && !isEnding) this.#replies.pause();
    const run = this.#run;
    if (run === undefined) return;
    if (run.queuedBytes > RUNNER_OUTPUT_QUEUE_BYTES_MAX && !isEnding) this.#replies.pause();
    if (!run.isPumping) void this.#pump(run);
  }

  #handleFrame(kind: number, payload: Uint8Array): void {
    const run = this.#run;
    if (this.#collection !== undefined) {
      const problem = this.#collection.take(kind, payload);
      if (problem !== undefined) this.#distrust(problem);
      return;
    }
    // It was killed before it could say so.
    if (kind === REPLY.ready && this.#state === "ending") return;
    if (kind === REPLY.ready && this.#state === "starting" && payload.length === READY_FRAME_BYTES) {
      const view = new DataView(payload.buffer, payload.byteOffset);
      this.#cpuMs = view.getFloat64(0, true);
      const guestPid = view.getUint32(8, true);
      if (guestPid > 0) this.#guestPid = guestPid;
      this.#state = "idle";
      this.#ready.resolve();
    } else if ((kind === REPLY.stdout || kind === REPLY.stderr) && run !== undefined && run.report === undefined) {
      const kept = payload.slice(0, run.outputBytesMax - run.outputBytes);
      run.outputBytes += kept.length;
      run.queuedBytes += kept.length;
      if (kept.length < payload.length) run.hasTruncated = true;
      if (kept.length > 0) run.segments.push({ stream: kind === REPLY.stdout ? "stdout" : "stderr", bytes: kept });
    } else if (kind === REPLY.tidied && this.#tidied !== undefined) {
      this.#endTidying(this.guestPid === undefined ? undefined : readMemoryUse(this.guestPid));
    } else if (kind === REPLY.truncated && run !== undefined && run.report === undefined) {
      run.hasTruncated = true;
    } else if (kind === REPLY.end && run !== undefined && run.report === undefined) {
      run.report = parseRunReport(decoder.decode(payload));
      if (run.report === undefined) this.#distrust("a report that is none");
      else this.#told(run.report);
    } else {
      this.#distrust(`a frame of kind ${kind} that nobody waits for`);
    }
  }

  /** Passes queued output on, one write at a time, and settles the run after its last. */
  async #pump(run: RunUnderWay): Promise<void> {
    run.isPumping = true;
    for (let next = takeSegment(run.segments); next !== undefined; next = takeSegment(run.segments)) {
      try {
        await run.io.write(next.stream, next.bytes);
      } catch (error) {
        run.segments.length = 0;
        run.queuedBytes = 0;
        run.isRefused = true;
        this.#distrust(`output that nobody takes: ${messageOf(error)}`);
        break;
      }
      run.queuedBytes -= next.bytes.length;
      if (run.queuedBytes <= RUNNER_OUTPUT_QUEUE_BYTES_MAX && this.#replies.isPaused()) this.#replies.resume();
    }
    run.isPumping = false;
    if (this.#run !== run) return;
    const { report, outputBytes, hasTruncated } = run;
    // What it has reported stands, though the process may have ended while the last of its output was being taken.
    if (report !== undefined && !run.isRefused) {
      this.#run = undefined;
      if (this.#state === "busy") this.#state = "idle";
      run.settle({ kind: "reported", report, outputBytes, hasTruncated });
    } else if (this.#state === "ended") {
      this.#run = undefined;
      const reason = this.#deathReason ?? "it ended";
      run.settle({ kind: "died", reason, stderr: this.#stderr, outputBytes, hasTruncated });
    }
  }

  /** The process does what no runner of ours does, or nobody wants what it says: it is of no more use. */
  #distrust(what: string): void {
    this.#deathReason ??= `it was ended for ${what}`;
    this.kill();
  }

  #end(reason: string): void {
    if (this.#state === "ended") return;
    this.#state = "ended";
    this.#deathReason ??= reason;
    this.#ready.reject(failed(`a runner did not start: ${this.#deathReason}`, { code: "runner-start" }));
    this.#ended.resolve();
    this.#gone.abort();
    this.#endTidying(undefined);
    this.#collection?.end(this.#deathReason);
    const run = this.#run;
    if (run !== undefined && !run.isPumping) void this.#pump(run);
  }
}
