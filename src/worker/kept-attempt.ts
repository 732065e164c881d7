/** An attempt of an earlier process of this worker: it has ended, and its outcome and output are on the disk. */
import type { Clock } from "../base/clock.ts";
import type { PeerId } from "../base/ids.ts";
import type { Log } from "../base/log.ts";
import type { Random } from "../base/random.ts";
import type { OutputClient } from "../caps/output.ts";
import type { AttemptEnd } from "../model/outcome.ts";
import type { AttemptId } from "../model/run.ts";
import { FileSpool, withRefusal } from "./file-spool.ts";
import type { Files } from "./files.ts";
import type { FoundOutcome } from "./kept-outcomes.ts";
import { OutputSpool } from "./output-spool.ts";
import type { WorkerAttempt } from "./worker-attempt.ts";

export interface KeptAttemptInit {
  readonly found: FoundOutcome;
  /** As of a FileSpool. */
  readonly onFileBytes: (bytes: number) => void;
  readonly files?: Files | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** It is told, or not wanted. Called once. */
  readonly onForgotten: () => void;
}

export class KeptAttempt implements WorkerAttempt {
  readonly id: AttemptId;
  readonly gateway: PeerId;
  readonly hasEnded = true;
  readonly isKept = true;
  readonly endedAtMs: number;
  readonly #init: KeptAttemptInit;
  readonly #spool: OutputSpool;
  readonly #files: FileSpool;
  #released: Promise<void> | undefined;

  constructor(init: KeptAttemptInit) {
    const { found, files, clock, random, log } = init;
    this.#init = init;
    this.id = found.id;
    this.gateway = found.gateway;
    this.endedAtMs = clock.monotonicMs() - Math.max(0, clock.now() - found.keptAt);
    const { path } = found.output;
    // The end is told all the same, without what is lost.
    this.#spool = new OutputSpool({ path, kept: found.output, files, clock, random, log, onRefused: () => {} });
    const { onFileBytes: onBytes } = init;
    this.#files = new FileSpool({ folder: found.filesFolder, found: found.spooled, files, clock, random, onBytes });
  }

  get outputOffset(): number {
    return this.#spool.durableOffset;
  }

  attach(output: OutputClient, offset: number): void {
    this.#files.attach(output.dup());
    this.#spool.attach(output, offset);
  }

  detach(): void {
    this.#files.detach();
    this.#spool.detach();
  }

  /** Rejects with `overloaded`, code `handed-back`, when its files are not what they were: somebody else is to try again. */
  async outcome({ signal }: { signal: AbortSignal }): Promise<AttemptEnd> {
    await this.#spool.drained({ signal });
    await this.#files.drained({ signal });
    return withRefusal(this.#spool.endedWith(this.#init.found.end), this.#files.refusal);
  }

  acknowledge(): void {
    this.#forget(true);
  }

  stop(): void {
    this.#forget(true);
  }

  leave(): void {
    this.#forget(false);
  }

  /** It has no guest, and so no lease. */
  hasLeaseAt(): boolean {
    return true;
  }

  cancel(): void {}
  handBack(): void {}
  renewed(): void {}

  async [Symbol.asyncDispose](): Promise<void> {
    this.leave();
    await this.#released;
  }

  #forget(isUnwanted: boolean): void {
    if (this.#released !== undefined) return;
    this.#released = this.#release(isUnwanted);
    this.#released.catch((error: unknown) => {
      this.#init.log.warn("the output of an attempt could not be cleared away", { ...this.id, error });
    });
    this.#init.onForgotten();
  }

  async #release(isUnwanted: boolean): Promise<void> {
    await this.#spool[Symbol.asyncDispose]();
    if (isUnwanted) await this.#init.found.file.remove();
    await this.#files.close({ isKept: !isUnwanted });
  }
}
