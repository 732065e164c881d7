/**
 * What crosses between a SqliteStore and the thread that has its file. Both ends are this program, so nothing is
 * checked. JSON crosses as text: the thread need not read it, and text is the cheapest thing to clone.
 *
 * Requests go in batches, one a tick, and are carried out in the order in which they were sent. Answers come in batches,
 * one a transaction, after its COMMIT.
 *
 * It is long because the table of operations is one table.
 */
import type { ErrorType } from "../../base/errors.ts";
import type { Digest, PeerId, TaskId } from "../../base/ids.ts";
import type { AuditEntry, StoredAuditEntry } from "../../model/audit.ts";
import type { AttemptId, AttemptState, RunState } from "../../model/run.ts";
import type { AttemptEnd, Usage } from "../../model/outcome.ts";
import type { OutputStream } from "../../model/output.ts";
import type { Catchup, Overlap } from "../../model/schedule.ts";
import type { FileContent } from "../../model/task-file.ts";
import type { RunCounts, Task, TaskState } from "../../model/task.ts";
import type { TokenId } from "../../model/token.ts";
import type { StoredToken } from "../credential-store.ts";
import type { OpenRun, TaskInspection, UnmetDependency } from "../inspection.ts";
import type { ReleaseModulesResult } from "../module-store.ts";
import type {
  AppendResult,
  CancelTaskResult,
  FinishedPosition,
  ForgetResult,
  ForgetRunsResult,
  FoundTask,
  CreateTaskResult,
  CreateTasksResult,
  DeleteTaskResult,
  KeepFileResult,
  KeptFile,
  OpenRunCounts,
  OutputPage,
  PromoteResult,
  QueueSize,
  RetryTaskResult,
  RunningAttempt,
  SettleResult,
  SubmissionKey,
  SubmitterFull,
  SubmitterLimit,
} from "../store.ts";
import type { StoreTrouble, TroubleKind } from "../trouble.ts";

/** A spec as it is kept: JSON of all but what has columns of its own. */
export interface SpecWire {
  readonly text: string;
  readonly submitter: string;
  readonly stdin: Uint8Array;
}

export interface TaskWire {
  /** Undefined where the caller has said that it knows the spec. */
  readonly spec: SpecWire | undefined;
  readonly serial: number;
  readonly createdAt: number;
  readonly firstDueAt: number | undefined;
  readonly counts: RunCounts;
  readonly firstRun: number;
  readonly isCancelled: boolean;
  readonly state: TaskState;
  readonly nextRunAt: number | undefined;
  readonly finishedAt: number | undefined;
  /** JSON. */
  readonly result: string | undefined;
  readonly reason: string | undefined;
  readonly runningSince: readonly number[];
}

export interface AttemptWire {
  readonly number: number;
  readonly worker: PeerId;
  readonly state: AttemptState;
  readonly startedAt: number;
  readonly finishedAt: number | undefined;
  /** JSON. */
  readonly outcome: string | undefined;
}

export interface RunWire {
  readonly task: TaskId;
  readonly serial: number;
  readonly index: number;
  readonly state: RunState;
  readonly dueAt: number;
  readonly attempts: readonly AttemptWire[];
  /** JSON, as is `result`. */
  readonly outcome: string | undefined;
  readonly result: string | undefined;
  readonly usage: Usage | undefined;
  readonly outputBytes: number;
  readonly outputTruncated: boolean;
  readonly files: readonly FileContent[];
}

/** The parts of a spec that the thread decides by. */
export interface TaskPlan {
  readonly id: TaskId;
  readonly module: Digest | undefined;
  readonly firstDueAt: number;
  /** From when the task counts; undefined: `firstDueAt` is a time that was given. */
  readonly startAfterMs: number | undefined;
  readonly delayMs: number;
  /** Infinity for a task without end. */
  readonly total: number;
  readonly cron: string | undefined;
  readonly timezone: string;
  readonly overlap: Overlap;
  readonly catchup: Catchup;
  readonly priority: number;
  readonly retries: number;
  readonly backoffMs: number;
  /** Kinds, joined by commas. */
  readonly retryOn: string;
  /** Of one run's log. */
  readonly outputBytesMax: number;
}

export interface ReadyRunWire {
  readonly serial: number;
  readonly index: number;
  readonly dueAt: number;
  readonly requirement: number;
  readonly nextAttempt: number;
  readonly triedWorkers: readonly PeerId[];
  readonly lostOn: readonly PeerId[];
}

/** Where a ready run stands among the others. */
export interface ReadyPosition {
  readonly priority: number;
  readonly dueAt: number;
  readonly serial: number;
  readonly index: number;
}

/** A task to be made. */
export interface NewTaskWire {
  readonly plan: TaskPlan;
  /** `requirementKey` of the task. */
  readonly requirement: string;
  /** Tasks that it runs after. */
  readonly after: readonly TaskId[];
  readonly spec: SpecWire;
  /** Of its input files, as far as they are known. */
  readonly inputDigests: readonly Digest[];
  /** JSON. Undefined: nobody has looked what the module is, or there is none. */
  readonly inspection: string | undefined;
}

export interface UnreadableTaskWire {
  readonly serial: number;
  readonly id: string;
  readonly what: string;
}

export interface ListTasksArgs {
  readonly state: TaskState | undefined;
  readonly limit: number;
  /** Tasks older than this one's. */
  readonly belowSerial: number;
}

export interface ListReadyArgs {
  readonly now: number;
  readonly limit: number;
  readonly after?: ReadyPosition | undefined;
  readonly except?: readonly number[] | undefined;
}

export interface SettleArgs {
  readonly id: AttemptId;
  readonly end: AttemptEnd;
  readonly now: number;
  readonly backoffJitter: number;
  readonly isBlameless: boolean;
  readonly isSpecKnown: boolean;
}

/** With the outcome as JSON. */
export interface OpenRunWire extends Omit<OpenRun, "lastOutcome"> {
  readonly lastOutcome: string | undefined;
}

export interface AppendOutputArgs {
  readonly id: AttemptId;
  readonly offset: number;
  readonly stream: OutputStream;
  readonly bytes: Uint8Array;
}

export interface ReadOutputArgs {
  readonly task: TaskId;
  readonly run: number;
  readonly stream: OutputStream | undefined;
  readonly offset: number;
  readonly bytesMax: number;
}

export interface ModuleWire {
  readonly digest: Digest;
  /** JSON. */
  readonly inspection: string;
  readonly createdAt: number;
}

/** Where a module stands among the others, by when it came. */
export interface ModulePosition {
  readonly createdAt: number;
  readonly digest: Digest;
}

/** An answer whose task crosses in its wire form, and what is in `Parts` too. */
type Wire<Result extends { readonly task: Task }, Parts = unknown> = Omit<Result, "task" | keyof Parts> &
  Parts & { readonly task: TaskWire };

interface Operation<Args, Answer> {
  readonly args: Args;
  readonly answer: Answer;
}

/** Everything that the thread can do. */
export interface OperationTypes {
  /** What is known of the store's troubles. */
  look: Operation<{}, StoreTrouble | undefined>;
  probe: Operation<{}, void>;
  /** A row came out of the file that cannot be read: it is damaged. */
  distrust: Operation<{ readonly what: string }, void>;
  createTask: Operation<
    {
      readonly task: NewTaskWire;
      readonly now: number;
      readonly key: SubmissionKey | undefined;
      readonly limit?: SubmitterLimit | undefined;
    },
    | Wire<Extract<CreateTaskResult, { readonly kind: "created" }>>
    | Wire<Extract<CreateTaskResult, { readonly kind: "repeated" }>>
    | Exclude<CreateTaskResult, { readonly kind: "created" | "repeated" }>
  >;
  createTasks: Operation<
    {
      readonly tasks: readonly NewTaskWire[];
      readonly now: number;
      readonly key: SubmissionKey | undefined;
      readonly limit?: SubmitterLimit | undefined;
    },
    | { readonly kind: "created"; readonly tasks: readonly TaskWire[]; readonly ready: readonly (readonly number[])[] }
    | { readonly kind: "repeated"; readonly tasks: readonly TaskWire[] }
    | Exclude<CreateTasksResult, { readonly kind: "created" | "repeated" }>
  >;
  findSubmission: Operation<
    { readonly key: SubmissionKey; readonly now: number },
    { readonly kind: "repeated"; readonly tasks: readonly TaskWire[] } | { readonly kind: "key-mismatch" } | undefined
  >;
  getTask: Operation<{ readonly id: TaskId }, TaskWire | undefined>;
  findTasks: Operation<{ readonly ids: readonly TaskId[] }, readonly FoundTask[]>;
  listTasks: Operation<
    ListTasksArgs,
    {
      readonly tasks: readonly TaskWire[];
      /** By their own rows, in the same order. */
      readonly ids: readonly TaskId[];
      readonly hasMore: boolean;
      /** Comes behind those, and could not be read. */
      readonly unreadable: UnreadableTaskWire | undefined;
    }
  >;
  measureQueue: Operation<{}, QueueSize>;
  countOpenRuns: Operation<{}, OpenRunCounts>;
  listRuns: Operation<
    { readonly id: TaskId; readonly fromIndex: number; readonly limit: number },
    readonly RunWire[] | undefined
  >;
  getLatestStartedRun: Operation<{ readonly id: TaskId }, RunWire | undefined>;
  inspectTask: Operation<
    { readonly id: TaskId; readonly now: number },
    Wire<TaskInspection, { readonly openRuns: readonly OpenRunWire[] }> | undefined
  >;
  cancelTask: Operation<
    { readonly id: TaskId; readonly reason: string; readonly now: number },
    | Wire<Extract<CancelTaskResult, { readonly kind: "cancelled" }>>
    | { readonly kind: "already-finished"; readonly task: TaskWire }
    | { readonly kind: "no-such-task" }
  >;
  retryTask: Operation<
    { readonly id: TaskId; readonly now: number; readonly limit?: SubmitterLimit | undefined },
    | Wire<Extract<RetryTaskResult, { readonly kind: "retried" }>>
    | { readonly kind: "not-finished" | "nothing-to-retry"; readonly task: TaskWire }
    | { readonly kind: "dependency-broken"; readonly task: TaskWire; readonly by: UnmetDependency }
    | SubmitterFull
    | { readonly kind: "no-such-task" }
  >;
  deleteTask: Operation<{ readonly id: TaskId }, DeleteTaskResult>;
  forgetFinished: Operation<
    { readonly endedBefore: number; readonly limit: number; readonly after: FinishedPosition | undefined },
    ForgetResult
  >;
  forgetRuns: Operation<
    { readonly endedFrom: number; readonly endedBefore: number; readonly limit: number; readonly after: number },
    ForgetRunsResult
  >;
  promoteDue: Operation<{ readonly now: number; readonly limit: number; readonly missedBefore: number }, PromoteResult>;
  listReady: Operation<
    ListReadyArgs,
    {
      readonly runs: readonly ReadyRunWire[];
      readonly specs: readonly { readonly serial: number; readonly spec: SpecWire }[];
    }
  >;
  nextDueAt: Operation<{}, number | undefined>;
  nextBackoffEnd: Operation<{ readonly now: number }, number | undefined>;
  lease: Operation<
    { readonly id: AttemptId; readonly worker: PeerId; readonly now: number; readonly leaseUntil: number },
    boolean
  >;
  noteEnded: Operation<{ readonly ids: readonly AttemptId[] }, boolean>;
  renew: Operation<
    { readonly ids: readonly AttemptId[]; readonly worker: PeerId; readonly leaseUntil: number },
    readonly AttemptId[]
  >;
  listRunning: Operation<{ readonly worker: PeerId | undefined }, readonly RunningAttempt[]>;
  extendAllLeases: Operation<{ readonly leaseUntil: number }, void>;
  listExpired: Operation<{ readonly now: number; readonly limit: number }, readonly RunningAttempt[]>;
  settle: Operation<
    SettleArgs,
    Wire<Extract<SettleResult, { readonly kind: "settled" }>, { readonly run: RunWire }> | { readonly kind: "stale" }
  >;
  appendOutput: Operation<AppendOutputArgs, AppendResult>;
  readOutput: Operation<ReadOutputArgs, OutputPage | undefined>;
  keepFile: Operation<
    { readonly id: AttemptId; readonly file: FileContent; readonly hasBytes: boolean },
    KeepFileResult
  >;
  findKeptFile: Operation<
    {
      readonly task: TaskId;
      readonly path: string;
      readonly run: number | undefined;
      readonly dependent?: number | undefined;
    },
    KeptFile | undefined
  >;
  isBlobUsed: Operation<{ readonly digest: Digest }, boolean>;
  getModule: Operation<{ readonly digest: Digest }, ModuleWire | undefined>;
  holdModule: Operation<
    { readonly digest: Digest; readonly inspection: string; readonly now: number },
    { readonly kind: "held"; readonly isNew: boolean; readonly createdAt: number } | { readonly kind: "too-many" }
  >;
  listModules: Operation<
    { readonly limit: number; readonly below: ModulePosition | undefined },
    { readonly modules: readonly ModuleWire[]; readonly next: ModulePosition | undefined }
  >;
  releaseModules: Operation<
    { readonly heldFrom: number; readonly heldBefore: number; readonly limit: number; readonly now: number },
    ReleaseModulesResult
  >;
  getAdmission: Operation<{ readonly peer: PeerId }, "admitted" | "barred" | undefined>;
  setAdmission: Operation<
    { readonly peer: PeerId; readonly admission: "admitted" | "barred"; readonly now: number },
    void
  >;
  createToken: Operation<{ readonly token: StoredToken }, void>;
  listTokens: Operation<{}, readonly StoredToken[]>;
  revokeTokens: Operation<{ readonly ids: readonly TokenId[]; readonly now: number }, void>;
  forgetTokens: Operation<{ readonly endedBefore: number }, void>;
  appendAudit: Operation<{ readonly entries: readonly AuditEntry[] }, void>;
  listAudit: Operation<{ readonly limit: number; readonly belowSeq: number | undefined }, readonly StoredAuditEntry[]>;
  listDrained: Operation<{}, readonly PeerId[]>;
  setDrained: Operation<{ readonly peer: PeerId; readonly isDrained: boolean; readonly now: number }, void>;
  getClockMark: Operation<{}, number | undefined>;
  setClockMark: Operation<{ readonly at: number }, void>;
}

export type OperationName = keyof OperationTypes;
export type Args<Name extends OperationName> = OperationTypes[Name]["args"];
export type Answer<Name extends OperationName> = OperationTypes[Name]["answer"];

/** One function for each operation. It runs inside a transaction, and throws to undo what it did. */
export type Operations = { readonly [Name in OperationName]: (args: Args<Name>) => Answer<Name> };

/** A union over all names, so that `args` fits `name`. */
export type Request<Name extends OperationName = OperationName> = {
  [Each in Name]: { readonly id: number; readonly name: Each; readonly args: Args<Each> };
}[Name];

/** A request whose name and arguments belong together, though its type does not say so: what one call makes. */
export interface SentRequest {
  readonly id: number;
  readonly name: OperationName;
  readonly args: Args<OperationName>;
}

export interface ErrorWire {
  readonly type: ErrorType;
  readonly code: string;
  readonly message: string;
  /** Of a StoreFailure. */
  readonly trouble?: TroubleKind | undefined;
}

export type Reply =
  { readonly id: number; readonly answer: Answer<OperationName> } | { readonly id: number; readonly error: ErrorWire };

/** To the thread. */
export type ToThread<Each = Request> =
  | { readonly kind: "requests"; readonly requests: readonly Each[] }
  /** The last one: the thread carries out what came before, closes the file and ends. */
  | { readonly kind: "close" };

/** From the thread. The first one is `opened` or `refused`. */
export type FromThread =
  | { readonly kind: "opened" }
  | { readonly kind: "refused"; readonly error: ErrorWire }
  /** `commits` counts the transactions that wrote something, since the thread began. */
  | { readonly kind: "replies"; readonly replies: readonly Reply[]; readonly commits: number };

/** What the thread is started with. */
export interface ThreadInit {
  readonly path: string;
}

/** Operations that write nothing: they need not wait for a COMMIT unless one stands before them. */
export const READING_OPERATIONS: ReadonlySet<OperationName> = new Set<OperationName>([
  "look",
  "distrust",
  "getTask",
  "findTasks",
  "listTasks",
  "measureQueue",
  "countOpenRuns",
  "findSubmission",
  "listRuns",
  "getLatestStartedRun",
  "inspectTask",
  "listReady",
  "nextDueAt",
  "nextBackoffEnd",
  "listRunning",
  "listExpired",
  "readOutput",
  "getModule",
  "listModules",
  "findKeptFile",
  "isBlobUsed",
  "getAdmission",
  "listTokens",
  "listAudit",
  "listDrained",
  "getClockMark",
]);
