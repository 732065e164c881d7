/**
 * Logs and events for clients over RPC, who ask for them page by page, at their own pace: what follows them for HTTP, cut
 * where it waits.
 */
import { EVENTS_PER_PAGE_MAX, LOG_PIECES_MAX } from "../base/limits.ts";
import type { EventPage } from "../caps/event-codec.ts";
import type { LogPage, LogPlace } from "../caps/log-codec.ts";
import type { Task } from "../model/task.ts";
import type { Store } from "../store/store.ts";
import type { EventHub } from "./events.ts";
import { EventHistory } from "./http/event-history.ts";
import { followLog } from "./http/log-follow.ts";
import { SharedLogs } from "./http/shared-log.ts";

export interface ClientFeedsInit {
  readonly store: Store;
  readonly events: EventHub;
  /** Tells this gateway's events from those of another process. */
  readonly epoch: string;
}

export class ClientFeeds implements Disposable {
  readonly #init: ClientFeedsInit;
  readonly #logs: SharedLogs;
  readonly #history: EventHistory;

  constructor(init: ClientFeedsInit) {
    this.#init = init;
    this.#logs = new SharedLogs(init);
    this.#history = new EventHistory(init.events, init.epoch);
  }

  /** Resolves when there is one. Rejects with the signal's reason. */
  async events(after: string, signal: AbortSignal): Promise<EventPage> {
    const found = await this.#history.next(after === "" ? undefined : after, { signal });
    const page = found.slice(0, EVENTS_PER_PAGE_MAX);
    return { events: page.map(({ event }) => event), last: page.at(-1)?.id ?? after };
  }

  /** Resolves when there is something to tell. Rejects with the signal's reason, or as the store does. */
  async log(task: Task, { run, offset, follow }: LogPlace, signal: AbortSignal): Promise<LogPage> {
    const { store, events } = this.#init;
    const logs = this.#logs;
    const selection = run === 0 ? "latest" : run;
    const from = {
      task: task.spec.id,
      selection,
      stream: undefined,
      offset,
      fromRun: run,
      isFollowing: follow,
    } as const;
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

  [Symbol.dispose](): void {
    this.#history[Symbol.dispose]();
  }
}
