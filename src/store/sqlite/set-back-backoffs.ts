/**
 * Back-offs that were given by a wall clock that was ahead and was put back since: they are as long as ever, but end at a time
 * that is far off. None lasts longer than its task's policy gives, so that what goes beyond that from now on is not right.
 *
 * They are looked for only where the clock has said more than now since there was none: all that back off are gone through.
 */
import { longestBackoffMs } from "../../model/run.ts";
import { decodeAmount, decodeCount, decodeTime } from "./columns.ts";
import type { Database } from "./database.ts";

/** Those that may be too long: any may last as long as a task's first. A lease that is waited for is none. */
const MAYBE_TOO_LONG = `SELECT r.task, r.idx, r.retried, r.not_before, t.backoff_ms
  FROM runs r INDEXED BY runs_backing_off JOIN tasks t ON t.serial = r.task
  WHERE r.state = 'ready' AND r.not_before > 0 AND r.not_before > ?1 AND r.lease_until IS NULL
    AND r.not_before > ?1 + t.backoff_ms
  ORDER BY r.not_before DESC, r.task DESC, r.idx DESC`;

/** Brings up to `limit` of them to the longest that they may last from now on; returns how many it were. */
export function shortenBackoffs(db: Database, now: number, limit: number): number {
  if (db.backoffsGivenUntil <= now) return 0;
  const found: { readonly serial: number; readonly index: number; readonly until: number }[] = [];
  for (const row of db.iterate(MAYBE_TOO_LONG, now)) {
    const until = now + longestBackoffMs(decodeAmount(row.backoff_ms), decodeCount(row.retried));
    if (decodeTime(row.not_before) <= until) continue;
    found.push({ serial: decodeCount(row.task), index: decodeCount(row.idx), until });
    if (found.length >= limit) break;
  }
  for (const { serial, index, until } of found) {
    db.run("UPDATE runs SET not_before = ? WHERE task = ? AND idx = ?", until, serial, index);
  }
  // What has been changed may not be committed: there is none only when none is found.
  if (found.length === 0) db.backoffsGivenUntil = now;
  return found.length;
}

/** A run begins to back off now. */
export function noteBackoff(db: Database, now: number): void {
  db.backoffsGivenUntil = Math.max(db.backoffsGivenUntil, now);
}
