/**
 * What a worker asks of whatever runs guests for it. The runner pool is the one implementation that ships; a worker
 * with an executor of its own implements the same.
 */
import type { Digest } from "../base/ids.ts";
import type { AttemptEnd } from "../model/outcome.ts";
import type { OutputStream } from "../model/output.ts";
import type { RunSpec } from "../model/run-spec.ts";

/** A run's spec as its runner gets it: what the run needs to be told apart and fetched has been seen to. */
export interface GuestSpec extends Omit<RunSpec, "id" | "module" | "moduleBytes" | "files" | "leaseMs"> {
  /** The module's bytes: a file whose content has been checked against `digest`. */
  readonly modulePath: string;
  readonly digest: Digest;
  /** What the guest finds in its `/`. */
  readonly files: readonly GuestFile[];
}

export interface GuestFile {
  /** Below the guest's `/`. */
  readonly path: string;
  readonly bytes: number;
  /** The content: a file of this machine, whose digest has been checked. */
  readonly contentPath: string;
}

export interface GuestIo {
  /**
   * Takes what the guest wrote, in order; the bytes belong to the callee. While the promise is pending no more is read
   * from the guest, which blocks once the pipe is full.
   */
  write(stream: OutputStream, bytes: Uint8Array): Promise<void>;
  /**
   * Takes a file to keep. Called once the guest has exited, file by file; each is read to its end before the promise
   * resolves. Absent: nothing is kept.
   */
  keep?(file: FileToKeep): Promise<void>;
}

export interface FileToKeep {
  /** Below the guest's `/`, and matched by one of the spec's `outputs`. */
  readonly path: string;
  readonly bytes: number;
  /** Exactly that many, unless it throws. Read once. */
  readonly content: AsyncIterable<Uint8Array>;
}

export interface Executor extends AsyncDisposable {
  /**
   * Runs one guest to its end. Resolves, once all output has been passed on, with how it ended; a guest never makes it
   * reject. It rejects, with `overloaded`, when this machine cannot run guests now: others are to try, and the run is not to
   * blame. Aborting the signal kills the guest within 100 ms: the outcome is `cancelled`, with the signal's reason.
   * Callers keep to the number of slots; calls beyond it wait.
   */
  run(spec: GuestSpec, io: GuestIo, options: { signal: AbortSignal }): Promise<AttemptEnd>;
  /** Ends all guests at once (as `cancelled`) and all runner processes. Idempotent. */
  close(): Promise<void>;
}
