/**
 * What the store does for its file when nobody wants anything of it: writes the log back into the database, so that no
 * commit has to, and gives pages that are free for good back to the disk. In steps that take milliseconds each.
 *
 * Pages that deleted rows leave are used again first. Only what is free beyond a reserve goes back, as a burst of work
 * would want it again. A file that was not made for it (`auto_vacuum`) keeps all of its pages. Nothing is done while there is
 * trouble: a file that was moved may be somebody else's by now, and its log is not this one any more.
 */
import {
  STORE_FREE_PAGES_KEPT,
  STORE_FREE_PAGES_KEPT_SHARE,
  STORE_LOG_FRAMES_KEPT,
  STORE_VACUUM_PAGES,
} from "../../base/limits.ts";
import { decodeNumber } from "./columns.ts";
import type { Database } from "./database.ts";
import type { TroubleWatch } from "./trouble-watch.ts";

export class Chores {
  readonly #db: Database;
  readonly #watch: Pick<TroubleWatch, "look">;
  readonly #canShrink: boolean;

  constructor(db: Database, watch: Pick<TroubleWatch, "look">) {
    this.#db = db;
    this.#watch = watch;
    this.#canShrink = this.#pragma("auto_vacuum") === INCREMENTAL;
  }

  /** Does a little, outside any transaction. False: nothing is left to do, or may be done now. Throws as SQLite does. */
  step(): boolean {
    return this.#watch.look() === undefined && (this.#shrink() || this.#writeBack());
  }

  #shrink(): boolean {
    if (!this.#canShrink) return false;
    const kept = Math.max(STORE_FREE_PAGES_KEPT, STORE_FREE_PAGES_KEPT_SHARE * this.#pragma("page_count"));
    const spare = this.#pragma("freelist_count") - kept;
    if (spare < STORE_VACUUM_PAGES) return false;
    this.#db.all(`PRAGMA incremental_vacuum(${STORE_VACUUM_PAGES})`);
    return true;
  }

  #writeBack(): boolean {
    const before = this.#db.get("PRAGMA wal_checkpoint(NOOP)");
    if (decodeNumber(before?.log) - decodeNumber(before?.checkpointed) <= STORE_LOG_FRAMES_KEPT) return false;
    const after = this.#db.get("PRAGMA wal_checkpoint(PASSIVE)");
    // Somebody who reads keeps the rest from being written back.
    return decodeNumber(after?.checkpointed) < decodeNumber(after?.log) && decodeNumber(after?.busy) === 0;
  }

  #pragma(name: string): number {
    return decodeNumber(this.#db.get(`PRAGMA ${name}`)?.[name]);
  }
}

/** Of `auto_vacuum`. */
const INCREMENTAL = 2;
