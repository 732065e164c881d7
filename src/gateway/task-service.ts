/** Submits, cancels and deletes tasks: commit first, then tell the workers, the dispatcher and whoever watches. */
import type { Clock } from "../base/clock.ts";
import type { TaskId } from "../base/ids.ts";
import type { ModuleInspection } from "../model/module.ts";
import type { Task, TaskSpec } from "../model/task.ts";
import type {
  CancelTaskResult,
  CreateTaskResult,
  CreateTasksResult,
  NewTask,
  QueueSize,
  RetryTaskResult,
  Store,
  SubmitterFull,
  SubmitterLimit,
} from "../store/store.ts";
import type { Attempts } from "./attempts.ts";
import { type EventHub, publishReady } from "./events.ts";
import type { BlobPins } from "./blob-pins.ts";
import type { StoreReadiness, SubmitOptions, TaskService } from "./services.ts";
import { troubled } from "./store-trouble.ts";
import { type QueueGate, queuedBytes } from "./queue-gate.ts";

export interface StoreTaskServiceInit {
  readonly store: Store;
  readonly pins: BlobPins;
  readonly attempts: Attempts;
  readonly events: EventHub;
  readonly storeHealth: StoreReadiness;
  readonly clock: Clock;
  readonly gate: QueueGate;
  /** A run is ready, or something will be due at this time. */
  readonly onChanged: (next: { readonly isReady: boolean; readonly dueAt: number | undefined }) => void;
}

export class StoreTaskService implements TaskService {
  readonly #init: StoreTaskServiceInit;

  constructor(init: StoreTaskServiceInit) {
    this.#init = init;
  }

  async submit(
    spec: TaskSpec,
    inspection: ModuleInspection | undefined,
    now: number,
    { key, limit }: SubmitOptions = {},
  ): Promise<Exclude<CreateTaskResult, SubmitterFull>> {
    using _ = await this.#admit({ tasks: 1, bytes: queuedBytes(spec) });
    const result = await this.#init.store.createTask(spec, inspection, now, key, limit);
    if (result.kind === "submitter-full") throw await this.#init.gate.submitterFull(result, 1);
    if (result.kind === "created") this.#tell(result.task, result.ready);
    return result;
  }

  async submitAll(
    tasks: readonly NewTask[],
    now: number,
    { key, limit }: SubmitOptions = {},
  ): Promise<Exclude<CreateTasksResult, SubmitterFull>> {
    const bytes = tasks.reduce((sum, { spec }) => sum + queuedBytes(spec), 0);
    using _ = await this.#admit({ tasks: tasks.length, bytes });
    const result = await this.#init.store.createTasks(tasks, now, key, limit);
    if (result.kind === "submitter-full") throw await this.#init.gate.submitterFull(result, tasks.length);
    if (result.kind === "created") {
      for (const [index, task] of result.tasks.entries()) this.#tell(task, result.ready[index] ?? []);
    }
    return result;
  }

  async requireRoom(tasks = 1): Promise<void> {
    (await this.#admit({ tasks, bytes: 0 }))[Symbol.dispose]();
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

  async retry(id: TaskId, limit?: SubmitterLimit): Promise<Exclude<RetryTaskResult, SubmitterFull>> {
    const { store, events, clock, gate, onChanged } = this.#init;
    // It counts as unfinished again; what it takes of the queue is known to the store alone.
    using _ = await this.#admit({ tasks: 1, bytes: 0 });
    const result = await store.retryTask(id, clock.now(), limit);
    if (result.kind === "submitter-full") throw await gate.submitterFull(result, 1);
    if (result.kind === "retried") {
      const { task, ready, scheduled, heldUntil = Infinity } = result;
      events.publish({ type: "task", task: id, state: task.state });
      for (const { index, attempt } of ready) {
        events.publish({ type: "run", task: id, run: index, attempt, state: "ready" });
      }
      for (const { index, attempt } of scheduled) {
        events.publish({ type: "run", task: id, run: index, attempt, state: "scheduled" });
      }
      const dueAt = Math.min(task.nextRunAt ?? Infinity, heldUntil);
      onChanged({ isReady: ready.length > 0, dueAt: dueAt === Infinity ? undefined : dueAt });
    }
    return result;
  }

  async delete(id: TaskId): Promise<boolean> {
    const { store, gate, attempts, events, pins, clock, onChanged } = this.#init;
    const result = await store.deleteTask(id);
    if (result.kind === "no-such-task") return false;
    attempts.cancel(result.running);
    if (result.wasUnfinished) gate.ended();
    events.publish({ type: "task", task: id, state: "deleted" });
    if (result.hasDependents) onChanged({ isReady: false, dueAt: clock.now() });
    // The bytes of modules and files go with the last task that uses them.
    await pins.retireFreed(result.freed);
    return true;
  }

  #admit(size: QueueSize): Promise<Disposable> {
    const { storeHealth, gate } = this.#init;
    const trouble = storeHealth.refusesBecause();
    if (trouble !== undefined) throw troubled(trouble);
    return gate.admit(size);
  }

  #tell(task: Task, ready: readonly number[]): void {
    const { events, onChanged } = this.#init;
    events.publish({ type: "task", task: task.spec.id, state: task.state });
    publishReady(events, task.spec.id, ready);
    onChanged({ isReady: task.counts.ready > 0, dueAt: task.nextRunAt });
  }
}
