/** A run as JSON, with its attempts. */
import { z } from "zod";
import type { Outcome } from "../model/outcome.ts";
import { type Attempt, RUN_STATES, type Run } from "../model/run.ts";
import { keptFileJson, keptFileSchema } from "./file-json.ts";
import { formatOptionalTime, formatTime } from "./time.ts";

export const outcomeSchema = z.object({
  kind: z.enum([
    "exited",
    "trapped",
    "timed-out",
    "memory-exceeded",
    "output-exceeded",
    "cancelled",
    "rejected",
    "lost",
  ]),
  /** The exit code, of `exited`. */
  code: z.number().optional(),
  reason: z.string().optional(),
});

export const resultSchema = z.object({
  /** What an exported `run` returned, as unsigned decimal text. */
  value: z.string().optional(),
  stdout: z.string(),
  stderr: z.string(),
  exitCode: z.number().optional(),
});

export const attemptSchema = z.object({
  number: z.number(),
  worker: z.string(),
  state: z.enum(["running", "succeeded", "failed", "cancelled", "lost"]),
  startedAt: z.string(),
  finishedAt: z.string().nullable(),
  outcome: outcomeSchema.nullable(),
});

export const runSchema = z.object({
  task: z.string(),
  /** From 1. */
  index: z.number(),
  state: z.enum(RUN_STATES),
  /** Null: not known yet, as a run before it, or what it waits for, decides that. */
  dueAt: z.string().nullable(),
  attempts: z.array(attemptSchema),
  outcome: outcomeSchema.nullable(),
  result: resultSchema.nullable(),
  usage: z.object({ wallMs: z.number(), cpuMs: z.number(), memoryBytes: z.number() }).nullable(),
  /** Length of its log so far, and whether the guest wrote more than was kept. */
  outputBytes: z.number(),
  outputTruncated: z.boolean(),
  /** Files that were kept of it, by path. */
  files: z.array(keptFileSchema),
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
