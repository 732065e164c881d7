/** `GET /tasks/{id}/explain`: why a task is where it is, in words and as data. */
import { z } from "zod";
import { TASK_STATES } from "../model/task.ts";

/** Codes are stable; more may come. */
export const REASON_CODES = [
  /** It is over: how, and why. */
  "finished",
  /** It waits for another task to succeed. */
  "dependency",
  /** Its next run is due at some time. */
  "time",
  /** Its next run is held back until the one before it has ended. */
  "overlap",
  /** A run is under way. */
  "running",
  /** A run failed, and waits before it is tried again. */
  "backoff",
  /** It is to run again, and an attempt that was cancelled may still be under way: until its lease has ended, at most. */
  "lease",
  /** No worker is connected. */
  "no-worker",
  /** No connected worker has what runs it. */
  "entry",
  /** No connected worker has the labels that it requires. */
  "label",
  /** The workers that could take it are given no runs now. */
  "worker",
  /** Its module, or a file that it needs, could not be read: that is tried again in a while. */
  "unreadable",
  /** It was lost on the workers that are free, and waits for another one. */
  "untried",
  /** The workers that could take it have no free slot. */
  "slot",
  /** There is a free slot: it is about to be started. */
  "starting",
  /** Attempts of a run were lost with their workers: the fifth ends it. */
  "lost",
  /** The store is in trouble: nothing is started. */
  "store",
  /** The gateway starts nothing: it is starting, or stopping. */
  "gateway",
] as const;

export type ReasonCode = (typeof REASON_CODES)[number];

export const reasonSchema = z.looseObject({
  code: z.string(),
  /** A sentence. */
  message: z.string(),
  /** The run that it is about. */
  run: z.number().optional(),
});

export const explanationSchema = z.object({
  task: z.string(),
  state: z.enum(TASK_STATES),
  /** What holds it up most comes first. */
  reasons: z.array(reasonSchema),
});

export type ReasonJson = z.infer<typeof reasonSchema>;
export type ExplanationJson = z.infer<typeof explanationSchema>;
