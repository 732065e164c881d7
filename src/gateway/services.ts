/**
 * What the HTTP API stands on: the gateway's inside, as narrow facets. The composition root makes them.
 */
import type { PeerId, TaskId } from "../base/ids.ts";
import type { ModuleInspection } from "../model/module.ts";
import type { TaskSpec } from "../model/task.ts";
import type { Member, WorkerView } from "../model/worker.ts";
import type {
  CancelTaskResult,
  CreateTaskResult,
  CreateTasksResult,
  NewTask,
  RetryTaskResult,
  SubmissionKey,
  SubmitterFull,
  SubmitterLimit,
} from "../store/store.ts";
import type { StoreFailure, TroubleKind } from "../store/trouble.ts";

export interface SubmitOptions {
  readonly key?: SubmissionKey | undefined;
  readonly limit?: SubmitterLimit | undefined;
}

/** Changes of tasks: they are committed, told, and carried through to the workers. Reads go to the store. */
export interface TaskService {
  /**
   * Stores the task as created at `now`. Resolves once it is durable. Rejects with `overloaded`, code `queue-full`, when too
   * many are unfinished; code `rate-limited`, when too many of the submitter's are. With a key it is stored once.
   */
  submit(
    spec: TaskSpec,
    inspection: ModuleInspection | undefined,
    now: number,
    options?: SubmitOptions,
  ): Promise<Exclude<CreateTaskResult, SubmitterFull>>;
  /** Stores all of them or none. */
  submitAll(
    tasks: readonly NewTask[],
    now: number,
    options?: SubmitOptions,
  ): Promise<Exclude<CreateTasksResult, SubmitterFull>>;
  /** Resolves if one task more may be submitted; rejects as `submit` does. To be asked before the costs of one. */
  requireRoom(tasks?: number): Promise<void>;
  /** Resolves once the cancellation is durable; guests under way are told at once and end within 100 ms. */
  cancel(id: TaskId, reason: string): Promise<CancelTaskResult>;
  /** Its failed and cancelled runs run again. Durable when it resolves. Rejects as `submit` does. */
  retry(id: TaskId, limit?: SubmitterLimit): Promise<Exclude<RetryTaskResult, SubmitterFull>>;
  /** Cancels and forgets; the module's bytes go with the last task that uses them. False: no such task. */
  delete(id: TaskId): Promise<boolean>;
}

export interface WorkerDirectory {
  /** Pending ones included, in the order in which they came. */
  list(): readonly WorkerView[];
  get(id: PeerId): WorkerView | undefined;
  /**
   * Lets a pending or future peer join without the secret; gives one that was drained, or is in quarantine, runs again.
   * Durable when it resolves.
   */
  admit(id: PeerId): Promise<void>;
  /**
   * Gives it no more runs, until it is admitted again. What it has not finished when the grace is over is tried elsewhere.
   * Idempotent. Durable when it resolves. False: there is no such worker here now.
   */
  drain(id: PeerId, options?: DrainOptions): Promise<boolean>;
  /** Ends its session and bars it from joining again, until it is admitted. Durable when it resolves. */
  forget(id: PeerId): Promise<void>;
}

export interface DrainOptions {
  /** Default: as long as the gateway gives itself. */
  readonly graceMs?: number | undefined;
}

/** The secret by which workers of other machines come in. */
export interface JoinSecretRotation {
  /**
   * Makes another, which alone admits once `graceMs` are over. Durable when it resolves, with what a worker dials from now
   * on and until when, by the wall clock, the one before is good still. Sessions stay. Rejects with `failed`, code
   * `secret-configured`.
   */
  rotate(options: { readonly graceMs: number }): Promise<{
    readonly dial: string;
    readonly previousUntil: number | undefined;
  }>;
}

/** The cluster as gossip shows it, this process included. */
export interface MemberSource {
  members(): readonly Member[];
}

/** Whether the store takes anything new. */
export interface StoreReadiness {
  /** As far as is known: why it does not, to go behind a colon; undefined if it does. */
  refusesBecause(): string | undefined;
  /** The same, as a word for programs. */
  trouble(): TroubleKind | undefined;
  /** The same, found out by writing something, though not more often than every STORE_CHECK_EVERY_MS. Never rejects. */
  check(): Promise<string | undefined>;
  /** The store, or the blob store, has just failed somebody with this: what it says of itself is looked at at once. */
  noteFailure(failure: StoreFailure): void;
}

/** Why ready runs are passed over, beyond what the store and the workers show. */
export interface RunStarts {
  /** How long one still waits for a module or file that could not be read; undefined if it does not. */
  blobWaitMs(run: { readonly serial: number; readonly index: number }, spec: TaskSpec): number | undefined;
}

/** Whether new work is taken: not while the gateway drains. */
export interface Readiness {
  /** Undefined when ready; else why not. */
  notReadyBecause(): string | undefined;
}
