/**
 * All that a guest's host may use of the world. The runner's entry makes the real ones; tests make their own. What is
 * not here, a guest cannot reach.
 */
export interface GuestPowers {
  /** Nanoseconds since the Unix epoch. */
  realtimeNs(): bigint;
  /** Nanoseconds since some fixed moment; never goes back. */
  monotonicNs(): bigint;
  /** Nanoseconds of CPU time that this process used. */
  cpuNs(): bigint;
  /** Fills `bytes` with unpredictable ones. */
  fillRandom(bytes: Uint8Array): void;
  /** Stops this thread for `durationMs`, without spinning. Infinity sleeps until the process is killed. */
  sleep(durationMs: number): void;
  /** Passes output on, in order; blocks while its reader is slow. The bytes are only valid during the call. */
  writeOutput(stream: "stdout" | "stderr", bytes: Uint8Array): void;
}
