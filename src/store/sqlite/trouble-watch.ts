/**
 * What the store's thread knows of its file's troubles, from how its transactions went. A commit that wrote something ends
 * all but one: a file that was found damaged is not written to any more.
 */
import { STORE_BUSY_TIMEOUT_MS, STORE_STILL_BUSY_TIMEOUT_MS } from "../../base/limits.ts";
import { StoreFailure, type StoreTrouble } from "../trouble.ts";
import type { Database } from "./database.ts";
import { moved, toTrouble } from "./sqlite-errors.ts";

export class TroubleWatch {
  readonly #db: Database;
  #trouble: StoreTrouble | undefined;

  constructor(db: Database) {
    this.#db = db;
  }

  /** A transaction, or an operation in one, has failed. */
  failed(thrown: unknown): void {
    const trouble = toTrouble(thrown, this.#db.path);
    if (trouble !== undefined && this.#trouble?.kind !== "damaged") this.#set(trouble);
  }

  /** Something was written, and is on disk. */
  committed(): void {
    if (this.#trouble !== undefined && this.#trouble.kind !== "damaged") this.#set(undefined);
  }

  /** What is known, after a look whether the file is where it was. */
  look(): StoreTrouble | undefined {
    if (this.#trouble === undefined || this.#trouble.kind === "moved") this.#lookForFile();
    return this.#trouble;
  }

  /** Throws if nothing may be written. */
  requireWritable(): void {
    if (this.#trouble?.kind !== "damaged") this.#lookForFile();
    const { kind, message } = this.#trouble ?? {};
    if (kind === "damaged" || kind === "moved") throw new StoreFailure(kind, message ?? kind);
  }

  #lookForFile(): void {
    if (!this.#db.isInPlace()) this.#set(moved(this.#db.path));
    else if (this.#trouble?.kind === "moved") this.#set(undefined);
  }

  #set(trouble: StoreTrouble | undefined): void {
    const wasBusy = this.#trouble?.kind === "busy";
    this.#trouble = trouble;
    const isBusy = trouble?.kind === "busy";
    // Reads wait while a write waits for the lock: once it is known to be held for long, not for long at a time.
    if (isBusy !== wasBusy) this.#db.waitForLock(isBusy ? STORE_STILL_BUSY_TIMEOUT_MS : STORE_BUSY_TIMEOUT_MS);
  }
}
