/**
 * Which kind of runner a module is best run on, by the size of its code and by what earlier runs of it showed. Pure.
 *
 * The engine never replaces the frame of a function that runs: a loop inside one call goes on in whatever the function
 * was compiled to when it was called. On an `optimized` runner that is the best code from the start, and every function
 * is compiled by the optimizing compiler when it is first called, which takes long where much code is called. On a
 * `baseline` runner compiling costs next to nothing, functions that are hot are optimized beside, and calls that begin
 * later find the better code: an interpreter's loop runs optimized before it comes to its script. What stays slow there
 * is a loop in a function that was called once, early: a compiled program's own.
 *
 * So small code runs optimized at once. Large code first runs on a baseline runner; once its runs have taken so long
 * that compiling all of it well would have cost no more than they did, the next ones run optimized, until they are short
 * again.
 */
import { OPTIMIZING_NS_PER_CODE_BYTE, SMALL_CODE_BYTES_MAX } from "../../base/limits.ts";
import type { RunnerTier } from "./runner-cell.ts";

/** What earlier runs of one module showed. */
export interface ModuleHistory {
  /** The tier of the last run. */
  readonly tier: RunnerTier;
  /** CPU time of its runs beside compiling, the late ones weighing most. */
  readonly workMs: number;
}

export interface FinishedRun {
  readonly tier: RunnerTier;
  readonly cpuMs: number;
  /** The runner had the module from an earlier run, and most of it compiled. */
  readonly wasCompiled: boolean;
}

/** The share of what compiling costs that runs must fall below before they go back to a baseline runner. */
const SHORT_AGAIN = 0.5;

export function chooseTier(codeBytes: number, history: ModuleHistory | undefined): RunnerTier {
  if (codeBytes <= SMALL_CODE_BYTES_MAX) return "optimized";
  if (history === undefined) return "baseline";
  const worthMs = optimizingMs(codeBytes) * (history.tier === "optimized" ? SHORT_AGAIN : 1);
  return history.workMs >= worthMs ? "optimized" : "baseline";
}

/** The history after one more run. Of code that is small none is needed: `undefined`. */
export function rememberRun(
  codeBytes: number,
  history: ModuleHistory | undefined,
  { tier, cpuMs, wasCompiled }: FinishedRun,
): ModuleHistory | undefined {
  if (codeBytes <= SMALL_CODE_BYTES_MAX) return undefined;
  const compilingMs = tier === "optimized" && !wasCompiled ? optimizingMs(codeBytes) : 0;
  const workMs = Math.max(0, cpuMs - compilingMs);
  return { tier, workMs: history === undefined ? workMs : (history.workMs + workMs) / 2 };
}

function optimizingMs(codeBytes: number): number {
  return (codeBytes * OPTIMIZING_NS_PER_CODE_BYTE) / 1e6;
}
