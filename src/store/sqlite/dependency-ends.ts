/**
 * Ends of tasks that others wait for. They are noted where they happen and seen to later, in bounded batches
 * (`dependency-rows.ts`): a task may have very many that wait for it.
 */
import type { TaskId } from "../../base/ids.ts";
import { DEPENDENCY_STATES, type DependencyEnd } from "../../model/dependency.ts";
import { DamagedRow } from "./damaged-row.ts";
import type { Database } from "./database.ts";

export interface EndedTask {
  readonly serial: number;
  readonly id: TaskId;
  readonly end: DependencyEnd;
  /** Undefined for one that was deleted. */
  readonly endedAt?: number | undefined;
  /** JSON. */
  readonly reason?: string | undefined;
}

/** False: nobody waits for it. The first end is the one that counts, until it is taken back. */
export function noteEnd(db: Database, ended: EndedTask): boolean {
  requireKnownStates(db, ended.serial);
  const waiting = "SELECT 1 FROM dependencies WHERE dependency = ? AND state = 'waiting' LIMIT 1";
  if (db.get(waiting, ended.serial) === undefined) return false;
  db.run(
    "INSERT INTO dependency_ends (serial, id, ended, ended_at, reason) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    ended.serial,
    ended.id,
    ended.end,
    ended.endedAt ?? null,
    ended.reason ?? null,
  );
  return true;
}

/** The task goes on: who has not been seen to waits for its next end. */
export function takeBackEnd(db: Database, serial: number): void {
  db.run("DELETE FROM dependency_ends WHERE serial = ?", serial);
}

const UNKNOWN_STATE = `SELECT 1 FROM dependencies
  WHERE dependency = ? AND state NOT IN (${DEPENDENCY_STATES.map((state) => `'${state}'`).join(", ")}) LIMIT 1`;

/** Those that wait are found by their state. One whose state is none would not be, and would wait for ever. */
export function requireKnownStates(db: Database, dependency: number): void {
  if (db.get(UNKNOWN_STATE, dependency) !== undefined) {
    throw new DamagedRow("whether a task still waits for another is not known");
  }
}
