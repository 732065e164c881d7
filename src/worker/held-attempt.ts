/**
 * One attempt on this worker: from the call that starts it to the acknowledgement of its outcome.
 *
 *     fetching ──▶ running ──▶ ended ──acknowledge, stop──▶ forgotten
 *                                └──keep──▶ ended, on the disk too ──leave──▶ told by the worker's next process
 *
 * It belongs to the worker, not to the call or connection that started it: those may go and come back (`attach`).
 *
 * An attempt that this worker ends, or cannot begin, for reasons that are not the run's is *handed back*: its outcome is an
 * `overloaded` error, on which the gateway tries elsewhere and blames nobody. It is never `cancelled`, which would end
 * the run for good: only the gateway cancels.
 */
import { unlessAborted } from "../base/abort.ts";
import { ClusterError, failed, messageOf } from "../base/errors.ts";
import type { Clock } from "../base/clock.ts";
import type { PeerId } from "../base/ids.ts";
import { NO_TRACER, type Span, type Tracer, within } from "../base/tracing.ts";
import type { Log } from "../base/log.ts";
import type { Random } from "../base/random.ts";
import type { OutputClient } from "../caps/output.ts";
import type { RunSources } from "../caps/worker.ts";
import { type AttemptEnd, NO_USAGE, type Outcome, hasSucceeded } from "../model/outcome.ts";
import type { AttemptId } from "../model/run.ts";
import type { RunSpec } from "../model/run-spec.ts";
import { isDamagedFile } from "./checked-content.ts";
import type { Files } from "./files.ts";
import { fetchFiles } from "./fetch-files.ts";
import { FileSpool, handedBack, withRefusal } from "./file-spool.ts";
import type { Executors } from "./executors.ts";
import type { GuestIo, GuestSpec } from "./guest.ts";
import type { KeptFile, KeptOutcomes } from "./kept-outcomes.ts";
import type { ModuleCache } from "./module-cache.ts";
import { OutputSpool } from "./output-spool.ts";
import type { WorkerAttempt } from "./worker-attempt.ts";

export interface HeldAttemptInit {
  readonly spec: RunSpec;
  /** Whose it is. */
  readonly gateway: PeerId;
  /** Where outcomes are kept over a restart; undefined: nowhere. */
  readonly outcomes?: KeptOutcomes | undefined;
  readonly executors: Executors;
  readonly modules: ModuleCache;
  /** Where output goes that does not fit into memory while no gateway is there. */
  readonly spoolPath: string;
  readonly files?: Files | undefined;
  /** Default: nobody traces. */
  readonly tracer?: Tracer | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Bytes of files to keep were written to the disk, or, with a negative number, are gone. */
  readonly onFileBytes: (bytes: number) => void;
  /** The outcome was acknowledged, or the attempt was stopped: the worker holds it no longer. Called once. */
  readonly onForgotten: () => void;
}

/** Our lease ends this much before the gateway's, so that no guest of ours overlaps the next attempt. */
const LEASE_MARGIN = 0.9;

export class HeldAttempt implements WorkerAttempt {
  readonly id: AttemptId;
  readonly gateway: PeerId;
  readonly #init: HeldAttemptInit;
  readonly #spool: OutputSpool;
  /** Undefined: the run keeps no files. */
  readonly #files: FileSpool | undefined;
  readonly #kill = new AbortController();
  /** By the monotonic clock. */
  #leaseEndsAtMs = 0;
  /** What an end by our own hand is to be called; decided by whoever asked first. */
  #endedAs: Outcome | undefined;
  /** The outcome that means: handed back. */
  #handedBack: Outcome | undefined;
  #isForgotten = false;
  /** Forgotten, as it is no longer this worker's: what it wrote is not told any more. */
  #isStopped = false;
  /** Forgotten, and nobody is to be told of it. */
  #isUnwanted = false;
  #hasEnded = false;
  readonly #end: Promise<AttemptEnd>;
  #released: Promise<void> | undefined;
  #keeping: Promise<void> | undefined;
  #kept: KeptFile | undefined;
  /** By the monotonic clock. */
  #endedAtMs = Infinity;

  /** Starts at once. Takes `sources` and `output` over. */
  constructor(init: HeldAttemptInit, sources: RunSources, output: OutputClient) {
    this.#init = init;
    this.id = init.spec.id;
    this.gateway = init.gateway;
    this.renewed(init.clock.monotonicMs());
    this.#spool = new OutputSpool({
      path: init.spoolPath,
      files: init.files,
      clock: init.clock,
      random: init.random,
      log: init.log,
      onRefused: ({ by, reason }) => {
        if (by === "worker") this.handBack(reason);
        else this.#endAs({ kind: "lost", reason });
      },
    });
    if (init.spec.outputs.length > 0) {
      const { files, clock, random, onFileBytes: onBytes } = init;
      const folder = init.outcomes?.filesFolder(this) ?? `${init.spoolPath}-files`;
      this.#files = new FileSpool({ folder, files, clock, random, onBytes });
    }
    this.attach(output, 0);
    this.#end = this.#run(sources).then((end) => {
      this.#hasEnded = true;
      this.#endedAtMs = init.clock.monotonicMs();
      if (end.outcome.kind === "exited") this.#files?.complete();
      else this.#files?.drop();
      return end;
    });
  }

  /** The guest has ended; what is left is to tell. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  get isKept(): boolean {
    return this.#kept !== undefined;
  }

  /** By the monotonic clock; Infinity: not yet. */
  get endedAtMs(): number {
    return this.#endedAtMs;
  }

  /** The first byte of output that is still here. */
  get outputOffset(): number {
    return this.#spool.durableOffset;
  }

  /** Resolves when the guest has ended, told or not. */
  async guestEnded(): Promise<void> {
    await this.#end;
  }

  /** The gateway renewed the lease, in answer to what was asked at this time. Leases never get shorter. */
  renewed(askedAtMs: number): void {
    this.#leaseEndsAtMs = Math.max(this.#leaseEndsAtMs, askedAtMs + this.#init.spec.leaseMs * LEASE_MARGIN);
  }

  hasLeaseAt(nowMs: number): boolean {
    return nowMs < this.#leaseEndsAtMs;
  }

  attach(output: OutputClient, offset: number): void {
    this.#files?.attach(output.dup());
    this.#spool.attach(output, offset);
  }

  detach(): void {
    this.#files?.detach();
    this.#spool.detach();
  }

  /** Rejects with `overloaded`, code `handed-back`, when somebody else is to try again. */
  async outcome({ signal }: { signal: AbortSignal }): Promise<AttemptEnd> {
    const end = await unlessAborted(this.#end, signal);
    await this.#spool.drained({ signal });
    await this.#files?.drained({ signal });
    // Of one that was stopped the output and the files are gone, however its guest has ended meanwhile.
    if (this.#isStopped || end.outcome === this.#handedBack) {
      throw handedBack(end.outcome.kind === "lost" ? end.outcome.reason : "the worker gave it back");
    }
    return withRefusal(this.#spool.endedWith(end), this.#files?.refusal);
  }

  cancel(): void {
    this.#endAs({ kind: "cancelled", reason: "cancelled by the gateway" });
  }

  /** Ends the guest and gives the attempt back: somebody else is to try again. */
  handBack(reason: string): void {
    if (this.#hasEnded || this.#endedAs !== undefined) return;
    this.#handedBack = { kind: "lost", reason };
    this.#endAs(this.#handedBack);
  }

  /** It has ended, or will soon: puts its outcome on the disk. What cannot be kept is told while this process lives. */
  keep(): Promise<void> {
    this.#keeping ??= this.#keep().catch((error: unknown) => {
      this.#keeping = undefined;
      this.#init.log.warn("an outcome cannot be kept on the disk; it is lost if this process ends", {
        ...this.id,
        error,
      });
    });
    return this.#keeping;
  }

  leave(): void {
    if (this.#isForgotten) return;
    this.handBack("the worker was closed");
    this.#isForgotten = true;
    this.#release(this.keep());
  }

  /** Ends the guest and forgets the attempt: it is no longer this worker's. */
  stop(reason: string): void {
    if (this.#isForgotten) return;
    if (!this.#hasEnded) this.#init.log.info("an attempt was stopped", { ...this.id, reason });
    this.handBack(reason);
    this.#isStopped = true;
    this.#forget();
  }

  acknowledge(): void {
    this.#forget();
  }

  /** Resolves, once the attempt is forgotten, when nothing is left of it: no guest, no file. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.stop("the worker let go of it");
    await this.#released;
  }

  #endAs(outcome: Outcome): void {
    if (this.#hasEnded || this.#endedAs !== undefined) return;
    this.#endedAs = outcome;
    this.#kill.abort("reason" in outcome ? outcome.reason : outcome.kind);
  }

  #forget(): void {
    if (this.#isForgotten) return;
    this.#isForgotten = true;
    this.#isUnwanted = true;
    // A file that is just being written is removed once it is there.
    this.#release(this.#keeping ?? Promise.resolve());
  }

  async #keep(): Promise<void> {
    const end = await this.#end;
    const { outcomes } = this.#init;
    if (outcomes === undefined || this.#isUnwanted || end.outcome === this.#handedBack) return;
    this.#kept = await outcomes.save({ gateway: this.gateway, id: this.id, end }, this.#spool, this.#files);
  }

  #release(kept: Promise<void>): void {
    this.#released = Promise.all([this.#end, kept]).then(async () => {
      await this.#spool[Symbol.asyncDispose]();
      if (this.#isUnwanted) await this.#kept?.remove();
      await this.#files?.close({ isKept: !this.#isUnwanted && this.#kept !== undefined });
    });
    this.#released.catch((error: unknown) => {
      this.#init.log.warn("the output of an attempt could not be cleared away", { ...this.id, error });
    });
    this.#init.onForgotten();
  }

  async #run(taken: RunSources): Promise<AttemptEnd> {
    const { spec, tracer = NO_TRACER } = this.#init;
    const { task, run, attempt } = spec.id;
    const attributes = { "capmesh.task": task, "capmesh.run": run, "capmesh.attempt": attempt };
    const span = tracer.start("Worker.run", { kind: "server", parent: spec.traceparent, attributes });
    const end = await this.#carryOut(taken, (name) => tracer.start(name, { parent: span.traceparent }));
    const { outcome, usage } = end;
    span.set({ "capmesh.outcome": outcome.kind, "capmesh.cpu_ms": usage.cpuMs });
    if (!hasSucceeded(outcome)) span.fail("reason" in outcome ? (outcome.reason ?? outcome.kind) : outcome.kind);
    span.end();
    return end;
  }

  /** Never rejects. */
  async #carryOut(taken: RunSources, startSpan: (name: string) => Span): Promise<AttemptEnd> {
    const { executors, log } = this.#init;
    const { signal } = this.#kill;
    try {
      using owned = new DisposableStack();
      const sources = owned.use(taken);
      const fetch = () => within(startSpan("fetch"), () => this.#fetch(sources, owned, signal));
      const run = (guest: GuestSpec) => within(startSpan("guest"), () => executors.run(guest, io, { signal }));
      // What was fetched may have to be fetched again until the guest has begun.
      const io = { ...this.#guestIo(), onBegun: () => sources[Symbol.dispose]() };
      let guest = await fetch();
      if (this.#endedAs !== undefined) return this.#ended(this.#endedAs);
      const end = await run(guest).catch(async (thrown: unknown) => {
        if (!isDamagedFile(thrown) || this.#endedAs !== undefined) throw thrown;
        log.warn("a file of the cache was damaged, and is fetched again", { ...this.id, error: thrown });
        this.#distrustFetched();
        guest = await fetch();
        return run(guest);
      });
      const outcome = end.outcome.kind === "cancelled" ? (this.#endedAs ?? end.outcome) : end.outcome;
      const outputTruncated = end.outputTruncated || this.#spool.isRefused;
      return { ...end, outcome, outputBytes: this.#spool.outputBytes, outputTruncated };
    } catch (thrown) {
      if (this.#endedAs !== undefined) return this.#ended(this.#endedAs);
      log.warn("an attempt could not be carried out", { ...this.id, error: thrown });
      const outcome: Outcome = { kind: "lost", reason: `the worker could not run it: ${messageOf(thrown)}` };
      // This machine's doing, not the run's: a full disk, no processes left, a source that went away or has too much to
      // do. What the source itself has wrong, a module whose bytes are not those of its digest, is wrong everywhere.
      if (!(thrown instanceof ClusterError && thrown.type === "failed")) this.#handedBack = outcome;
      return this.#ended(outcome);
    }
  }

  /** What the guest needs, on this disk for as long as `owned` is. The sources are borrowed. */
  async #fetch(sources: RunSources, owned: DisposableStack, signal: AbortSignal): Promise<GuestSpec> {
    const { spec, modules } = this.#init;
    const { module: digest, moduleBytes } = spec;
    let modulePath: string | undefined;
    if (digest !== undefined) {
      if (sources.module === undefined) throw failed("the run has a module, and nowhere to read it");
      modulePath = owned.use(await modules.acquire(digest, moduleBytes, sources.module, { signal })).path;
    }
    const { files } = owned.use(await fetchFiles(modules, spec.files, sources.files, signal));
    return { ...spec, modulePath, digest, files };
  }

  #distrustFetched(): void {
    const { spec, modules } = this.#init;
    if (spec.module !== undefined) modules.distrust(spec.module);
    for (const { digest } of spec.files) modules.distrust(digest);
  }

  #guestIo(): GuestIo {
    const write: GuestIo["write"] = (stream, bytes) => this.#spool.append(stream, bytes);
    const files = this.#files;
    if (files === undefined) return { write };
    return {
      write,
      keep: async ({ path, bytes, content }) => {
        try {
          await files.keep(path, bytes, content);
        } catch (thrown) {
          const reason = `its files cannot be kept: ${messageOf(thrown)}`;
          // This machine's doing again, unless what they were to hold went away.
          if (thrown instanceof ClusterError) this.#endAs({ kind: "lost", reason });
          else this.handBack(reason);
          throw thrown;
        }
      },
    };
  }

  #ended(outcome: Outcome): AttemptEnd {
    const { outputBytes, isRefused } = this.#spool;
    return { outcome, usage: NO_USAGE, outputBytes, outputTruncated: isRefused };
  }
}
