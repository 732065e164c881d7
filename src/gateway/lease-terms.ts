/** The times that go with a lease, all following from its length. */
import {
  AWAY_GRACE_MS,
  LEASE_CHECK_EVERY_MS,
  LEASE_CHECK_OFF_MS_MAX,
  LEASE_MS,
  LEASE_RENEW_EVERY_MS,
} from "../base/limits.ts";

export interface LeaseTerms {
  /** How long an attempt is held to be alive after its worker renewed it. */
  readonly leaseMs: number;
  /** How often workers renew. */
  readonly renewEveryMs: number;
  /** How long a worker whose connection closed may take to come back. */
  readonly awayGraceMs: number;
  /** How long a worker that fell silent is shown as away: by then its leases have lapsed. */
  readonly silentGraceMs: number;
  /** A check of leases that comes this much off its time, either way, means that renewals may have been missed here. */
  readonly checkOffMsMax: number;
}

export function leaseTerms(leaseMs = LEASE_MS): LeaseTerms {
  return {
    leaseMs,
    renewEveryMs: Math.round((leaseMs * LEASE_RENEW_EVERY_MS) / LEASE_MS),
    awayGraceMs: Math.min(AWAY_GRACE_MS, leaseMs),
    silentGraceMs: leaseMs + 2 * LEASE_CHECK_EVERY_MS,
    checkOffMsMax: Math.min(LEASE_CHECK_OFF_MS_MAX, (leaseMs * LEASE_CHECK_OFF_MS_MAX) / LEASE_MS),
  };
}
