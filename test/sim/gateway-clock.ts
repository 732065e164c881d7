/**
 * What the clock of the gateway's machine was like, in a history, from one process to the next; and whether it is promised
 * that nothing is too old by the time that the process believes: as long as one of two processes in a row, which lived for
 * long enough to say so, had a clock that was right, and the other is not as old as to believe its own.
 */
import type { History, HistoryEvent } from "./history.ts";
import { Weather } from "./weather.ts";

/** One process that was a gateway, or is one. */
interface Life {
  readonly beganAtMs: number;
  /** Its clock was right all the time so far. */
  isRight: boolean;
  /** When its clock was last set, while it was there. */
  setAtMs: number;
}

/** From the start of a process until it looks after its store, and what a look takes. */
const LOOK_LATE_MS_MAX = 3_000;
/** With these, what a process would say of its clock may not get into the store. */
const STORE_FAULTS = /^(trouble-store|break-store|slow-store|pause-gateway) /;

export class GatewayClock {
  readonly #retention: History["retention"];
  readonly #stormy: Weather;
  #offsetMs = 0;
  #life: Life | undefined;
  /** The one before has said what its clock said, which was right. */
  #hasWord = false;

  constructor(history: History) {
    this.#retention = history.retention;
    this.#stormy = new Weather(history, (what) => STORE_FAULTS.test(what));
  }

  /** How much it is ahead. */
  get offsetMs(): number {
    return this.#offsetMs;
  }

  /** Since when it has been as it is, for the process that is there. */
  get sinceMs(): number {
    return Math.max(this.#life?.beganAtMs ?? Infinity, this.#life?.setAtMs ?? -Infinity);
  }

  see(event: HistoryEvent): void {
    switch (event.kind) {
      case "gateway-began":
        this.#life = { beganAtMs: event.atMs, isRight: this.#offsetMs === 0, setAtMs: -Infinity };
        return;
      case "gateway-ended":
        this.#end(event.atMs);
        return;
      case "clock-set":
        this.#set(event);
        break;
      default:
    }
  }

  #set({ offsetMs, atMs }: Extract<HistoryEvent, { kind: "clock-set" }>): void {
    this.#offsetMs = offsetMs;
    if (this.#life === undefined) return;
    this.#life.isRight &&= offsetMs === 0;
    this.#life.setAtMs = atMs;
  }

  /** Nothing is forgotten at this moment that is not old. */
  isPromised(atMs: number): boolean {
    const life = this.#life;
    if (life === undefined || this.#retention === undefined) return true;
    if (life.isRight) return true;
    const { clockTrustedAfterMs, clockTrustMs } = this.#retention;
    const isYoung = atMs < life.beganAtMs + clockTrustedAfterMs;
    const isDoubted = life.setAtMs === -Infinity || atMs < life.setAtMs + clockTrustMs;
    return isYoung && isDoubted && this.#hasWord;
  }

  #end(atMs: number): void {
    const life = this.#life;
    this.#life = undefined;
    if (life === undefined || this.#retention === undefined) return;
    const { sweepEveryMs } = this.#retention;
    const livedMs = atMs - life.beganAtMs;
    // It has never looked.
    if (livedMs < sweepEveryMs) return;
    const hasLooked = livedMs > 2 * sweepEveryMs + LOOK_LATE_MS_MAX;
    this.#hasWord = life.isRight && hasLooked && this.#stormy.wasFair(life.beganAtMs, atMs);
  }
}
