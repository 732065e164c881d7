/**
 * What a worker asks of whatever runs guests for it. The runner pool runs WebAssembly, `custom-executor.ts` whatever
 * else a worker brings; `executors.ts` has them by the entries that they are for.
 */
import type { Digest } from "../base/ids.ts";
import type { AttemptEnd } from "../model/outcome.ts";
import type { OutputStream } from "../model/output.ts";
import type { RunEntry, RunSpec } from "../model/run-spec.ts";
import type { AttemptId } from "../model/run.ts";

/** A run's spec as its executor gets it: what the run needs to be fetched has been seen to. */
export interface GuestSpec extends Omit<RunSpec, "id" | "module" | "moduleBytes" | "files" | "leaseMs"> {
  /** For whoever tells people or other programs of it; runs that differ in nothing else are alike. */
  readonly id?: AttemptId | undefined;
  /** The module's bytes: a file whose content was checked against `digest` when it was fetched. Undefined, both: it has none. */
  readonly modulePath?: string | undefined;
  readonly digest?: Digest | undefined;
  /** What the guest finds in its `/`. */
  readonly files: readonly GuestFile[];
}

/** One of WebAssembly, which has a module. */
export interface WasmGuestSpec extends GuestSpec {
  readonly modulePath: string;
  readonly digest: Digest;
  readonly entry: Exclude<RunEntry, { readonly kind: "custom" }>;
}

export interface GuestFile {
  /** Below the guest's `/`. */
  readonly path: string;
  readonly bytes: number;
  /** The content: a file of this machine, whose digest was checked when it was fetched. */
  readonly contentPath: string;
  readonly digest: Digest;
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
  /** Called when the guest begins: from then on nobody has to fetch anything for it again. */
  onBegun?(): void;
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
   * blame; before the guest has begun also as `damagedFile`, after which it may be asked again with files that are whole. Aborting the signal kills the guest within 100 ms: the outcome is `cancelled`, with the signal's reason.
   * Callers keep to the number of slots; calls beyond it wait.
   */
  run(spec: GuestSpec, io: GuestIo, options: { signal: AbortSignal }): Promise<AttemptEnd>;
  /** Ends all guests at once (as `cancelled`) and all runner processes. Idempotent. */
  close(): Promise<void>;
}
