/**
 * Group commit: operations that wait are carried out in one transaction, in their order, and answered after its COMMIT.
 * Each stands in a SAVEPOINT of its own, so that one which throws undoes itself and nothing else. When the transaction
 * as a whole is lost (a full disk), each of its operations is carried out once more, alone: those that can, will. When
 * nothing can be written, reads that stand between changes are answered all the same.
 */
import {
  STORE_GROUP_OPERATIONS_MAX,
  STORE_GROUP_WRITES_MAX,
  STORE_PURGE_ROWS_BUSY_MAX,
  STORE_PURGE_ROWS_MAX,
} from "../../base/limits.ts";
import type { Database } from "./database.ts";
import {
  type Answer,
  type Args,
  type OperationName,
  type Operations,
  READING_OPERATIONS,
  type Reply,
  type Request,
} from "./messages.ts";
import { purge } from "./forgetting.ts";
import { encodeError } from "./error-wire.ts";
import { toStoreError } from "./sqlite-errors.ts";
import { TroubleWatch } from "./trouble-watch.ts";

export class GroupCommit {
  readonly #db: Database;
  readonly #operations: Operations;
  readonly #watch: TroubleWatch;
  #commits = 0;
  #mayHaveGraves = true;

  constructor(db: Database, operations: Operations, watch = new TroubleWatch(db)) {
    this.#db = db;
    this.#operations = operations;
    this.#watch = watch;
  }

  /** Transactions that wrote something and are committed. */
  get commits(): number {
    return this.#commits;
  }

  /** Rows of deleted tasks may be left: call `purgeSome` when there is nothing else to do. */
  get hasGraves(): boolean {
    return this.#mayHaveGraves;
  }

  /**
   * Carries out the next requests of the queue, as many as one transaction takes, and returns their replies. Reads at
   * the head of the queue are answered by themselves: there is no COMMIT for them to wait for.
   */
  next(queue: RequestSource): readonly Reply[] {
    const isReading = isRead(queue.peek());
    const taken: Request[] = [];
    const writesBefore = this.#db.writes;
    const source = (): Request | undefined => {
      const request = queue.peek();
      if (request === undefined || taken.length >= STORE_GROUP_OPERATIONS_MAX) return undefined;
      if (this.#db.writes - writesBefore > STORE_GROUP_WRITES_MAX || (isReading && !isRead(request))) return undefined;
      queue.shift();
      taken.push(request);
      return request;
    };
    try {
      return this.#transact(isReading ? "BEGIN" : "BEGIN IMMEDIATE", source);
    } catch (thrown) {
      const hasBegun = taken.length > 0;
      if (hasBegun && taken.length > 1) return taken.flatMap((each) => this.#alone(each));
      if (hasBegun) return taken.map((each) => this.#refusal(each, thrown));
      // Nothing may be written: another process has the file, or it is damaged. Reads need no more than a snapshot.
      while (source() !== undefined);
      return taken.flatMap((each) => (isRead(each) ? this.#alone(each) : [this.#refusal(each, thrown)]));
    }
  }

  /** Removes some of the rows that deleted tasks have left. */
  purgeSome(): void {
    try {
      this.#transact("BEGIN IMMEDIATE", () => undefined);
    } catch {
      // Nobody waits for it: it is tried again when the next task is deleted, or after a restart.
      this.#mayHaveGraves = false;
    }
  }

  #alone(request: Request): readonly Reply[] {
    const queue = [request];
    try {
      return this.#transact(isRead(request) ? "BEGIN" : "BEGIN IMMEDIATE", () => queue.pop());
    } catch (thrown) {
      return [this.#refusal(request, thrown)];
    }
  }

  #transact(begin: "BEGIN" | "BEGIN IMMEDIATE", source: () => Request | undefined): readonly Reply[] {
    const db = this.#db;
    const writesBefore = db.writes;
    const replies: Reply[] = [];
    try {
      if (begin === "BEGIN IMMEDIATE") this.#watch.requireWritable();
      db.control(begin);
      for (let request = source(); request !== undefined; request = source()) {
        replies.push(this.#carryOut(request));
      }
      const rowsMax = replies.length === 0 ? STORE_PURGE_ROWS_MAX : STORE_PURGE_ROWS_BUSY_MAX;
      const hasMoreGraves =
        begin === "BEGIN IMMEDIATE" && this.#mayHaveGraves ? purge(db, rowsMax) : this.#mayHaveGraves;
      db.control("COMMIT");
      this.#mayHaveGraves = hasMoreGraves;
    } catch (thrown) {
      this.#watch.failed(thrown);
      if (db.isInTransaction) db.control("ROLLBACK");
      throw thrown;
    }
    if (db.writes > writesBefore) {
      this.#commits++;
      this.#watch.committed();
    }
    return replies;
  }

  #carryOut(request: Request): Reply {
    const db = this.#db;
    const isReading = isRead(request);
    if (!isReading) db.control("SAVEPOINT operation");
    try {
      const answer = execute(this.#operations, request);
      if (!isReading) db.control("RELEASE operation");
      if (request.name === "deleteTask" || request.name === "forgetFinished") this.#mayHaveGraves = true;
      return { id: request.id, answer };
    } catch (thrown) {
      this.#watch.failed(thrown);
      if (!db.isInTransaction) throw thrown;
      if (!isReading) {
        db.control("ROLLBACK TO operation");
        db.control("RELEASE operation");
      }
      return this.#refusal(request, thrown);
    }
  }

  #refusal(request: Request, thrown: unknown): Reply {
    return { id: request.id, error: encodeError(toStoreError(thrown, this.#db.path)) };
  }
}

/** The queue of requests, as the group that is being made sees it. */
export interface RequestSource {
  peek(): Request | undefined;
  shift(): Request | undefined;
}

function isRead(request: Request | undefined): boolean {
  return request !== undefined && READING_OPERATIONS.has(request.name);
}

function execute<Name extends OperationName>(
  operations: { readonly [Each in Name]: (args: Args<Each>) => Answer<Each> },
  request: { readonly name: Name; readonly args: Args<Name> },
): Answer<Name> {
  return operations[request.name](request.args);
}
