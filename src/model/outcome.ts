/** How an attempt ended. A guest that fails is an outcome, never an exception of the host. */

export type Outcome =
  | { readonly kind: "exited"; readonly code: number }
  | { readonly kind: "trapped"; readonly reason: string }
  /** Over its wall time or CPU time; the reason says which. */
  | { readonly kind: "timed-out"; readonly reason: string }
  | { readonly kind: "memory-exceeded"; readonly reason: string }
  /** More stdout and stderr than it may write; or, with a reason, more files than may be kept. */
  | { readonly kind: "output-exceeded"; readonly reason?: string | undefined }
  | { readonly kind: "cancelled"; readonly reason: string }
  /** The module was not run: not wasm, no such entry, an import nobody grants, a limit it declares to exceed. */
  | { readonly kind: "rejected"; readonly reason: string }
  /** The worker, its runner or the lease went away under the attempt. Not the guest's doing; always tried again. */
  | { readonly kind: "lost"; readonly reason: string };

export type OutcomeKind = Outcome["kind"];

export const OUTCOME_KINDS: readonly OutcomeKind[] = [
  "exited",
  "trapped",
  "timed-out",
  "memory-exceeded",
  "output-exceeded",
  "cancelled",
  "rejected",
  "lost",
];

/** What an attempt used. Times in milliseconds; `memoryBytes` is the peak of the guest's linear memory. */
export interface Usage {
  readonly wallMs: number;
  readonly cpuMs: number;
  readonly memoryBytes: number;
}

export const NO_USAGE: Usage = { wallMs: 0, cpuMs: 0, memoryBytes: 0 };

/** All that a worker tells of a finished attempt. Its output has gone before. */
export interface AttemptEnd {
  readonly outcome: Outcome;
  /** What an exported `run` returned, as unsigned decimal text. */
  readonly value?: string | undefined;
  readonly usage: Usage;
  /** Bytes of log that were kept, stdout and stderr together. */
  readonly outputBytes: number;
  /** The guest wrote more than was kept. */
  readonly outputTruncated: boolean;
}

/** The attempt did what it was for. */
export function hasSucceeded(outcome: Outcome): boolean {
  return outcome.kind === "exited" && outcome.code === 0;
}

/** What a finished run gave. Text is cut to a limit; the log has all of it. */
export interface RunResult {
  readonly value?: string | undefined;
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode?: number | undefined;
}
