/** From how a runner's part in an attempt ended to the attempt's end. Pure. */
import { ClusterError, messageOf, overloaded } from "../../base/errors.ts";
import { mib } from "../../base/wording.ts";
import { NO_USAGE } from "../../model/outcome.ts";
import type { AttemptEnd, Outcome } from "../../model/outcome.ts";
import type { CollectVerdict } from "./file-collection.ts";
import type { RunnerVerdict } from "./runner-process.ts";
import type { GuestEnd } from "./wire.ts";

/** The share of its memory cap from which on a guest that fails is taken to have failed for want of memory. */
const MEMORY_SHARE_FULL = 0.9;
/** What V8 says when its own heap, which holds no linear memory, is full. */
const HEAP_FULL = /heap out of memory|Fatal process out of memory|JavaScript OOM/i;

export interface JudgedEnd {
  readonly verdict: RunnerVerdict;
  /** The outcome by which the guest was stopped from outside, if it was. */
  readonly stopped: Outcome | undefined;
  readonly memoryCapBytes: number;
  /** What its memory began with, and what more was seen of it from outside: all that is known of a guest that was killed. */
  readonly initialBytes: number;
  readonly seenBytes: number;
  readonly wallMs: number;
  /** As seen from outside. A runner's own report is more exact. */
  readonly cpuMs: number;
}

export function judgeEnd(ended: JudgedEnd): AttemptEnd {
  const { verdict, stopped, memoryCapBytes, initialBytes, seenBytes, wallMs, cpuMs } = ended;
  const { outputBytes, hasTruncated } = verdict;
  const output = { outputBytes, outputTruncated: hasTruncated };
  if (verdict.kind === "died") {
    // What was seen is the process's: with the engine's own part it may be more than a linear memory can have been.
    const memoryBytes = Math.max(initialBytes, Math.min(seenBytes, memoryCapBytes));
    const usage = { wallMs, cpuMs, memoryBytes };
    return { outcome: stopped ?? judgeDeath(verdict.reason, verdict.stderr), usage, ...output };
  }
  // It came to its own end before it could be stopped: that end stands, since it has told all of it.
  const { end, value, memoryBytes } = verdict.report;
  const usage = { wallMs, cpuMs: verdict.report.cpuMs, memoryBytes };
  const outcome = judgeGuestEnd(end, memoryBytes, memoryCapBytes);
  return { outcome, ...(value !== undefined && { value }), usage, ...output };
}

/** The end of an attempt whose guest had exited, after its files were asked for. */
export function judgeCollection(end: AttemptEnd, verdict: CollectVerdict, stopped: Outcome | undefined): AttemptEnd {
  switch (verdict.kind) {
    case "collected":
      return end;
    case "exceeded":
      return { ...end, outcome: { kind: "output-exceeded", reason: verdict.reason } };
    case "died": {
      if (stopped?.kind === "timed-out") {
        return { ...end, outcome: { kind: "timed-out", reason: `with its files: ${stopped.reason}` } };
      }
      const reason = `the runner went away with its files: ${verdict.reason}`;
      return { ...end, outcome: stopped ?? { kind: "lost", reason } };
    }
  }
}

/** The end of an attempt that no runner ever had. */
export function endWithoutRun(outcome: Outcome): AttemptEnd {
  return { outcome, usage: NO_USAGE, outputBytes: 0, outputTruncated: false };
}

/** The end of an attempt that came to nothing. What is not the run's doing but this machine's is thrown, as `overloaded`. */
export function endOfFailed(error: unknown): AttemptEnd {
  if (error instanceof ClusterError) {
    if (error.type === "failed") return endWithoutRun({ kind: "lost", reason: error.message });
    if (error.type === "overloaded") throw error;
  }
  throw overloaded(`this machine could not run it: ${messageOf(error)}`, { code: "executor", cause: error });
}

/** What it did itself is in the reason, whatever it is taken for. */
function judgeGuestEnd(end: GuestEnd, memoryBytes: number, capBytes: number): Outcome {
  const hasFailed = end.kind === "trapped" || (end.kind === "exited" && end.code !== 0);
  if (memoryBytes < capBytes * MEMORY_SHARE_FULL || (memoryBytes <= capBytes && !hasFailed)) return end;
  // Several memories, each within the cap, may have passed it together, and none of them been seen in time.
  const whose = memoryBytes > capBytes ? "its memories together have" : "it has";
  const reason = `${whose} ${mib(memoryBytes)} of ${mib(capBytes)} MiB in use: ${wordsOf(end)}`;
  return { kind: "memory-exceeded", reason };
}

function wordsOf(end: GuestEnd): string {
  switch (end.kind) {
    case "exited":
      return `exit code ${end.code}`;
    case "output-exceeded":
      return "it wrote too much";
    case "trapped":
    case "rejected":
      return end.reason;
  }
}

function judgeDeath(reason: string, stderr: string): Outcome {
  if (HEAP_FULL.test(stderr)) {
    return { kind: "memory-exceeded", reason: "it filled the engine's own memory, outside its linear memory" };
  }
  return { kind: "lost", reason: `the runner went away under it: ${reason}` };
}
