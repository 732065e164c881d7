/**
 * The time by which leases are given, and since when it can be relied on.
 *
 * Leases end by the wall clock, as they outlive this process. So a lease that was given while that clock was set wrong ends
 * too early or too late once it is right again, however short a time that was: every lease that is given is an occasion to
 * look whether the clock was set since leases were checked last.
 */
import type { Clock } from "../base/clock.ts";
import type { LeaseTerms } from "./lease-terms.ts";

export class LeaseClock {
  readonly terms: LeaseTerms;
  readonly #clock: Clock;
  #heldSinceMs: number;
  /** The wall clock's lead over the monotonic one when leases were checked last. It changes when the wall clock is set. */
  #leadMs: number;
  #disturbances = 0;
  #disturbedByMs = 0;

  constructor(clock: Clock, terms: LeaseTerms) {
    this.#clock = clock;
    this.terms = terms;
    this.#heldSinceMs = clock.monotonicMs();
    this.#leadMs = this.#lead();
  }

  /**
   * When this gateway began, or its last disorder ended, by the monotonic clock. Attempts that began before were cut off by
   * us.
   */
  get heldSinceMs(): number {
    return this.#heldSinceMs;
  }

  /** How often leases were given, or could have ended, by a time that was wrong. */
  get disturbances(): number {
    return this.#disturbances;
  }

  /** How far the time was off when it was last seen to be wrong. */
  get disturbedByMs(): number {
    return this.#disturbedByMs;
  }

  /** By the wall clock: when a lease ends that is given now. */
  leaseEnd(): number {
    this.#look(this.#lead() - this.#leadMs);
    return this.#clock.now() + this.terms.leaseMs;
  }

  /** This gateway could not take what it was sent: leases that lapse for that are nobody's fault. */
  noteDisorder(): void {
    this.#heldSinceMs = this.#clock.monotonicMs();
  }

  /** Leases are checked now, and this comes so far off its time, either way. */
  checked(offMs: number): void {
    this.#leadMs = this.#lead();
    this.#look(offMs);
  }

  #look(offMs: number): void {
    if (Math.abs(offMs) <= this.terms.checkOffMsMax) return;
    this.#disturbances += 1;
    this.#disturbedByMs = offMs;
  }

  #lead(): number {
    return this.#clock.now() - this.#clock.monotonicMs();
  }
}
