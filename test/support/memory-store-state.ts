/**
 * What a MemoryStore has, as values that never change: an operation replaces rows, and with them the state. Whoever kept
 * the state from before still has it whole, so that undoing anything is to go back to a state that was.
 *
 * There is one exception: the logs of two states share their pieces, of which each sees as many as it has. Only the
 * newest state is written to, so a longer one is always given up when a shorter one is appended to.
 */
import { assert } from "../../src/base/errors.ts";
import type { Digest, PeerId, TaskId } from "../../src/base/ids.ts";
import type { DependencyEnd, DependencyState } from "../../src/model/dependency.ts";
import type { StoredModule } from "../../src/model/module.ts";
import type { Outcome, RunResult, Usage } from "../../src/model/outcome.ts";
import type { Attempt, AttemptId, Run, RunCursor } from "../../src/model/run.ts";
import type { SlotCursor } from "../../src/model/schedule.ts";
import {
  type RunCounts,
  type Task,
  type TaskSpec,
  type TaskStanding,
  type TaskState,
  isFinished,
  taskState,
  totalRuns,
} from "../../src/model/task.ts";
import type { FileContent } from "../../src/model/task-file.ts";
import type { OutputStream } from "../../src/model/output.ts";

/** Bytes that were written in one go. */
export interface LogPiece {
  readonly attempt: number;
  readonly stream: OutputStream;
  /** In the run's log. */
  readonly start: number;
  readonly bytes: Uint8Array;
}

export interface RunLog {
  /** Shared with other states: only the first `count` are this one's. */
  readonly pieces: LogPiece[];
  readonly count: number;
  readonly bytes: number;
}

export interface RunRow {
  readonly index: number;
  readonly cursor: RunCursor;
  readonly dueAt: number;
  /** While ready: not to be leased before. 0: no back-off. */
  readonly notBefore: number;
  /** While running. */
  readonly worker?: PeerId | undefined;
  readonly startedAt: number;
  /** Of the attempt under way, or of a cancelled one that may still be. 0: of none. */
  readonly leaseUntil: number;
  readonly attempts: readonly Attempt[];
  readonly log: RunLog;
  /** Where in the log the latest attempt's begins. */
  readonly attemptOffset: number;
  readonly outputTruncated: boolean;
  /** Of the attempt under way, and of the run that is over. */
  readonly arrivedFiles: readonly FileContent[];
  readonly keptFiles: readonly FileContent[];
  readonly outcome?: Outcome | undefined;
  readonly result?: RunResult | undefined;
  readonly usage?: Usage | undefined;
}

export interface Dependency {
  readonly serial: number;
  readonly id: TaskId;
  readonly state: DependencyState;
  readonly endedAt?: number | undefined;
}

/** The end of a task that others wait for, which have not all been seen to. */
export interface TaskEnd {
  readonly serial: number;
  readonly id: TaskId;
  readonly ended: DependencyEnd;
  readonly endedAt?: number | undefined;
  readonly reason?: string | undefined;
}

export interface TaskRow {
  readonly spec: TaskSpec;
  readonly serial: number;
  readonly createdAt: number;
  /** Those that were made: run n is the n-th. Of those before `firstRun` only what counts is left. */
  readonly runs: readonly RunRow[];
  /** The first one that was not forgotten for its age. */
  readonly firstRun: number;
  readonly isCancelled: boolean;
  /** Tasks that it runs after, and whether it still waits for them. */
  readonly dependencies: readonly Dependency[];
  readonly isWaiting: boolean;
  readonly firstDueAt: number;
  /** Those of its runs up to `to` that did not succeed are to run again; from `from` on they have not been taken up. */
  readonly retrying?: { readonly from: number; readonly to: number } | undefined;
  /** Of a task with cron. */
  readonly slots: SlotCursor;
  /** When the run is due that waits for the one before it to end. */
  readonly heldBackUntil?: number | undefined;
  readonly finishedAt?: number | undefined;
  readonly reason?: string | undefined;
  /** The run that gave the task's result, and the one whose latest attempt started last. */
  readonly resultRun?: number | undefined;
  readonly latestRun?: number | undefined;
}

/** What was submitted with a key, as it was told. */
export interface Submission {
  readonly fingerprint: string;
  readonly createdAt: number;
  readonly tasks: readonly Task[];
}

export interface StoreState {
  /** Never used twice. */
  readonly nextSerial: number;
  /** In the order of their serials. */
  readonly tasks: ReadonlyMap<TaskId, TaskRow>;
  /** By `requirementKey`: the number of each set of required labels that a task ever had. */
  readonly requirements: ReadonlyMap<string, number>;
  readonly modules: ReadonlyMap<Digest, StoredModule>;
  /** Those that are held, with when they were last brought or named. */
  readonly heldModules: ReadonlyMap<Digest, number>;
  readonly admissions: ReadonlyMap<PeerId, "admitted" | "barred">;
  readonly drained: ReadonlySet<PeerId>;
  readonly clockMark?: number | undefined;
  readonly ends: readonly TaskEnd[];
  /** By submitter and key. */
  readonly submissions: ReadonlyMap<string, Submission>;
}

export const EMPTY_STATE: StoreState = {
  nextSerial: 1,
  tasks: new Map(),
  requirements: new Map([["", 0]]),
  modules: new Map(),
  heldModules: new Map(),
  admissions: new Map(),
  drained: new Set(),
  ends: [],
  submissions: new Map(),
};

/** The state as one operation sees and changes it. It is dropped when the operation throws. */
export class Transaction {
  #state: StoreState;

  constructor(state: StoreState) {
    this.#state = state;
  }

  get state(): StoreState {
    return this.#state;
  }

  /** Sets whole parts of the state. */
  set(parts: Partial<StoreState>): void {
    this.#state = { ...this.#state, ...parts };
  }

  task(id: TaskId): TaskRow | undefined {
    return this.#state.tasks.get(id);
  }

  /** The task and the run of an attempt's name, if they are still there. The attempt need not be. */
  find(id: AttemptId): { readonly task: TaskRow; readonly run: RunRow } | undefined {
    const task = this.task(id.task);
    const run = task && knownRun(task, id.run);
    return task === undefined || run === undefined || task.serial !== id.serial ? undefined : { task, run };
  }

  /** Every run whose task and row pass, by serial, then index. */
  *runs(
    isWanted: (run: RunRow, task: TaskRow) => boolean,
  ): Generator<{ readonly task: TaskRow; readonly run: RunRow }> {
    for (const task of this.#state.tasks.values()) {
      if (task.finishedAt !== undefined) continue;
      for (const run of task.runs) if (isWanted(run, task)) yield { task, run };
    }
  }

  /** Writes a task. `now` becomes its end, if it has just finished. */
  saveTask(task: TaskRow, now: number): TaskRow {
    const state = stateOf(task);
    const hasEnded = task.finishedAt === undefined && isFinished(state);
    const saved = hasEnded ? { ...task, finishedAt: now } : task;
    this.set({ tasks: new Map(this.#state.tasks).set(task.spec.id, saved) });
    if (hasEnded) this.#noteEnd({ ...idOf(task), ended: state, endedAt: now, reason: task.reason });
    return saved;
  }

  /** Others wait for the end of this task, which has come. */
  hasDependents({ serial }: TaskRow): boolean {
    return this.#state.ends.some((end) => end.serial === serial);
  }

  /** The task goes on: who has not been seen to waits for its next end. */
  takeBackEnd({ serial }: { readonly serial: number }): void {
    this.set({ ends: this.#state.ends.filter((end) => end.serial !== serial) });
  }

  stateOf(task: TaskRow): TaskState {
    return stateOf(task);
  }

  #noteEnd(end: TaskEnd): void {
    if (this.#state.ends.some(({ serial }) => serial === end.serial)) return;
    const isWaitedFor = [...this.#state.tasks.values()].some(({ dependencies }) =>
      dependencies.some(({ serial, state }) => serial === end.serial && state === "waiting"),
    );
    if (isWaitedFor) this.set({ ends: [...this.#state.ends, end] });
  }

  removeTask(task: TaskRow): void {
    const tasks = new Map(this.#state.tasks);
    tasks.delete(task.spec.id);
    this.set({ tasks });
    this.#noteEnd({ ...idOf(task), ended: "deleted" });
  }
}

function idOf(task: TaskRow): { readonly serial: number; readonly id: TaskId } {
  return { serial: task.serial, id: task.spec.id };
}

export function withRun(task: TaskRow, run: RunRow): TaskRow {
  return { ...task, runs: task.runs.with(run.index - 1, run) };
}

export function runOf(task: TaskRow, index: number): RunRow {
  const run = task.runs[index - 1];
  assert(run !== undefined, `run ${index} was made`);
  return run;
}

/** Undefined: there is none, or it was forgotten. */
export function knownRun(task: TaskRow, index: number): RunRow | undefined {
  return index < task.firstRun ? undefined : task.runs[index - 1];
}

/** Those that were not forgotten. */
export function rememberedRuns(task: TaskRow): readonly RunRow[] {
  return task.runs.slice(task.firstRun - 1);
}

export function countsOf(task: TaskRow): RunCounts {
  const counts = { scheduled: 0, ready: 0, running: 0, succeeded: 0, failed: 0, cancelled: 0 };
  for (const run of task.runs) counts[run.cursor.state] += 1;
  return counts;
}

export function stateOf(task: TaskRow): TaskState {
  return taskState(totalRuns(task.spec), countsOf(task), task.isCancelled);
}

export function standingOf(task: TaskRow): TaskStanding {
  const state = stateOf(task);
  return task.isWaiting && !isFinished(state) ? "waiting" : state;
}

export function isOpen(run: RunRow): boolean {
  return run.outcome === undefined;
}

export function attemptId(task: TaskRow, run: RunRow): AttemptId {
  return { task: task.spec.id, serial: task.serial, run: run.index, attempt: run.cursor.attempt };
}

/** A task as it is told. */
export function taskView(task: TaskRow): Task {
  const running = task.runs.filter((run) => run.cursor.state === "running");
  return {
    spec: task.spec,
    serial: task.serial,
    createdAt: task.createdAt,
    counts: countsOf(task),
    firstRun: task.firstRun,
    firstDueAt: task.isWaiting ? undefined : task.firstDueAt,
    isCancelled: task.isCancelled,
    state: stateOf(task),
    nextRunAt: task.runs.find((run) => run.cursor.state === "scheduled")?.dueAt ?? task.heldBackUntil,
    finishedAt: task.finishedAt,
    result: task.resultRun === undefined ? undefined : runOf(task, task.resultRun).result,
    // Failures of runs are noted as they come, and told when the task has ended.
    reason: task.finishedAt === undefined ? undefined : task.reason,
    runningSince: running.map((run) => run.startedAt).toSorted((a, b) => a - b),
  };
}

/** A run as it is told. */
export function runView(task: TaskRow, run: RunRow): Run {
  return {
    task: task.spec.id,
    serial: task.serial,
    index: run.index,
    state: run.cursor.state,
    dueAt: run.dueAt,
    attempts: run.attempts,
    outcome: run.outcome,
    result: run.result,
    usage: run.usage,
    outputBytes: run.log.bytes,
    outputTruncated: run.outputTruncated,
    files: run.keptFiles,
  };
}
