/**
 * A grant: the authority that a request or a session acts by, however it came about. What is given out on a grant ends
 * with it.
 */
import type { Clock } from "../base/clock.ts";
import { type ClusterError, failed, overloaded } from "../base/errors.ts";
import { type Authority, type Power, type TokenId, allows } from "../model/token.ts";
import type { SubmitterLimit } from "../store/store.ts";
import { Usage } from "./usage.ts";

export interface GrantInit extends Authority {
  /** `local`: this machine, where no token is asked for; `token:admin`: the gateway's own token; `token:<id>`; or a peer's id. */
  readonly actor: string;
  readonly token?: TokenId | undefined;
  /** Of the token that it was made with, whose limits it shares. */
  readonly parent?: Grant | undefined;
}

export class Grant {
  readonly actor: string;
  readonly authority: Authority;
  /** Undefined: nobody can take it back. */
  readonly token: TokenId | undefined;
  readonly #end: AbortController;
  readonly #clock: Clock;
  readonly #usage: Usage;

  /** `wider`: what it was narrowed from, whose use and end it shares. */
  constructor({ actor, token, parent, ...authority }: GrantInit, clock: Clock, wider?: Grant) {
    this.actor = actor;
    this.token = token;
    this.authority = authority;
    this.#clock = clock;
    const shared = parent === undefined ? undefined : parent.#usage;
    this.#usage =
      wider === undefined ? new Usage({ actor, limits: authority.limits, parent: shared, clock }) : wider.#usage;
    this.#end = wider === undefined ? new AbortController() : wider.#end;
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
    return this.#usage.submitterLimit;
  }

  /** The most submissions that `beginSubmit` ever lets pass at once. */
  get submitsMax(): number {
    return this.#usage.submitsMax;
  }

  /** Counts so many submissions, or none: throws `overloaded`, code `rate-limited`, with when to come back. */
  beginSubmit(count = 1): void {
    const waitMs = this.#usage.takeSubmits(count);
    if (waitMs > 0) throw rateLimited(waitMs);
  }

  /** Counts what a submission or an upload has brought. */
  spendBytes(count: number): void {
    this.#usage.spendBytes(count);
  }

  /** Throws as `beginSubmit` does where too much has come already for more to follow. */
  requireBytes(): void {
    const waitMs = this.#usage.bytesWaitMs();
    if (waitMs > 0) throw rateLimited(waitMs);
  }

  /** To be called when it has ended and is not shown any more. */
  forget(): void {
    this.#usage.forget();
  }

  /** The same authority without what `can` leaves out, within the same limits. It ends with this one. */
  narrow(can: readonly Power[]): Grant {
    const { limits, expiresAt } = this.authority;
    const kept = can.filter((power) => this.can(power));
    return new Grant({ actor: this.actor, token: this.token, can: kept, limits, expiresAt }, this.#clock, this);
  }

  end(reason: ClusterError): void {
    this.#end.abort(reason);
  }
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
