/**
 * A clock whose timers share one timer of the clock beneath: most guests end long before their deadlines, so that
 * setting one and dropping it again must cost next to nothing. The one beneath is set for the earliest deadline it has
 * seen; it is left alone when that one is dropped, and finds the next when it fires.
 */
import type { Clock, Timer } from "../../base/clock.ts";

class Deadline implements Timer {
  readonly atMs: number;
  readonly callback: () => void;
  readonly #pending: Set<Deadline>;

  constructor(atMs: number, callback: () => void, pending: Set<Deadline>) {
    this.atMs = atMs;
    this.callback = callback;
    this.#pending = pending;
    pending.add(this);
  }

  [Symbol.dispose](): void {
    this.#pending.delete(this);
  }
}

export class Deadlines implements Clock, Disposable {
  readonly #clock: Clock;
  readonly #pending = new Set<Deadline>();
  #timer: Timer | undefined;
  #timerAtMs = Infinity;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  now(): number {
    return this.#clock.now();
  }

  monotonicMs(): number {
    return this.#clock.monotonicMs();
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    const atMs = this.#clock.monotonicMs() + Math.max(0, delayMs);
    const deadline = new Deadline(atMs, callback, this.#pending);
    if (atMs < this.#timerAtMs) this.#arm(atMs);
    return deadline;
  }

  /** Drops all that is pending. */
  [Symbol.dispose](): void {
    this.#pending.clear();
    this.#disarm();
  }

  #arm(atMs: number): void {
    this.#disarm();
    this.#timerAtMs = atMs;
    this.#timer = this.#clock.setTimer(atMs - this.#clock.monotonicMs(), () => this.#fire());
  }

  #disarm(): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = undefined;
    this.#timerAtMs = Infinity;
  }

  #fire(): void {
    this.#disarm();
    const nowMs = this.#clock.monotonicMs();
    let nextMs = Infinity;
    const due: Deadline[] = [];
    for (const deadline of this.#pending) {
      if (deadline.atMs <= nowMs) due.push(deadline);
      else nextMs = Math.min(nextMs, deadline.atMs);
    }
    if (nextMs < Infinity) this.#arm(nextMs);
    for (const deadline of due.toSorted((a, b) => a.atMs - b.atMs)) {
      // One that is due may have dropped another.
      if (this.#pending.delete(deadline)) deadline.callback();
    }
  }
}
