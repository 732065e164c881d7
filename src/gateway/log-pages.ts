/** Pages of a run's log for who asks for them one by one, at their own pace: what follows logs, cut where it waits. */
import { LOG_PIECES_MAX } from "../base/limits.ts";
import type { LogPage, LogPlace } from "../caps/log-codec.ts";
import type { Task } from "../model/task.ts";
import type { Store } from "../store/store.ts";
import type { EventHub } from "./events.ts";
import { followLog } from "./http/log-follow.ts";
import type { SharedLogs } from "./http/shared-log.ts";

export interface LogPagesInit {
  readonly store: Store;
  readonly events: EventHub;
  readonly logs: SharedLogs;
}

/** Resolves when there is something to tell. Rejects with the signal's reason, or as the store does. */
export async function readLogPage(
  init: LogPagesInit,
  task: Task,
  { run, offset, follow }: LogPlace,
  signal: AbortSignal,
): Promise<LogPage> {
  const { store, events, logs } = init;
  const selection = run === 0 ? "latest" : run;
  const from = { task: task.spec.id, selection, stream: undefined, offset, fromRun: run, isFollowing: follow } as const;
  let isTruncated = false;
  for await (const item of followLog({ store, events, logs, ...from }, signal)) {
    if (item.kind === "truncated") isTruncated = true;
    else if (item.kind === "chunks") {
      const pieces = item.chunks.slice(0, LOG_PIECES_MAX);
      const last = pieces.at(-1);
      const nextOffset = last === undefined ? offset : last.offset + last.bytes.length;
      return { run: item.run, pieces, nextOffset, isEnd: false, isTruncated: false };
    } else if (item.kind === "run-end") {
      return { run: item.run, pieces: [], nextOffset: offset, isEnd: true, isTruncated };
    }
  }
  return { run, pieces: [], nextOffset: offset, isEnd: true, isTruncated };
}
