/**
 * One log with many readers: what the store is asked, and how what it answers is told, is done once for all who are at the
 * same place. Readers at the log's end are, whatever it was they began with; one that falls behind reads by itself.
 *
 *     event ──▶ every reader wakes ──▶ the first one asks the store ──▶ all get that page
 *                                      the first one makes it text   ──▶ all get those bytes
 *
 * A page is good until the next event of its task: an answer from before says nothing of what came since. So no reader
 * can be given a page that lacks what it was woken for.
 */
import type { TaskId } from "../../base/ids.ts";
import { SHARED_PAGES_MAX } from "../../base/limits.ts";
import type { OutputPage, ReadOutputOptions, Store } from "../../store/store.ts";
import type { EventHub } from "../events.ts";

export interface SharedLogsInit {
  readonly store: Pick<Store, "readOutput">;
  readonly events: EventHub;
}

/** Of all tasks whose logs are being read. */
export class SharedLogs {
  readonly #init: SharedLogsInit;
  readonly #open = new Map<TaskId, SharedLog>();

  constructor(init: SharedLogsInit) {
    this.#init = init;
  }

  /** To be opened before the task is watched, and disposed by the caller. */
  open(task: TaskId): LogReading {
    let log = this.#open.get(task);
    if (log === undefined) {
      log = new SharedLog(this.#init, task);
      this.#open.set(task, log);
    }
    const shared = log;
    shared.readers++;
    let isOver = false;
    return {
      readOutput: (run, options) => shared.readOutput(run, options),
      [Symbol.dispose]: () => {
        if (isOver) return;
        isOver = true;
        shared.readers--;
        if (shared.readers > 0) return;
        shared[Symbol.dispose]();
        if (this.#open.get(task) === shared) this.#open.delete(task);
      },
    };
  }
}

export interface LogReading extends Disposable {
  /** As the store's. Whoever asks for the same before the task's next event gets the same page. */
  readOutput(run: number, options: ReadOutputOptions): Promise<OutputPage | undefined>;
}

class SharedLog implements Disposable {
  readers = 0;
  readonly #init: SharedLogsInit;
  readonly #task: TaskId;
  readonly #subscription: Disposable;
  /** Since the last event. The oldest come first. */
  readonly #pages = new Map<string, Promise<OutputPage | undefined>>();

  constructor(init: SharedLogsInit, task: TaskId) {
    this.#init = init;
    this.#task = task;
    this.#subscription = init.events.subscribeTask(task, () => this.#pages.clear());
  }

  readOutput(run: number, options: ReadOutputOptions): Promise<OutputPage | undefined> {
    const { stream = "both", offset, bytesMax } = options;
    const key = `${run} ${stream} ${offset} ${bytesMax}`;
    const known = this.#pages.get(key);
    if (known !== undefined) return known;
    const page = this.#init.store.readOutput(this.#task, run, options);
    this.#pages.set(key, page);
    const [oldest] = this.#pages.keys();
    if (this.#pages.size > SHARED_PAGES_MAX && oldest !== undefined) this.#pages.delete(oldest);
    // A failure is nobody else's: who asks next tries again.
    page.catch(() => {
      if (this.#pages.get(key) === page) this.#pages.delete(key);
    });
    return page;
  }

  [Symbol.dispose](): void {
    this.#subscription[Symbol.dispose]();
  }
}
