/** All that a worker needs to carry out one attempt, but for the module's bytes. */
import type { Digest } from "../base/ids.ts";
import type { CustomKind, Entry } from "./entry.ts";
import type { AttemptId } from "./run.ts";
import type { FileContent } from "./task-file.ts";

export type RunEntry =
  | { readonly kind: "command" }
  | { readonly kind: "run"; readonly input: number; readonly difficulty: number }
  | { readonly kind: "component" }
  /** An executor of the worker's own. */
  | { readonly kind: "custom"; readonly name: CustomKind };

export interface RunSpec {
  readonly id: AttemptId;
  /** Undefined, for a custom entry: the run has none, and `moduleBytes` is 0. */
  readonly module?: Digest | undefined;
  readonly moduleBytes: number;
  readonly entry: RunEntry;
  /** argv[1..]. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: Uint8Array;
  /** Wall time, from when a runner has the guest. */
  readonly timeoutMs: number;
  readonly cpuMs: number;
  readonly memoryBytes: number;
  /** Of this attempt: what the task allows less what earlier attempts of the run have written. */
  readonly outputBytesMax: number;
  /** Past `outputBytesMax`: drop the rest and let the guest go on, or end it as `output-exceeded`. */
  readonly outputLimit: "truncate" | "fail";
  /** In the guest's `/` when it starts. */
  readonly files: readonly FileContent[];
  /** Globs: which of the guest's files are kept once it has exited. */
  readonly outputs: readonly string[];
  /** Whose task it is (`submitter.ts`): guests of different submitters share no runner. */
  readonly submitter: string;
  /** The worker stops the guest when it could not renew for this long. */
  readonly leaseMs: number;
  /** W3C Trace Context of what asks for it. */
  readonly traceparent?: string | undefined;
}

/** The name by which workers say that they have it. */
export function entryName(entry: RunEntry): Entry {
  return entry.kind === "custom" ? entry.name : entry.kind;
}
