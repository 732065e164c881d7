/**
 * What a worker asks of whatever runs guests for it. The runner pool is the one implementation that ships; a worker
 * with an executor of its own implements the same.
 */
import type { Digest } from "../base/ids.ts";
import type { AttemptEnd } from "../model/outcome.ts";

export type GuestEntry =
  | { readonly kind: "command" }
  | { readonly kind: "run"; readonly input: number; readonly difficulty: number }
  | { readonly kind: "component" };

export interface GuestSpec {
  /** The module's bytes: a file whose content has been checked against `digest`. */
  readonly modulePath: string;
  readonly digest: Digest;
  readonly entry: GuestEntry;
  /** argv[1..]. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: Uint8Array;
  /** Wall time, from when a runner has the guest. */
  readonly timeoutMs: number;
  readonly cpuMs: number;
  readonly memoryBytes: number;
  /** Bytes of stdout and stderr together that are passed on. */
  readonly outputBytesMax: number;
  /** Past `outputBytesMax`: drop the rest and let the guest go on, or end it as `output-exceeded`. */
  readonly outputLimit: "truncate" | "fail";
}

export type OutputStream = "stdout" | "stderr";

export interface GuestIo {
  /**
   * Takes what the guest wrote, in order; the bytes belong to the callee. While the promise is pending no more is read
   * from the guest, which blocks once the pipe is full.
   */
  write(stream: OutputStream, bytes: Uint8Array): Promise<void>;
}

export interface Executor extends AsyncDisposable {
  /**
   * Runs one guest to its end. Resolves, once all output has been passed on, with how it ended; a guest never makes it
   * reject. Aborting the signal kills the guest within 100 ms: the outcome is `cancelled`, with the signal's reason.
   * Callers keep to the number of slots; calls beyond it wait.
   */
  run(spec: GuestSpec, io: GuestIo, options: { signal: AbortSignal }): Promise<AttemptEnd>;
  /** Ends all guests at once (as `cancelled`) and all runner processes. Idempotent. */
  close(): Promise<void>;
}
