/**
 * The store's contract: tasks, runs, attempts, leases, output, modules, admissions. One conformance suite holds every
 * implementation to it. It is long because it is one interface.
 *
 * Promises:
 * - A promise that resolved is durable: it survives kill -9 and power loss. What an operation did, it did in one
 *   transaction; one that rejects did nothing.
 * - Every change of a run goes through `transition` of the model, as a compare-and-set on (state, attempt). An answer
 *   that says `stale` means that somebody else was first; nothing was changed.
 * - Operations may be called concurrently and are carried out in the order of the calls. Many share one disk sync.
 * - Times are handed in by the caller, in milliseconds since the Unix epoch.
 * - A rejection is a ClusterError: `overloaded` (code `store-busy`, too much waits), or `failed` (code
 *   `store-unavailable`: disk full, file broken), and says its trouble as a StoreFailure where that is known. Reads go on
 *   where they can; `trouble.ts` has the whole of it.
 *
 * Rows of runs are made lazily: a task has rows for the runs that were due, and for the next one that is not. At most
 * OPEN_RUNS_PER_TASK_MAX of a task's runs are open (scheduled, ready or running), and one at most where the task forbids
 * overlap; more are made as these settle. Slots of cron that have come by then, while there was no room, were missed.
 */
import type { Digest, PeerId, TaskId } from "../base/ids.ts";
import type { ModuleInspection } from "../model/module.ts";
import type { AttemptEnd } from "../model/outcome.ts";
import type { OutputStream } from "../model/output.ts";
import type { AttemptId, Run } from "../model/run.ts";
import type { FileContent } from "../model/task-file.ts";
import type { Task, TaskSpec, TaskState } from "../model/task.ts";
import type { TaskInspection, UnmetDependency } from "./inspection.ts";
import type { ModuleStore } from "./module-store.ts";
import type { CheckOptions, StoreTrouble } from "./trouble.ts";

export interface Store extends ModuleStore, AsyncDisposable {
  // Tasks.

  /**
   * Stores the task, its module's inspection if there is one, and its first runs (those due at `now`, and the next). One that waits for
   * others has no runs before these have succeeded; it is cancelled if one of them has ended otherwise already.
   *
   * With a key it is made once: the same submission again, within SUBMISSION_KEPT_MS, is told what the first one was told.
   * With a limit it is `submitter-full`, and nothing is stored, where the submitter would have more unfinished tasks.
   */
  createTask(
    spec: TaskSpec,
    inspection: ModuleInspection | undefined,
    now: number,
    key?: SubmissionKey,
    limit?: SubmitterLimit,
  ): Promise<CreateTaskResult>;
  /** Stores all of them, in their order, or none. Each may run after any others of them. */
  createTasks(
    tasks: readonly NewTask[],
    now: number,
    key?: SubmissionKey,
    limit?: SubmitterLimit,
  ): Promise<CreateTasksResult>;
  /** What a submission with this key has made; undefined if there was none, or it was too long ago. */
  findSubmission(key: SubmissionKey, now: number): Promise<FoundSubmission | undefined>;
  getTask(id: TaskId): Promise<Task | undefined>;
  /** Of these tasks, those that there are. Cheap: what they were given is not read. */
  findTasks(ids: readonly TaskId[]): Promise<readonly FoundTask[]>;
  /**
   * Newest first. A page of large tasks may be shorter than `limit`; the last one is that without a cursor. So is a page
   * that comes before a task which cannot be read; the one that would begin with it rejects with UnreadableTask.
   */
  listTasks(
    options: ListTasksOptions,
  ): Promise<{ readonly tasks: readonly Task[]; readonly cursor?: string | undefined }>;
  /** How much is unfinished, for the queue's limits. Cheap. */
  measureQueue(): Promise<QueueSize>;
  /** Runs that have rows and are not settled, of all tasks. Cheap. */
  countOpenRuns(): Promise<OpenRunCounts>;
  /**
   * By index, ascending, from `fromIndex`, or from the first that is known. Undefined: no such task. Large results may make it shorter than `limit`:
   * what is empty is the end. Of a run's attempts the latest ATTEMPTS_KEPT_PER_RUN_MAX are there.
   */
  listRuns(id: TaskId, options: { fromIndex: number; limit: number }): Promise<readonly Run[] | undefined>;
  getRun(id: TaskId, index: number): Promise<Run | undefined>;
  /** The run whose latest attempt started last; undefined when none has started. */
  getLatestStartedRun(id: TaskId): Promise<Run | undefined>;
  /** All that explains where it is. */
  inspectTask(id: TaskId, now: number): Promise<TaskInspection | undefined>;
  /**
   * Cancels every open run, and those not made yet. `running` are the attempts that were under way: their guests may go on
   * until their workers have said otherwise (`noteEnded`), or their leases have ended.
   */
  cancelTask(id: TaskId, reason: string, now: number): Promise<CancelTaskResult>;
  /**
   * Runs the failed and cancelled runs of a finished task again, and those that were never made; a task that was cancelled
   * because of another one is bound to it again. What cancelled dependents stays as it is. The limit counts where the task
   * is that submitter's. A run whose latest attempt was cancelled, and may still be under way, is ready and not leased before
   * that attempt's lease has ended, or `noteEnded` says that it is over.
   */
  retryTask(id: TaskId, now: number, limit?: SubmitterLimit): Promise<RetryTaskResult>;
  /** Cancels and forgets the task, its runs and output. `running` are the attempts that were under way. */
  deleteTask(id: TaskId): Promise<DeleteTaskResult>;
  /**
   * Forgets tasks that finished before `endedBefore`, the oldest first, and of those behind `after`, which need not be where
   * a task is: serials begin at 1. It looks at `limit` tasks; one that an unfinished task runs after is passed over. Deleting many is done bit by bit by calling again.
   */
  forgetFinished(endedBefore: number, limit: number, after?: FinishedPosition): Promise<ForgetResult>;
  /**
   * Forgets runs of tasks without end that are not finished: of each the oldest, up to the first that is not settled, or that
   * was due or had an attempt end at `endedBefore` or later, or neither at `endedFrom` or later (default: any time will do),
   * or that is the latest one to have started or to have ended. A task that is being retried is passed over. Looks at
   * `limit` tasks behind the serial `after`, in their order, and forgets `limit` runs at most, or
   * STORE_FORGET_OUTPUT_BYTES of output.
   */
  forgetRuns(endedBefore: number, limit: number, after: number, endedFrom?: number): Promise<ForgetRunsResult>;

  // Scheduling.

  /**
   * Makes ready up to `limit` runs that are due at `now`, and makes the rows that follow them; ends up to `limit` back-offs
   * that are over, and so keeps `listReady` cheap. `nextDueAt` is when to call again: at once (`now`) if the limit was
   * reached; undefined if nothing is waiting for its time, and nothing backs off. Before that, tasks
   * that waited for others which have ended get their first runs, or are cancelled; each counts as a run does, and half of
   * `limit` is for them at most. Tasks with cron that had come further, by a clock that was put back since, go on from
   * now: their next run is at the first slot after now that none of their runs has; those count as well. Up to `limit`
   * back-offs that were given by such a clock are brought to the longest that their tasks' policies give from now on.
   *
   * Nobody served the slots of cron tasks that lie before `missedBefore` (default: there are none): the tasks' `catchup`
   * says what becomes of them (`model/schedule.ts`). A run may be put off by it.
   */
  promoteDue(now: number, limit: number, missedBefore?: number): Promise<PromoteResult>;
  /**
   * Ready runs that may be leased at `now`: by priority, highest first, then by due time, then by age; with `after`, those
   * that come behind that one, be it ready still or not; with `except`, those of other requirements only, which costs
   * nothing for the ones that are left out, however many they are. Large specs may make it shorter than `limit`; it is
   * empty only if there are none.
   */
  listReady(now: number, limit: number, options?: ListReadyOptions): Promise<readonly ReadyRun[]>;
  /** When the first run is due that is scheduled, which may be past; undefined when none is. Cheap. */
  nextDueAt(): Promise<number | undefined>;
  /** When the first ready run that is backing off may be leased; undefined when none is. */
  nextBackoffEnd(now: number): Promise<number | undefined>;
  /** Begins attempt `id.attempt`: the run must be ready, with one attempt fewer. False: somebody was first, or it is gone. */
  lease(id: AttemptId, worker: PeerId, now: number, leaseUntil: number): Promise<boolean>;
  /**
   * The guests of these attempts, which were cancelled, do not run any more: their runs need not wait for the leases. True:
   * one of the runs is to run again already, and may be leased. Idempotent.
   */
  noteEnded(ids: readonly AttemptId[]): Promise<boolean>;
  /** Extends the leases of `ids` that are running on `worker`. Returns those that are not: the worker must stop them. */
  renew(ids: readonly AttemptId[], worker: PeerId, leaseUntil: number): Promise<readonly AttemptId[]>;
  /** All attempts under way, in no order; of one worker if named. */
  listRunning(worker?: PeerId): Promise<readonly RunningAttempt[]>;
  /**
   * Gives every attempt under way a lease until `leaseUntil`: for a gateway that has just started, or whose clock was set.
   * Runs that wait for the lease of a cancelled attempt wait until then, too.
   */
  extendAllLeases(leaseUntil: number): Promise<void>;
  /** Attempts whose lease ended before `now`. They are not changed: the caller settles them as lost. */
  listExpired(now: number, limit: number): Promise<readonly RunningAttempt[]>;
  /**
   * Commits how an attempt ended, if it is still the one under way, and makes the task's next rows. `backoffJitter` in
   * [0, 1) spreads retries. `stale`: its result is refused.
   */
  settle(id: AttemptId, end: AttemptEnd, options: SettleOptions): Promise<SettleResult>;

  // Output.

  /**
   * Appends to the log of the attempt under way. `offset` counts the attempt's bytes; what lies below the durable
   * offset is ignored, and `gap` means that bytes before `offset` are missing. `stale`: the attempt is over.
   *
   * A run's log holds the first `outputBytesMax` bytes of its task, over all attempts. What comes behind them counts as
   * appended and is not kept; the run's log is truncated from then on.
   */
  appendOutput(id: AttemptId, offset: number, stream: OutputStream, bytes: Uint8Array): Promise<AppendResult>;
  /**
   * Up to `bytesMax` bytes of a run's log from `offset`, which counts the run's bytes over all attempts and both streams.
   * `stream` leaves out the other one. Undefined: no such run. A page may hold fewer bytes, or none, and still not be
   * the last: read on from its `nextOffset` until that is `outputBytes`.
   */
  readOutput(id: TaskId, run: number, options: ReadOutputOptions): Promise<OutputPage | undefined>;

  // Files. Their bytes are in the blob store.

  /**
   * Notes a file to keep of the attempt under way. They arrive here, and are kept with the settlement if the guest has
   * exited and the run is over with it; otherwise they are forgotten. `hasBytes`: the caller has seen to it that the blob
   * store has the content, and pins it until this resolves. Without that the file is noted only where the attempt has
   * the content anyhow, as one of its task's input files or as a file that has arrived. Idempotent.
   */
  keepFile(id: AttemptId, file: FileContent, options: { readonly hasBytes: boolean }): Promise<KeepFileResult>;
  /**
   * A file kept of a run; of the latest that has one under this path, if none is named. With `dependent`, the serial of a
   * task, only of the very task that it runs after: the id may be another's by now.
   */
  findKeptFile(task: TaskId, path: string, run?: number, dependent?: number): Promise<KeptFile | undefined>;
  /**
   * Whether a task refers to the blob, as its module, as an input file, or as a file that was kept or has arrived; or it is
   * a module that is held.
   */
  isBlobUsed(digest: Digest): Promise<boolean>;

  // Admission of workers without the secret.

  getAdmission(peer: PeerId): Promise<"admitted" | "barred" | undefined>;
  setAdmission(peer: PeerId, admission: "admitted" | "barred", now: number): Promise<void>;

  // Workers that an operator has drained: they are given no runs, whoever restarts, until this is taken back.

  listDrained(): Promise<readonly PeerId[]>;
  /** Idempotent, either way. */
  setDrained(peer: PeerId, isDrained: boolean, now: number): Promise<void>;

  // What a life of the gateway leaves the next one to know its clock by.

  /** What was set last; undefined: nothing was. */
  getClockMark(): Promise<number | undefined>;
  setClockMark(at: number): Promise<void>;

  /** What keeps the store from taking anything new; undefined if nothing does. Never rejects. */
  check(options?: CheckOptions): Promise<StoreTrouble | undefined>;

  /** Finishes what was called and closes the file. Idempotent. */
  close(): Promise<void>;
}

export interface FoundTask {
  readonly id: TaskId;
  /** It never succeeds: it has no end. */
  readonly isEndless: boolean;
}

export interface NewTask {
  readonly spec: TaskSpec;
  /** Undefined: nobody has looked what the module is, or there is none. */
  readonly inspection: ModuleInspection | undefined;
}

/** By what a submission is known again. */
export interface SubmissionKey {
  readonly submitter: string;
  /** Of the submitter's choice. */
  readonly key: string;
  /** Of all that was submitted: two submissions with one key have to agree in it. */
  readonly fingerprint: string;
}

/** The tasks are as they were when they were made. `key-mismatch`: the key was used for another submission. */
export type FoundSubmission =
  { readonly kind: "repeated"; readonly tasks: readonly Task[] } | { readonly kind: "key-mismatch" };

/** How many tasks of one submitter may be unfinished at a time, by itself and together with others. */
export interface SubmitterLimit {
  readonly submitter: string;
  /** All of these hold. `submitters` are those whose tasks count together. */
  readonly limits: readonly { readonly submitters: readonly string[]; readonly unfinishedMax: number }[];
}

/** There would be more than the limit allows; `unfinished` are there now. */
export interface SubmitterFull {
  readonly kind: "submitter-full";
  readonly unfinished: number;
}

export type OpenRunCounts = Readonly<Record<"scheduled" | "ready" | "running", number>>;

/** Of unfinished tasks. */
export interface QueueSize {
  readonly tasks: number;
  /** Of their specs, stdin included. */
  readonly bytes: number;
}

export type CreateTaskResult =
  /** `ready` are the indexes of its runs that are ready. */
  | { readonly kind: "created"; readonly task: Task; readonly ready: readonly number[] }
  | CreateTaskRefusal
  | { readonly kind: "repeated"; readonly task: Task }
  | { readonly kind: "key-mismatch" }
  | SubmitterFull;

export type CreateTaskRefusal =
  | { readonly kind: "id-taken" }
  /** Tasks of `after` that there are not, or that never succeed, as they have no end. */
  | {
      readonly kind: "bad-dependencies";
      readonly unknown: readonly TaskId[];
      readonly endless: readonly TaskId[];
      /** Of the first task of a cycle in its batch: the cycle, in which each runs after the next, beginning with this one. */
      readonly cycle?: readonly [TaskId, ...TaskId[]] | undefined;
    };

export type CreateTasksResult =
  /** `ready` are the indexes of each one's runs that are ready. */
  | { readonly kind: "created"; readonly tasks: readonly Task[]; readonly ready: readonly (readonly number[])[] }
  /** Those that cannot be made, all of them, by their places in the batch. */
  | {
      readonly kind: "refused";
      readonly refusals: readonly { readonly index: number; readonly refusal: CreateTaskRefusal }[];
    }
  | FoundSubmission
  | SubmitterFull;

export interface ListTasksOptions {
  readonly state?: TaskState | undefined;
  readonly limit: number;
  /** What the page before gave. Text that no page gave rejects with `failed`, code `invalid-cursor`. */
  readonly cursor?: string | undefined;
}

export type CancelTaskResult =
  | {
      readonly kind: "cancelled";
      readonly task: Task;
      readonly running: readonly AttemptId[];
      /** Every run that this ended, with the number of its latest attempt, or 0. */
      readonly runs: readonly { readonly index: number; readonly attempt: number }[];
      readonly freed: FreedBlobs;
      readonly hasDependents: boolean;
    }
  | { readonly kind: "already-finished"; readonly task: Task }
  | { readonly kind: "no-such-task" };

export type RetryTaskResult =
  /**
   * `ready` are the runs that are ready now, with the number of their latest attempt, or 0; `scheduled` are those that were
   * over and wait for their time again. `heldUntil` is when the first may be leased that waits for the lease of a cancelled
   * attempt, if any does.
   */
  | {
      readonly kind: "retried";
      readonly task: Task;
      readonly ready: readonly { readonly index: number; readonly attempt: number }[];
      readonly scheduled: readonly { readonly index: number; readonly attempt: number }[];
      readonly heldUntil?: number | undefined;
    }
  | { readonly kind: "not-finished"; readonly task: Task }
  /** All its runs have succeeded. */
  | { readonly kind: "nothing-to-retry"; readonly task: Task }
  /** One that it runs after has not succeeded, and will not: this one, and perhaps others. */
  | { readonly kind: "dependency-broken"; readonly task: Task; readonly by: UnmetDependency }
  | SubmitterFull
  | { readonly kind: "no-such-task" };

export type DeleteTaskResult =
  | {
      readonly kind: "deleted";
      readonly running: readonly AttemptId[];
      readonly wasUnfinished: boolean;
      readonly hasDependents: boolean;
      readonly freed: FreedBlobs;
    }
  | { readonly kind: "no-such-task" };

/** Where a finished task stands among the others, by when it ended. */
export interface FinishedPosition {
  readonly finishedAt: number;
  readonly serial: number;
}

export interface ForgetResult {
  readonly forgotten: readonly TaskId[];
  readonly freed: FreedBlobs;
  /** The last task that was looked at; undefined: there are no more. */
  readonly next?: FinishedPosition | undefined;
}

export interface ForgetRunsResult {
  /** How many. */
  readonly forgotten: number;
  readonly freed: FreedBlobs;
  /** Behind which serial to go on; undefined: there are no more. */
  readonly next?: number | undefined;
}

/** Blobs that something referred to and does no longer: whoever holds the blob store looks whether anything still does. */
export interface FreedBlobs {
  /** At most STORE_FREED_BLOBS_MAX. */
  readonly digests: readonly Digest[];
  /** There are more. */
  readonly hasMore: boolean;
}

export interface ListReadyOptions {
  readonly after?: ReadyRun | undefined;
  /** Numbers of requirements, as ready runs have them. */
  readonly except?: readonly number[] | undefined;
}

export interface RunRef {
  readonly task: TaskId;
  readonly serial: number;
  readonly index: number;
}

export interface PromoteResult {
  readonly promoted: readonly RunRef[];
  /** Those whose state this has changed. */
  readonly changedTasks: readonly { readonly task: TaskId; readonly state: TaskState }[];
  /** Runs that were ready, and backed off, may be leased from now on whatever the clock says. */
  readonly hasEndedBackoffs: boolean;
  readonly nextDueAt?: number | undefined;
}

/** A run that wants a worker, with all that is needed to choose one and start it. */
export interface ReadyRun {
  readonly spec: TaskSpec;
  readonly serial: number;
  readonly index: number;
  readonly dueAt: number;
  /** Stands for what it requires (`requirementKey`): the same number, the same. Never used for others. 0: wasm, and no labels. */
  readonly requirement: number;
  /** The number its next attempt will have. */
  readonly nextAttempt: number;
  /** Workers on which earlier attempts of it were lost or failed, for a choice that tries elsewhere first. */
  readonly triedWorkers: readonly PeerId[];
  /** Those of them on which one was lost: the run may have taken them down, or they are no good. */
  readonly lostOn: readonly PeerId[];
}

export interface RunningAttempt {
  readonly id: AttemptId;
  readonly worker: PeerId;
  readonly leaseUntil: number;
  readonly startedAt: number;
  /** Bytes of the attempt's log that are durable. */
  readonly outputBytes: number;
  /** Its task's: what the attempt may write, and how long its guest may run. */
  readonly outputBytesMax: number;
  readonly timeoutMs: number;
}

export interface SettleOptions {
  readonly now: number;
  readonly backoffJitter: number;
  readonly isBlameless?: boolean | undefined;
}

export type SettleResult =
  /** `run.state` is `ready` when it will be tried again. `ready` are the indexes of runs that were made, and are ready. */
  | {
      readonly kind: "settled";
      readonly task: Task;
      readonly run: Run;
      readonly ready: readonly number[];
      readonly freed: FreedBlobs;
      /** The task has ended and others wait for that: `promoteDue` sees to them, and is to be called. */
      readonly hasDependents: boolean;
      /** The run backs off: when `promoteDue` is to be called for it. */
      readonly backoffEnd?: number | undefined;
    }
  | { readonly kind: "stale" };

export type AppendResult =
  /** `runOffset` is where in the run's log the attempt's log begins. */
  | { readonly kind: "appended"; readonly durableOffset: number; readonly runOffset: number }
  | { readonly kind: "gap"; readonly durableOffset: number }
  | { readonly kind: "stale" };

export type KeepFileResult =
  | "kept"
  /** Come again with the bytes. */
  | "needs-bytes"
  /** More files, or bytes, than are kept of a run: KEPT_FILES_MAX, KEPT_FILES_BYTES_MAX. */
  | "too-many"
  /** Another file has arrived under this path. */
  | "conflict"
  | "stale";

export interface KeptFile extends FileContent {
  readonly run: number;
}

export interface ReadOutputOptions {
  readonly stream?: OutputStream | undefined;
  readonly offset: number;
  readonly bytesMax: number;
}

export interface OutputChunk {
  readonly attempt: number;
  readonly stream: OutputStream;
  /** Of the chunk's first byte, in the run's log. */
  readonly offset: number;
  readonly bytes: Uint8Array;
}

export interface OutputPage {
  readonly chunks: readonly OutputChunk[];
  /** Where to read on. */
  readonly nextOffset: number;
  /** The log's length so far. */
  readonly outputBytes: number;
  /** No more will come: the run is over. */
  readonly isComplete: boolean;
  readonly isTruncated: boolean;
}
