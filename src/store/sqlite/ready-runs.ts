/**
 * The ready runs, in the order in which they are to be served: by priority, then due time, then age.
 *
 * The index has them by their requirement first, so that those whose labels no worker has are stepped over in one go. What
 * is listed is the merge of one ordered source for each requirement, and one of the runs whose back-off has just ended.
 */
import { STORE_ENDED_BACKOFFS_MAX, STORE_PAGE_BYTES_MAX } from "../../base/limits.ts";
import { decodeCount, decodeNumber, decodeTime, decodeWorker } from "./columns.ts";
import type { Database, Row } from "./database.ts";
import type { Answer, ListReadyArgs, ReadyPosition, ReadyRunWire, SpecWire } from "./messages.ts";
import { readSpec } from "./task-rows.ts";

interface ReadyRow extends ReadyPosition {
  readonly requirement: number;
  readonly attempt: number;
}

export function listReady(db: Database, args: ListReadyArgs): Answer<"listReady"> {
  const runs: ReadyRunWire[] = [];
  const specs = new Map<number, SpecWire>();
  let bytes = 0;
  for (const row of merged(sourcesOf(db, args))) {
    const { serial, index, dueAt, requirement, attempt } = row;
    if (!specs.has(serial)) {
      const spec = readSpec(db, serial);
      bytes += spec.text.length + spec.stdin.length;
      if (runs.length > 0 && bytes > STORE_PAGE_BYTES_MAX) break;
      specs.set(serial, spec);
    }
    const tried = attempt === 0 ? NOT_TRIED : readTriedWorkers(db, serial, index);
    runs.push({ serial, index, dueAt, requirement, nextAttempt: attempt + 1, ...tried });
    if (runs.length >= args.limit) break;
  }
  return { runs, specs: Array.from(specs, ([serial, spec]) => ({ serial, spec })) };
}

type Tried = Pick<ReadyRunWire, "triedWorkers" | "lostOn">;

const NOT_TRIED: Tried = { triedWorkers: [], lostOn: [] };

function readTriedWorkers(db: Database, serial: number, index: number): Tried {
  const rows = db.all(
    `SELECT worker, max(state = 'lost') AS was_lost FROM attempts
     WHERE task = ? AND run = ? AND state IN ('lost', 'failed') GROUP BY worker`,
    serial,
    index,
  );
  const lost = rows.filter((row) => decodeNumber(row.was_lost) !== 0);
  const workerOf = (row: Row) => decodeWorker(row.worker);
  return { triedWorkers: rows.map(workerOf), lostOn: lost.map(workerOf) };
}

/** Rows in order, read as they are wanted. `readOn` gives those that come behind one; none: that was the last. */
class Source {
  readonly #readOn: (after: ReadyRow) => readonly ReadyRow[];
  #rows: readonly ReadyRow[];
  #at = 0;

  constructor(rows: readonly ReadyRow[], readOn: (after: ReadyRow) => readonly ReadyRow[]) {
    this.#rows = rows;
    this.#readOn = readOn;
  }

  get head(): ReadyRow | undefined {
    return this.#rows[this.#at];
  }

  next(): void {
    const row = this.head;
    this.#at++;
    if (row === undefined || this.#at < this.#rows.length) return;
    this.#rows = this.#readOn(row);
    this.#at = 0;
  }
}

function sourcesOf(db: Database, { now, limit, after, except = [] }: ListReadyArgs): Source[] {
  const wanted = wantedRequirements(db, new Set(except));
  // A single source is read in one go; of many, most give but a few rows each.
  const pageRows = Math.min(limit, Math.max(PAGE_ROWS_MIN, Math.ceil((2 * limit) / Math.max(1, wanted.length))));
  const sources = wanted.map((requirement) => {
    const rows = readPage(db, requirement, pageRows, after);
    return new Source(rows, (last) => (rows.length < pageRows ? [] : readPage(db, requirement, pageRows, last)));
  });
  const ended = readEndedBackoffs(db, now, except).filter((row) => after === undefined || comesBefore(after, row));
  if (ended.length > 0) sources.push(new Source(ended, () => []));
  return sources;
}

const PAGE_ROWS_MIN = 8;

/** Every requirement that ready runs have, but for these: one look into the index for each. */
function wantedRequirements(db: Database, except: ReadonlySet<number>): readonly number[] {
  const wanted: number[] = [];
  for (let last = -1; ;) {
    const row = db.get(
      `SELECT requirement FROM runs WHERE state = 'ready' AND not_before = 0 AND requirement > ?
       ORDER BY requirement LIMIT 1`,
      last,
    );
    if (row === undefined) return wanted;
    last = decodeNumber(row.requirement);
    if (!except.has(last)) wanted.push(last);
  }
}

const READY = "SELECT task, idx, due_at, attempt, priority, requirement FROM runs WHERE state = 'ready'";
const READY_ORDER = "ORDER BY priority DESC, due_at, task, idx LIMIT ?2";
const PAGE = `${READY} AND not_before = 0 AND requirement = ?1 ${READY_ORDER}`;

/** In pieces, each of which the index can begin in its middle. */
const PAGE_AFTER = `SELECT * FROM (
    SELECT * FROM (${READY} AND not_before = 0 AND requirement = ?1 AND priority = ?3 AND (due_at, task, idx) > (?4, ?5, ?6)
      ${READY_ORDER})
    UNION ALL
    SELECT * FROM (${READY} AND not_before = 0 AND requirement = ?1 AND priority < ?3 ${READY_ORDER})
  ) ${READY_ORDER}`;

function readPage(
  db: Database,
  requirement: number,
  rows: number,
  after: ReadyPosition | undefined,
): readonly ReadyRow[] {
  const found =
    after === undefined
      ? db.all(PAGE, requirement, rows)
      : db.all(PAGE_AFTER, requirement, rows, after.priority, after.dueAt, after.serial, after.index);
  return found.map(decodeReadyRow);
}

const ENDED_BACKOFFS = `${READY} AND not_before > 0 AND not_before <= ?1
  AND requirement NOT IN (SELECT value FROM json_each(?2)) ORDER BY not_before LIMIT ${STORE_ENDED_BACKOFFS_MAX}`;

/** They are few: `promoteDue` moves them to where the others are, as soon as they have ended. */
function readEndedBackoffs(db: Database, now: number, except: readonly number[]): readonly ReadyRow[] {
  return db
    .all(ENDED_BACKOFFS, now, JSON.stringify(except))
    .map(decodeReadyRow)
    .toSorted((a, b) => (comesBefore(a, b) ? -1 : 1));
}

function decodeReadyRow(row: Row): ReadyRow {
  return {
    serial: decodeCount(row.task),
    index: decodeCount(row.idx),
    dueAt: decodeTime(row.due_at),
    priority: decodeNumber(row.priority),
    requirement: decodeCount(row.requirement),
    attempt: decodeCount(row.attempt),
  };
}

/** No two rows have the same place. */
function comesBefore(a: ReadyPosition, b: ReadyPosition): boolean {
  if (a.priority !== b.priority) return a.priority > b.priority;
  if (a.dueAt !== b.dueAt) return a.dueAt < b.dueAt;
  return a.serial === b.serial ? a.index < b.index : a.serial < b.serial;
}

/** Merges sources by a binary heap of their first rows. */
function* merged(sources: readonly Source[]): Generator<ReadyRow, void> {
  const heap = sources.filter((source) => source.head !== undefined);
  for (let at = Math.floor(heap.length / 2) - 1; at >= 0; at--) sink(heap, at);
  for (;;) {
    const [first] = heap;
    if (first?.head === undefined) return;
    yield first.head;
    first.next();
    const last = first.head === undefined ? heap.pop() : undefined;
    if (last !== undefined && last !== first) heap[0] = last;
    sink(heap, 0);
  }
}

/** Moves the source at this place down until none below it comes first. */
function sink(heap: Source[], start: number): void {
  for (let at = start; ;) {
    let first = at;
    for (const child of [2 * at + 1, 2 * at + 2]) if (isBefore(heap[child], heap[first])) first = child;
    const here = heap[at];
    const below = heap[first];
    if (first === at || here === undefined || below === undefined) return;
    heap[at] = below;
    heap[first] = here;
    at = first;
  }
}

function isBefore(a: Source | undefined, b: Source | undefined): boolean {
  return a?.head !== undefined && b?.head !== undefined && comesBefore(a.head, b.head);
}
