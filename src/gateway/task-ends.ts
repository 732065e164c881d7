/**
 * Waits for the ends of tasks. However many wait for one task, it is watched once, and the store is read once for each
 * change of the task's state: who waits costs nothing but his call.
 */
import type { TaskId } from "../base/ids.ts";
import { type Task, isFinished } from "../model/task.ts";
import type { Store } from "../store/store.ts";
import type { EventHub } from "./events.ts";

export interface TaskEndsInit {
  readonly store: Store;
  readonly events: EventHub;
}

/** A task as it was submitted: its id may be another task's once it is deleted. */
export interface TaskRef {
  readonly id: TaskId;
  readonly serial: number;
}

export class TaskEnds {
  readonly #init: TaskEndsInit;
  /** By the task's serial. */
  readonly #watches = new Map<number, EndWatch>();

  constructor(init: TaskEndsInit) {
    this.#init = init;
  }

  /** Tasks that somebody waits for. */
  get size(): number {
    return this.#watches.size;
  }

  /** The task when it has finished; undefined when it was deleted. Rejects as the store does, or with the signal's reason. */
  async of(task: TaskRef, { signal }: { readonly signal: AbortSignal }): Promise<Task | undefined> {
    signal.throwIfAborted();
    const { serial } = task;
    const watch = this.#watches.get(serial) ?? new EndWatch(this.#init, task);
    this.#watches.set(serial, watch);
    watch.waiters++;
    const { promise, reject } = Promise.withResolvers<never>();
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      return await Promise.race([watch.end, promise]);
    } finally {
      signal.removeEventListener("abort", onAbort);
      watch.waiters--;
      if (watch.waiters === 0) {
        watch[Symbol.dispose]();
        if (this.#watches.get(serial) === watch) this.#watches.delete(serial);
      }
    }
  }
}

class EndWatch implements Disposable {
  waiters = 0;
  readonly #init: TaskEndsInit;
  readonly #task: TaskRef;
  readonly #end = Promise.withResolvers<Task | undefined>();
  readonly #subscription: Disposable;
  #isReading = false;
  #hasChanged = false;

  constructor(init: TaskEndsInit, task: TaskRef) {
    this.#init = init;
    this.#task = task;
    this.#subscription = init.events.subscribeTask(task.id, ({ type }) => {
      if (type === "task") void this.#look();
    });
    this.#end.promise.catch(() => {});
    void this.#look();
  }

  get end(): Promise<Task | undefined> {
    return this.#end.promise;
  }

  [Symbol.dispose](): void {
    this.#subscription[Symbol.dispose]();
  }

  /** Never rejects. Changes that come while the store is read are looked at once more, all together. */
  async #look(): Promise<void> {
    this.#hasChanged = true;
    if (this.#isReading) return;
    this.#isReading = true;
    try {
      while (this.#hasChanged) {
        this.#hasChanged = false;
        const task = await this.#init.store.getTask(this.#task.id);
        if (task?.serial !== this.#task.serial) this.#end.resolve(undefined);
        else if (isFinished(task.state)) this.#end.resolve(task);
      }
    } catch (thrown) {
      this.#end.reject(thrown);
    } finally {
      this.#isReading = false;
    }
  }
}
