/**
 * Simulated time: what is to happen, in order. Nothing happens between two events; each is followed by all promise
 * callbacks that it causes, and those they cause, until nothing is left to run without time passing. So one order of
 * events is one course of the world.
 */
import { assert } from "../../src/base/errors.ts";

interface Entry {
  readonly atMs: number;
  readonly act: () => void;
}

/** Events that one run may take; past it something re-arms itself without end. */
const EVENTS_MAX = 2_000_000;

export class EventLoop {
  #nowMs = 0;
  /** By time, ascending; equal ones in the order in which they were set. */
  readonly #entries: Entry[] = [];
  #isDirty = false;
  #events = 0;

  get nowMs(): number {
    return this.#nowMs;
  }

  /** Events that have happened. */
  get events(): number {
    return this.#events;
  }

  /** `act` happens after `delayMs`. Disposing what this returns takes it back. */
  after(delayMs: number, act: () => void): Disposable {
    const entry: Entry = { atMs: this.#nowMs + Math.max(0, delayMs), act };
    this.#entries.splice(this.#positionAfter(entry.atMs), 0, entry);
    return {
      [Symbol.dispose]: () => {
        const index = this.#entries.indexOf(entry);
        if (index >= 0) this.#entries.splice(index, 1);
      },
    };
  }

  /** Code of the system under test has run in this event: its promise callbacks are to run before the next one. */
  touch(): void {
    this.#isDirty = true;
  }

  /** Lets everything happen up to `ms` from now. */
  async run(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    await this.#settle();
    for (let first = this.#entries[0]; first !== undefined && first.atMs <= endMs; first = this.#entries[0]) {
      this.#entries.shift();
      this.#nowMs = first.atMs;
      this.#events += 1;
      assert(this.#events < EVENTS_MAX, "events come to an end");
      first.act();
      await this.#settle();
    }
    this.#nowMs = endMs;
  }

  /** Promise callbacks and ticks are all run before an immediate is. */
  async #settle(): Promise<void> {
    while (this.#isDirty) {
      this.#isDirty = false;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  #positionAfter(atMs: number): number {
    let low = 0;
    let high = this.#entries.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const entry = this.#entries[middle];
      if (entry !== undefined && entry.atMs <= atMs) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
