/** What a store tells of how it does, to whoever measures it. */

export interface StoreMeter {
  /**
   * An operation was answered, so long after it was called. Names are of a fixed set. Called for each operation: it must
   * be quick, and must not throw.
   */
  answered(operation: string, durationMs: number, isRefused: boolean): void;
}

/** What a store has done since it was opened. */
export interface StoreStats {
  /** Transactions that wrote something: disk syncs. */
  readonly commits: number;
  /** Operations that were answered. */
  readonly operations: number;
  /** Operations that wait for their answer. */
  readonly pending: number;
}
