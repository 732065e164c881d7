/**
 * The one exception class of the project. Its `type` says what the caller may do, in Cap'n Proto's four types; `code`
 * is stable and names the cause. Branch on these two, never on the message. Expected outcomes are values, not errors.
 */

/**
 * - `failed`: report it; trying again will not do.
 * - `overloaded`: back off and try again.
 * - `disconnected`: acquire the capability or connection again, then retry.
 * - `unimplemented`: the other side does not know this; do otherwise.
 */
export type ErrorType = "failed" | "overloaded" | "disconnected" | "unimplemented";

export interface ClusterErrorOptions {
  /** Stable, kebab-case name of the cause, for programs. Default: the type. */
  readonly code?: string;
  readonly cause?: unknown;
  /** Of `overloaded`: when to try again, where that is known. */
  readonly retryAfterMs?: number | undefined;
}

export class ClusterError extends Error {
  override readonly name = "ClusterError";
  readonly type: ErrorType;
  readonly code: string;
  readonly retryAfterMs: number | undefined;

  constructor(type: ErrorType, message: string, options: ClusterErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.type = type;
    this.code = options.code ?? type;
    this.retryAfterMs = options.retryAfterMs;
  }
}

export function failed(message: string, options?: ClusterErrorOptions): ClusterError {
  return new ClusterError("failed", message, options);
}

export function overloaded(message: string, options?: ClusterErrorOptions): ClusterError {
  return new ClusterError("overloaded", message, options);
}

export function disconnected(message: string, options?: ClusterErrorOptions): ClusterError {
  return new ClusterError("disconnected", message, options);
}

export function unimplemented(message: string, options?: ClusterErrorOptions): ClusterError {
  return new ClusterError("unimplemented", message, options);
}

/** What was thrown as a ClusterError: itself if it is one, else a `failed` with the original as its cause. */
export function toClusterError(thrown: unknown): ClusterError {
  if (thrown instanceof ClusterError) return thrown;
  return failed(messageOf(thrown), { cause: thrown });
}

/** The sentence to show for anything that was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** Holds a programmer's assumption. Bytes from peers and users never reach it: they are validated instead. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`assertion failed: ${message}`);
}

/** Makes a `switch` exhaustive: a case that is missing is a type error. */
export function assertNever(value: never): never {
  throw new Error(`assertion failed: unexpected ${JSON.stringify(value)}`);
}
