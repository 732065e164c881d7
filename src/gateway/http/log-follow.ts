/**
 * Which bytes of which runs a reader of logs gets, and when: of one run, of the latest, of all in order; as far as they
 * are, or on and on until the run or the task is over.
 */
import type { TaskId } from "../../base/ids.ts";
import { LOG_EVENT_BYTES_MAX } from "../../base/limits.ts";
import { type Task, isFinished, totalRuns } from "../../model/task.ts";
import type { OutputStream } from "../../model/output.ts";
import type { OutputChunk, Store } from "../../store/store.ts";
import type { EventHub } from "../events.ts";
import type { LogReading, SharedLogs } from "./shared-log.ts";
import { TaskWatch } from "./task-watch.ts";

/** `latest`: the run that started last; where none has, the first to start if one waits for it. */
export type RunSelection = number | "latest" | "all";

export interface LogFollowInit {
  readonly store: Store;
  readonly logs: SharedLogs;
  readonly events: EventHub;
  readonly task: TaskId;
  readonly selection: RunSelection;
  readonly stream: OutputStream | undefined;
  /** Where to begin in the run; with `all`, in run `fromRun`. */
  readonly offset: number;
  readonly fromRun: number;
  /** Wait for what is not there yet. */
  readonly isFollowing: boolean;
}

export type LogItem =
  /** Other readers of the same place get the very same array. */
  | { readonly kind: "chunks"; readonly run: number; readonly chunks: readonly OutputChunk[] }
  /** The run's log is at its end, and the guest wrote more than was kept. */
  | { readonly kind: "truncated"; readonly run: number; readonly outputBytes: number }
  /** Nothing more of this run comes, or for now: begin anew with the next. */
  | { readonly kind: "run-end"; readonly run: number; readonly outputBytes: number }
  | { readonly kind: "end"; readonly run: number | undefined; readonly state: string };

/** Ends with an `end` item. Rejects with the signal's reason, or as the store does. */
export async function* followLog(init: LogFollowInit, signal: AbortSignal): AsyncGenerator<LogItem, void> {
  using log = init.logs.open(init.task);
  using watch = new TaskWatch(init.events, init.task);
  const reading = { ...init, log, watch };
  const { selection } = init;
  if (selection === "all") {
    yield* followAll(reading, signal);
    return;
  }
  const run = selection === "latest" ? await latestRun(init, watch, signal) : selection;
  if (run !== undefined) yield* followRun(reading, run, init.offset, signal);
  yield { kind: "end", run, state: await endState(init, run) };
}

/** A follower that has begun. */
interface Reading extends LogFollowInit {
  readonly log: LogReading;
  readonly watch: TaskWatch;
}

async function* followAll(init: Reading, signal: AbortSignal): AsyncGenerator<LogItem, void> {
  let { offset } = init;
  for (let run: number | undefined = init.fromRun; run !== undefined; offset = 0) {
    run = yield* followRun(init, run, offset, signal);
  }
  yield { kind: "end", run: undefined, state: await endState(init, undefined) };
}

/**
 * One run to its end, or until it is forgotten. Returns the run to go on with; undefined: there is no such run, and none will
 * come.
 */
async function* followRun(
  init: Reading,
  run: number,
  from: number,
  signal: AbortSignal,
): AsyncGenerator<LogItem, number | undefined> {
  const { log, watch, stream, isFollowing } = init;
  let offset = from;
  for (;;) {
    signal.throwIfAborted();
    const page = await log.readOutput(run, { stream, offset, bytesMax: LOG_EVENT_BYTES_MAX });
    if (page === undefined) {
      const task = await init.store.getTask(init.task);
      if (task !== undefined && run < task.firstRun) {
        // Its reader, which has seen some of it, may be in the middle of a character.
        if (offset > 0) yield { kind: "run-end", run, outputBytes: offset };
        return task.firstRun;
      }
      if (!isFollowing || task === undefined || !mayComeYet(task, run)) return undefined;
    } else {
      if (page.chunks.length > 0) yield { kind: "chunks", run, chunks: page.chunks };
      const hasMore = page.nextOffset > offset && page.nextOffset < page.outputBytes;
      offset = Math.max(offset, page.nextOffset);
      if (hasMore) continue;
      if (page.isComplete || !isFollowing) {
        if (page.isTruncated) yield { kind: "truncated", run, outputBytes: page.outputBytes };
        yield { kind: "run-end", run, outputBytes: page.outputBytes };
        return run + 1;
      }
    }
    await watch.changed({ signal });
  }
}

/** Whether a run that has no row yet is going to have one. */
function mayComeYet(task: Task, run: number): boolean {
  return !isFinished(task.state) && run <= totalRuns(task.spec);
}

/** A character has four bytes at most, so its beginning three. */
const HELD_BYTES_MAX = 3;

/** The bytes of `stream` in the run's log from `from` to `to`. Undefined: they are not the beginning of a character. */
export async function readHeld(
  { store, task }: Pick<LogFollowInit, "store" | "task">,
  run: number,
  { stream, from, to }: { readonly stream: OutputStream; readonly from: number; readonly to: number },
): Promise<OutputChunk | undefined> {
  const bytes: number[] = [];
  let attempt = 0;
  for (let offset = from; offset < to;) {
    const page = await store.readOutput(task, run, { stream, offset, bytesMax: HELD_BYTES_MAX + 1 });
    for (const chunk of page?.chunks ?? []) {
      bytes.push(...chunk.bytes.subarray(0, Math.max(0, to - chunk.offset)));
      attempt = chunk.attempt;
    }
    if (page === undefined || page.nextOffset <= offset || bytes.length > HELD_BYTES_MAX) break;
    offset = page.nextOffset;
  }
  if (bytes.length === 0 || bytes.length > HELD_BYTES_MAX) return undefined;
  return { attempt, stream, offset: from, bytes: Uint8Array.from(bytes) };
}

async function latestRun(init: LogFollowInit, watch: TaskWatch, signal: AbortSignal): Promise<number | undefined> {
  for (;;) {
    const run = await init.store.getLatestStartedRun(init.task);
    if (run !== undefined || !init.isFollowing) return run?.index;
    const task = await init.store.getTask(init.task);
    if (task === undefined || isFinished(task.state)) return undefined;
    await watch.changed({ signal });
  }
}

/** The run's state; the task's where there is no such run. */
async function endState({ store, task }: LogFollowInit, run: number | undefined): Promise<string> {
  const found = run === undefined ? undefined : await store.getRun(task, run);
  return (found ?? (await store.getTask(task)))?.state ?? "deleted";
}
