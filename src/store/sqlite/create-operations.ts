/** Operations that make tasks. Each runs inside a transaction of the store's thread. */
import { assert } from "../../base/errors.ts";
import { BATCH_READY_RUNS_MAX } from "../../base/limits.ts";
import { dependencyOrder } from "../../model/dependency-order.ts";
import type { Database } from "./database.ts";
import { KnownTasks, bindDependencies, findDependencies } from "./dependency-rows.ts";
import { insertInputFiles } from "./file-rows.ts";
import type { Answer, Args, NewTaskWire } from "./messages.ts";
import { noteModule } from "./module-operations.ts";
import { fullFor } from "./queue-rows.ts";
import { makeRuns } from "./run-rows.ts";
import { findSubmission, keepSubmission } from "./submission-rows.ts";
import { type TaskRecord, insertTask, loadTaskById, saveTask, taskWire } from "./task-rows.ts";

export function createTask(db: Database, { task, now, key, limit }: Args<"createTask">): Answer<"createTask"> {
  const found = key && findSubmission(db, key, now);
  if (found?.kind === "key-mismatch") return found;
  const [repeated] = found?.tasks ?? [];
  if (repeated !== undefined) return { kind: "repeated", task: repeated };
  const full = limit && fullFor(db, limit, 1);
  if (full !== undefined) return full;
  const created = create(db, task, now);
  if (created.kind === "created" && key !== undefined) keepSubmission(db, key, [created.task], now);
  return created;
}

export function createTasks(db: Database, { tasks, now, key, limit }: Args<"createTasks">): Answer<"createTasks"> {
  const found = key && findSubmission(db, key, now);
  if (found !== undefined) return found;
  const full = limit && fullFor(db, limit, tasks.length);
  if (full !== undefined) return full;
  db.control("SAVEPOINT batch");
  const made = makeAll(db, tasks, now);
  if (made.kind === "refused") {
    db.control("ROLLBACK TO batch");
    db.control("RELEASE batch");
    return made;
  }
  const told = made.created.map(({ task }) => task);
  if (key !== undefined) keepSubmission(db, key, told, now);
  db.control("RELEASE batch");
  return { kind: "created", tasks: told, ready: made.created.map(({ ready }) => ready) };
}

/** Where any is refused the caller takes back what was made. `created` are in the order of the batch. */
type Made =
  | { readonly kind: "created"; readonly created: readonly Created[] }
  | Extract<Answer<"createTasks">, { readonly kind: "refused" }>;

type Created = Extract<Answer<"createTask">, { readonly kind: "created" }>;

/** All are there, in their order, before any is bound: each may run after any other. */
function makeAll(db: Database, tasks: readonly NewTaskWire[], now: number): Made {
  const known = new KnownTasks(db);
  const rows = tasks.map((task) => ({ after: task.after, id: task.plan.id, record: insert(db, task, now) }));
  for (const { record } of rows) if (record !== undefined) known.add(record);
  const found = rows.map((row) => ({ ...row, dependencies: findDependencies(known, row.after) }));
  const order = dependencyOrder(
    rows.map(({ id, after, record }) => (record ? { id, after } : { id: undefined, after: [] })),
  );
  const cycles = new Map(order.kind === "cyclic" ? order.cycles.map(({ index, ids }) => [index, ids]) : []);
  const refusals = found.flatMap(({ record, dependencies: { unknown, endless } }, index): Refused[] => {
    if (record === undefined) return [{ index, refusal: { kind: "id-taken" } }];
    const cycle = cycles.get(index);
    if (unknown.length + endless.length === 0 && cycle === undefined) return [];
    return [{ index, refusal: { kind: "bad-dependencies", unknown, endless, cycle } }];
  });
  if (order.kind === "cyclic" || refusals.length > 0) return { kind: "refused", refusals };
  let readyMax = BATCH_READY_RUNS_MAX;
  const created = new Map<number, Created>();
  for (const index of order.order) {
    const { record, dependencies } = found[index] ?? {};
    assert(record !== undefined && dependencies !== undefined, "a task that was not refused has been inserted");
    const each = open(db, record, dependencies.tasks, now, Math.max(1, readyMax));
    readyMax -= each.ready.length;
    created.set(index, each);
  }
  return { kind: "created", created: rows.flatMap((_, index) => created.get(index) ?? []) };
}

type Refused = Extract<Made, { readonly kind: "refused" }>["refusals"][number];

function create(
  db: Database,
  args: NewTaskWire,
  now: number,
): Exclude<Answer<"createTask">, { readonly kind: "repeated" | "key-mismatch" | "submitter-full" }> {
  const { unknown, endless, tasks: dependencies } = findDependencies(new KnownTasks(db), args.after);
  const isBad = unknown.length > 0 || endless.length > 0;
  if (isBad && loadTaskById(db, args.plan.id) === undefined) return { kind: "bad-dependencies", unknown, endless };
  const task = insert(db, args, now);
  return task === undefined ? { kind: "id-taken" } : open(db, task, dependencies, now, Infinity);
}

/** A task with all that refers to it, but for its runs and those that it runs after. Undefined: the id is taken. */
function insert(db: Database, args: NewTaskWire, now: number): TaskRecord | undefined {
  const task = insertTask(db, args, now);
  if (task === undefined) return undefined;
  const { plan, inspection } = args;
  if (plan.module !== undefined && inspection !== undefined) {
    noteModule(db, { serial: task.serial, module: plan.module, inspection }, now);
  }
  insertInputFiles(db, task.serial, args.inputDigests);
  return task;
}

/**
 * Begins a task that was inserted: those that it runs after have begun. At most `readyMax` runs are made ready; the others that
 * are due are for a promotion.
 */
function open(
  db: Database,
  task: TaskRecord,
  dependencies: readonly TaskRecord[],
  now: number,
  readyMax: number,
): Created {
  bindDependencies(db, task, dependencies);
  const { ready } = makeRuns(db, task, { now, missedBefore: now }, readyMax);
  saveTask(db, task, now);
  return { kind: "created", task: taskWire(task, { spec: undefined, result: undefined, runningSince: [] }), ready };
}
