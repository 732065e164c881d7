/** Submits, cancels and deletes tasks: commit first, then tell the workers, the dispatcher and whoever watches. */
import type { Clock } from "../base/clock.ts";
import { overloaded } from "../base/errors.ts";
import type { TaskId } from "../base/ids.ts";
import { QUEUED_TASKS_MAX } from "../base/limits.ts";
import type { ModuleInspection } from "../model/module.ts";
import type { TaskSpec } from "../model/task.ts";
import type { CancelTaskResult, CreateTaskResult, Store } from "../store/store.ts";
import type { Attempts } from "./attempts.ts";
import { type EventHub, publishReady } from "./events.ts";
import type { BlobPins } from "./blob-pins.ts";
import type { StoreReadiness, TaskService } from "./services.ts";
import { troubled } from "./store-trouble.ts";

export interface StoreTaskServiceInit {
  readonly store: Store;
  readonly pins: BlobPins;
  readonly attempts: Attempts;
  readonly events: EventHub;
  readonly storeHealth: StoreReadiness;
  readonly clock: Clock;
  /** A run is ready, or something will be due at this time. */
  readonly onChanged: (next: { readonly isReady: boolean; readonly dueAt: number | undefined }) => void;
}

export class StoreTaskService implements TaskService {
  readonly #init: StoreTaskServiceInit;

  constructor(init: StoreTaskServiceInit) {
    this.#init = init;
  }

  async submit(spec: TaskSpec, inspection: ModuleInspection, now: number): Promise<CreateTaskResult> {
    const { store, events, storeHealth, onChanged } = this.#init;
    const trouble = storeHealth.refusesBecause();
    if (trouble !== undefined) throw troubled(trouble);
    if ((await store.countUnfinishedTasks()) >= QUEUED_TASKS_MAX) {
      throw overloaded(`${QUEUED_TASKS_MAX} tasks are unfinished already; submit again later`, { code: "queue-full" });
    }
    const result = await store.createTask(spec, inspection, now);
    if (result.kind === "created") {
      const { task, ready } = result;
      events.publish({ type: "task", task: spec.id, state: task.state });
      publishReady(events, spec.id, ready);
      onChanged({ isReady: task.counts.ready > 0, dueAt: task.nextRunAt });
    }
    return result;
  }

  async cancel(id: TaskId, reason: string): Promise<CancelTaskResult> {
    const { store, attempts, events, clock, pins, onChanged } = this.#init;
    const result = await store.cancelTask(id, reason, clock.now());
    if (result.kind === "cancelled") {
      attempts.cancel(result.running);
      for (const { index, attempt } of result.runs) {
        events.publish({ type: "run", task: id, run: index, attempt, state: "cancelled" });
      }
      events.publish({ type: "task", task: id, state: "cancelled" });
      if (result.hasDependents) onChanged({ isReady: false, dueAt: clock.now() });
      await pins.retireFreed(result.freed);
    }
    return result;
  }

  async delete(id: TaskId): Promise<boolean> {
    const { store, attempts, events, pins, clock, onChanged } = this.#init;
    const result = await store.deleteTask(id);
    if (result.kind === "no-such-task") return false;
    attempts.cancel(result.running);
    events.publish({ type: "task", task: id, state: "deleted" });
    if (result.hasDependents) onChanged({ isReady: false, dueAt: clock.now() });
    // The bytes of modules and files go with the last task that uses them.
    await pins.retireFreed(result.freed);
    return true;
  }
}
