/**
 * What is used of a grant's limits. Whatever a token uses counts for those that it was made with as well, so that a
 * limit cannot be had anew by making tokens.
 */
import type { Clock } from "../base/clock.ts";
import { RATE_BURST_SECONDS } from "../base/limits.ts";
import type { TokenLimits } from "../model/token.ts";
import type { SubmitterLimit } from "../store/store.ts";
import { Rate } from "./rate.ts";

const HOUR_MS = 3_600_000;

export interface UsageInit {
  readonly actor: string;
  readonly limits: TokenLimits;
  /** Of what it was made with. */
  readonly parent: Usage | undefined;
  readonly clock: Clock;
}

export class Usage {
  readonly #actor: string;
  readonly #limits: TokenLimits;
  readonly #parent: Usage | undefined;
  readonly #clock: Clock;
  readonly #children = new Set<Usage>();
  readonly #submits: Rate | undefined;
  readonly #bytes: Rate | undefined;

  constructor({ actor, limits, parent, clock }: UsageInit) {
    this.#actor = actor;
    this.#limits = limits;
    this.#parent = parent;
    this.#clock = clock;
    const nowMs = clock.monotonicMs();
    this.#submits = rate(limits.submitsPerSecond, 1_000, RATE_BURST_SECONDS, nowMs);
    this.#bytes = rate(limits.bytesPerHour, HOUR_MS, 1, nowMs);
    if (parent !== undefined) parent.#children.add(this);
  }

  /** How many submissions can ever be counted at once. */
  get submitsMax(): number {
    return Math.min(...this.#line().map((usage) => usage.#submits?.burst ?? Infinity));
  }

  /**
   * Counts so many submissions, and returns 0; or counts none, and returns the milliseconds until they may be. Of bytes it
   * is known only afterwards how many there were: whoever has spent too many waits with the next submission.
   */
  takeSubmits(count: number): number {
    const nowMs = this.#clock.monotonicMs();
    const line = this.#line();
    const waitMs = Math.max(
      ...line.map((usage) => Math.max(usage.#bytes?.waitMs(0, nowMs) ?? 0, usage.#submits?.waitMs(count, nowMs) ?? 0)),
    );
    if (waitMs === 0) for (const usage of line) usage.#submits?.spend(count, nowMs);
    return waitMs;
  }

  /** Until more bytes may come; 0: now. */
  bytesWaitMs(): number {
    const nowMs = this.#clock.monotonicMs();
    return Math.max(...this.#line().map((usage) => usage.#bytes?.waitMs(0, nowMs) ?? 0));
  }

  spendBytes(count: number): void {
    const nowMs = this.#clock.monotonicMs();
    for (const usage of this.#line()) usage.#bytes?.spend(count, nowMs);
  }

  /** How many tasks may be unfinished, its own and those of the tokens that share a limit with it. */
  get submitterLimit(): SubmitterLimit | undefined {
    const limits = this.#line().flatMap((usage) => {
      const unfinishedMax = usage.#limits.queuedTasks;
      return unfinishedMax === undefined ? [] : [{ submitters: usage.#family(), unfinishedMax }];
    });
    return limits.length === 0 ? undefined : { submitter: this.#actor, limits };
  }

  /** It counts no more. What it used of others stays used. */
  forget(): void {
    const parent = this.#parent;
    if (parent !== undefined) parent.#children.delete(this);
  }

  /** Itself and what it came of. */
  #line(): readonly Usage[] {
    const line: Usage[] = [this];
    for (let usage = this.#parent; usage !== undefined; usage = usage.#parent) line.push(usage);
    return line;
  }

  /** Itself and what came of it. */
  #family(): readonly string[] {
    const family: Usage[] = [this];
    for (const usage of family) family.push(...usage.#children);
    return family.map((usage) => usage.#actor);
  }
}

function rate(amount: number | undefined, perMs: number, burstTimes: number, nowMs: number): Rate | undefined {
  return amount === undefined
    ? undefined
    : new Rate({ perMs: amount / perMs, burst: Math.max(1, amount * burstTimes), nowMs });
}
