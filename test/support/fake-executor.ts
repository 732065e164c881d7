/** An executor without guests: what each run prints, and how it ends, is up to the test. */
import { type AttemptEnd, NO_USAGE, type Outcome } from "../../src/model/outcome.ts";
import type { Executor, GuestIo, GuestSpec } from "../../src/worker/guest.ts";

export class FakeRun {
  readonly spec: GuestSpec;
  readonly io: GuestIo;
  readonly signal: AbortSignal;
  readonly ended: Promise<AttemptEnd>;
  readonly #settle: (end: AttemptEnd) => void;
  readonly #fail: (error: unknown) => void;

  constructor(spec: GuestSpec, io: GuestIo, signal: AbortSignal) {
    this.spec = spec;
    this.io = io;
    this.signal = signal;
    const { promise, resolve, reject } = Promise.withResolvers<AttemptEnd>();
    this.ended = promise;
    this.#settle = resolve;
    this.#fail = reject;
    const onAbort = () => this.end({ kind: "cancelled", reason: String(signal.reason) });
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
  }

  print(text: string, stream: "stdout" | "stderr" = "stdout"): Promise<void> {
    return this.io.write(stream, Buffer.from(text));
  }

  /** Leaves a file to be kept. */
  async keep(path: string, bytes: Uint8Array): Promise<void> {
    const content = (async function* () {
      await Promise.resolve();
      if (bytes.length > 0) yield bytes;
    })();
    await this.io.keep?.({ path, bytes: bytes.length, content });
  }

  /** Default: it did what it was for. */
  end(outcome: Outcome = { kind: "exited", code: 0 }, rest: Partial<AttemptEnd> = {}): void {
    this.#settle({ usage: NO_USAGE, outputBytes: 0, outputTruncated: false, ...rest, outcome });
  }

  /** As an executor that breaks. */
  fail(error: unknown): void {
    this.#fail(error);
  }
}

export class FakeExecutor implements Executor {
  /** All that were ever begun. */
  readonly runs: FakeRun[] = [];
  /** Runs under way. */
  active = 0;
  isClosed = false;
  readonly #onRun: ((run: FakeRun) => void) | undefined;
  readonly #keepsRuns: boolean;

  /** `onRun` sees each run when it begins. A run that nobody keeps is not held in `runs`. */
  constructor(onRun?: (run: FakeRun) => void, { keepsRuns = true }: { keepsRuns?: boolean } = {}) {
    this.#onRun = onRun;
    this.#keepsRuns = keepsRuns;
  }

  async run(spec: GuestSpec, io: GuestIo, { signal }: { signal: AbortSignal }): Promise<AttemptEnd> {
    const run = new FakeRun(spec, io, signal);
    if (this.#keepsRuns) this.runs.push(run);
    this.active++;
    this.#onRun?.(run);
    io.onBegun?.();
    try {
      return await run.ended;
    } finally {
      this.active--;
    }
  }

  async close(): Promise<void> {
    this.isClosed = true;
    for (const run of this.runs) run.end({ kind: "cancelled", reason: "the executor was closed" });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
