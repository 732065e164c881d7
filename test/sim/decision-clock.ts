/**
 * What the gateway's wall clock may have said when something was decided that becomes durable now: clocks are set meanwhile,
 * a disk takes its time, and more of it while the process stands still.
 */
import { EPOCH_MS, type WallClock } from "./sim-process.ts";

/** The longest that it takes from a decision to the end of its commit, while the process runs. */
export const DECISION_MS_MAX = 1_000;

export class DecisionClock {
  readonly #wall: WallClock;
  #wasSet = false;
  /** What the clock was off before it was set, and until when that may have been read. */
  #before: { readonly untilMs: number; readonly offsetMs: number }[] = [];

  constructor(wall: WallClock) {
    this.#wall = wall;
  }

  /** It is not what it was at the beginning, or has not been meanwhile. */
  get wasSet(): boolean {
    return this.#wasSet;
  }

  /** Somebody sets the clock, at `atMs` of the simulated time. */
  set(offsetMs: number, atMs: number): void {
    if (offsetMs === this.#wall.offsetMs) return;
    this.#wasSet = true;
    this.#before.push({ untilMs: atMs, offsetMs: this.#wall.offsetMs });
    this.#wall.offsetMs = offsetMs;
  }

  /** The process goes on, which stood still from the one time to the other. */
  resumed(fromMs: number, toMs: number): void {
    this.#before = this.#before.map(({ untilMs, offsetMs }) => ({
      untilMs: untilMs > fromMs - DECISION_MS_MAX ? toMs : untilMs,
      offsetMs,
    }));
  }

  /** The latest wall clock time by which anything may have been decided that is durable at `atMs`. */
  latest(atMs: number): number {
    const recent = this.#before.filter(({ untilMs }) => atMs - untilMs < DECISION_MS_MAX);
    return EPOCH_MS + atMs + Math.max(this.#wall.offsetMs, ...recent.map(({ offsetMs }) => offsetMs));
  }
}
