/**
 * One attempt on this worker: from the call that starts it to the acknowledgement of its outcome.
 *
 *     fetching ──▶ running ──▶ ended ──acknowledge──▶ forgotten
 *
 * It belongs to the worker, not to the call or connection that started it: those may go and come back (`attach`).
 */
import { messageOf } from "../base/errors.ts";
import type { Clock } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import type { Random } from "../base/random.ts";
import type { ModuleClient } from "../caps/module.ts";
import type { OutputClient } from "../caps/output.ts";
import type { RunTarget } from "../caps/run.ts";
import { type AttemptEnd, NO_USAGE, type Outcome } from "../model/outcome.ts";
import type { AttemptId } from "../model/run.ts";
import type { RunSpec } from "../model/run-spec.ts";
import type { Executor } from "./guest.ts";
import type { ModuleCache } from "./module-cache.ts";
import { OutputSpool } from "./output-spool.ts";

export interface HeldAttemptInit {
  readonly spec: RunSpec;
  readonly executor: Executor;
  readonly modules: ModuleCache;
  /** Where output goes that does not fit into memory while no gateway is there. */
  readonly spoolPath: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** The outcome was acknowledged, or the attempt was stopped: the worker holds it no longer. */
  readonly onForgotten: () => void;
}

export class HeldAttempt implements RunTarget {
  readonly id: AttemptId;
  readonly leaseMs: number;
  /** By the monotonic clock. */
  leaseEndsAtMs: number;
  readonly #init: HeldAttemptInit;
  readonly #spool: OutputSpool;
  readonly #kill = new AbortController();
  /** What an end by our own hand is to be called; decided by whoever asked first. */
  #endedAs: Outcome | undefined;
  #isForgotten = false;
  #hasEnded = false;
  readonly #end: Promise<AttemptEnd>;

  /** Starts at once. Takes `module` and `output` over. */
  constructor(init: HeldAttemptInit, module: ModuleClient, output: OutputClient) {
    this.#init = init;
    this.id = init.spec.id;
    this.leaseMs = init.spec.leaseMs;
    this.leaseEndsAtMs = init.clock.monotonicMs() + this.leaseMs;
    this.#spool = new OutputSpool({
      path: init.spoolPath,
      clock: init.clock,
      random: init.random,
      log: init.log,
      onRefused: (reason) => this.stop(`the gateway refused its output: ${reason}`),
    });
    this.#spool.attach(output, 0);
    this.#end = this.#run(module).then((end) => {
      this.#hasEnded = true;
      return end;
    });
  }

  /** The guest has ended; what is left is to tell. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  get outputOffset(): number {
    return this.#spool.durableOffset;
  }

  /** Resolves when the guest has ended, told or not. */
  async guestEnded(): Promise<void> {
    await this.#end;
  }

  attach(output: OutputClient, offset: number): void {
    this.#spool.attach(output, offset);
  }

  detach(): void {
    this.#spool.detach();
  }

  async outcome({ signal }: { signal: AbortSignal }): Promise<AttemptEnd> {
    const end = await this.#end;
    await this.#spool.drained({ signal });
    return end;
  }

  cancel(): void {
    this.#endAs({ kind: "cancelled", reason: "cancelled by the gateway" });
  }

  /** Ends the guest and gives the attempt back: somebody else is to try again. */
  handBack(reason: string): void {
    this.#endAs({ kind: "lost", reason });
  }

  /** Ends the guest and forgets the attempt: it is no longer this worker's. */
  stop(reason: string): void {
    this.#init.log.info("an attempt was stopped", { ...this.id, reason });
    this.#endAs({ kind: "cancelled", reason });
    this.#forget();
  }

  acknowledge(): void {
    this.#forget();
  }

  #endAs(outcome: Outcome): void {
    if (this.#hasEnded || this.#endedAs !== undefined) return;
    this.#endedAs = outcome;
    this.#kill.abort(outcome.kind === "lost" || outcome.kind === "cancelled" ? outcome.reason : outcome.kind);
  }

  #forget(): void {
    if (this.#isForgotten) return;
    this.#isForgotten = true;
    this.#init.onForgotten();
    void this.#end.then(() => this.#spool[Symbol.asyncDispose]());
  }

  async #run(module: ModuleClient): Promise<AttemptEnd> {
    const { spec, modules, executor, log } = this.#init;
    try {
      using source = module;
      using lease = await modules.acquire(spec.module, spec.moduleBytes, source);
      if (this.#endedAs !== undefined) return this.#ended(this.#endedAs);
      const end = await executor.run(
        {
          modulePath: lease.path,
          digest: spec.module,
          entry: spec.entry,
          args: spec.args,
          env: spec.env,
          stdin: spec.stdin,
          timeoutMs: spec.timeoutMs,
          cpuMs: spec.cpuMs,
          memoryBytes: spec.memoryBytes,
          outputBytesMax: spec.outputBytesMax,
          outputLimit: spec.outputLimit,
        },
        { write: (stream, bytes) => this.#spool.append(stream, bytes) },
        { signal: this.#kill.signal },
      );
      const outcome = end.outcome.kind === "cancelled" ? (this.#endedAs ?? end.outcome) : end.outcome;
      return { ...end, outcome, outputBytes: this.#spool.outputBytes };
    } catch (error) {
      log.warn("an attempt could not be carried out", { ...this.id, error });
      return this.#ended(this.#endedAs ?? { kind: "lost", reason: `the worker could not run it: ${messageOf(error)}` });
    }
  }

  #ended(outcome: Outcome): AttemptEnd {
    return { outcome, usage: NO_USAGE, outputBytes: this.#spool.outputBytes, outputTruncated: false };
  }
}
