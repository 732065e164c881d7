/** A run as JSON, with its attempts. */
import { z } from "zod";
import type { Outcome } from "../model/outcome.ts";
import { type Attempt, RUN_STATES, type Run } from "../model/run.ts";
import { keptFileJson, keptFileSchema } from "./file-json.ts";
import { formatOptionalTime, formatTime } from "./time.ts";

export const outcomeSchema = z.object({
  kind: z
    .enum(["exited", "trapped", "timed-out", "memory-exceeded", "output-exceeded", "cancelled", "rejected", "lost"])
    .describe("How it ended. `exited` with 0 is success."),
  code: z.number().optional().describe("The exit code, of `exited`."),
  reason: z.string().optional().describe("In words."),
});

export const resultSchema = z.object({
  value: z.string().optional().describe("What an exported `run` returned, as unsigned decimal text."),
  stdout: z.string().describe("The beginning of what it wrote there; `logs` has all that was kept."),
  stderr: z.string().describe("The same, of stderr."),
  exitCode: z.number().optional().describe("Of a guest that exited."),
});

export const attemptSchema = z.object({
  number: z.number().describe("From 1, of this run."),
  worker: z.string().describe("The worker that has, or had, it."),
  state: z.enum(["running", "succeeded", "failed", "cancelled", "lost"]).describe("`lost`: worker or connection gone."),
  startedAt: z.string().describe("When it was given to the worker."),
  finishedAt: z.string().nullable().describe("Null: it has not."),
  outcome: outcomeSchema.nullable().describe("Null: not known yet."),
});

const usageSchema = z.object({
  wallMs: z.number().describe("Milliseconds that the guest ran."),
  cpuMs: z.number().describe("Milliseconds of processor time."),
  memoryBytes: z.number().describe("The peak of its linear memory."),
});

export const runSchema = z.object({
  task: z.string().describe("The task's id."),
  index: z.number().describe("From 1."),
  state: z.enum(RUN_STATES).describe("`ready`: due, and waiting for a worker."),
  dueAt: z.string().nullable().describe("Null: not known yet, as a run before it, or what it waits for, decides that."),
  attempts: z.array(attemptSchema).describe("In order. At most one of them is accepted as the run's end."),
  outcome: outcomeSchema.nullable().describe("Of the attempt that ended it. Null: it has not ended."),
  result: resultSchema.nullable().describe("What came of it. Null: nothing yet."),
  usage: usageSchema.nullable().describe("What the attempt that ended it took."),
  outputBytes: z.number().describe("Length of its log so far."),
  outputTruncated: z.boolean().describe("Whether the guest wrote more than was kept."),
  files: z.array(keptFileSchema).describe("Files that were kept of it, by path."),
});

export type OutcomeJson = z.infer<typeof outcomeSchema>;
export type AttemptJson = z.infer<typeof attemptSchema>;
export type RunJson = z.infer<typeof runSchema>;

export function outcomeJson(outcome: Outcome): OutcomeJson {
  switch (outcome.kind) {
    case "exited":
      return { kind: "exited", code: outcome.code };
    default:
      return { kind: outcome.kind, ...(outcome.reason !== undefined && { reason: outcome.reason }) };
  }
}

export function runJson(run: Run): RunJson {
  return {
    task: run.task,
    index: run.index,
    state: run.state,
    dueAt: formatTime(run.dueAt),
    attempts: run.attempts.map(attemptJson),
    outcome: run.outcome === undefined ? null : outcomeJson(run.outcome),
    result: run.result ?? null,
    usage: run.usage ?? null,
    outputBytes: run.outputBytes,
    outputTruncated: run.outputTruncated,
    files: run.files.map(keptFileJson),
  };
}

function attemptJson(attempt: Attempt): AttemptJson {
  return {
    number: attempt.number,
    worker: attempt.worker,
    state: attempt.state,
    startedAt: formatTime(attempt.startedAt),
    finishedAt: formatOptionalTime(attempt.finishedAt),
    outcome: attempt.outcome === undefined ? null : outcomeJson(attempt.outcome),
  };
}
