/**
 * Submissions and the states of tasks between model and wire (`schema/client.capnp`).
 *
 * A submission is decoded into the texts that a form of `POST /tasks` would have, so that one piece of code checks both:
 * here only sizes are held, and what a text could not say. It is long, for there are many
 * fields, each both ways.
 */
import { type Digest, parseTaskId } from "../base/ids.ts";
import {
  AFTER_MAX,
  ARGS_MAX,
  CHUNK_BYTES_MAX,
  DESCRIPTION_LENGTH_MAX,
  ENV_MAX,
  FIELD_BYTES_MAX,
  FILE_PATH_BYTES_MAX,
  INPUT_FILES_MAX,
  LABELS_MAX,
  LABEL_LENGTH_MAX,
  MEMORY_MIB_DEFAULT,
  OUTPUT_GLOBS_MAX,
  OUTPUT_GLOB_LENGTH_MAX,
  REASON_LENGTH_MAX,
  RESULT_TEXT_BYTES_MAX,
  STDIN_BYTES_MAX,
} from "../base/limits.ts";
import {
  Entry,
  Catchup as WireCatchup,
  Overlap as WireOverlap,
  type Submission as WireSubmission,
  TaskState as WireTaskState,
  type TaskStatus as WireTaskStatus,
} from "../generated/client.ts";
import { OutputLimit } from "../generated/worker.ts";
import { type Entry as TaskEntry, type WasmEntry, isWasmEntry } from "../model/entry.ts";
import type { RunResult } from "../model/outcome.ts";
import type { Catchup, Overlap } from "../model/schedule.ts";
import { type FileReference, formatFileReference } from "../model/task-file.ts";
import type { TaskState } from "../model/task.ts";
import {
  DIGEST_BYTES,
  checkLength,
  decodeData,
  decodeDigest,
  decodeMeasure,
  decodePairs,
  decodeText,
  decodeTexts,
  decodeUint,
  encodeData,
  encodeDigest,
  encodePairs,
  encodeTexts,
  invalidMessage,
} from "./scalars.ts";

/** What a client submits. What is left out has the schema's default. */
export interface Submission {
  /** The module itself, of at most CHUNK_BYTES_MAX, or one that the gateway has. Undefined: an entry of a worker's own takes none. */
  readonly module?: Uint8Array | Digest | undefined;
  readonly id?: string | undefined;
  readonly description?: string | undefined;
  readonly entry?: TaskEntry | undefined;
  /** Arguments of an exported `run`. */
  readonly run?: { readonly input: number; readonly difficulty: number } | undefined;
  readonly args?: readonly string[] | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly stdin?: Uint8Array | undefined;
  /** Milliseconds after acceptance, or a time of RFC 3339. */
  readonly start?: number | string | undefined;
  readonly delayMs?: number | undefined;
  /** With `cron`, left out or 0: until the task is cancelled. */
  readonly repeats?: number | undefined;
  /** Instead of `start` and `delayMs`. */
  readonly cron?: string | undefined;
  readonly timezone?: string | undefined;
  readonly overlap?: Overlap | undefined;
  readonly catchup?: Catchup | undefined;
  /** Ids of tasks that have to succeed first. */
  readonly after?: readonly string[] | undefined;
  /** By which the same submission, sent again, is known: it is accepted once. */
  readonly idempotencyKey?: string | undefined;
  readonly durationMs?: number | undefined;
  readonly complete?: number | undefined;
  readonly timeoutMs?: number | undefined;
  readonly cpuMs?: number | undefined;
  readonly memoryMiB?: number | undefined;
  readonly outputBytesMax?: number | undefined;
  readonly outputLimit?: "truncate" | "fail" | undefined;
  readonly retries?: number | undefined;
  readonly backoffMs?: number | undefined;
  readonly retryOn?: readonly string[] | undefined;
  readonly priority?: number | undefined;
  readonly require?: Readonly<Record<string, string>> | undefined;
  /** What the guest finds in its `/`. */
  readonly files?: readonly SubmittedFile[] | undefined;
  /** Globs: which of its files are kept. */
  readonly outputs?: readonly string[] | undefined;
}

export type SubmittedFile =
  /** One that is uploaded, and held. */
  | { readonly path: string; readonly digest: Digest }
  /** One that was kept of another task; without `run`, of the latest run that has kept it. */
  | { readonly path: string; readonly kept: Omit<FileReference, "task"> & { readonly task: string } };

/** A submission as it came, unchecked: the fields of `POST /tasks` by their names, as texts. */
export interface SubmittedForm {
  readonly texts: ReadonlyMap<string, readonly string[]>;
  readonly stdin: Uint8Array;
  /** Undefined: the field `module` names one. */
  readonly moduleBytes: Uint8Array | undefined;
  readonly idempotencyKey: string | undefined;
  /** Files that are said to be uploaded; kept files of other tasks stand in the texts. */
  readonly files: readonly { readonly path: string; readonly digest: Digest }[];
}

/** How far a task is. Times are milliseconds since the Unix epoch. */
export interface TaskStatus {
  readonly id: string;
  readonly state: TaskState;
  readonly reason?: string | undefined;
  readonly completions: number;
  /** Runs in total, 0 where they have no end; and of them. */
  readonly runs: number;
  readonly succeeded: number;
  readonly failed: number;
  readonly cancelled: number;
  readonly progress: number;
  readonly createdAt: number;
  readonly nextRunAt?: number | undefined;
  readonly finishedAt?: number | undefined;
  /** Of the run that finished last. */
  readonly result?: RunResult | undefined;
}

export function encodeSubmission(wire: WireSubmission, submission: Submission): void {
  const { module, run, start, args, retryOn, stdin, env, require, entry } = submission;
  if (module === undefined) wire._initModule()._initDigest(0);
  else if (typeof module === "string") encodeDigest(wire._initModule()._initDigest(DIGEST_BYTES), module);
  else encodeData(wire._initModule()._initBytes(module.length), module);
  if (submission.id !== undefined) wire.id = submission.id;
  if (submission.description !== undefined) wire.description = submission.description;
  if (entry !== undefined && !isWasmEntry(entry)) wire.kind = entry;
  else wire.entry = entry === undefined ? Entry.CHOSEN : ENTRIES[entry];
  if (run !== undefined) {
    const wireRun = wire._initArguments()._initRun();
    wireRun.input = run.input;
    wireRun.difficulty = run.difficulty;
  }
  if (args !== undefined) encodeTexts((length) => wire._initArgs(length), args);
  if (env !== undefined) encodePairs((length) => wire._initEnv(length), env);
  if (stdin !== undefined) encodeData(wire._initStdin(stdin.length), stdin);
  if (typeof start === "string") wire._initStart().at = start;
  else if (start !== undefined) wire._initStart().afterMs = BigInt(start);
  if (retryOn !== undefined) encodeTexts((length) => wire._initRetryOn(length), retryOn);
  if (require !== undefined) encodePairs((length) => wire._initRequire(length), require);
  if (submission.outputs !== undefined) encodeTexts((length) => wire._initOutputs(length), submission.outputs);
  encodeFiles(wire, submission.files ?? []);
  if (submission.outputLimit === "fail") wire.outputLimit = OutputLimit.FAIL;
  if (submission.idempotencyKey !== undefined) wire.idempotencyKey = submission.idempotencyKey;
  encodeNumbers(wire, submission);
  encodeSchedule(wire, submission);
}

function encodeSchedule(wire: WireSubmission, submission: Submission): void {
  const { cron, timezone, overlap, catchup, after } = submission;
  if (cron !== undefined) {
    wire.cron = cron;
    wire.repeats = submission.repeats ?? 0;
  }
  if (timezone !== undefined) wire.timezone = timezone;
  if (overlap === "forbid") wire.overlap = WireOverlap.FORBID;
  if (catchup !== undefined) wire.catchup = CATCHUPS[catchup];
  if (after !== undefined) encodeTexts((length) => wire._initAfter(length), after);
}

function encodeNumbers(wire: WireSubmission, submission: Submission): void {
  if (submission.delayMs !== undefined) wire.delayMs = BigInt(submission.delayMs);
  if (submission.repeats !== undefined) wire.repeats = submission.repeats;
  if (submission.durationMs !== undefined) wire.durationMs = BigInt(submission.durationMs);
  if (submission.complete !== undefined) wire.complete = BigInt(submission.complete);
  if (submission.timeoutMs !== undefined) wire.timeoutMs = BigInt(submission.timeoutMs);
  if (submission.cpuMs !== undefined) wire.cpuMs = BigInt(submission.cpuMs);
  if (submission.memoryMiB !== undefined) wire.memoryMiB = submission.memoryMiB;
  if (submission.outputBytesMax !== undefined) wire.outputBytesMax = BigInt(submission.outputBytesMax);
  if (submission.retries !== undefined) wire.retries = submission.retries;
  if (submission.backoffMs !== undefined) wire.backoffMs = BigInt(submission.backoffMs);
  if (submission.priority !== undefined) wire.priority = submission.priority;
}

export function decodeSubmission(wire: WireSubmission): SubmittedForm {
  const texts = new Map<string, readonly string[]>();
  const set = (field: string, text: string | number | bigint): void => void texts.set(field, [String(text)]);
  const { module, start } = wire;
  let moduleBytes: Uint8Array | undefined;
  const kind = decodeText(wire.kind, FIELD_BYTES_MAX, "a kind");
  if (kind !== "" && module._isDigest && module.digest.length === 0) moduleBytes = undefined;
  else if (module._isBytes) moduleBytes = decodeData(module.bytes, CHUNK_BYTES_MAX, "a module");
  else if (module._isDigest) {
    set("module", Buffer.from(decodeData(module.digest, DIGEST_BYTES, "a digest")).toString("hex"));
  } else throw invalidMessage("a module in a way that this version does not know");
  if (wire.id !== "") set("id", decodeText(wire.id, FIELD_BYTES_MAX, "an id"));
  // One more than is allowed, so that whoever checks it refuses it by its field.
  const description = decodeText(wire.description, FIELD_BYTES_MAX, "a description");
  set("description", description.slice(0, DESCRIPTION_LENGTH_MAX + 1));
  const entry = kind === "" ? decodeEntry(wire.entry) : kind;
  if (entry !== undefined) set("entry", entry);
  decodeArguments(wire, set);
  const hasCron = decodeCron(wire, set);
  if (start._isAfterMs) {
    if (!hasCron || start.afterMs !== 0n) set("start", `${start.afterMs}ms`);
  } else if (start._isAt) set("start", decodeText(start.at, LABEL_LENGTH_MAX, "a time"));
  else throw invalidMessage("a start that this version does not know");
  if (!hasCron || wire.delayMs !== 0n) set("delay", `${wire.delayMs}ms`);
  set("repeats", wire.repeats);
  set("duration", `${wire.durationMs}ms`);
  set("complete", wire.complete);
  set("timeout", `${wire.timeoutMs}ms`);
  if (wire.cpuMs !== 0n) set("cpu", `${wire.cpuMs}ms`);
  // There is no telling whether a default was meant; a kind of a worker's own takes none.
  if (kind === "" || wire.memoryMiB !== MEMORY_MIB_DEFAULT) set("memory", wire.memoryMiB);
  set("outputMax", wire.outputBytesMax);
  set("outputLimit", decodeOutputLimit(wire.outputLimit));
  set("retries", wire.retries);
  set("backoff", `${wire.backoffMs}ms`);
  set("priority", wire.priority);
  const outputs = decodeTexts(wire.outputs, OUTPUT_GLOBS_MAX, OUTPUT_GLOB_LENGTH_MAX, "globs");
  if (outputs.length > 0) set("outputs", JSON.stringify(outputs));
  const files = decodeFiles(wire, set);
  return {
    texts,
    stdin: decodeData(wire.stdin, STDIN_BYTES_MAX, "stdin"),
    moduleBytes,
    files,
    idempotencyKey: wire.idempotencyKey === "" ? undefined : decodeText(wire.idempotencyKey, FIELD_BYTES_MAX, "a key"),
  };
}

/** Whether there is a cron expression, beside which a start and a delay of 0 are none. */
function decodeCron(wire: WireSubmission, set: (field: string, text: string) => void): boolean {
  if (wire.timezone !== "") set("timezone", decodeText(wire.timezone, FIELD_BYTES_MAX, "a time zone"));
  set("overlap", decodeOverlap(wire.overlap));
  set("catchup", decodeCatchup(wire.catchup));
  const after = decodeTexts(wire.after, AFTER_MAX, FIELD_BYTES_MAX, "tasks to run after");
  if (after.length > 0) set("after", JSON.stringify(after));
  if (wire.cron === "") return false;
  set("cron", decodeText(wire.cron, FIELD_BYTES_MAX, "a cron expression"));
  return true;
}

function encodeFiles(wire: WireSubmission, files: readonly SubmittedFile[]): void {
  const list = wire._initFiles(files.length);
  files.forEach((file, index) => {
    const entry = list.get(index);
    entry.path = file.path;
    if ("digest" in file) {
      encodeDigest(entry._initDigest(DIGEST_BYTES), file.digest);
      return;
    }
    const kept = entry._initKept();
    kept.task = file.kept.task;
    kept.run = file.kept.run ?? 0;
    kept.path = file.kept.path;
  });
}

function decodeFiles(wire: WireSubmission, set: (field: string, text: string) => void): SubmittedForm["files"] {
  const given: { path: string; digest: Digest }[] = [];
  const references: string[] = [];
  // Getting a list of a struct makes a new one each time.
  const list = wire.files;
  const count = checkLength(list, INPUT_FILES_MAX, "files");
  for (let index = 0; index < count; index++) {
    const file = list.get(index);
    const path = decodeText(file.path, FILE_PATH_BYTES_MAX, "a file's path");
    if (file._isDigest) {
      given.push({ path, digest: decodeDigest(file.digest) });
      continue;
    }
    if (!file._isKept) throw invalidMessage("a file in a way that this version does not know");
    const task = parseTaskId(file.kept.task);
    // In a form the path comes first, and what follows says whose file it is.
    if (task === undefined || path.includes("=@")) throw invalidMessage("a kept file whose task or path is none");
    const kept = {
      task,
      run: file.kept.run || undefined,
      path: decodeText(file.kept.path, FILE_PATH_BYTES_MAX, "a path"),
    };
    references.push(`${path}=${formatFileReference(kept)}`);
  }
  if (references.length > 0) set("files", JSON.stringify(references));
  return given;
}

/** Lists go as JSON, in which no value can be taken for something else. */
function decodeArguments(wire: WireSubmission, set: (field: string, text: string | number) => void): void {
  if (wire.arguments._isRun) {
    set("input", wire.arguments.run.input);
    set("difficulty", wire.arguments.run.difficulty);
  } else if (!wire.arguments._isNone) throw invalidMessage("arguments that this version does not know");
  const args = decodeTexts(wire.args, ARGS_MAX, FIELD_BYTES_MAX, "arguments");
  if (args.length > 0) set("args", JSON.stringify(args));
  const retryOn = decodeTexts(wire.retryOn, LABELS_MAX, FIELD_BYTES_MAX, "outcomes to retry on");
  if (retryOn.length > 0) set("retryOn", JSON.stringify(retryOn));
  const env = decodePairs(wire.env, ENV_MAX, FIELD_BYTES_MAX, "environment variables");
  if (Object.keys(env).length > 0) set("env", JSON.stringify(env));
  const require = decodePairs(wire.require, LABELS_MAX, LABEL_LENGTH_MAX, "required labels");
  if (Object.keys(require).length > 0) set("require", JSON.stringify(require));
}

export function encodeTaskStatus(wire: WireTaskStatus, status: TaskStatus): void {
  wire.id = status.id;
  wire.state = STATES[status.state];
  wire.reason = (status.reason ?? "").slice(0, REASON_LENGTH_MAX);
  wire.completions = BigInt(status.completions);
  wire.runs = status.runs;
  wire.succeeded = status.succeeded;
  wire.failed = status.failed;
  wire.cancelled = status.cancelled;
  wire.progress = status.progress;
  wire.createdAtMs = BigInt(Math.trunc(status.createdAt));
  wire.nextRunAtMs = BigInt(Math.trunc(status.nextRunAt ?? 0));
  wire.finishedAtMs = BigInt(Math.trunc(status.finishedAt ?? 0));
  const { result } = status;
  if (result === undefined) return;
  const some = wire._initResult()._initSome();
  some.value = result.value ?? "";
  some.stdout = result.stdout;
  some.stderr = result.stderr;
  if (result.exitCode !== undefined) some._initExitCode().code = BigInt(result.exitCode);
}

export function decodeTaskStatus(wire: WireTaskStatus): TaskStatus {
  const timeOf = (at: bigint): number | undefined => (at === 0n ? undefined : decodeUint(at, "a time"));
  return {
    id: decodeText(wire.id, LABEL_LENGTH_MAX, "an id"),
    state: decodeState(wire.state),
    reason: wire.reason === "" ? undefined : decodeText(wire.reason, REASON_LENGTH_MAX, "a reason"),
    completions: decodeUint(wire.completions, "completions"),
    runs: wire.runs,
    succeeded: wire.succeeded,
    failed: wire.failed,
    cancelled: wire.cancelled,
    progress: decodeMeasure(wire.progress, "progress"),
    createdAt: decodeUint(wire.createdAtMs, "a time"),
    nextRunAt: timeOf(wire.nextRunAtMs),
    finishedAt: timeOf(wire.finishedAtMs),
    result: decodeResult(wire),
  };
}

function decodeResult(wire: WireTaskStatus): RunResult | undefined {
  const { result } = wire;
  if (!result._isSome) return undefined;
  const { some } = result;
  return {
    value: some.value === "" ? undefined : decodeText(some.value, LABEL_LENGTH_MAX, "a value"),
    stdout: decodeText(some.stdout, RESULT_TEXT_BYTES_MAX, "stdout"),
    stderr: decodeText(some.stderr, RESULT_TEXT_BYTES_MAX, "stderr"),
    exitCode: some.exitCode._isCode ? Number(some.exitCode.code) : undefined,
  };
}

const ENTRIES: Readonly<Record<WasmEntry, Entry>> = {
  command: Entry.COMMAND,
  run: Entry.RUN,
  component: Entry.COMPONENT,
};

const STATES: Readonly<Record<TaskState, WireTaskState>> = {
  scheduled: WireTaskState.SCHEDULED,
  ready: WireTaskState.READY,
  running: WireTaskState.RUNNING,
  succeeded: WireTaskState.SUCCEEDED,
  failed: WireTaskState.FAILED,
  cancelled: WireTaskState.CANCELLED,
};

function decodeEntry(wire: Entry): WasmEntry | undefined {
  switch (wire) {
    case Entry.CHOSEN:
      return undefined;
    case Entry.COMMAND:
      return "command";
    case Entry.RUN:
      return "run";
    case Entry.COMPONENT:
      return "component";
    default:
      throw invalidMessage("an entry that this version does not know");
  }
}

function decodeState(wire: WireTaskState): TaskState {
  switch (wire) {
    case WireTaskState.SCHEDULED:
      return "scheduled";
    case WireTaskState.READY:
      return "ready";
    case WireTaskState.RUNNING:
      return "running";
    case WireTaskState.SUCCEEDED:
      return "succeeded";
    case WireTaskState.FAILED:
      return "failed";
    case WireTaskState.CANCELLED:
      return "cancelled";
    default:
      throw invalidMessage("a state that this version does not know");
  }
}

const CATCHUPS: Readonly<Record<Catchup, WireCatchup>> = {
  latest: WireCatchup.LATEST,
  all: WireCatchup.ALL,
  none: WireCatchup.NONE,
};

function decodeOverlap(overlap: WireOverlap): Overlap {
  if (overlap === WireOverlap.ALLOW) return "allow";
  if (overlap === WireOverlap.FORBID) return "forbid";
  throw invalidMessage("an overlap that this version does not know");
}

function decodeCatchup(catchup: WireCatchup): Catchup {
  switch (catchup) {
    case WireCatchup.LATEST:
      return "latest";
    case WireCatchup.ALL:
      return "all";
    case WireCatchup.NONE:
      return "none";
    default:
      throw invalidMessage("a catchup that this version does not know");
  }
}

function decodeOutputLimit(limit: OutputLimit): "truncate" | "fail" {
  if (limit === OutputLimit.FAIL) return "fail";
  if (limit === OutputLimit.TRUNCATE) return "truncate";
  throw invalidMessage("an output limit that this version does not know");
}
