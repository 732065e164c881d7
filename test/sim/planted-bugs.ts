/**
 * Bugs of the kinds that the guarantees are about, planted between a simulated gateway and its store: the checker has to
 * find each of them.
 */
import { type AttemptId, attemptKey } from "../../src/model/run.ts";
import type { ReadyRun, RunningAttempt, Store } from "../../src/store/store.ts";
import type { MemoryStore } from "../support/memory-store.ts";
import type { FaultKind } from "./scenario.ts";
import { type TaskRow, withRun } from "../support/memory-store-state.ts";

export interface PlantedBug {
  readonly name: string;
  /** What the breach begins with. */
  readonly breaks: string;
  /** By which it shows. Default: any, and none. */
  readonly faults?: readonly FaultKind[];
  /** Finished tasks are kept for so long. Default: the seed decides. */
  readonly retainMs?: number;
  /** One for each process that is a gateway. */
  readonly plant: (store: MemoryStore) => Store;
}

/** A store in which these operations are others. */
function changed(store: MemoryStore, operations: Partial<Store>): Store {
  return new Proxy<Store>(store, {
    get: (target, name) => {
      const own: unknown = Reflect.get(operations, name);
      const value: unknown = own ?? Reflect.get(target, name);
      return typeof value === "function" ? (...args: unknown[]): unknown => Reflect.apply(value, target, args) : value;
    },
  });
}

export const PLANTED_BUGS: readonly PlantedBug[] = [
  {
    name: "a task that was accepted is dropped",
    breaks: "G1",
    plant: (store) =>
      changed(store, {
        createTask: async (spec, inspection, now) => {
          const result = await store.createTask(spec, inspection, now);
          if (spec.priority === 0) await store.deleteTask(spec.id);
          return result;
        },
      }),
  },
  {
    name: "a task is stored otherwise than it was submitted",
    breaks: "G1",
    plant: (store) =>
      changed(store, {
        createTask: (spec, inspection, now) => store.createTask({ ...spec, retries: 0 }, inspection, now),
      }),
  },
  {
    name: "a cancellation is forgotten",
    breaks: "G1",
    plant: (store) =>
      changed(store, {
        cancelTask: async (id, reason, now) => {
          const before = store.disk.state;
          const result = await store.cancelTask(id, reason, now);
          if (result.kind === "cancelled") store.disk.commit([before]);
          return result;
        },
      }),
  },
  {
    name: "a submission is not known again by its key",
    breaks: "G1: key-",
    plant: (store) =>
      changed(store, {
        createTask: (spec, inspection, now) => store.createTask(spec, inspection, now),
      }),
  },
  {
    name: "a batch is made in part",
    breaks: "G1: batch",
    plant: (store) =>
      changed(store, {
        createTasks: (batch, now, options) => store.createTasks(batch.slice(1), now, options),
      }),
  },
  {
    name: "a task that was to run again does not",
    breaks: "G1",
    plant: (store) =>
      changed(store, {
        retryTask: async (id, now, limit) => {
          const task = store.disk.state.tasks.get(id);
          if (task?.finishedAt === undefined) return store.retryTask(id, now, limit);
          const view = await store.getTask(id);
          return view === undefined ? { kind: "no-such-task" } : { kind: "retried", task: view, ready: [] };
        },
      }),
  },
  {
    name: "a ready run is never seen",
    breaks: "G2",
    plant: (store) =>
      changed(store, {
        listReady: async (now, limit, options) =>
          (await store.listReady(now, limit, options)).filter((run) => run.index !== 2),
      }),
  },
  {
    name: "leases are given up that have not lapsed",
    breaks: "G2",
    plant: (store) => changed(store, { listExpired: () => store.listRunning() }),
  },
  {
    name: "a worker that comes back too late is heard, and its result taken for another attempt's",
    breaks: "G3",
    faults: ["cut", "pause-worker"],
    plant: (store) => {
      const given: RunningAttempt[] = [];
      const current = (id: AttemptId) =>
        given.findLast((other) => other.id.serial === id.serial && other.id.run === id.run)?.id ?? id;
      return changed(store, {
        lease: async (id, worker, now, leaseUntil) => {
          const isLeased = await store.lease(id, worker, now, leaseUntil);
          const leased = (await store.listRunning()).find((other) => attemptKey(other.id) === attemptKey(id));
          if (leased !== undefined) given.push(leased);
          return isLeased;
        },
        listRunning: async (worker) => {
          const running = await store.listRunning(worker);
          return worker === undefined ? running : given.filter((attempt) => attempt.worker === worker);
        },
        renew: async (ids, worker, leaseUntil) => {
          await store.renew(ids, worker, leaseUntil);
          return [];
        },
        settle: (id, end, options) => store.settle(end.outcome.kind === "lost" ? id : current(id), end, options),
      });
    },
  },
  {
    name: "a run that has its result is run again",
    breaks: "G3",
    plant: (store) =>
      changed(store, {
        settle: async (id, end, options) => {
          const result = await store.settle(id, end, options);
          if (result.kind === "settled" && result.run.state === "succeeded") reopen(store, id);
          return result;
        },
      }),
  },
  {
    name: "a run that has failed is run again by nobody's word",
    breaks: "G3",
    plant: (store) =>
      changed(store, {
        settle: async (id, end, options) => {
          const result = await store.settle(id, end, options);
          if (result.kind === "settled" && result.run.state === "failed") reopen(store, id);
          return result;
        },
      }),
  },
  {
    name: "a run is leased twice",
    breaks: "G4",
    plant: (store) => {
      let seen: readonly ReadyRun[] = [];
      return changed(store, {
        listReady: async (now, limit, options) => {
          const ready = await store.listReady(now, limit, options);
          if (options?.after !== undefined) return ready;
          const again = seen;
          seen = ready;
          return [...ready, ...again];
        },
        lease: async (id, worker, now, leaseUntil) => {
          await store.lease(id, worker, now, leaseUntil);
          return true;
        },
      });
    },
  },
  {
    name: "the next run of a task that forbids overlap is made beside the one under way",
    breaks: "G4",
    plant: (store) =>
      changed(store, {
        lease: async (id, worker, now, leaseUntil) => {
          const isLeased = await store.lease(id, worker, now, leaseUntil);
          const task = store.disk.state.tasks.get(id.task);
          const run = task?.runs.at(-1);
          if (isLeased && run !== undefined && task?.spec.overlap === "forbid") {
            const next = {
              ...run,
              index: run.index + 1,
              cursor: { state: "ready", attempt: 0, retried: 0, lost: 0 },
            } as const;
            put(store, { ...task, runs: [...task.runs, next] });
          }
          return isLeased;
        },
      }),
  },
  {
    name: "a task does not wait for those it runs after",
    breaks: "G5",
    plant: (store) =>
      changed(store, {
        promoteDue: (now, limit, missedBefore) => {
          const { state } = store.disk;
          const waiting = [...state.tasks.values()].filter((task) => task.isWaiting && task.finishedAt === undefined);
          const awaited = waiting.flatMap(({ dependencies }) =>
            dependencies.filter((each) => each.state === "waiting"),
          );
          const ends = awaited.map(({ serial, id }) => ({ serial, id, ended: "succeeded", endedAt: now }) as const);
          store.disk.commit([{ ...state, ends: [...state.ends, ...ends] }]);
          return store.promoteDue(now, limit, missedBefore);
        },
      }),
  },
  {
    name: "a slot of a schedule is left out",
    breaks: "G5",
    plant: (store) => changed(store, { promoteDue: (now, limit) => store.promoteDue(now, limit, now + 2_500) }),
  },
  {
    name: "a slot of a schedule fires twice",
    breaks: "G5",
    plant: (store) =>
      changed(store, {
        promoteDue: async (now, limit) => {
          const result = await store.promoteDue(now, limit);
          for (const { task: id } of result.promoted) {
            const task = store.disk.state.tasks.get(id);
            const last = task?.runs.at(-1);
            if (task === undefined || last === undefined) continue;
            put(store, { ...task, runs: [...task.runs, { ...last, index: last.index + 1 }] });
          }
          return result;
        },
      }),
  },
  {
    name: "runs are made ready before their time",
    breaks: "G5",
    plant: (store) => changed(store, { promoteDue: (now, limit) => store.promoteDue(now + 50, limit) }),
  },
  {
    name: "a cancellation does not reach the guest",
    breaks: "G6",
    plant: (store) =>
      changed(store, {
        cancelTask: async (id, reason, now) => {
          const result = await store.cancelTask(id, reason, now);
          return result.kind === "cancelled" ? { ...result, running: [] } : result;
        },
        renew: async (ids, worker, leaseUntil) => {
          await store.renew(ids, worker, leaseUntil);
          return [];
        },
      }),
  },
  {
    name: "a drained worker is given runs",
    breaks: "G10",
    plant: (store) =>
      changed(store, {
        setDrained: (peer, isDrained, now) => (isDrained ? store.setDrained(peer, isDrained, now) : Promise.resolve()),
      }),
  },
  {
    name: "what is told is not on the disk",
    breaks: "told",
    plant: (store) =>
      changed(store, {
        settle: async (id, end, options) => {
          const result = await store.settle(id, end, options);
          const isWrong = result.kind === "settled" && result.run.state === "succeeded";
          return isWrong ? { ...result, run: { ...result.run, state: "failed" } } : result;
        },
      }),
  },
  {
    name: "a file that was to be kept is dropped",
    breaks: "G8: of",
    plant: (store) =>
      changed(store, {
        keepFile: (id, file, options) =>
          file.path.endsWith("0") ? Promise.resolve("kept") : store.keepFile(id, file, options),
      }),
  },
  {
    name: "content that is still referred to is deleted",
    breaks: "G8: the content",
    plant: (store) => changed(store, { isBlobUsed: () => Promise.resolve(false) }),
  },
  {
    name: "a guest is given another task's file",
    breaks: "G8: attempt",
    plant: (store) =>
      changed(store, {
        findKeptFile: (_id, path) => {
          const runs = [...store.disk.state.tasks.values()].flatMap((task) => task.runs);
          const file = runs.flatMap(({ keptFiles }) => keptFiles).find((kept) => kept.path === path);
          return Promise.resolve(file === undefined ? undefined : { ...file, run: 1 });
        },
      }),
  },
  {
    name: "content that nothing refers to stays",
    breaks: "leak: the blob",
    plant: (store) => changed(store, { isBlobUsed: () => Promise.resolve(true) }),
  },
  {
    name: "finished tasks are forgotten before their time",
    breaks: "G1",
    retainMs: 30_000,
    plant: (store) =>
      changed(store, {
        forgetFinished: (endedBefore, limit, after) => store.forgetFinished(endedBefore + 1_000_000, limit, after),
      }),
  },
  {
    name: "a piece of output is dropped",
    breaks: "G8",
    plant: (store) => {
      const dropped = new Map<string, number>();
      return changed(store, {
        appendOutput: async (id, offset, stream, bytes) => {
          const key = `${id.serial}/${id.run}/${id.attempt}`;
          const before = dropped.get(key);
          if (before === undefined) {
            dropped.set(key, offset + bytes.length);
            return { kind: "appended", durableOffset: offset + bytes.length, runOffset: 0 };
          }
          const result = await store.appendOutput(id, offset - before, stream, bytes);
          return result.kind === "stale" ? result : { ...result, durableOffset: result.durableOffset + before };
        },
      });
    },
  },
];

function put(store: MemoryStore, task: TaskRow): void {
  const { state } = store.disk;
  store.disk.commit([{ ...state, tasks: new Map(state.tasks).set(task.spec.id, task) }]);
}

function reopen(store: MemoryStore, id: AttemptId): void {
  const task = store.disk.state.tasks.get(id.task);
  const run = task?.runs[id.run - 1];
  if (task === undefined || run === undefined) return;
  const again = { ...run, cursor: { ...run.cursor, state: "ready" as const }, outcome: undefined };
  put(store, { ...withRun(task, again), finishedAt: undefined });
}
