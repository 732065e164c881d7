/**
 * Rows of files. Those of an attempt under way have arrived; with its settlement they are kept or forgotten, so that a
 * run that is not running has none. Whatever lets go of a blob says so: its bytes may have become nobody's.
 */
import { STORE_FREED_BLOBS_MAX, STORE_PAGE_BYTES_MAX } from "../../base/limits.ts";
import type { Digest } from "../../base/ids.ts";
import type { Outcome } from "../../model/outcome.ts";
import type { FileContent } from "../../model/task-file.ts";
import type { FreedBlobs } from "../store.ts";
import { decodeCount, decodeDigest, decodeNumber, decodeText } from "./columns.ts";
import type { Database, Row } from "./database.ts";

/** A run, by its task's serial. */
export interface RunKey {
  readonly serial: number;
  readonly index: number;
}

/** What a file costs in an answer besides its path. */
const FILE_OVERHEAD_BYTES = 100;

export const NOTHING_FREED: FreedBlobs = { digests: [], hasMore: false };

export function insertInputFiles(db: Database, serial: number, digests: readonly Digest[]): void {
  for (const digest of new Set(digests)) {
    db.run("INSERT INTO input_files (task, digest) VALUES (?, ?)", serial, digest);
  }
}

/**
 * An attempt is over: what has arrived of it is kept, if its run is over with it and its guest has exited. `outcome` is the
 * run's, if it is over; then it replaces whatever an earlier outcome of the run has kept. `files` are what the run has now.
 */
export function settleFiles(
  db: Database,
  run: RunKey,
  outcome: Outcome | undefined,
): { readonly files: readonly FileContent[]; readonly freed: FreedBlobs } {
  if (outcome === undefined) return { files: keptOf(db, run), freed: forgetArrived(db, run) };
  const replaced = freeRows(db, KEPT_OF_RUN, run.serial, run.index);
  if (outcome.kind !== "exited") return { files: [], freed: joinFreed([replaced, forgetArrived(db, run)]) };
  db.run(
    `INSERT INTO kept_files (task, run, path, digest, bytes)
     SELECT task, run, path, digest, bytes FROM arrived_files WHERE task = ? AND run = ?`,
    run.serial,
    run.index,
  );
  db.run("DELETE FROM arrived_files WHERE task = ? AND run = ?", run.serial, run.index);
  return { files: keptOf(db, run), freed: replaced };
}

/** The run is forgotten, with what was kept of it. */
export function freeKeptOf(db: Database, run: RunKey): FreedBlobs {
  return freeRows(db, KEPT_OF_RUN, run.serial, run.index);
}

function keptOf(db: Database, { serial, index }: RunKey): readonly FileContent[] {
  return readKeptFiles(db, serial, index, index).files.get(index) ?? [];
}

/** The attempt is over, and nothing of it is kept. */
function forgetArrived(db: Database, run: RunKey): FreedBlobs {
  return freeRows(db, ARRIVED_OF_RUN, run.serial, run.index);
}

/** Blobs that a task refers to, which is about to be deleted. Its rows stay for the purge. */
export function blobsOfTask(db: Database, serial: number, module: Digest | undefined): FreedBlobs {
  const rows = db.all(
    `SELECT digest FROM input_files WHERE task = ?1
     UNION SELECT digest FROM arrived_files WHERE task = ?1
     UNION SELECT digest FROM kept_files WHERE task = ?1
     LIMIT ${STORE_FREED_BLOBS_MAX + 1}`,
    serial,
  );
  return freedOf([
    ...new Set([...(module === undefined ? [] : [module]), ...rows.map((row) => decodeDigest(row.digest))]),
  ]);
}

/** Puts together what several steps of one operation have freed. */
export function joinFreed(all: readonly FreedBlobs[]): FreedBlobs {
  const { digests, hasMore } = freedOf([...new Set(all.flatMap((each) => each.digests))]);
  return { digests, hasMore: hasMore || all.some((each) => each.hasMore) };
}

const ARRIVED_OF_RUN = "arrived_files WHERE task = ? AND run = ?";
const KEPT_OF_RUN = "kept_files WHERE task = ? AND run = ?";

function freeRows(db: Database, from: string, serial: number, run: number): FreedBlobs {
  const rows = db.all(`SELECT DISTINCT digest FROM ${from}`, serial, run);
  if (rows.length === 0) return NOTHING_FREED;
  db.run(`DELETE FROM ${from}`, serial, run);
  return freedOf(rows.map((row) => decodeDigest(row.digest)));
}

function freedOf(digests: readonly Digest[]): FreedBlobs {
  return { digests: digests.slice(0, STORE_FREED_BLOBS_MAX), hasMore: digests.length > STORE_FREED_BLOBS_MAX };
}

export interface KeptFilesPage {
  /** By run; of each by path. */
  readonly files: ReadonlyMap<number, readonly FileContent[]>;
  /** The last run of which all are there. */
  readonly toIndex: number;
}

/** Files kept of the runs `fromIndex` to `toIndex`, as many as fit into a page, but those of one run at least. */
export function readKeptFiles(db: Database, serial: number, fromIndex: number, toIndex: number): KeptFilesPage {
  const files = new Map<number, FileContent[]>();
  let bytes = 0;
  const rows = db.iterate(
    "SELECT run, path, digest, bytes FROM kept_files WHERE task = ? AND run BETWEEN ? AND ? ORDER BY run, path",
    serial,
    fromIndex,
    toIndex,
  );
  for (const row of rows) {
    const run = decodeNumber(row.run);
    const file = decodeFile(row);
    bytes += file.path.length + FILE_OVERHEAD_BYTES;
    if (bytes > STORE_PAGE_BYTES_MAX && run > fromIndex) {
      files.delete(run);
      return { files, toIndex: run - 1 };
    }
    const ofRun = files.get(run) ?? [];
    ofRun.push(file);
    files.set(run, ofRun);
  }
  return { files, toIndex };
}

export function decodeFile(row: Row): FileContent {
  return { path: decodeText(row.path), digest: decodeDigest(row.digest), bytes: decodeCount(row.bytes) };
}
