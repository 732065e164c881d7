/** A MemoryStore's operations on tasks, modules and admissions. Each is a transaction, or a part of one that reads. */
import { assert, failed } from "../../src/base/errors.ts";
import type { Digest, PeerId, TaskId } from "../../src/base/ids.ts";
import { STORE_PAGE_BYTES_MAX } from "../../src/base/limits.ts";
import { type AttemptId, type Run, transition } from "../../src/model/run.ts";
import { slotsAfterSetBack } from "../../src/model/schedule.ts";
import { type Task, taskTransition, totalRuns } from "../../src/model/task.ts";
import type {
  CancelTaskResult,
  DeleteTaskResult,
  FinishedPosition,
  ForgetResult,
  FoundTask,
  ListTasksOptions,
  OpenRunCounts,
  QueueSize,
  RetryTaskResult,
  SubmitterFull,
  SubmitterLimit,
} from "../../src/store/store.ts";
import { freedOf, settleFiles } from "./memory-store-files.ts";
import { waitAgain } from "./memory-store-dependencies.ts";
import { makeRuns } from "./memory-store-making.ts";
import { endAttempt, isHeld } from "./memory-store-runs.ts";
import {
  type TaskRow,
  type Transaction,
  attemptId,
  isOpen,
  knownRun,
  rememberedRuns,
  runOf,
  runView,
  standingOf,
  stateOf,
  taskView,
  withRun,
} from "./memory-store-state.ts";

export function getTask(tx: Transaction, id: TaskId): Task | undefined {
  const task = tx.task(id);
  return task === undefined ? undefined : taskView(task);
}

export function findTasks(tx: Transaction, ids: readonly TaskId[]): readonly FoundTask[] {
  return ids.flatMap((id) => {
    const task = tx.task(id);
    return task === undefined ? [] : { id, isEndless: totalRuns(task.spec) === Infinity };
  });
}

export function listTasks(
  tx: Transaction,
  options: ListTasksOptions,
): { readonly tasks: readonly Task[]; readonly cursor?: string | undefined } {
  const below = options.cursor === undefined ? Infinity : parseCursor(options.cursor);
  const wanted = [...tx.state.tasks.values()]
    .filter((task) => task.serial < below && (options.state === undefined || stateOf(task) === options.state))
    .toReversed();
  let bytes = 0;
  const page: TaskRow[] = [];
  for (const task of wanted.slice(0, options.limit)) {
    bytes += sizeOf(task);
    if (page.length > 0 && bytes > STORE_PAGE_BYTES_MAX) break;
    page.push(task);
  }
  const last = page.at(-1);
  const cursor = last === undefined || page.length === wanted.length ? undefined : `below-${last.serial}`;
  return { tasks: page.map(taskView), cursor };
}

function parseCursor(cursor: string): number {
  const serial = /^below-([1-9][0-9]{0,15})$/.exec(cursor)?.[1];
  if (serial !== undefined) return Number(serial);
  throw failed("the cursor is not one that a list of tasks gave", { code: "invalid-cursor" });
}

function sizeOf(task: TaskRow): number {
  return specBytes(task) + JSON.stringify(taskView(task).result ?? {}).length;
}

export function measureQueue(tx: Transaction): QueueSize {
  const unfinished = [...tx.state.tasks.values()].filter((task) => task.finishedAt === undefined);
  return { tasks: unfinished.length, bytes: unfinished.reduce((sum, task) => sum + specBytes(task), 0) };
}

/** Whether so many tasks more are too many for the submitter. */
export function fullFor(tx: Transaction, limit: SubmitterLimit | undefined, more: number): SubmitterFull | undefined {
  if (limit === undefined) return undefined;
  for (const { submitters, unfinishedMax } of limit.limits) {
    const unfinished = [...tx.state.tasks.values()].filter(
      ({ spec, finishedAt }) => finishedAt === undefined && submitters.includes(spec.submitter),
    ).length;
    if (unfinished + more > unfinishedMax) return { kind: "submitter-full", unfinished };
  }
  return undefined;
}

export function countOpenRuns(tx: Transaction): OpenRunCounts {
  const counts = { scheduled: 0, ready: 0, running: 0 };
  for (const { run } of tx.runs(isOpen)) {
    const { state } = run.cursor;
    if (state === "scheduled" || state === "ready" || state === "running") counts[state]++;
  }
  return counts;
}

function specBytes({ spec: { stdin, ...rest } }: TaskRow): number {
  return stdin.length + JSON.stringify(rest).length;
}

export function listRuns(
  tx: Transaction,
  id: TaskId,
  options: { readonly fromIndex: number; readonly limit: number },
): readonly Run[] | undefined {
  const task = tx.task(id);
  if (task === undefined) return undefined;
  const page: Run[] = [];
  let bytes = 0;
  for (const run of rememberedRuns(task)) {
    if (run.index < options.fromIndex) continue;
    if (page.length >= options.limit) break;
    bytes += JSON.stringify(run.result ?? {}).length;
    if (page.length > 0 && bytes > STORE_PAGE_BYTES_MAX) break;
    page.push(runView(task, run));
  }
  return page;
}

export function getRun(tx: Transaction, id: TaskId, index: number): Run | undefined {
  const task = tx.task(id);
  const run = task && knownRun(task, index);
  return task === undefined || run === undefined ? undefined : runView(task, run);
}

export function getLatestStartedRun(tx: Transaction, id: TaskId): Run | undefined {
  const latest = tx.task(id)?.latestRun;
  return latest === undefined ? undefined : getRun(tx, id, latest);
}

export function cancelTask(tx: Transaction, id: TaskId, reason: string, now: number): CancelTaskResult {
  const found = tx.task(id);
  if (found === undefined) return { kind: "no-such-task" };
  if (taskTransition(standingOf(found), "cancel").kind === "refused") {
    return { kind: "already-finished", task: taskView(found) };
  }
  const open = found.runs.filter(isOpen);
  let task: TaskRow = { ...found, isCancelled: true, reason, heldBackUntil: undefined };
  const running: AttemptId[] = [];
  const freed: Digest[] = [];
  for (const run of open) {
    const change = transition(run.cursor, { kind: "cancel", reason }, found.spec);
    assert(change.kind === "changed" && change.outcome !== undefined, "an open run can be cancelled");
    const { next: cursor, outcome, attemptState } = change;
    if (attemptState !== undefined) running.push(attemptId(found, run));
    const attempts = attemptState === undefined ? run.attempts : endAttempt(run, attemptState, outcome, now);
    const files = settleFiles(run, outcome);
    freed.push(...files.freed.digests);
    task = withRun(task, { ...files.settled, cursor, attempts, outcome, worker: undefined, notBefore: 0 });
  }
  const runs = open.map(({ index, cursor }) => ({ index, attempt: cursor.attempt }));
  const saved = tx.saveTask(task, now);
  const hasDependents = tx.hasDependents(saved);
  return { kind: "cancelled", task: taskView(saved), running, runs, hasDependents, freed: freedOf(freed) };
}

export function retryTask(tx: Transaction, id: TaskId, now: number, limit?: SubmitterLimit): RetryTaskResult {
  const found = tx.task(id);
  if (found === undefined) return { kind: "no-such-task" };
  const view = taskView(found);
  const change = taskTransition(standingOf(found), "retry");
  if (change.kind === "refused") {
    return { kind: change.why === "nothing-to-retry" ? "nothing-to-retry" : "not-finished", task: view };
  }
  const full = limit?.submitter === found.spec.submitter ? fullFor(tx, limit, 1) : undefined;
  if (full !== undefined) return full;
  const bound = found.isWaiting ? waitAgain(tx, found) : { row: found };
  if ("by" in bound) return { kind: "dependency-broken", task: view, by: bound.by };
  tx.takeBackEnd(found);
  const reopened = {
    ...bound.row,
    finishedAt: undefined,
    isCancelled: false,
    reason: undefined,
    slots: slotsAfterSetBack(found.slots, now),
    retrying: { from: found.firstRun, to: found.runs.length },
  };
  const { task, ready } = makeRuns(reopened, { now, missedBefore: now }, Infinity);
  const saved = tx.saveTask(task, now);
  const attempts = ready.map((index) => ({ index, attempt: runOf(saved, index).cursor.attempt }));
  const held = saved.runs.filter(isHeld).map(({ notBefore }) => notBefore);
  const heldUntil = held.length === 0 ? undefined : Math.min(...held);
  const scheduled = saved.runs
    .slice(0, found.runs.length)
    .filter(({ cursor }) => cursor.state === "scheduled")
    .map(({ index, cursor }) => ({ index, attempt: cursor.attempt }));
  return { kind: "retried", task: taskView(saved), ready: attempts, scheduled, heldUntil };
}

export function deleteTask(tx: Transaction, id: TaskId): DeleteTaskResult {
  const task = tx.task(id);
  if (task === undefined) return { kind: "no-such-task" };
  tx.removeTask(task);
  const running = task.runs.filter((run) => run.cursor.state === "running").map((run) => attemptId(task, run));
  const hasDependents = tx.hasDependents(task);
  const wasUnfinished = task.finishedAt === undefined;
  return { kind: "deleted", running, wasUnfinished, hasDependents, freed: freedOf([...blobsOf(task)]) };
}

export function forgetFinished(
  tx: Transaction,
  endedBefore: number,
  limit: number,
  after?: FinishedPosition,
): ForgetResult {
  const looked = [...tx.state.tasks.values()]
    .flatMap((task) =>
      task.finishedAt === undefined ? [] : { task, finishedAt: task.finishedAt, serial: task.serial },
    )
    .filter((each) => each.finishedAt < endedBefore && (after === undefined || byEnd(each, after) > 0))
    .toSorted(byEnd)
    .slice(0, limit);
  const forgotten = looked.map(({ task }) => task).filter((task) => !isWanted(tx, task));
  for (const task of forgotten) tx.removeTask(task);
  const last = looked.at(-1);
  return {
    forgotten: forgotten.map(({ spec }) => spec.id),
    freed: freedOf(forgotten.flatMap((task) => [...blobsOf(task)])),
    next:
      looked.length < limit || last === undefined ? undefined : { finishedAt: last.finishedAt, serial: last.serial },
  };
}

function byEnd(a: FinishedPosition, b: FinishedPosition): number {
  return a.finishedAt - b.finishedAt || a.serial - b.serial;
}

function isWanted(tx: Transaction, { serial }: TaskRow): boolean {
  return tx.state.tasks
    .values()
    .some((task) => task.finishedAt === undefined && task.dependencies.some((each) => each.serial === serial));
}

export function isBlobUsed(tx: Transaction, digest: Digest): boolean {
  return tx.state.heldModules.has(digest) || tx.state.tasks.values().some((task) => blobsOf(task).has(digest));
}

function blobsOf({ spec, runs }: TaskRow): ReadonlySet<Digest> {
  const files = [...spec.files, ...runs.flatMap((run) => [...run.arrivedFiles, ...run.keptFiles])];
  const digests = files.flatMap(({ digest }) => digest ?? []);
  return new Set(spec.module === undefined ? digests : [spec.module, ...digests]);
}

export function setAdmission(tx: Transaction, peer: PeerId, admission: "admitted" | "barred"): void {
  tx.set({ admissions: new Map(tx.state.admissions).set(peer, admission) });
}

export function setDrained(tx: Transaction, peer: PeerId, isDrained: boolean): void {
  const drained = new Set(tx.state.drained);
  if (isDrained) drained.add(peer);
  else drained.delete(peer);
  tx.set({ drained });
}
