/** How a MemoryStore makes tasks. Specs are the store's own. */
import { assert } from "../../src/base/errors.ts";
import { BATCH_READY_RUNS_MAX } from "../../src/base/limits.ts";
import { dependencyOrder } from "../../src/model/dependency-order.ts";
import { slotsFrom } from "../../src/model/schedule.ts";
import { requirementKey } from "../../src/model/worker.ts";
import type { CreateTaskRefusal, CreateTaskResult, CreateTasksResult, NewTask } from "../../src/store/store.ts";
import { bound, findDependencies } from "./memory-store-dependencies.ts";
import { makeRuns } from "./memory-store-making.ts";
import { noteModule } from "./memory-store-modules.ts";
import { type TaskRow, type Transaction, taskView } from "./memory-store-state.ts";

type Created = Extract<CreateTaskResult, { readonly kind: "created" }>;

export function createTask(tx: Transaction, task: NewTask, now: number): CreateTaskRefusal | Created {
  const { id, after } = task.spec;
  if (tx.task(id) !== undefined) return { kind: "id-taken" };
  const { tasks: dependencies, unknown, endless } = findDependencies(tx, after);
  if (unknown.length > 0 || endless.length > 0) return { kind: "bad-dependencies", unknown, endless };
  const row = newRow(tx, task, now);
  return open(tx, row, dependencies, now, Infinity);
}

/** Where any is refused the caller takes back what was made. `created` are in the order of the batch. */
type Made =
  | { readonly kind: "created"; readonly created: readonly Created[] }
  | Extract<CreateTasksResult, { readonly kind: "refused" }>;

export function createTasks(tx: Transaction, tasks: readonly NewTask[], now: number): Made {
  const rows: (TaskRow | undefined)[] = [];
  const ids = new Set(tx.state.tasks.keys());
  for (const task of tasks) {
    rows.push(ids.has(task.spec.id) ? undefined : newRow(tx, task, now));
    ids.add(task.spec.id);
  }
  tx.set({ tasks: new Map([...tx.state.tasks, ...rows.flatMap((row) => (row ? [[row.spec.id, row] as const] : []))]) });
  const order = dependencyOrder(
    rows.map((row) => (row === undefined ? { id: undefined, after: [] } : { id: row.spec.id, after: row.spec.after })),
  );
  const cycles = order.kind === "cyclic" ? order.cycles : [];
  const refusals = rows.flatMap((row, index): Refused[] => {
    if (row === undefined) return [{ index, refusal: { kind: "id-taken" } }];
    const { unknown, endless } = findDependencies(tx, row.spec.after);
    const cycle = cycles.find((each) => each.index === index)?.ids;
    if (unknown.length + endless.length === 0 && cycle === undefined) return [];
    return [{ index, refusal: { kind: "bad-dependencies", unknown, endless, cycle } }];
  });
  if (order.kind === "cyclic" || refusals.length > 0) return { kind: "refused", refusals };
  let readyMax = BATCH_READY_RUNS_MAX;
  const created = new Map<number, Created>();
  for (const index of order.order) {
    const row = rows[index];
    assert(row !== undefined, "a task that was not refused has a row");
    const each = open(tx, row, findDependencies(tx, row.spec.after).tasks, now, Math.max(1, readyMax));
    readyMax -= each.ready.length;
    created.set(index, each);
  }
  return { kind: "created", created: rows.flatMap((_, index) => created.get(index) ?? []) };
}

type Refused = Extract<Made, { readonly kind: "refused" }>["refusals"][number];

/** A task without runs, unsaved, that is bound to none yet. */
function newRow(tx: Transaction, { spec, inspection }: NewTask, now: number): TaskRow {
  const { nextSerial: serial, requirements } = tx.state;
  tx.set({ nextSerial: serial + 1 });
  if (spec.module !== undefined && inspection !== undefined) noteModule(tx, spec.module, inspection, now);
  const required = requirementKey(spec);
  if (!requirements.has(required)) tx.set({ requirements: new Map(requirements).set(required, requirements.size) });
  return {
    spec,
    serial,
    createdAt: now,
    firstDueAt: spec.firstDueAt,
    runs: [],
    firstRun: 1,
    isCancelled: false,
    slots: slotsFrom(now),
    dependencies: [],
    isWaiting: false,
  };
}

/** Those that it runs after are saved. */
function open(tx: Transaction, row: TaskRow, dependencies: readonly TaskRow[], now: number, readyMax: number): Created {
  const { task, ready } = makeRuns(bound(tx, row, dependencies), { now, missedBefore: now }, readyMax);
  return { kind: "created", task: taskView(tx.saveTask(task, now)), ready };
}
