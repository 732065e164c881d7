/**
 * Whether a worker does so much worse than the others that runs are to be kept from it. Pure.
 *
 * A fault is an attempt that went wrong on a worker and that another worker did better: the same run, or the same module
 * where a module was refused. So a guest that fails everywhere, or takes down every runner, is nobody's fault, and a
 * worker that is alone is never found to be at fault. Faults with one cause, such as all attempts that one silence cost,
 * are one incident.
 */
import { QUARANTINE_FAULTS_MIN, QUARANTINE_SHARE_MIN } from "../base/limits.ts";

export interface Fault {
  /** The same for faults that have one cause. */
  readonly incident: string;
  /** By the monotonic clock. */
  readonly atMs: number;
  /** Less than 1 where the guest may be to blame too. */
  readonly weight: number;
  /** For people. */
  readonly what: string;
}

/** How a worker's attempts of late came out. */
export interface WorkerTally {
  /** Attempts that succeeded. */
  readonly successes: number;
  readonly faults: readonly Fault[];
}

/** A worker whose share of faults is not even this many times as large as another's is no worse than that one. */
const WORSE_THAN_ANOTHER = 2;

export function isAtFault(own: WorkerTally, others: readonly WorkerTally[]): boolean {
  const faults = weigh(own.faults);
  if (faults < QUARANTINE_FAULTS_MIN) return false;
  const share = faults / (faults + own.successes);
  if (share < QUARANTINE_SHARE_MIN) return false;
  for (const other of others) {
    const otherFaults = weigh(other.faults);
    const attempts = otherFaults + other.successes;
    // One of which little is known says nothing.
    if (attempts >= QUARANTINE_FAULTS_MIN && share >= (WORSE_THAN_ANOTHER * otherFaults) / attempts) return true;
  }
  return others.every((other) => weigh(other.faults) + other.successes < QUARANTINE_FAULTS_MIN);
}

/** Each incident once. */
function weigh(faults: readonly Fault[]): number {
  const weights = new Map<string, number>();
  for (const { incident, weight } of faults) weights.set(incident, Math.max(weight, weights.get(incident) ?? 0));
  return [...weights.values()].reduce((sum, weight) => sum + weight, 0);
}
