/** The machine's own time. Made in `app/` and `cli/`, handed down as a Clock. */
import type { Clock } from "./clock.ts";

/** setTimeout fires at once for anything longer, so longer waits are cut into pieces. */
const TIMEOUT_MS_MAX = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonicMs: () => performance.now(),
  setTimer(delayMs, callback) {
    let handle: ReturnType<typeof setTimeout>;
    const arm = (leftMs: number): void => {
      const stepMs = Math.min(leftMs, TIMEOUT_MS_MAX);
      handle = setTimeout(() => (leftMs > stepMs ? arm(leftMs - stepMs) : callback()), stepMs);
    };
    arm(Math.max(0, delayMs));
    return { [Symbol.dispose]: () => clearTimeout(handle) };
  },
};
