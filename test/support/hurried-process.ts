/**
 * Loaded into a process by `--import`: each SIGUSR2 puts its monotonic clock forward by a minute, so that what waits for
 * less is over. Timers that were set before come when they would have come.
 */
const MINUTE_MS = 60_000;

const now = performance.now.bind(performance);
let forwardMs = 0;
performance.now = () => now() + forwardMs;
process.on("SIGUSR2", () => (forwardMs += MINUTE_MS));
