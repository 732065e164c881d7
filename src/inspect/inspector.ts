/**
 * Reads modules in a process that can be thrown away, before anything compiles them. The parser (`model/wasm-inspect.ts`)
 * is written for hostile bytes; this is for the case that it was written wrongly, and keeps its work off the event loop.
 *
 * One process is kept warm, and takes modules in the order they come, a few at a time, so that it need not wait for us. It
 * is replaced after a number of them, and whenever it misbehaves: says what cannot be, takes too long, or dies. A module
 * under which two processes died is refused, for it has done it; a process that does not even start blames no module.
 */
import { open } from "node:fs/promises";
import type { Clock } from "../base/clock.ts";
import { failed, overloaded } from "../base/errors.ts";
import {
  INSPECT_MS_MAX,
  INSPECTION_CHUNK_BYTES,
  INSPECTIONS_AT_ONCE_MAX,
  INSPECTIONS_PER_PROCESS_MAX,
  INSPECTIONS_WAITING_MAX,
  INSPECTOR_START_MS_MAX,
} from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import type { Cell } from "../sandbox/cell.ts";
import type { Sandbox } from "../sandbox/sandbox.ts";
import { InspectionProcess, INSPECTOR_CELL } from "./inspection-process.ts";
import type { ModuleBytes } from "./inspection-process.ts";
import type { Verdict } from "./verdict.ts";

/** What others need of it. */
export interface ModuleInspector {
  /**
   * The verdict on the module in a file, which must not change meanwhile. Rejects where no verdict can be had now:
   * `overloaded`; with the file's error; with the signal's reason while it waits for its turn.
   */
  inspectFile(path: string, options?: InspectOptions): Promise<Verdict>;
  /** The same of bytes, which are borrowed until it is done. */
  inspectBytes(bytes: Uint8Array, options?: InspectOptions): Promise<Verdict>;
}

export interface InspectOptions {
  readonly signal?: AbortSignal | undefined;
}

export interface InspectorInit {
  /** Asked when the first process is started: at once, in the background; and again after it, or its cell, has failed. */
  readonly openSandbox: () => Promise<Pick<Sandbox, "openCell">>;
  readonly clock: Clock;
  readonly log: Log;
  /** Modules that one process reads; default `INSPECTIONS_PER_PROCESS_MAX`. */
  readonly modulesPerProcess?: number | undefined;
  /** How long reading one may take; default `INSPECT_MS_MAX`. */
  readonly timeoutMs?: number | undefined;
}

/** Deaths of processes under one module, past which it is refused. */
const DEATHS_MAX = 2;
/** Tries to have a process for one module. */
const STARTS_MAX = 2;
/** How often a module begins anew because of others; each of those can end two processes. */
const INTERRUPTIONS_MAX = 32;

interface Turn {
  readonly begin: () => void;
}

export class Inspector implements ModuleInspector, AsyncDisposable {
  readonly #init: InspectorInit;
  readonly #modulesPerProcess: number;
  readonly #timeoutMs: number;
  readonly #waiting = new Set<Turn>();
  readonly #processes = new Set<InspectionProcess>();
  readonly #retired = new WeakSet<InspectionProcess>();
  #cell: Promise<Cell> | undefined;
  /** The one that takes the next module; starting, or ready. */
  #current: Promise<InspectionProcess> | undefined;
  /** That of `#current`, once it has been started. */
  #currentProcess: InspectionProcess | undefined;
  /** Modules that the process has. */
  #underWay = 0;
  #isClosed = false;

  constructor(init: InspectorInit) {
    this.#init = init;
    this.#modulesPerProcess = init.modulesPerProcess ?? INSPECTIONS_PER_PROCESS_MAX;
    this.#timeoutMs = init.timeoutMs ?? INSPECT_MS_MAX;
    this.#warm();
  }

  /** Changes when verdicts may: with the parser, with Node. Rejects where there is no process to be had. */
  async version(): Promise<string> {
    return (await this.#openCell()).name;
  }

  async inspectFile(path: string, options: InspectOptions = {}): Promise<Verdict> {
    await using file = await open(path);
    const { size } = await file.stat();
    const pieces = async function* (): AsyncIterable<Uint8Array> {
      for (let at = 0; at < size;) {
        const buffer = new Uint8Array(Math.min(INSPECTION_CHUNK_BYTES, size - at));
        const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
        if (bytesRead === 0) throw failed("the module's file became shorter while it was read");
        at += bytesRead;
        yield buffer.subarray(0, bytesRead);
      }
    };
    return await this.#inTurn({ length: size, pieces }, options);
  }

  inspectBytes(bytes: Uint8Array, options: InspectOptions = {}): Promise<Verdict> {
    return this.#inTurn({ length: bytes.length, pieces: () => [bytes] }, options);
  }

  /** Ends its process. What waits is rejected as `overloaded`. Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const turn of this.#waiting) turn.begin();
    for (const process of this.#processes) process.kill("its owner closes");
    // One that is being started is ended as soon as it is known.
    await this.#current?.catch(() => {});
    await Promise.all([...this.#processes].map((process) => process.ended));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #inTurn(module: ModuleBytes, { signal }: InspectOptions): Promise<Verdict> {
    signal?.throwIfAborted();
    if (this.#underWay < INSPECTIONS_AT_ONCE_MAX) this.#underWay++;
    else await this.#turn(signal);
    try {
      return await this.#inspect(module);
    } finally {
      const [next] = this.#waiting;
      if (next === undefined) this.#underWay--;
      else next.begin();
    }
  }

  /** Resolves with the place of one that is done. Whoever gives up leaves the line. */
  #turn(signal: AbortSignal | undefined): Promise<void> {
    if (this.#waiting.size >= INSPECTIONS_WAITING_MAX) {
      throw overloaded("too many modules wait to be inspected", { code: "inspections-full" });
    }
    return new Promise((resolve, reject) => {
      const giveUp = (): void => {
        this.#waiting.delete(turn);
        reject(signal?.reason);
      };
      const begin = (): void => {
        this.#waiting.delete(turn);
        signal?.removeEventListener("abort", giveUp);
        resolve();
      };
      const turn = { begin };
      this.#waiting.add(turn);
      signal?.addEventListener("abort", giveUp, { once: true });
    });
  }

  async #inspect(module: ModuleBytes): Promise<Verdict> {
    let deaths = 0;
    for (let interruptions = 0; interruptions < INTERRUPTIONS_MAX;) {
      const process = await this.#ready();
      const ending = process.inspect(module);
      this.#retireIfDone(process);
      const end = await ending;
      if (end.kind === "verdict") return end.verdict;
      if (this.#isClosed) break;
      this.#retireIfDone(process);
      if (end.kind === "timed-out")
        return { ok: false, reason: `reading it takes more than ${this.#timeoutMs / 1_000} s` };
      if (end.kind === "interrupted") {
        interruptions++;
        continue;
      }
      this.#init.log.warn("a process ended while it inspected a module", { reason: end.reason });
      deaths++;
      if (deaths === DEATHS_MAX) return { ok: false, reason: `reading it ends the process that does: ${end.reason}` };
    }
    throw overloaded("modules cannot be inspected now", { code: this.#isClosed ? "closed" : "inspector" });
  }

  /** A process that can take a module. Rejects as `overloaded` when none can be started. */
  async #ready(): Promise<InspectionProcess> {
    if (this.#isClosed) throw overloaded("the inspection of modules has ended", { code: "closed" });
    let trouble: unknown;
    for (let tries = 0; tries < STARTS_MAX; tries++) {
      this.#warm();
      const current = this.#current;
      try {
        const process = await current;
        if (process?.isAlive === true) return process;
      } catch (error) {
        trouble = error;
      }
      // It did not start, or was ended from outside while nobody looked.
      // Another who waited for it may have begun its successor already.
      if (this.#current === current) this.#current = undefined;
    }
    throw overloaded("modules cannot be inspected now", { code: "inspector", cause: trouble });
  }

  /** Has a successor ready for a process that is at its end. */
  #retireIfDone(process: InspectionProcess): void {
    const isDone = !process.isAlive || process.given >= this.#modulesPerProcess;
    if (!isDone || this.#retired.has(process)) return;
    this.#retired.add(process);
    process.retire();
    if (this.#currentProcess === process) this.#current = undefined;
    this.#warm();
  }

  /** Starts a process if there is none. Errors come to whoever asks for it. */
  #warm(): void {
    if (this.#isClosed || this.#current !== undefined) return;
    this.#currentProcess = undefined;
    const starting = this.#start();
    starting.catch(() => {});
    this.#current = starting;
  }

  async #start(): Promise<InspectionProcess> {
    const cell = await this.#openCell();
    if (this.#isClosed) throw overloaded("the inspection of modules has ended", { code: "closed" });
    const process = new InspectionProcess({ cell, clock: this.#init.clock, timeoutMs: this.#timeoutMs });
    this.#processes.add(process);
    this.#currentProcess = process;
    void process.ended.then(() => this.#processes.delete(process));
    using _timer = this.#init.clock.setTimer(INSPECTOR_START_MS_MAX, () => process.kill("it took too long to start"));
    await process.ready;
    return process;
  }

  #openCell(): Promise<Cell> {
    this.#cell ??= this.#init
      .openSandbox()
      .then((sandbox) => sandbox.openCell(INSPECTOR_CELL))
      .catch((error: unknown) => {
        this.#cell = undefined;
        throw error;
      });
    return this.#cell;
  }
}
