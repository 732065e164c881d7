/**
 * What a power cut may leave: the write-ahead log cut or torn anywhere. However it was, the file opens to what it was after
 * one of the acknowledged operations, with all that came before: the last one whose every byte is there.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Database } from "../../../src/store/sqlite/database.ts";
import { GroupCommit } from "../../../src/store/sqlite/group-commit.ts";
import type { Request } from "../../../src/store/sqlite/messages.ts";
import { operationsOn } from "../../../src/store/sqlite/operations.ts";
import { encodeNewTask } from "../../../src/store/sqlite/wire.ts";
import { SeededRandom } from "../../support/seeded-random.ts";
import { INSPECTION, T0, WORKER_A, attemptEnd, bytesOf, taskId, taskSpec } from "../store-samples.ts";

/** Of the log: its header, and each frame, which is a page with a header of its own. */
const HEADER_BYTES = 32;
const FRAME_BYTES = 24 + 4_096;
const TASKS = 2;

/** What is done to the log's frame `index`, with this many whole ones before it. */
type Damage = (log: Buffer, frameStart: number, random: SeededRandom) => Buffer;

const cut: Damage = (log, frameStart) => log.subarray(0, frameStart);
const tear: Damage = (log, frameStart, random) =>
  log.subarray(0, frameStart + 1 + Math.floor(random.next() * (FRAME_BYTES - 1)));
const flip: Damage = (log, frameStart, random) => {
  const at = frameStart + Math.floor(random.next() * FRAME_BYTES);
  const flipped = Buffer.from(log);
  flipped[at] = (log[at] ?? 0) ^ (1 << Math.floor(random.next() * 8));
  return flipped;
};
/** The end of a file that had grown, and whose bytes never came. */
const blank: Damage = (log, frameStart) => Buffer.from(log).fill(0, frameStart);

test.each([
  { name: "cut before a frame", damage: cut },
  { name: "torn within a frame", damage: tear },
  { name: "flipped in a bit", damage: flip },
  { name: "without bytes from a frame on", damage: blank },
])("a log that is $name opens to what was acknowledged before", ({ damage }) => {
  using file = new LoggedFile();
  file.work("first");
  expectPrefixes(file, damage);
});

test("frames of the log's earlier use do not come back", () => {
  using file = new LoggedFile();
  file.work("first");
  file.work("second");
  // What comes now is written over the beginning of the log, and what was there before lies behind it.
  file.restartLog();
  file.work("third");
  expectPrefixes(file, tear);
});

function expectPrefixes(file: LoggedFile, damage: Damage): void {
  const log = file.readLog();
  const random = new SeededRandom(7);
  expect(file.frames).toBeGreaterThan(30);
  for (let frame = 0; frame < file.frames; frame++) {
    const start = HEADER_BYTES + frame * FRAME_BYTES;
    expect(file.openCopy(damage(log, start, random)), `frame ${frame}`).toEqual(file.stateAfter(frame));
  }
  expect(file.openCopy(log)).toEqual(file.stateAfter(file.frames));
}

/** A database whose log is not written back into it, and what it held after each operation. */
class LoggedFile implements Disposable {
  readonly #folder = mkdtempSync(join(tmpdir(), "capmesh-torn-"));
  readonly #path = join(this.#folder, "capmesh.db");
  readonly #db = Database.open(this.#path);
  readonly #group = new GroupCommit(this.#db, operationsOn(this.#db));
  #serial = 0;
  /** The database without its log, and what is in it. */
  #base: { readonly bytes: Buffer; readonly state: string };
  /** In the order in which they were acknowledged. */
  #states: { readonly frames: number; readonly state: string }[] = [];
  #copies = 0;

  constructor() {
    this.#db.get("PRAGMA wal_autocheckpoint = 0");
    this.#db.get("PRAGMA wal_checkpoint(TRUNCATE)");
    this.#base = { bytes: readFileSync(this.#path), state: stateOf(this.#db) };
  }

  /** Frames that are valid. */
  get frames(): number {
    return this.#states.at(-1)?.frames ?? 0;
  }

  /** Everything that tasks go through, one operation to a transaction. */
  work(name: string): void {
    for (let task = 0; task < TASKS; task++) {
      const id = { task: taskId(`${name}-${task}`), serial: ++this.#serial, run: 1, attempt: 1 };
      const spec = taskSpec(id.task, { stdin: new Uint8Array(9_000 * task).fill(task) });
      this.#do({ id: 1, name: "createTask", args: { task: encodeNewTask(spec, INSPECTION), now: T0, key: undefined } });
      this.#do({ id: 1, name: "lease", args: { id, worker: WORKER_A, now: T0, leaseUntil: T0 + 1_000 } });
      const output = { id, offset: 0, stream: "stdout" as const, bytes: bytesOf(`${id.task} says so`.repeat(200)) };
      this.#do({ id: 1, name: "appendOutput", args: output });
      const end = { id, end: attemptEnd(), now: T0, backoffJitter: 0, isBlameless: false, isSpecKnown: true };
      this.#do({ id: 1, name: "settle", args: end });
    }
    this.#do({ id: 1, name: "deleteTask", args: { id: taskId(`${name}-0`) } });
  }

  /** Writes the log back and begins it anew, in the same file. */
  restartLog(): void {
    this.#db.get("PRAGMA wal_checkpoint(RESTART)");
    this.#base = { bytes: readFileSync(this.#path), state: stateOf(this.#db) };
    this.#states = [];
  }

  readLog(): Buffer {
    return readFileSync(`${this.#path}-wal`);
  }

  /** What was acknowledged when the log had this many frames. */
  stateAfter(frames: number): string {
    return this.#states.findLast((each) => each.frames <= frames)?.state ?? this.#base.state;
  }

  /** What another process finds with this log. */
  openCopy(log: Buffer): string {
    const folder = join(this.#folder, `copy-${this.#copies++}`);
    mkdirSync(folder);
    const path = join(folder, "capmesh.db");
    writeFileSync(path, this.#base.bytes);
    writeFileSync(`${path}-wal`, log);
    using db = Database.open(path);
    const state = stateOf(db);
    db[Symbol.dispose]();
    rmSync(folder, { recursive: true });
    return state;
  }

  [Symbol.dispose](): void {
    this.#db[Symbol.dispose]();
    rmSync(this.#folder, { recursive: true });
  }

  #do(request: Request): void {
    let isLeft = true;
    const [reply] = this.#group.next({
      peek: () => (isLeft ? request : undefined),
      shift: () => {
        isLeft = false;
        return request;
      },
    });
    expect(reply).toHaveProperty("answer");
    const row = this.#db.get("PRAGMA wal_checkpoint(NOOP)");
    this.#states.push({ frames: Number(row?.log), state: stateOf(this.#db) });
  }
}

/** All rows of all tables, as text. */
function stateOf(db: Database): string {
  const tables = db.all("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name");
  return tables
    .flatMap(({ name }) => db.all(`SELECT '${String(name)}' AS "table", * FROM "${String(name)}"`))
    .map((row) =>
      JSON.stringify(row, (_, value: unknown) =>
        value instanceof Uint8Array ? Buffer.from(value).toString("latin1") : value,
      ),
    )
    .join("\n");
}
