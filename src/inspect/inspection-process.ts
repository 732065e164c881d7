/**
 * One process that reads modules, seen from its owner: it is started, reads the modules it is given in their order, and
 * ends. It is not trusted: what it says is bounded and checked, and nonsense ends it. When it ends, the module whose
 * verdict was due is the one that may have done it; those behind it have only been interrupted.
 */
import type { ChildProcess } from "node:child_process";
import type { Writable } from "node:stream";
import type { Clock, Timer } from "../base/clock.ts";
import { failed } from "../base/errors.ts";
import {
  INSPECTION_VERDICT_BYTES_MAX,
  INSPECTOR_DATA_BYTES_MAX,
  INSPECTOR_DESCRIPTORS_MAX,
  INSPECTOR_HEAP_MIB_MAX,
} from "../base/limits.ts";
import type { Cell, CellPlan } from "../sandbox/cell.ts";
import { parsePipe, watchEnd } from "../sandbox/child-pipes.ts";
import { encodeFrameHeader, FRAME_HEADER_BYTES } from "../sandbox/frame.ts";
import { ANSWER, INSPECT, parseVerdict } from "./verdict.ts";
import type { Verdict } from "./verdict.ts";

export const INSPECTOR_CELL: CellPlan = { entry: "inspect/child/main" };

/** A module's bytes, in order and `length` in all. The pieces are made when they are asked for. */
export interface ModuleBytes {
  readonly length: number;
  pieces(): AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

/** What came of a module. */
export type InspectionEnd =
  | { readonly kind: "verdict"; readonly verdict: Verdict }
  /** The process ended while it read this module, for that reason; or because it took too long. */
  | { readonly kind: "died"; readonly reason: string }
  | { readonly kind: "timed-out" }
  /** The process ended before it came to this module. */
  | { readonly kind: "interrupted" };

export interface InspectionProcessInit {
  readonly cell: Cell;
  readonly clock: Clock;
  /** How long reading one module may take. */
  readonly timeoutMs: number;
}

const NO_BYTES = new Uint8Array(0);

export class InspectionProcess {
  readonly #init: InspectionProcessInit;
  readonly #child: ChildProcess;
  readonly #orders: Writable;
  readonly #ready = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<void>();
  /** Those whose modules it has, in their order; it reads the first. */
  readonly #line: ((end: InspectionEnd) => void)[] = [];
  /** Resolves when the module that is being sent has been. */
  #sending: Promise<unknown> = Promise.resolve();
  #timer: Timer | undefined;
  #rest: Uint8Array = NO_BYTES;
  #answer: Uint8Array[] = [];
  #answerBytes = 0;
  #deathReason: string | undefined;
  #hasTimedOut = false;
  #isRetired = false;
  #given = 0;
  /** Of those, how many it owes nothing more. */
  #settled = 0;

  /** Starts it. Throws where that fails at once. */
  constructor(init: InspectionProcessInit) {
    this.#init = init;
    const child = init.cell.spawn({
      flags: [
        "--disallow-code-generation-from-strings",
        "--no-addons",
        "--no-warnings",
        `--max-old-space-size=${INSPECTOR_HEAP_MIB_MAX}`,
      ],
      args: [],
      stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"],
      limits: { dataBytes: INSPECTOR_DATA_BYTES_MAX, descriptors: INSPECTOR_DESCRIPTORS_MAX },
    });
    this.#child = child;
    this.#ready.promise.catch(() => {});
    this.#orders = parsePipe(child, 3);
    parsePipe(child, 4).on("data", (chunk: Uint8Array) => this.#receive(chunk));
    watchEnd(child, { started: this.#ready.promise, onEnd: (reason) => this.#end(reason) });
  }

  /** Resolves when it can read modules; rejects if it ended before. */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  /** Resolves when it is gone. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  get isAlive(): boolean {
    return this.#deathReason === undefined;
  }

  /** Modules that it was given. */
  get given(): number {
    return this.#given;
  }

  /** Reads a module, after those it was given before. Rejects with the error of the pieces only, which ends the process. */
  async inspect(module: ModuleBytes): Promise<InspectionEnd> {
    this.#given++;
    const { promise, resolve } = Promise.withResolvers<InspectionEnd>();
    const settle = (end: InspectionEnd): void => {
      this.#settled++;
      resolve(end);
    };
    const sent = this.#sending.then(() => this.#send(module, settle));
    this.#sending = sent.catch(() => {});
    await sent;
    return promise;
  }

  /** It takes no more modules, and ends when it has read those it has. */
  retire(): void {
    this.#isRetired = true;
    // One that it was given may not have been sent yet.
    if (this.#settled === this.#given) this.kill("it has read enough");
  }

  /** Ends it at once. Idempotent. */
  kill(reason: string): void {
    this.#deathReason ??= reason;
    this.#child.kill("SIGKILL");
  }

  async #send(module: ModuleBytes, settle: (end: InspectionEnd) => void): Promise<void> {
    if (!this.isAlive) return settle({ kind: "interrupted" });
    this.#line.push(settle);
    if (this.#line.length === 1) this.#watchFirst();
    this.#orders.cork();
    this.#orders.write(encodeFrameHeader(INSPECT, module.length));
    try {
      for await (const piece of module.pieces()) {
        if (!this.isAlive) break;
        const hasRoom = this.#orders.write(piece);
        this.#orders.uncork();
        if (!hasRoom) await Promise.race([this.#drained(), this.#ended.promise]);
      }
      this.#orders.uncork();
    } catch (error) {
      this.kill("its owner could not read the module");
      throw error;
    }
    return undefined;
  }

  #drained(): Promise<void> {
    return new Promise((resolve) => this.#orders.once("drain", resolve));
  }

  #watchFirst(): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = undefined;
    if (this.#line.length === 0) return;
    this.#timer = this.#init.clock.setTimer(this.#init.timeoutMs, () => {
      this.#hasTimedOut = this.isAlive;
      this.kill("it took too long");
    });
  }

  #receive(chunk: Uint8Array): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    let at = 0;
    while (bytes.length - at >= FRAME_HEADER_BYTES) {
      const start = at + FRAME_HEADER_BYTES;
      const end = start + view.getUint32(at + 1, true);
      if (end - start > INSPECTION_VERDICT_BYTES_MAX) return this.kill("it said too much");
      if (end > bytes.length) break;
      this.#handleFrame(view.getUint8(at), bytes.subarray(start, end));
      at = end;
    }
    this.#rest = at === bytes.length ? NO_BYTES : bytes.slice(at);
  }

  #handleFrame(kind: number, payload: Uint8Array): void {
    if (!this.isAlive) return;
    if (kind === ANSWER.ready && this.#given === 0) return this.#ready.resolve();
    const [first] = this.#line;
    if ((kind !== ANSWER.more && kind !== ANSWER.last) || first === undefined) return this.kill("it spoke unasked");
    this.#answer.push(payload);
    this.#answerBytes += payload.length;
    if (this.#answerBytes > INSPECTION_VERDICT_BYTES_MAX) return this.kill("it said too much");
    if (kind === ANSWER.more) return undefined;
    const verdict = parseVerdict(Buffer.concat(this.#answer).toString());
    this.#answer = [];
    this.#answerBytes = 0;
    if (verdict === undefined) return this.kill("what it said is no verdict");
    this.#line.shift();
    this.#watchFirst();
    first({ kind: "verdict", verdict });
    if (this.#isRetired) this.retire();
    return undefined;
  }

  #end(reason: string): void {
    this.#deathReason ??= reason;
    this.#timer?.[Symbol.dispose]();
    this.#ready.reject(failed(`a process to inspect modules did not start: ${this.#deathReason}`));
    this.#ended.resolve();
    const [first, ...others] = this.#line.splice(0);
    first?.(this.#hasTimedOut ? { kind: "timed-out" } : { kind: "died", reason: this.#deathReason });
    for (const other of others) other({ kind: "interrupted" });
  }
}
