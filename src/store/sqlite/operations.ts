/** All that the store's thread can do, by name. */
import { dirname } from "node:path";
import { lookForRoom } from "../trouble.ts";
import { decodeOneOf, decodeTime, decodeWorker } from "./columns.ts";
import * as credentials from "./credential-rows.ts";
import * as creating from "./create-operations.ts";
import type { Database } from "./database.ts";
import * as files from "./file-operations.ts";
import * as modules from "./module-operations.ts";
import type { Answer, Args, Operations } from "./messages.ts";
import { inspectTask } from "./inspect-operations.ts";
import { appendOutput, readOutput } from "./output-rows.ts";
import { deleteTask, forgetFinished } from "./forgetting.ts";
import { forgetRuns } from "./run-forgetting.ts";
import { listReady } from "./ready-runs.ts";
import { retryTask } from "./retry-operations.ts";
import * as runs from "./run-operations.ts";
import { DamagedRow } from "./damaged-row.ts";
import * as queue from "./queue-rows.ts";
import { findSubmission } from "./submission-rows.ts";
import * as tasks from "./task-operations.ts";
import { TroubleWatch } from "./trouble-watch.ts";

/** `watch` is told how the transactions go that these are carried out in. */
export function operationsOn(db: Database, watch = new TroubleWatch(db)): Operations {
  return {
    look: () => watch.look() ?? lookForRoom(dirname(db.path)),
    distrust: ({ what }) => watch.failed(new DamagedRow(what)),
    probe: () => void db.run(PROBE),
    createTask: (args) => creating.createTask(db, args),
    createTasks: (args) => creating.createTasks(db, args),
    findSubmission: ({ key, now }) => findSubmission(db, key, now),
    getTask: (args) => tasks.getTask(db, args),
    findTasks: (args) => tasks.findTasks(db, args),
    listTasks: (args) => tasks.listTasks(db, args, (damage) => watch.failed(damage)),
    measureQueue: () => queue.measureQueue(db),
    countOpenRuns: () => queue.countOpenRuns(db),
    listRuns: (args) => tasks.listRuns(db, args),
    getLatestStartedRun: (args) => tasks.getLatestStartedRun(db, args),
    inspectTask: (args) => inspectTask(db, args),
    cancelTask: (args) => tasks.cancelTask(db, args),
    retryTask: (args) => retryTask(db, args),
    deleteTask: (args) => deleteTask(db, args),
    forgetFinished: (args) => forgetFinished(db, args),
    forgetRuns: (args) => forgetRuns(db, args),
    promoteDue: (args) => runs.promoteDue(db, args),
    listReady: (args) => listReady(db, args),
    nextDueAt: () => runs.nextDueAt(db),
    nextBackoffEnd: (args) => runs.nextBackoffEnd(db, args),
    lease: (args) => runs.lease(db, args),
    noteEnded: (args) => runs.noteEnded(db, args),
    renew: (args) => runs.renew(db, args),
    listRunning: (args) => runs.listRunning(db, args),
    extendAllLeases: (args) => runs.extendAllLeases(db, args),
    listExpired: (args) => runs.listExpired(db, args),
    settle: (args) => runs.settle(db, args),
    appendOutput: (args) => appendOutput(db, args),
    readOutput: (args) => readOutput(db, args),
    keepFile: (args) => files.keepFile(db, args),
    findKeptFile: (args) => files.findKeptFile(db, args),
    isBlobUsed: (args) => files.isBlobUsed(db, args),
    getModule: (args) => modules.getModule(db, args),
    holdModule: (args) => modules.holdModule(db, args),
    listModules: (args) => modules.listModules(db, args),
    releaseModules: (args) => modules.releaseModules(db, args),
    getAdmission: (args) => getAdmission(db, args),
    setAdmission: (args) => setAdmission(db, args),
    createToken: (args) => credentials.createToken(db, args),
    listTokens: () => credentials.listTokens(db),
    revokeTokens: (args) => credentials.revokeTokens(db, args),
    forgetTokens: (args) => credentials.forgetTokens(db, args),
    appendAudit: (args) => credentials.appendAudit(db, args),
    listAudit: (args) => credentials.listAudit(db, args),
    listDrained: () => db.all("SELECT peer FROM drained_workers").map((row) => decodeWorker(row.peer)),
    setDrained: (args) => setDrained(db, args),
    getClockMark: () => getClockMark(db),
    setClockMark: (args) => setClockMark(db, args),
  };
}

/** Writes what need not be there, to see whether that can be done. */
const PROBE = `INSERT INTO counters (name, value) VALUES ('probes', 1)
  ON CONFLICT (name) DO UPDATE SET value = value + 1`;

const ADMISSIONS = ["admitted", "barred"] as const;

function getAdmission(db: Database, args: Args<"getAdmission">): Answer<"getAdmission"> {
  const row = db.get("SELECT admission FROM admissions WHERE peer = ?", args.peer);
  return row === undefined ? undefined : decodeOneOf(ADMISSIONS, row.admission);
}

function setAdmission(db: Database, args: Args<"setAdmission">): void {
  db.run(
    `INSERT INTO admissions (peer, admission, changed_at) VALUES (?, ?, ?)
     ON CONFLICT (peer) DO UPDATE SET admission = excluded.admission, changed_at = excluded.changed_at`,
    args.peer,
    args.admission,
    args.now,
  );
}

function setDrained(db: Database, { peer, isDrained, now }: Args<"setDrained">): void {
  if (isDrained) db.run("INSERT OR IGNORE INTO drained_workers (peer, since) VALUES (?, ?)", peer, now);
  else db.run("DELETE FROM drained_workers WHERE peer = ?", peer);
}

function getClockMark(db: Database): number | undefined {
  const row = db.get("SELECT at FROM clock_mark WHERE id = 1");
  return row === undefined ? undefined : decodeTime(row.at);
}

function setClockMark(db: Database, { at }: Args<"setClockMark">): void {
  db.run("INSERT INTO clock_mark (id, at) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET at = excluded.at", at);
}
