/**
 * The SQLite file: opened, brought to the newest schema, with its statements prepared once. It blocks the thread that
 * calls it, so it lives in the store's own (`thread-entry.ts`).
 *
 * WAL with `synchronous=FULL`: a transaction is on disk when its COMMIT has returned.
 */
import { closeSync, openSync, statSync } from "node:fs";
import { DatabaseSync, type SQLInputValue, type SQLOutputValue, type StatementSync } from "node:sqlite";
import { failed } from "../../base/errors.ts";
import { STORE_BUSY_TIMEOUT_MS, STORE_CHECKED_BYTES_MAX } from "../../base/limits.ts";
import { CronSchedules } from "../../model/cron.ts";
import { MIGRATIONS, type Migration } from "./migrations.ts";
import { StoreFailure, notWritableText } from "../trouble.ts";
import { damaged, toStoreError, toTrouble } from "./sqlite-errors.ts";

export type Row = Readonly<Record<string, SQLOutputValue>>;

export class Database implements Disposable {
  readonly path: string;
  /** Of cron expressions, read once as statements are. */
  readonly schedules = new CronSchedules();
  /** What the clock said at most when the back-offs were given that there are, as far as is known (`set-back-backoffs.ts`). */
  backoffsGivenUntil = Infinity;
  readonly #file: DatabaseSync;
  /** Of the file and its log, as they were opened. */
  readonly #places: readonly Place[];
  readonly #statements = new Map<string, StatementSync>();
  #writes = 0;

  private constructor(path: string, file: DatabaseSync) {
    this.path = path;
    this.#file = file;
    this.#places = [path, `${path}-wal`].map(placeOf).filter((place) => typeof place === "object");
  }

  /**
   * Opens the file, which is made if it is not there, readable for its owner only. A file that is damaged, another
   * program's or a newer version's is refused, and left as it is. Throws a ClusterError.
   */
  static open(path: string, migrations: readonly Migration[] = MIGRATIONS): Database {
    const newest = newestOf(migrations);
    let look: DatabaseSync | undefined;
    let file: DatabaseSync | undefined;
    try {
      refuseLoneLog(path);
      makePrivateFile(path);
      look = lookInto(path, newest);
      file = new DatabaseSync(path, { timeout: STORE_BUSY_TIMEOUT_MS, enableForeignKeyConstraints: false });
      // Reads the log's index too, which is not made a second time as long as the first one to read it is there.
      refuseForeign(file, path, newest);
      if (look === undefined) refuseDamaged(file, path);
      look?.close();
      configure(file);
      migrate(file, path, migrations);
      return new Database(path, file);
    } catch (thrown) {
      if (file?.isOpen) file.close();
      if (look?.isOpen) look.close();
      throw toStoreError(thrown, path);
    }
  }

  /** Rows that were inserted, updated or deleted so far. */
  get writes(): number {
    return this.#writes;
  }

  /** Every statement that was carried out so far, for a look at how SQLite carries it out. */
  get statements(): readonly string[] {
    return Array.from(this.#statements.keys());
  }

  /**
   * Whether the file and its log are still those under their names: what is written has to be found there again. True where
   * that cannot be told, as of a disk that does not answer: the next write says what is wrong.
   */
  isInPlace(): boolean {
    return this.#places.every(({ name, device, inode }) => {
      const now = placeOf(name);
      if (now === "unknown") return true;
      return now !== "nothing" && now.device === device && now.inode === inode;
    });
  }

  /** SQLite ends a transaction by itself on some errors: a full disk is one. */
  get isInTransaction(): boolean {
    return this.#file.isTransaction;
  }

  get(sql: string, ...values: SQLInputValue[]): Row | undefined {
    return this.#statement(sql).get(...values);
  }

  all(sql: string, ...values: SQLInputValue[]): readonly Row[] {
    return this.#statement(sql).all(...values);
  }

  /** Rows as they are found. One iteration of a statement at a time. */
  iterate(sql: string, ...values: SQLInputValue[]): Iterable<Row> {
    return this.#statement(sql).iterate(...values);
  }

  /** Carries out a statement that changes rows; returns how many it changed. */
  run(sql: string, ...values: SQLInputValue[]): number {
    const changes = Number(this.#statement(sql).run(...values).changes);
    this.#writes += changes;
    return changes;
  }

  /** Inserts a row; returns its rowid. */
  insert(sql: string, ...values: SQLInputValue[]): number {
    this.#writes++;
    return Number(this.#statement(sql).run(...values).lastInsertRowid);
  }

  /** How long a statement waits for another process that has the file locked. */
  waitForLock(timeoutMs: number): void {
    this.#file.exec(`PRAGMA busy_timeout = ${timeoutMs}`);
  }

  /** BEGIN, SAVEPOINT and their like. */
  control(sql: string): void {
    this.#statement(sql).run();
  }

  [Symbol.dispose](): void {
    if (this.#file.isOpen) this.#file.close();
  }

  #statement(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#file.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }
}

interface Place {
  readonly name: string;
  readonly device: number;
  readonly inode: number;
}

function placeOf(name: string): Place | "nothing" | "unknown" {
  try {
    const { dev: device, ino: inode } = statSync(name);
    return { name, device, inode };
  } catch (thrown) {
    const code = thrown instanceof Error && "code" in thrown ? thrown.code : undefined;
    return code === "ENOENT" || code === "ENOTDIR" ? "nothing" : "unknown";
  }
}

/** SQLite gives the files beside the database (-wal, -shm) the database's mode. */
function makePrivateFile(path: string): void {
  try {
    closeSync(openSync(path, "a", 0o600));
  } catch (thrown) {
    const text = thrown instanceof Error ? thrown.message : String(thrown);
    throw new StoreFailure("not-writable", notWritableText(path, text), thrown);
  }
}

/**
 * SQLite takes a database without a byte for a new one, and removes the log beside it, in which there may be all that was
 * accepted of late.
 */
function refuseLoneLog(path: string): void {
  const log = `${path}-wal`;
  if (sizeOf(path) >= HEADER_BYTES || sizeOf(log) === 0) return;
  throw failed(
    `the database ${path} is gone or empty, but its log ${log} is there: put the database back where it was, ` +
      "restore both from a backup, or move the log and the folder blobs away to begin with an empty database",
    { code: "store-unavailable" },
  );
}

/** What SQLite's files begin with. It takes one that is cut within for a new one, or for none of its own. */
const HEADER_BYTES = 100;

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/**
 * Refuses a file on a connection that cannot write: the last one that can, when it is closed, writes the log into the
 * database and deletes it. Undefined: there is nothing in the file, or nothing that can be read without writing, as when a
 * transaction of another journal mode has to be taken back first, or the log's index cannot be made. To close.
 */
function lookInto(path: string, newest: number): DatabaseSync | undefined {
  if (sizeOf(path) === 0) return undefined;
  const look = new DatabaseSync(path, { readOnly: true, timeout: STORE_BUSY_TIMEOUT_MS });
  try {
    refuseForeign(look, path, newest);
    refuseDamaged(look, path);
    return look;
  } catch (thrown) {
    look.close();
    if (toTrouble(thrown, path)?.kind === "not-writable") return undefined;
    throw thrown;
  }
}

/** Marks a file as ours, "CpMh", so that another program's database is never written to. */
const APPLICATION_ID = 0x43_70_4d_68;

/** Only reads. */
function refuseForeign(file: DatabaseSync, path: string, newest: number): void {
  const version = pragma(file, "user_version");
  if (pragma(file, "application_id") !== APPLICATION_ID && pragma(file, "schema_version") !== 0) {
    throw failed(`${path} is a database of another program: name another file`, { code: "store-unavailable" });
  }
  if (version <= newest) return;
  throw failed(
    `the database ${path} was written by a newer Capmesh (schema ${version}, this one knows ${newest}): start that version, or use another --data folder`,
    { code: "store-unavailable" },
  );
}

function configure(file: DatabaseSync): void {
  // Of a file that has something in it this could only be changed by writing all of it anew.
  if (pragma(file, "schema_version") === 0) file.exec("PRAGMA auto_vacuum = INCREMENTAL");
  file.exec("PRAGMA journal_mode = WAL");
  file.exec("PRAGMA synchronous = FULL");
  file.exec("PRAGMA temp_store = MEMORY");
  file.exec("PRAGMA cache_size = -32768");
  file.exec("PRAGMA wal_autocheckpoint = 4000");
  file.exec("PRAGMA journal_size_limit = 67108864");
}

function newestOf(migrations: readonly Migration[]): number {
  return migrations.at(-1)?.version ?? 0;
}

function migrate(file: DatabaseSync, path: string, migrations: readonly Migration[]): void {
  const newest = newestOf(migrations);
  if (pragma(file, "application_id") === APPLICATION_ID && pragma(file, "user_version") === newest) return;
  file.exec("BEGIN IMMEDIATE");
  try {
    // Another process may have been here meanwhile.
    refuseForeign(file, path, newest);
    const version = pragma(file, "user_version");
    for (const migration of migrations) {
      if (migration.version > version) file.exec(migration.sql);
    }
    file.exec(`PRAGMA application_id = ${APPLICATION_ID}`);
    file.exec(`PRAGMA user_version = ${newest}`);
    file.exec("COMMIT");
  } catch (thrown) {
    if (file.isTransaction) file.exec("ROLLBACK");
    throw thrown;
  }
}

/** Only reads. A file that is small is read through. Of a larger one, what is damaged is found when it is met. */
function refuseDamaged(file: DatabaseSync, path: string): void {
  if (pragma(file, "page_count") * pragma(file, "page_size") > STORE_CHECKED_BYTES_MAX) return;
  const found = file.prepare("PRAGMA quick_check(1)").get()?.["quick_check"];
  if (found !== "ok")
    throw damaged(
      path,
      String(found)
        .replace(/^\*.*\n/, "")
        .replaceAll("\n", "; "),
    );
}

function pragma(file: DatabaseSync, name: string): number {
  return Number(file.prepare(`PRAGMA ${name}`).get()?.[name] ?? 0);
}
