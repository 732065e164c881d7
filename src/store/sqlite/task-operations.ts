/** Operations on tasks, and what is looked up of their runs. Each runs inside a transaction of the store's thread. */
import { assert } from "../../base/errors.ts";
import { STORE_PAGE_BYTES_MAX } from "../../base/limits.ts";
import type { TaskId } from "../../base/ids.ts";
import type { AttemptId } from "../../model/run.ts";
import { taskTransition } from "../../model/task.ts";
import type { FreedBlobs } from "../store.ts";
import { decodeCount, decodeOptionalText, decodeText } from "./columns.ts";
import { DamagedRow } from "./damaged-row.ts";
import type { Database, Row } from "./database.ts";
import { joinFreed, settleFiles } from "./file-rows.ts";
import type { Answer, ListTasksArgs, SpecWire, TaskWire } from "./messages.ts";
import { attemptId, decide, finishAttempt, finishRun, loadOpenRuns } from "./run-rows.ts";
import { readRunWires } from "./run-wires.ts";
import {
  type TaskRecord,
  decodeSpecWire,
  decodeTaskRecord,
  loadTaskById,
  readRunningSince,
  readTaskWire,
  saveTask,
  standingOf,
  taskWire,
} from "./task-rows.ts";

export function getTask(db: Database, args: { readonly id: TaskId }): Answer<"getTask"> {
  const task = loadTaskById(db, args.id);
  return task === undefined ? undefined : readTaskWire(db, task, false);
}

export function findTasks(db: Database, args: { readonly ids: readonly TaskId[] }): Answer<"findTasks"> {
  return args.ids.flatMap((id) => {
    const task = loadTaskById(db, id);
    return task === undefined ? [] : { id, isEndless: task.plan.total === Infinity };
  });
}

/** `onDamage` is told of a task that cannot be read. */
export function listTasks(
  db: Database,
  args: ListTasksArgs,
  onDamage: (damage: DamagedRow) => void,
): Answer<"listTasks"> {
  const tasks: TaskWire[] = [];
  const ids: TaskId[] = [];
  let bytes = 0;
  for (const row of db.iterate(
    `SELECT t.*, s.spec, s.submitter, s.stdin, r.result FROM tasks t
     LEFT JOIN specs s ON s.serial = t.serial
     LEFT JOIN runs r ON r.task = t.serial AND r.idx = t.result_run
     WHERE ${args.state === undefined ? "" : "t.state = ?3 AND"} t.serial < ?1 ORDER BY t.serial DESC LIMIT ?2`,
    args.belowSerial,
    args.limit + 1,
    ...(args.state === undefined ? [] : [args.state]),
  )) {
    if (tasks.length === args.limit) return { tasks, ids, hasMore: true, unreadable: undefined };
    try {
      const { task, spec, result } = decodeListedTask(row);
      bytes += spec.text.length + spec.stdin.length + (result?.length ?? 0);
      if (tasks.length > 0 && bytes > STORE_PAGE_BYTES_MAX) return { tasks, ids, hasMore: true, unreadable: undefined };
      const runningSince = task.counts.running === 0 ? [] : readRunningSince(db, task.serial);
      tasks.push(taskWire(task, { spec, result, runningSince }));
      ids.push(task.plan.id);
    } catch (thrown) {
      if (!(thrown instanceof DamagedRow)) throw thrown;
      onDamage(thrown);
      const unreadable = { serial: decodeCount(row.serial), id: decodeText(row.id), what: thrown.what };
      return { tasks, ids, hasMore: true, unreadable };
    }
  }
  return { tasks, ids, hasMore: false, unreadable: undefined };
}

function decodeListedTask(row: Row): { task: TaskRecord; spec: SpecWire; result: string | undefined } {
  return { task: decodeTaskRecord(row), spec: decodeSpecWire(row), result: decodeOptionalText(row.result) };
}

export function listRuns(
  db: Database,
  args: { readonly id: TaskId; readonly fromIndex: number; readonly limit: number },
): Answer<"listRuns"> {
  const task = loadTaskById(db, args.id);
  if (task === undefined) return undefined;
  return readRunWires(db, task, { fromIndex: args.fromIndex, limit: args.limit, bytesMax: STORE_PAGE_BYTES_MAX });
}

export function getLatestStartedRun(db: Database, args: { readonly id: TaskId }): Answer<"getLatestStartedRun"> {
  const task = loadTaskById(db, args.id);
  if (task?.latestRun === undefined) return undefined;
  return readRunWires(db, task, { fromIndex: task.latestRun, limit: 1, bytesMax: STORE_PAGE_BYTES_MAX })[0];
}

export function cancelTask(
  db: Database,
  args: { readonly id: TaskId; readonly reason: string; readonly now: number },
): Answer<"cancelTask"> {
  const task = loadTaskById(db, args.id);
  if (task === undefined) return { kind: "no-such-task" };
  const change = taskTransition(standingOf(task), "cancel");
  if (change.kind === "refused") return { kind: "already-finished", task: readTaskWire(db, task, false) };
  const running: AttemptId[] = [];
  const freed: FreedBlobs[] = [];
  const open = loadOpenRuns(db, task);
  for (const run of open) {
    const ended = decide(task, run, { kind: "cancel", reason: args.reason });
    if (ended.kind !== "changed") throw new DamagedRow("a run that is over has no outcome");
    assert(ended.outcome !== undefined, "a run that is cancelled is over");
    if (ended.attemptState !== undefined) {
      running.push(attemptId(task, run));
      finishAttempt(db, run, ended.attemptState, ended.outcome, args.now);
    }
    // One that was to run again may have kept what an earlier outcome left.
    if (run.cursor.attempt > 0) freed.push(settleFiles(db, run, ended.outcome).freed);
    finishRun(db, task, run, ended.next, {
      outcome: JSON.stringify(ended.outcome),
      outputTruncated: run.outputTruncated,
      keepsLease: true,
    });
  }
  task.isCancelled = true;
  task.reason = args.reason;
  saveTask(db, task, args.now);
  const runs = open.map(({ index, cursor }) => ({ index, attempt: cursor.attempt }));
  const { hasDependents } = task;
  return {
    kind: "cancelled",
    task: readTaskWire(db, task, false),
    running,
    runs,
    hasDependents,
    freed: joinFreed(freed),
  };
}
