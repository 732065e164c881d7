/**
 * How the grace of a drain is shared out: most of it is for what is under way, and what is kept at its end is for handing
 * back and closing, so that the process has ended when the grace is over.
 *
 *     0 ── guests end by themselves ──▶ guestsMs ── hand back ──▶ + handBackMs ── close ──▶ + closeMs = drainMsMax
 *
 * What one share does not need falls to the next.
 */
import { CLOSE_MS_MAX, DRAIN_ENDING_MS_MIN, WORKER_HAND_BACK_MS } from "../base/limits.ts";

export interface DrainTimes {
  readonly guestsMs: number;
  readonly handBackMs: number;
  readonly closeMs: number;
}

/** All of a drain: the grace, or DRAIN_ENDING_MS_MIN where that is more. */
export function drainMsMax(graceMs: number): number {
  return Math.max(graceMs, DRAIN_ENDING_MS_MIN);
}

/** The shares, which together are `drainMsMax`. Half of a short grace is for handing back and closing. */
export function drainTimes(graceMs: number): DrainTimes {
  const endingMsMax = WORKER_HAND_BACK_MS + CLOSE_MS_MAX;
  const endingMs = Math.max(DRAIN_ENDING_MS_MIN, Math.min(graceMs / 2, endingMsMax));
  const handBackMs = endingMs * (WORKER_HAND_BACK_MS / endingMsMax);
  return { guestsMs: drainMsMax(graceMs) - endingMs, handBackMs, closeMs: endingMs - handBackMs };
}
