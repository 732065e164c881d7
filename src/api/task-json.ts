/** A task as JSON: the submission's fields in their own units, and how far the task has come. */
import { z } from "zod";
import { RESULT_TEXT_BYTES_MAX } from "../base/limits.ts";
import { CATCHUPS, OVERLAPS } from "../model/schedule.ts";
import {
  RETRYABLE_KINDS,
  TASK_STATES,
  type Task,
  type TaskSpec,
  completions,
  isFinished,
  progress,
  totalRuns,
} from "../model/task.ts";
import { secondsOf } from "./duration.ts";
import { formatOptionalTime, formatTime } from "./time.ts";
import { inputFileJson, inputFileSchema } from "./file-json.ts";
import { resultSchema } from "./run-json.ts";
import { decodeWhole } from "./utf8.ts";

export const taskSchema = z.object({
  id: z.string(),
  /** The module's bytes are not echoed; `module` names them. */
  wasm: z.null(),
  module: z.string(),
  kind: z.enum(["core", "component"]),
  entry: z.enum(["command", "run", "component"]),
  description: z.string(),
  /** Whose it is: `local`, or the credential it was submitted with. */
  submitter: z.string(),
  state: z.enum(TASK_STATES),
  /** The completion counter: where it started, plus one for each run that succeeded. `completions` is the same. */
  complete: z.number(),
  completions: z.number(),
  /** Runs in total. Null: without end. */
  runs: z.number().nullable(),
  /** 0 to 1. */
  progress: z.number(),
  nextRunAt: z.string().nullable(),
  createdAt: z.string(),
  finishedAt: z.string().nullable(),
  /** Of the run that finished last. */
  result: resultSchema.nullable(),
  reason: z.string().nullable(),
  /** Seconds; null where the submission did not say. */
  duration: z.number().nullable(),
  /** Seconds, or the RFC 3339 time that was given. */
  start: z.union([z.number(), z.string()]),
  delay: z.number(),
  repeats: z.number(),
  /** Null: runs are due by `start` and `delay`. */
  cron: z.string().nullable(),
  timezone: z.string(),
  overlap: z.enum(OVERLAPS),
  catchup: z.enum(CATCHUPS),
  /** Tasks that have to succeed first. */
  after: z.array(z.string()),
  input: z.number().nullable(),
  difficulty: z.number().nullable(),
  args: z.array(z.string()),
  env: z.record(z.string(), z.string()),
  /** The beginning, as text; `stdinBytes` is the length of all of it. */
  stdin: z.string(),
  stdinBytes: z.number(),
  files: z.array(inputFileSchema),
  /** Globs. */
  outputs: z.array(z.string()),
  /** Seconds. */
  timeout: z.number(),
  cpu: z.number(),
  /** MiB. */
  memory: z.number(),
  /** Bytes. */
  outputMax: z.number(),
  outputLimit: z.enum(["truncate", "fail"]),
  retries: z.number(),
  /** Seconds. */
  backoff: z.number(),
  retryOn: z.array(z.enum(RETRYABLE_KINDS)),
  priority: z.number(),
  require: z.record(z.string(), z.string()),
});

export type TaskJson = z.infer<typeof taskSchema>;

const MIB = 1024 * 1024;

/** `now` is for the progress estimate. */
export function taskJson(task: Task, now: number): TaskJson {
  const { spec } = task;
  const counter = completions(task);
  return {
    id: spec.id,
    wasm: null,
    module: spec.module,
    kind: spec.kind,
    entry: spec.entry,
    description: spec.description,
    submitter: spec.submitter,
    state: task.state,
    complete: counter,
    completions: counter,
    runs: totalOrNull(spec),
    progress: progress(task, now),
    nextRunAt: formatOptionalTime(task.nextRunAt),
    createdAt: formatTime(task.createdAt),
    finishedAt: formatOptionalTime(task.finishedAt),
    result: task.result ?? null,
    reason: task.reason ?? null,
    duration: spec.durationMs === 0 ? null : secondsOf(spec.durationMs),
    start: spec.start,
    delay: secondsOf(spec.delayMs),
    repeats: spec.repeats,
    cron: spec.cron ?? null,
    timezone: spec.timezone,
    overlap: spec.overlap,
    catchup: spec.catchup,
    after: [...spec.after],
    input: spec.input ?? null,
    difficulty: spec.difficulty ?? null,
    args: [...spec.args],
    env: { ...spec.env },
    stdin: decodeWhole(spec.stdin, RESULT_TEXT_BYTES_MAX),
    stdinBytes: spec.stdin.length,
    files: spec.files.map(inputFileJson),
    outputs: [...spec.outputs],
    timeout: secondsOf(spec.timeoutMs),
    cpu: secondsOf(spec.cpuMs),
    memory: spec.memoryBytes / MIB,
    outputMax: spec.outputBytesMax,
    outputLimit: spec.outputLimit,
    retries: spec.retries,
    backoff: secondsOf(spec.backoffMs),
    retryOn: [...spec.retryOn],
    priority: spec.priority,
    require: { ...spec.require },
  };
}

function totalOrNull(spec: TaskSpec): number | null {
  const total = totalRuns(spec);
  return total === Infinity ? null : total;
}

/** No run of it will start any more. */
export function hasFinished(task: Pick<TaskJson, "state">): boolean {
  return isFinished(task.state);
}
