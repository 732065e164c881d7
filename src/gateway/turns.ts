/**
 * Whose turn it is: when each worker was served last, for the `round-robin` pick policy. Kept over the rounds of matching,
 * and over a worker's having no offer for a while. A number per worker and not one cursor over all, because runs that
 * require labels go round a part of the workers only.
 */
import { TURNS_MAX } from "../base/limits.ts";
import type { PeerId } from "../base/ids.ts";

/** What matching reads of it. */
export interface TurnsView {
  /** Greater than every `lastTurn`. */
  readonly nextTurn: number;
  /** The higher, the later it was served. 0: not that is known. */
  lastTurn(worker: PeerId): number;
}

export class Turns implements TurnsView {
  /** The one that was served longest ago comes first. */
  readonly #lastTurns = new Map<PeerId, number>();
  #nextTurn = 1;

  get nextTurn(): number {
    return this.#nextTurn;
  }

  lastTurn(worker: PeerId): number {
    return this.#lastTurns.get(worker) ?? 0;
  }

  /** The worker was given a run. The dispatcher says so for each pairing that it carries out, in order. */
  record(worker: PeerId): void {
    this.#lastTurns.delete(worker);
    this.#lastTurns.set(worker, this.#nextTurn);
    this.#nextTurn++;
    if (this.#lastTurns.size <= TURNS_MAX) return;
    const [oldest] = this.#lastTurns.keys();
    if (oldest !== undefined) this.#lastTurns.delete(oldest);
  }
}
