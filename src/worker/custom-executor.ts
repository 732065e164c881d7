/**
 * Runs tasks of one kind by a function of whoever started the worker. The function is trusted, as the worker itself is; it
 * runs in this process, and nothing but itself holds its memory and its processor time. What is held here: its wall time,
 * its output, the files that are kept of it, and that it is told to stop. An attempt ends when it is to end, whether or not
 * the function has returned:
 *
 *     running ──returns, throws──▶ ended
 *        └──cancelled, out of time, too much output──▶ ended; told by its signal, and abandoned until it returns
 *
 * Abandoned functions still use the machine: with as many as there are slots, runs are handed back.
 */
import { followAborts } from "../base/abort.ts";
import type { Clock } from "../base/clock.ts";
import { failed, messageOf, overloaded } from "../base/errors.ts";
import { CUSTOM_OUTPUT_PENDING_BYTES_MAX, REASON_LENGTH_MAX } from "../base/limits.ts";
import type { AttemptEnd, Outcome } from "../model/outcome.ts";
import { checkPresence } from "./checked-content.ts";
import type { Executor, GuestIo, GuestSpec } from "./guest.ts";
import { KeptContents } from "./kept-contents.ts";

/** How a function's run ended by itself: what of an Outcome it may say. */
export type CustomOutcome = Exclude<Outcome, { readonly kind: "cancelled" }>;

export interface CustomEnd {
  readonly outcome: CustomOutcome;
  /** Of an exit: unsigned decimal text of 32 bits. */
  readonly value?: string | undefined;
}

/** What a function has of its run besides its spec. Nothing of it does anything once the run has ended. */
export interface CustomIo {
  /** Resolves when more is welcome. Copies the bytes. */
  write(stream: "stdout" | "stderr", bytes: Uint8Array): Promise<void>;
  /** Has a file kept if the run exits; false if the task does not want it. A path's file is read then, and may go after. */
  keep(path: string, content: Uint8Array | { readonly localPath: string }): Promise<boolean>;
}

export type CustomRun = (spec: GuestSpec, io: CustomIo, signal: AbortSignal) => Promise<CustomEnd>;

export interface CustomExecutorInit {
  readonly run: CustomRun;
  /** Runs at once; and functions that were abandoned, at most. */
  readonly slots: number;
  readonly clock: Clock;
}

export class CustomExecutor implements Executor {
  readonly #init: CustomExecutorInit;
  readonly #closing = new AbortController();
  readonly #running = new Set<Promise<AttemptEnd>>();
  #abandoned = 0;

  constructor(init: CustomExecutorInit) {
    this.#init = init;
  }

  /** Functions that have not returned although their attempts have ended. */
  get abandoned(): number {
    return this.#abandoned;
  }

  async run(spec: GuestSpec, io: GuestIo, { signal }: { signal: AbortSignal }): Promise<AttemptEnd> {
    if (this.#abandoned >= this.#init.slots) {
      throw overloaded(`${this.#abandoned} runs that were to stop have not`, { code: "no-runner" });
    }
    const running = this.#run(spec, io, signal);
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  async close(): Promise<void> {
    this.#closing.abort(overloaded("the worker was closed", { code: "closed" }));
    await Promise.allSettled(this.#running);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #run(spec: GuestSpec, io: GuestIo, signal: AbortSignal): Promise<AttemptEnd> {
    const { clock } = this.#init;
    if (spec.modulePath !== undefined || spec.files.length > 0) await checkGiven(spec);
    io.onBegun?.();
    const startedMs = clock.monotonicMs();
    using stop = followAborts([signal, this.#closing.signal]);
    const stopped = Promise.withResolvers<Outcome>();
    const told = new AbortController();
    const end = (outcome: Outcome): void => {
      stopped.resolve(outcome);
      told.abort(new DOMException(describe(outcome), outcome.kind === "timed-out" ? "TimeoutError" : "AbortError"));
    };
    const onAbort = (): void => end({ kind: "cancelled", reason: messageOf(stop.signal.reason) });
    stop.signal.addEventListener("abort", onAbort, { once: true });
    if (stop.signal.aborted) onAbort();
    using _timer = clock.setTimer(spec.timeoutMs, () => {
      end({ kind: "timed-out", reason: `it ran for longer than ${spec.timeoutMs / 1_000} s` });
    });
    const output = new LimitedOutput(spec, io, () => end({ kind: "output-exceeded" }));
    const kept = new KeptContents(spec.outputs);
    const customIo: CustomIo = {
      write: (stream, bytes) => handled(output.write(stream, bytes)),
      keep: (path, content) => handled(Promise.try(() => kept.add(path, content))),
    };
    const ended = this.#call(spec, customIo, told.signal, stopped.promise);
    const first = await Promise.race([ended, stopped.promise.then((outcome): CustomResult => ({ outcome }))]);
    kept.close();
    await output.close();
    const excess = first.outcome.kind === "exited" ? (output.excess ?? (await kept.handOver(io))) : undefined;
    const outcome = excess ?? first.outcome;
    return {
      outcome,
      ...(outcome === first.outcome && first.value !== undefined && { value: first.value }),
      usage: { wallMs: clock.monotonicMs() - startedMs, cpuMs: 0, memoryBytes: 0 },
      outputBytes: output.bytes,
      outputTruncated: output.isTruncated,
    };
  }

  /** Never rejects. */
  async #call(spec: GuestSpec, io: CustomIo, signal: AbortSignal, stopped: Promise<Outcome>): Promise<CustomResult> {
    let hasReturned = false;
    let isAbandoned = false;
    void stopped.then(() => {
      isAbandoned = !hasReturned;
      if (isAbandoned) this.#abandoned++;
    });
    try {
      if (signal.aborted) return { outcome: { kind: "cancelled", reason: messageOf(signal.reason) } };
      return await this.#init.run(spec, io, signal);
    } catch (thrown) {
      return { outcome: { kind: "trapped", reason: messageOf(thrown).slice(0, REASON_LENGTH_MAX) } };
    } finally {
      hasReturned = true;
      if (isAbandoned) this.#abandoned--;
    }
  }
}

/** Its files are read by the function itself: here is seen that they are there. Rejects as `damagedFile`. */
async function checkGiven({ modulePath, files }: GuestSpec): Promise<void> {
  if (modulePath !== undefined) await checkPresence(modulePath);
  for (const { contentPath, bytes } of files) await checkPresence(contentPath, bytes);
}

interface CustomResult {
  readonly outcome: Outcome;
  readonly value?: string | undefined;
}

/** For whoever may not wait for it: a rejection that nobody looks at is not to end the worker. */
function handled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}

function describe(outcome: Outcome): string {
  return "reason" in outcome && outcome.reason !== undefined ? outcome.reason : `the run is over: ${outcome.kind}`;
}

/** Output in the order of the calls, up to the task's limit. */
class LimitedOutput {
  readonly #spec: Pick<GuestSpec, "outputBytesMax" | "outputLimit">;
  readonly #io: GuestIo;
  readonly #onExcess: () => void;
  #last: Promise<void> = Promise.resolve();
  #pendingBytes = 0;
  #isClosed = false;
  bytes = 0;
  isTruncated = false;

  constructor(spec: Pick<GuestSpec, "outputBytesMax" | "outputLimit">, io: GuestIo, onExcess: () => void) {
    this.#spec = spec;
    this.#io = io;
    this.#onExcess = onExcess;
  }

  /** Too much was written, of a task that is to fail by it. */
  get excess(): Outcome | undefined {
    return this.isTruncated && this.#spec.outputLimit === "fail" ? { kind: "output-exceeded" } : undefined;
  }

  async write(stream: "stdout" | "stderr", bytes: Uint8Array): Promise<void> {
    if (this.#isClosed) throw failed("the run has ended: nothing more can be written", { code: "run-ended" });
    const room = this.#spec.outputBytesMax - this.bytes;
    const kept = bytes.slice(0, Math.max(0, room));
    if (kept.length < bytes.length) {
      this.isTruncated = true;
      if (this.#spec.outputLimit === "fail") this.#onExcess();
    }
    if (kept.length === 0) return;
    if (this.#pendingBytes + kept.length > CUSTOM_OUTPUT_PENDING_BYTES_MAX && this.#pendingBytes > 0) {
      throw overloaded("too much output waits: await each write before the next", { code: "output-not-awaited" });
    }
    this.bytes += kept.length;
    this.#pendingBytes += kept.length;
    this.#last = this.#last
      .then(() => this.#io.write(stream, kept))
      .finally(() => {
        this.#pendingBytes -= kept.length;
      });
    await this.#last;
  }

  /** Resolves when all has been passed on. Never rejects: what went wrong was told to whoever wrote. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#last.catch(() => {});
  }
}
