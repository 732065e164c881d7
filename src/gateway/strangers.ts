/**
 * Connections on which nobody is logged in: when they open, while an operator's word is awaited, and again when the last
 * session on them has ended. Strangers are few: past STRANGERS_MAX the one that has been there longest goes, so that those
 * who come with a secret always get their turn. One that neither has logged in nor is pending goes after LOGIN_TIMEOUT_MS.
 * What a stranger does costs its own connection: each way of coming in has a Strangers of its own.
 */
import type { Clock, Timer } from "../base/clock.ts";
import { type ClusterError, failed, overloaded } from "../base/errors.ts";
import { LOGIN_TIMEOUT_MS, STRANGERS_MAX } from "../base/limits.ts";
import type { Log } from "../base/log.ts";

/** A connection, as those see it who decide on it. */
export interface Newcomer {
  /** Where it comes from, for the log. */
  readonly address: string;
  /** Aborted when it has ended. */
  readonly ended: AbortSignal;
  /** Ends it. */
  readonly abort: (reason: ClusterError) => void;
}

/** A connection's time here. */
export interface Visit {
  /** Somebody logs in: no stranger from now on, until the last of such memberships is disposed. */
  join(): Disposable;
  /** It may be a stranger for as long as it likes. */
  isPending(): void;
  /** The log has been told why it will be ended, if it does not log in. */
  isExplained(): void;
}

export class Strangers {
  readonly #clock: Clock;
  readonly #log: Log;
  /** Those that became strangers longest ago come first. */
  readonly #visits = new Set<ConnectionVisit>();

  constructor({ clock, log }: { readonly clock: Clock; readonly log: Log }) {
    this.#clock = clock;
    this.#log = log;
  }

  get size(): number {
    return this.#visits.size;
  }

  /** The connection has just opened, or else has ended already. */
  receive(newcomer: Newcomer): Visit {
    return new ConnectionVisit(newcomer, {
      clock: this.#clock,
      log: this.#log,
      add: (visit) => this.#add(visit),
      delete: (visit) => void this.#visits.delete(visit),
    });
  }

  #add(visit: ConnectionVisit): void {
    this.#visits.add(visit);
    const [longest] = this.#visits;
    if (this.#visits.size <= STRANGERS_MAX || longest === undefined) return;
    this.#visits.delete(longest);
    longest.abort(overloaded("too many connections are not logged in", { code: "too-many-strangers" }));
  }
}

interface Place {
  readonly clock: Clock;
  readonly log: Log;
  readonly add: (visit: ConnectionVisit) => void;
  readonly delete: (visit: ConnectionVisit) => void;
}

class ConnectionVisit implements Visit {
  readonly #newcomer: Newcomer;
  readonly #place: Place;
  #memberships = 0;
  #isExplained = false;
  #timer: Timer | undefined;

  constructor(newcomer: Newcomer, place: Place) {
    this.#newcomer = newcomer;
    this.#place = place;
    newcomer.ended.addEventListener("abort", () => this.#leave(), { once: true });
    this.#begin();
  }

  join(): Disposable {
    this.#memberships++;
    this.#leave();
    let isOver = false;
    return {
      [Symbol.dispose]: () => {
        if (isOver) return;
        isOver = true;
        this.#memberships--;
        if (this.#memberships === 0) this.#begin();
      },
    };
  }

  isPending(): void {
    this.#timer?.[Symbol.dispose]();
  }

  isExplained(): void {
    this.#isExplained = true;
  }

  abort(reason: ClusterError): void {
    if (!this.#isExplained) {
      const { address } = this.#newcomer;
      this.#place.log.warn("a connection that is not logged in was ended", { address, reason: reason.message });
    }
    this.#newcomer.abort(reason);
  }

  #begin(): void {
    if (this.#newcomer.ended.aborted) return;
    this.#timer?.[Symbol.dispose]();
    this.#timer = this.#place.clock.setTimer(LOGIN_TIMEOUT_MS, () => {
      this.abort(failed("no login in time", { code: "login-timeout" }));
    });
    this.#place.add(this);
  }

  #leave(): void {
    this.#timer?.[Symbol.dispose]();
    this.#place.delete(this);
  }
}
