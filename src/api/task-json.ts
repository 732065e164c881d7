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

const SECONDS = "Seconds.";

export const taskSchema = z.object({
  id: z.string().describe("Of its own, or one that was made for it."),
  wasm: z.null().describe("The module's bytes are not echoed; `module` names them."),
  module: z
    .string()
    .nullable()
    .describe("SHA-256 of the module. Null, with an entry of a worker's own: there is none."),
  kind: z
    .enum(["core", "component"])
    .nullable()
    .describe("Of the module. Null, with an entry of a worker's own: nobody has looked."),
  entry: z.string().describe("`command`, `run`, `component`, or a kind that workers have of their own."),
  description: z.string().describe("As it was given."),
  submitter: z.string().describe("Whose it is: `local`, or the credential it was submitted with."),
  state: z
    .enum(TASK_STATES)
    .describe("`running` or `ready` if any run is; `scheduled` while runs remain; then how it ended."),
  complete: z.number().describe("The completion counter: where it started, plus one for each run that succeeded."),
  completions: z.number().describe("The same counter as `complete`."),
  runs: z.number().nullable().describe("Runs in total. Null: without end."),
  progress: z.number().describe("0 to 1, of all runs; of the current run where there is no end."),
  nextRunAt: z.string().nullable().describe("When the next run is due. Null: none is to come, or it is not known yet."),
  createdAt: z.string().describe("When it was accepted."),
  finishedAt: z.string().nullable().describe("When it ended. Null: it has not."),
  result: resultSchema.nullable().describe("Of the run that finished last."),
  reason: z.string().nullable().describe("Why it failed, or was cancelled."),
  duration: z.number().nullable().describe("Seconds that a run is expected to take. Null: not said."),
  start: z.union([z.number(), z.string()]).describe("Seconds after acceptance, or the RFC 3339 time that was given."),
  delay: z.number().describe("Seconds between due times."),
  repeats: z.number().describe("As it was given."),
  cron: z.string().nullable().describe("Null: runs are due by `start` and `delay`."),
  timezone: z.string().describe("Of `cron`."),
  overlap: z.enum(OVERLAPS).describe("Whether a run may be due while one is under way."),
  catchup: z.enum(CATCHUPS).describe("What becomes of `cron` slots that were missed."),
  after: z.array(z.string()).describe("Tasks that have to succeed first."),
  input: z.number().nullable().describe("First argument of an exported `run`. Null: not given."),
  difficulty: z.number().nullable().describe("Its second argument. Null: not given."),
  args: z.array(z.string()).describe("argv[1..] of the guest."),
  env: z.record(z.string(), z.string()).describe("The guest's environment: all of it."),
  stdin: z.string().describe("The beginning of it, as text."),
  stdinBytes: z.number().describe("The length of all of `stdin`."),
  files: z.array(inputFileSchema).describe("What the guest finds in its `/`."),
  outputs: z.array(z.string()).describe("Globs: which of its files are kept after a run."),
  timeout: z.number().describe(`${SECONDS} Wall time of one attempt.`),
  cpu: z.number().describe(`${SECONDS} CPU time of one attempt.`),
  memory: z.number().describe("MiB. Cap of the linear memory."),
  outputMax: z.number().describe("Bytes of output that are kept of a run."),
  outputLimit: z.enum(["truncate", "fail"]).describe("What happens past `outputMax`."),
  retries: z.number().describe("More attempts after one that failed by itself."),
  backoff: z.number().describe(`${SECONDS} Before the first retry, doubling.`),
  retryOn: z.array(z.enum(RETRYABLE_KINDS)).describe("Outcomes that are tried again."),
  priority: z.number().describe("Higher first."),
  require: z.record(z.string(), z.string()).describe("Labels that a worker must have."),
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
    module: spec.module ?? null,
    kind: spec.kind ?? null,
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
