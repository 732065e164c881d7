/**
 * Runs that were lost, and wait for a worker that has not lost them rather than go to one again that has: a bad worker
 * that is free takes a run again and again while a good one is busy, until the run passes for poison. The wait is
 * bounded, and doubles with each attempt. Nobody waits who has been lost everywhere, or for whom there is no room here.
 */
import type { Clock } from "../base/clock.ts";
import type { PeerId } from "../base/ids.ts";
import { UNTRIED_WAITS_MAX, UNTRIED_WAIT_FIRST_MS, UNTRIED_WAIT_MAX_MS } from "../base/limits.ts";
import { type Requirements, type WorkerState, meetsRequirements } from "../model/worker.ts";
import type { ReadyRun } from "../store/store.ts";

export interface UntriedWaitsInit {
  readonly clock: Clock;
  /** Workers that get runs as soon as they have room. */
  readonly usable: () => Iterable<{ readonly peer: PeerId; readonly state: WorkerState }>;
}

interface Wait {
  /** The attempt that it is before. */
  readonly attempt: number;
  /** By the monotonic clock. */
  readonly untilMs: number;
}

export type LostRun = Pick<ReadyRun, "spec" | "serial" | "index" | "nextAttempt" | "lostOn">;

export class UntriedWaits {
  readonly #init: UntriedWaitsInit;
  readonly #waits = new Map<string, Wait>();

  constructor(init: UntriedWaitsInit) {
    this.#init = init;
  }

  /** For one round of matching, in which the workers stay the same. */
  round(): UntriedRound {
    if (this.#waits.size >= UNTRIED_WAITS_MAX) this.#dropLongOver();
    return new UntriedRound(this.#init.usable, (run) => this.#isOver(run));
  }

  /**
   * How long until the first of them may go anywhere; undefined when none waited at `sinceMs` (by
   * the monotonic clock). Not above 0 for what has ended since then.
   */
  nextEndInMs(sinceMs = this.#init.clock.monotonicMs()): number | undefined {
    const nowMs = this.#init.clock.monotonicMs();
    let next: number | undefined;
    for (const { untilMs } of this.#waits.values()) {
      const leftMs = untilMs - nowMs;
      if (untilMs > sinceMs && (next === undefined || leftMs < next)) next = leftMs;
    }
    return next;
  }

  /** It waits no more. */
  began({ serial, index }: Pick<LostRun, "serial" | "index">): void {
    this.#waits.delete(keyOf({ serial, index }));
  }

  #isOver(run: LostRun): boolean {
    const nowMs = this.#init.clock.monotonicMs();
    const key = keyOf(run);
    const known = this.#waits.get(key);
    if (known?.attempt === run.nextAttempt) return nowMs >= known.untilMs;
    // In the place of another one, that one would wait anew, and none would come to its end.
    if (known === undefined && this.#waits.size >= UNTRIED_WAITS_MAX) return true;
    const doublings = Math.max(0, run.nextAttempt - 2);
    const waitMs = Math.min(UNTRIED_WAIT_MAX_MS, UNTRIED_WAIT_FIRST_MS * 2 ** doublings);
    this.#waits.set(key, { attempt: run.nextAttempt, untilMs: nowMs + waitMs });
    return false;
  }

  /** Their runs were most likely cancelled, or forgotten. */
  #dropLongOver(): void {
    const nowMs = this.#init.clock.monotonicMs();
    for (const [key, { untilMs }] of this.#waits) {
      if (nowMs - untilMs >= UNTRIED_WAIT_MAX_MS) this.#waits.delete(key);
    }
  }
}

export class UntriedRound {
  readonly #usable: UntriedWaitsInit["usable"];
  readonly #isOver: (run: LostRun) => boolean;
  /** Usable workers, by what they are required to be. */
  readonly #capable = new Map<string, readonly PeerId[]>();

  constructor(usable: UntriedWaitsInit["usable"], isOver: (run: LostRun) => boolean) {
    this.#usable = usable;
    this.#isOver = isOver;
  }

  /** The run may go to a worker again that has lost it. */
  mayRepeat(run: LostRun): boolean {
    return !this.hasUntried(run) || this.#isOver(run);
  }

  /** A worker is there that could take it, busy or not, and has not lost it. */
  hasUntried({ spec, lostOn }: LostRun): boolean {
    return this.#capableOf(spec).some((peer) => !lostOn.includes(peer));
  }

  #capableOf({ require, entry }: Requirements): readonly PeerId[] {
    const key = JSON.stringify([entry, require]);
    let capable = this.#capable.get(key);
    if (capable === undefined) {
      capable = [...this.#usable()]
        .filter(({ state }) => meetsRequirements(state, { require, entry }))
        .map(({ peer }) => peer);
      this.#capable.set(key, capable);
    }
    return capable;
  }
}

function keyOf({ serial, index }: Pick<LostRun, "serial" | "index">): string {
  return `${serial}/${index}`;
}
