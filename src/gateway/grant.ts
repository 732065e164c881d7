/**
 * A grant: the authority that a request or a session acts by, however it came about. What is given out on a grant ends
 * with it.
 */
import type { Clock } from "../base/clock.ts";
import { type ClusterError, failed, overloaded } from "../base/errors.ts";
import { RATE_BURST_SECONDS } from "../base/limits.ts";
import { type Authority, type Power, type TokenId, allows } from "../model/token.ts";
import type { SubmitterLimit } from "../store/store.ts";
import { Rate } from "./rate.ts";

export interface GrantInit extends Authority {
  /** `local`: this machine, where no token is asked for; `token:admin`: the gateway's own token; `token:<id>`; or a peer's id. */
  readonly actor: string;
  readonly token?: TokenId | undefined;
}

const HOUR_MS = 3_600_000;

export class Grant {
  readonly actor: string;
  readonly authority: Authority;
  /** Undefined: nobody can take it back. */
  readonly token: TokenId | undefined;
  readonly #end = new AbortController();
  readonly #clock: Clock;
  readonly #rates: Rates;

  constructor({ actor, token, ...authority }: GrantInit, clock: Clock, rates: Rates = ratesOf(authority, clock)) {
    this.actor = actor;
    this.token = token;
    this.authority = authority;
    this.#clock = clock;
    this.#rates = rates;
  }

  /** Aborted when it was revoked or has expired, with `failed`, code `revoked` or `expired`. */
  get ended(): AbortSignal {
    return this.#end.signal;
  }

  can(power: Power): boolean {
    return allows(this.authority.can, power);
  }

  /** Throws `failed`, code `forbidden`, where it does not allow that, and what has ended it where something has. */
  require(power: Power): void {
    this.#end.signal.throwIfAborted();
    if (!this.can(power)) throw forbidden(this.authority.can, power);
  }

  /** How many of its tasks may be unfinished, for the store to see to; undefined: as many as the gateway takes. */
  get submitterLimit(): SubmitterLimit | undefined {
    const { queuedTasks } = this.authority.limits;
    return queuedTasks === undefined ? undefined : { submitter: this.actor, unfinishedMax: queuedTasks };
  }

  /** Counts one submission. Throws `overloaded`, code `rate-limited`, with when to come back. */
  beginSubmit(): void {
    const nowMs = this.#clock.monotonicMs();
    const { submits, bytes } = this.#rates;
    // Of bytes it is known only afterwards how many there were: whoever has spent too many waits with the next.
    const waitMs = Math.max(bytes?.take(0, nowMs) ?? 0, submits?.take(1, nowMs) ?? 0);
    if (waitMs > 0) throw rateLimited(waitMs);
  }

  /** Counts what a submission or an upload has brought. */
  spendBytes(count: number): void {
    this.#rates.bytes?.spend(count, this.#clock.monotonicMs());
  }

  /** The same authority without what `can` leaves out, within the same limits. It ends with this one. */
  narrow(can: readonly Power[]): Grant {
    const { limits, expiresAt } = this.authority;
    const kept = can.filter((power) => this.can(power));
    const init = { actor: this.actor, token: this.token, can: kept, limits, expiresAt };
    const narrower = new Grant(init, this.#clock, this.#rates);
    if (this.ended.aborted) narrower.#end.abort(this.ended.reason);
    this.ended.addEventListener("abort", () => narrower.#end.abort(this.ended.reason), { once: true });
    return narrower;
  }

  end(reason: ClusterError): void {
    this.#end.abort(reason);
  }
}

/** What a grant has used of its limits, together with the narrower ones that came of it. */
interface Rates {
  readonly submits: Rate | undefined;
  readonly bytes: Rate | undefined;
}

function ratesOf({ limits }: Authority, clock: Clock): Rates {
  const nowMs = clock.monotonicMs();
  return {
    submits: rate(limits.submitsPerSecond, 1_000, RATE_BURST_SECONDS, nowMs),
    bytes: rate(limits.bytesPerHour, HOUR_MS, 1, nowMs),
  };
}

function rate(amount: number | undefined, perMs: number, burstTimes: number, nowMs: number): Rate | undefined {
  return amount === undefined
    ? undefined
    : new Rate({ perMs: amount / perMs, burst: Math.max(1, amount * burstTimes), nowMs });
}

export function forbidden(can: readonly Power[], power: Power): ClusterError {
  return failed(`this needs the power to ${power}, and the token can only ${can.join(", ") || "nothing"}`, {
    code: "forbidden",
  });
}

function rateLimited(waitMs: number): ClusterError {
  const seconds = Math.ceil(waitMs / 1_000);
  return overloaded(`the token's limit is reached: come back in ${seconds} s`, {
    code: "rate-limited",
    retryAfterMs: waitMs,
  });
}
