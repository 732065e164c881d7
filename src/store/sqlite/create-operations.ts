/** Operations that make tasks. Each runs inside a transaction of the store's thread. */
import { BATCH_READY_RUNS_MAX } from "../../base/limits.ts";
import type { Database } from "./database.ts";
import { KnownTasks, bindDependencies, findDependencies } from "./dependency-rows.ts";
import { insertInputFiles } from "./file-rows.ts";
import type { Answer, Args, NewTaskWire } from "./messages.ts";
import { noteModule } from "./module-operations.ts";
import { fullFor } from "./queue-rows.ts";
import { makeRuns } from "./run-rows.ts";
import { findSubmission, keepSubmission } from "./submission-rows.ts";
import { insertTask, loadTaskById, saveTask, taskWire } from "./task-rows.ts";

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
  // Each sees the ones before it: they may be what it runs after.
  const known = new KnownTasks(db);
  let readyMax = BATCH_READY_RUNS_MAX;
  const made = tasks.map((task) => {
    const each = create(db, task, now, { known, readyMax: Math.max(1, readyMax) });
    if (each.kind === "created") readyMax -= each.ready.length;
    return each;
  });
  const created = made.flatMap((each) => (each.kind === "created" ? [each] : []));
  if (created.length < made.length) {
    db.control("ROLLBACK TO batch");
    db.control("RELEASE batch");
    const refusals = made.flatMap((refusal, index) => (refusal.kind === "created" ? [] : [{ index, refusal }]));
    return { kind: "refused", refusals };
  }
  const told = created.map(({ task }) => task);
  if (key !== undefined) keepSubmission(db, key, told, now);
  db.control("RELEASE batch");
  return { kind: "created", tasks: told, ready: created.map(({ ready }) => ready) };
}

type Created = Exclude<Answer<"createTask">, { readonly kind: "repeated" | "key-mismatch" | "submitter-full" }>;

interface CreateOptions {
  readonly known: KnownTasks;
  /** Runs that are made ready; the others that are due are for a promotion. */
  readonly readyMax: number;
}

function create(
  db: Database,
  args: NewTaskWire,
  now: number,
  { known, readyMax }: CreateOptions = { known: new KnownTasks(db), readyMax: Infinity },
): Created {
  const { unknown, endless, tasks: dependencies } = findDependencies(known, args.after);
  const isBad = unknown.length > 0 || endless.length > 0;
  if (isBad && loadTaskById(db, args.plan.id) === undefined) return { kind: "bad-dependencies", unknown, endless };
  const task = insertTask(db, args, now);
  if (task === undefined) return { kind: "id-taken" };
  const { plan, inspection } = args;
  if (plan.module !== undefined && inspection !== undefined) {
    noteModule(db, { serial: task.serial, module: plan.module, inspection }, now);
  }
  insertInputFiles(db, task.serial, args.inputDigests);
  bindDependencies(db, task, dependencies);
  const { ready } = makeRuns(db, task, { now, missedBefore: now }, readyMax);
  saveTask(db, task, now);
  known.add(task);
  return { kind: "created", task: taskWire(task, { spec: undefined, result: undefined, runningSince: [] }), ready };
}
