/**
 * A clock that stands still until it is moved. Timers fire in the order of their due times, equal ones in the order in
 * which they were set, each at exactly its due time; one that a callback sets inside the stretch fires within it.
 */
import type { Clock, Timer } from "../../src/base/clock.ts";

interface PendingTimer {
  readonly dueMs: number;
  readonly callback: () => void;
}

export interface ManualClockInit {
  /** Wall-clock time at the start, in milliseconds since the Unix epoch. */
  readonly now?: number;
}

/** Timers that one move may fire; past it something re-arms itself without end. */
const FIRED_IN_ONE_MOVE_MAX = 1_000_000;

export class ManualClock implements Clock {
  #epochMs: number;
  #monotonicMs = 0;
  /** By due time, ascending; equal ones in the order of `setTimer`. */
  readonly #timers: PendingTimer[] = [];

  constructor(init: ManualClockInit = {}) {
    this.#epochMs = init.now ?? Date.UTC(2030, 0, 1);
  }

  now(): number {
    return this.#epochMs + this.#monotonicMs;
  }

  monotonicMs(): number {
    return this.#monotonicMs;
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    const timer: PendingTimer = { dueMs: this.#monotonicMs + Math.max(0, delayMs), callback };
    this.#timers.splice(this.#positionAfter(timer.dueMs), 0, timer);
    return {
      [Symbol.dispose]: () => {
        const index = this.#timers.indexOf(timer);
        if (index >= 0) this.#timers.splice(index, 1);
      },
    };
  }

  /** Timers that are set; 0 at the end of a test in which none outlives its owner. */
  get pendingTimers(): number {
    return this.#timers.length;
  }

  /** How long until the first timer is due; undefined when none is set. */
  get nextTimerInMs(): number | undefined {
    const first = this.#timers[0];
    return first === undefined ? undefined : first.dueMs - this.#monotonicMs;
  }

  /** Moves time on by `ms` at once. What promises do with it happens after this returns. */
  advance(ms: number): void {
    const endMs = this.#monotonicMs + ms;
    for (let fired = 0; this.#fireFirst(endMs); fired++) checkFired(fired);
    this.#monotonicMs = endMs;
  }

  /**
   * Moves time on by `ms`, and lets all promise callbacks run before, between timers and after, so that a loop of
   * `await sleep(...)` goes round as often as it would.
   */
  async run(ms: number): Promise<void> {
    const endMs = this.#monotonicMs + ms;
    await settlePromises();
    for (let fired = 0; this.#fireFirst(endMs); fired++) {
      checkFired(fired);
      await settlePromises();
    }
    this.#monotonicMs = Math.max(this.#monotonicMs, endMs);
  }

  /** Time goes by and no timer fires, as while a process is stopped. Those that are due then fire late, at the next move. */
  stall(ms: number): void {
    this.#monotonicMs += ms;
  }

  /** Sets the wall clock forward or back by `ms`, as an operator or NTP does. Timers do not notice. */
  jump(ms: number): void {
    this.#epochMs += ms;
  }

  #positionAfter(dueMs: number): number {
    let low = 0;
    let high = this.#timers.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const timer = this.#timers[middle];
      if (timer !== undefined && timer.dueMs <= dueMs) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Fires the first timer that is due by `endMs`, at its time. False when there is none. */
  #fireFirst(endMs: number): boolean {
    const first = this.#timers[0];
    if (first === undefined || first.dueMs > endMs) return false;
    this.#timers.shift();
    this.#monotonicMs = Math.max(this.#monotonicMs, first.dueMs);
    first.callback();
    return true;
  }
}

/** Resolves when every promise callback that could run has run. */
export function settlePromises(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function checkFired(fired: number): void {
  if (fired >= FIRED_IN_ONE_MOVE_MAX) throw new Error("a timer re-arms itself without end");
}
