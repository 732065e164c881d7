/**
 * How much is unfinished: tasks, their bytes, each submitter's tasks, and open runs. These are kept as sums in the
 * transactions that change them, so that asking costs nothing, however much there is.
 */
import type { OpenRunCounts, QueueSize, SubmitterFull, SubmitterLimit } from "../store.ts";
import { decodeNumber } from "./columns.ts";
import type { Database } from "./database.ts";

/** What of a task is counted. */
interface QueuedTask {
  readonly specBytes: number;
  readonly submitter: string;
  readonly counts: OpenRunCounts;
  /** Its open runs as they were counted last. */
  savedOpen: OpenRunCounts;
}

export function measureQueue(db: Database): QueueSize {
  return { tasks: readCounter(db, "unfinished"), bytes: readCounter(db, "unfinished_bytes") };
}

function readCounter(db: Database, name: string): number {
  return decodeNumber(db.get("SELECT value FROM counters WHERE name = ?", name)?.value);
}

export function countOpenRuns(db: Database): OpenRunCounts {
  const row = db.get("SELECT scheduled, ready, running FROM open_runs WHERE id = 1");
  return {
    scheduled: decodeNumber(row?.scheduled),
    ready: decodeNumber(row?.ready),
    running: decodeNumber(row?.running),
  };
}

/** Whether so many tasks more are too many for the submitter; undefined: they are not. */
export function fullFor(db: Database, limit: SubmitterLimit, more: number): SubmitterFull | undefined {
  for (const { submitters, unfinishedMax } of limit.limits) {
    const row = db.get(
      `SELECT coalesce(sum(unfinished), 0) AS unfinished FROM submitters
       WHERE submitter IN (SELECT value FROM json_each(?))`,
      JSON.stringify(submitters),
    );
    const unfinished = decodeNumber(row?.unfinished);
    if (unfinished + more > unfinishedMax) return { kind: "submitter-full", unfinished };
  }
  return undefined;
}

/** One task more, or fewer, is unfinished. */
export function countUnfinished(
  db: Database,
  { specBytes, submitter }: Pick<QueuedTask, "specBytes" | "submitter">,
  sign: 1 | -1,
): void {
  db.run("UPDATE counters SET value = value + ? WHERE name = 'unfinished'", sign);
  db.run("UPDATE counters SET value = value + ? WHERE name = 'unfinished_bytes'", sign * specBytes);
  if (sign === 1) {
    db.run(
      `INSERT INTO submitters (submitter, unfinished) VALUES (?, 1)
       ON CONFLICT (submitter) DO UPDATE SET unfinished = unfinished + 1`,
      submitter,
    );
    return;
  }
  db.run("UPDATE submitters SET unfinished = unfinished - 1 WHERE submitter = ?", submitter);
  db.run("DELETE FROM submitters WHERE submitter = ? AND unfinished <= 0", submitter);
}

/** Counts how the task's open runs have changed since it was loaded, or counted last. */
export function countOpenRunsOf(db: Database, task: QueuedTask): void {
  const { scheduled, ready, running } = task.counts;
  add(db, {
    scheduled: scheduled - task.savedOpen.scheduled,
    ready: ready - task.savedOpen.ready,
    running: running - task.savedOpen.running,
  });
  task.savedOpen = { scheduled, ready, running };
}

/** The task is gone, and its open runs with it. */
export function forgetOpenRuns(db: Database, { savedOpen }: Pick<QueuedTask, "savedOpen">): void {
  add(db, { scheduled: -savedOpen.scheduled, ready: -savedOpen.ready, running: -savedOpen.running });
}

function add(db: Database, { scheduled, ready, running }: OpenRunCounts): void {
  if (scheduled === 0 && ready === 0 && running === 0) return;
  db.run(
    "UPDATE open_runs SET scheduled = scheduled + ?, ready = ready + ?, running = running + ? WHERE id = 1",
    scheduled,
    ready,
    running,
  );
}
