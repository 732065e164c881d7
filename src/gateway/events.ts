/**
 * What has just been committed, told to whoever watches: log followers, event streams, the dispatcher.
 *
 * An event says that something changed, after the store has it ("commit, then tell"). It carries little; watchers read
 * the store. It may be told twice, and a watcher that was not there missed it: start watching first, read then.
 */
import type { PeerId, TaskId } from "../base/ids.ts";
import type { RunState } from "../model/run.ts";
import type { TaskState } from "../model/task.ts";
import type { WorkerStatus } from "../model/worker.ts";

export type ClusterEvent =
  | { readonly type: "task"; readonly task: TaskId; readonly state: TaskState | "deleted" }
  | {
      readonly type: "run";
      readonly task: TaskId;
      readonly run: number;
      readonly attempt: number;
      readonly state: RunState;
    }
  /**
   * What happens to an attempt besides its run's changes: it is `lost`, and its run ready again or failed; a session that
   * is new has `adopted` it; or its worker came back with it too late, and is `refused`.
   */
  | {
      readonly type: "attempt";
      readonly task: TaskId;
      readonly run: number;
      readonly attempt: number;
      readonly worker: PeerId;
      readonly state: "lost" | "adopted" | "refused";
      readonly reason: string;
    }
  /** The run's log has grown to `outputBytes`. */
  | { readonly type: "output"; readonly task: TaskId; readonly run: number; readonly outputBytes: number }
  | { readonly type: "worker"; readonly worker: PeerId; readonly status: WorkerStatus | "gone" };

/** Says of runs of a task that they are ready now, and have not been tried. */
export function publishReady(events: EventHub, task: TaskId, runs: readonly number[]): void {
  for (const run of runs) events.publish({ type: "run", task, run, attempt: 0, state: "ready" });
}

export type EventListener = (event: ClusterEvent) => void;

export class EventHub {
  readonly #all = new Set<EventListener>();
  readonly #byTask = new Map<TaskId, Set<EventListener>>();

  /** Listeners are called at once, one after the other. They must not throw, and must not wait. */
  publish(event: ClusterEvent): void {
    for (const listener of this.#all) listener(event);
    if (event.type === "worker") return;
    for (const listener of this.#byTask.get(event.task) ?? []) listener(event);
  }

  /** Every event from now on. The caller disposes it. */
  subscribe(listener: EventListener): Disposable {
    this.#all.add(listener);
    return { [Symbol.dispose]: () => void this.#all.delete(listener) };
  }

  /** The events of one task from now on. The caller disposes it. */
  subscribeTask(task: TaskId, listener: EventListener): Disposable {
    const listeners = this.#byTask.get(task) ?? new Set();
    this.#byTask.set(task, listeners);
    listeners.add(listener);
    return {
      [Symbol.dispose]: () => {
        listeners.delete(listener);
        if (listeners.size === 0 && this.#byTask.get(task) === listeners) this.#byTask.delete(task);
      },
    };
  }
}
