/**
 * Bugs of the kinds that the guarantees are about, planted between a simulated gateway and its store: the checker has to
 * find each of them. One list, however long.
 */
import { type AttemptId, attemptKey } from "../../src/model/run.ts";
import type { ReadyRun, RunningAttempt, Store } from "../../src/store/store.ts";
import { withRun } from "../support/memory-store-state.ts";
import { emptyLog } from "../support/memory-store-log.ts";
import type { MemoryStore } from "../support/memory-store.ts";
import type { FaultKind } from "./scenario-faults.ts";
import { NOTHING_FREED, changed, every, leaveSlotOut, put, reluctantly, reopen } from "./sabotage.ts";

export interface PlantedBug {
  readonly name: string;
  /** The breach that it is planted for: no other will do, so that none stands in for a check that is gone. */
  readonly breaks: RegExp;
  /** Guests outlast a lease, and so does what goes wrong. Default: the seed decides. */
  readonly isLong?: boolean;
  /** Operators have much to do. Default: the seed decides. */
  readonly isOperated?: boolean;
  /** By which it shows; empty: none go wrong. Default: any, and none. */
  readonly faults?: readonly FaultKind[];
  /** Finished tasks are kept for so long. Default: the seed decides. */
  readonly retainMs?: number;
  /** Unfinished tasks that the gateway takes. Default: the seed decides. */
  readonly queuedTasksMax?: number;
  /** There are tasks without end. Default: the seed decides. */
  readonly isEndless?: boolean;
  /** The gateway's machine does not know, at first, what time it is. Default: the seed decides. */
  readonly hasWrongClocks?: boolean;
  /** What every process takes for its grace. Default: what it is. */
  readonly graceMs?: number;
  /** The seed to begin with, for what seldom shows. Default: 1. */
  readonly firstSeed?: number;
  /** One for each process that is a gateway. */
  readonly plant: (store: MemoryStore) => Store;
}

export const PLANTED_BUGS: readonly PlantedBug[] = [
  {
    name: "a task that was accepted is dropped",
    breaks: /^G1: \S+ is gone and nobody asked for it$/,
    plant: (store) =>
      changed(store, {
        createTask: async (spec, ...rest) => {
          const result = await store.createTask(spec, ...rest);
          if (spec.priority === 0) await store.deleteTask(spec.id);
          return result;
        },
      }),
  },
  {
    name: "a task is stored otherwise than it was submitted",
    breaks: /^G1: \S+ is not what was submitted$/,
    plant: (store) =>
      changed(store, {
        createTask: (spec, ...rest) => store.createTask({ ...spec, retries: 0 }, ...rest),
      }),
  },
  {
    name: "a cancellation is forgotten",
    breaks: /^G1: \S+ was over, and is not, and nobody asked for it$/,
    plant: (store) =>
      changed(store, {
        cancelTask: async (id, reason, now) => {
          const before = store.disk.state.tasks.get(id);
          const result = await store.cancelTask(id, reason, now);
          const after = store.disk.state.tasks.get(id);
          if (result.kind !== "cancelled" || before === undefined || after?.serial !== before.serial) return result;
          const runs = after.runs.map((run, at) => (run.cursor.state === "cancelled" ? (before.runs[at] ?? run) : run));
          put(store, { ...after, isCancelled: false, finishedAt: undefined, runs });
          return result;
        },
      }),
  },
  {
    name: "a cancellation is not carried out",
    breaks: /^G1: \S+ was said to be cancelled and was not$/,
    plant: (store) =>
      changed(store, {
        cancelTask: async (id, reason, now) => {
          const task = store.disk.state.tasks.get(id);
          const view = task?.finishedAt === undefined ? await store.getTask(id) : undefined;
          if (view === undefined) return store.cancelTask(id, reason, now);
          return { kind: "cancelled", task: view, running: [], runs: [], freed: NOTHING_FREED, hasDependents: false };
        },
      }),
  },
  {
    name: "a submission is not known again by its key",
    breaks: /^G1: key-\d+ has made \d+ tasks$/,
    plant: (store) =>
      changed(store, {
        createTask: (spec, inspection, now, _key, limit) => store.createTask(spec, inspection, now, undefined, limit),
      }),
  },
  {
    name: "a batch is made in part",
    breaks: /^G1: batch \d+ has made \d+ of \d+ tasks$/,
    plant: (store) =>
      changed(store, {
        createTasks: (batch, ...rest) => store.createTasks(batch.slice(1), ...rest),
      }),
  },
  {
    name: "a task that was to run again does not",
    breaks: /^G1: \S+ was said to run again and does not$/,
    plant: (store) =>
      changed(store, {
        retryTask: async (id, now, limit) => {
          const task = store.disk.state.tasks.get(id);
          if (task?.finishedAt === undefined) return store.retryTask(id, now, limit);
          const view = await store.getTask(id);
          return view === undefined
            ? { kind: "no-such-task" }
            : { kind: "retried", task: view, ready: [], scheduled: [] };
        },
      }),
  },
  {
    name: "a ready run is never seen",
    breaks: /^G2: \S+ is still ready at the end$/,
    plant: (store) =>
      changed(store, {
        listReady: async (now, limit, options) =>
          (await store.listReady(now, limit, options)).filter((run) => run.index !== 2),
      }),
  },
  {
    name: "leases are given up that have not lapsed",
    breaks: /^G2: .* was lost though nothing went wrong$/,
    plant: (store) => changed(store, { listExpired: () => store.listRunning() }),
  },
  {
    name: "a worker that comes back too late is heard, and its result taken for another attempt's",
    breaks: /^G3: .* has a result that its guest had not given$/,
    faults: ["cut", "pause-worker"],
    isLong: true,
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
    breaks: /^G3: .* went from succeeded to ready$/,
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
    breaks: /^G3: .* was failed and is run again, and nobody asked for that$/,
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
    breaks: /^G4: attempt \S+ was carried out twice$/,
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
    name: "a run is tried again while its cancelled attempt may still be under way",
    breaks: /^G4: attempt \S+ began beside \S+, which was not lost$/,
    firstSeed: 105,
    plant: (store) =>
      changed(store, {
        retryTask: async (id, now, limit) => {
          const result = await store.retryTask(id, now, limit);
          if (result.kind !== "retried") return result;
          const { serial } = result.task;
          await store.noteEnded(result.ready.map(({ index: run, attempt }) => ({ task: id, serial, run, attempt })));
          return result;
        },
      }),
  },
  {
    name: "the next run of a task that forbids overlap is made beside the one under way",
    breaks: /^G4: .* was made while another was under way$/,
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
    breaks: /^G5: .* was made before \S+ has succeeded$/,
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
    breaks: /^G5: .* leaves out the slot \d+$/,
    faults: [],
    plant: (store) => {
      const seen = new Set<number>();
      return changed(store, {
        promoteDue: async (...given) => {
          const result = await store.promoteDue(...given);
          for (const task of store.disk.state.tasks.values()) {
            if (task.runs.length !== 2 || seen.has(task.serial)) continue;
            seen.add(task.serial);
            leaveSlotOut(store, task);
          }
          return result;
        },
      });
    },
  },
  {
    name: "the first slot of a schedule is left out",
    breaks: /^G5: \S+ run 1 has the slot \d+, not its first, \d+$/,
    faults: [],
    plant: (store) =>
      changed(store, {
        createTask: async (spec, ...rest) => {
          const result = await store.createTask(spec, ...rest);
          const task = store.disk.state.tasks.get(spec.id);
          if (result.kind === "created" && task !== undefined) leaveSlotOut(store, task);
          return result;
        },
      }),
  },
  {
    name: "a slot of a schedule fires twice",
    breaks: /^G5: .* is one run too many$/,
    plant: (store) =>
      changed(store, {
        promoteDue: async (now, limit) => {
          const result = await store.promoteDue(now, limit);
          for (const { task: id } of result.promoted) {
            const task = store.disk.state.tasks.get(id);
            const last = task?.runs.at(-1);
            if (task === undefined || last === undefined) continue;
            put(store, { ...task, runs: [...task.runs, { ...last, index: last.index + 1, log: emptyLog() }] });
          }
          return result;
        },
      }),
  },
  {
    name: "a slot that has fired is taken again",
    breaks: /^G5: .* has the slot \d+, which was taken$/,
    plant: (store) =>
      changed(store, {
        promoteDue: (now, ...rest) => {
          for (const task of store.disk.state.tasks.values()) {
            const [before, run] = task.runs.slice(-2);
            const isDue = run?.cursor.state === "scheduled" && run.dueAt <= now;
            if (task.spec.cron === undefined || before === undefined || !isDue) continue;
            put(store, withRun(task, { ...run, dueAt: before.dueAt, cursor: { ...run.cursor, state: "ready" } }));
          }
          return store.promoteDue(now, ...rest);
        },
      }),
  },
  {
    name: "a schedule stands still after the clock was put back",
    breaks: /^G5: \S+ run \d+ stands still: the slot \d+ has come, and it waits for \d+$/,
    faults: ["jump-clock"],
    plant: (store) =>
      changed(store, {
        promoteDue: (now, ...rest) => {
          for (const task of store.disk.state.tasks.values()) {
            const { slots } = task;
            if (slots.seatedAt > now) put(store, { ...task, slots: { ...slots, seatedAt: now } });
          }
          return store.promoteDue(now, ...rest);
        },
      }),
  },
  {
    name: "runs are made ready before their time",
    breaks: /^G5: .* was made ready before its time$/,
    plant: (store) => changed(store, { promoteDue: (now, limit) => store.promoteDue(now + 50, limit) }),
  },
  {
    name: "a cancellation does not reach the guest",
    breaks: /^G6: the guest of attempt \S+ went on for \d+ ms after it was cancelled$/,
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
    breaks: /^G10: .* was given to worker \w, which is drained$/,
    isOperated: true,
    plant: (store) =>
      changed(store, {
        setDrained: (peer, isDrained, now) => (isDrained ? store.setDrained(peer, isDrained, now) : Promise.resolve()),
      }),
  },
  {
    name: "processes take longer to stop than they may",
    breaks: /^G10: (gateway|worker \w) took \d+\.\d ms to stop$/,
    isLong: true,
    faults: ["drain-worker"],
    graceMs: 33_000,
    plant: (store) => store,
  },
  {
    name: "what is told is not on the disk",
    breaks: /^told: run \d+ of \S+ is failed before it was$/,
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
    name: "code that reads ready runs throws what no store does",
    breaks: /^complaint: ready runs could not be read; trying again: /,
    plant: (store) => {
      const isWrong = every(20);
      return changed(store, {
        listReady: (...given) =>
          isWrong() ? Promise.reject(new TypeError("undefined is not a run")) : store.listReady(...given),
      });
    },
  },
  {
    name: "code that begins attempts throws what no store does",
    breaks: /^complaint: a run could not be leased; trying again: /,
    plant: (store) => {
      const isWrong = every(20);
      return changed(store, {
        lease: (...given) => (isWrong() ? Promise.reject(new Error("no lease at all")) : store.lease(...given)),
      });
    },
  },
  {
    name: "a request is answered with what no client may get",
    breaks: /^complaint: a request was answered with: /,
    plant: (store) => changed(store, { retryTask: () => Promise.reject(new Error("undefined is not a task")) }),
  },
  {
    name: "leases are not renewed",
    breaks: /^G2: .* was lost though nothing went wrong$/,
    plant: (store) => changed(store, { renew: () => Promise.resolve([]) }),
  },
  {
    name: "it is said too late when the next run is due",
    breaks: /^G2: .* was made ready \d+ ms late$/,
    faults: [],
    plant: (store) =>
      changed(store, {
        promoteDue: async (...given) => {
          const { nextDueAt, ...result } = await store.promoteDue(...given);
          return { ...result, nextDueAt: nextDueAt === undefined ? undefined : nextDueAt + 3_000 };
        },
      }),
  },
  {
    name: "nobody is woken for a run that has become ready",
    breaks: /^G2: \S+ run \d+ waited \d+ ms while worker \w had room$/,
    faults: [],
    plant: (store) => {
      const isWrong = every(4);
      return changed(store, {
        promoteDue: async (...given) => {
          const result = await store.promoteDue(...given);
          return isWrong() ? { ...result, promoted: [], hasEndedBackoffs: false } : result;
        },
      });
    },
  },
  {
    name: "nobody is woken for a run whose back-off is over",
    breaks: /^G2: .*, which had failed, waited \d+ ms while worker \w had room$/,
    faults: [],
    plant: (store) =>
      changed(store, {
        settle: async (id, end, options) => {
          const result = await store.settle(id, end, options);
          if (result.kind !== "settled" || result.run.state !== "ready") return result;
          const { task } = result;
          const counts = { ...task.counts, ready: 0 };
          return { ...result, backoffEnd: undefined, task: { ...task, counts, nextRunAt: undefined } };
        },
        promoteDue: async (...given) => ({ ...(await store.promoteDue(...given)), hasEndedBackoffs: false }),
        nextBackoffEnd: () => Promise.resolve(undefined),
      }),
  },
  {
    name: "a run that was lost is not seen for a while",
    breaks: /^G2: .*, which was lost, waited \d+ ms while worker \w had room$/,
    faults: [],
    plant: (store) => {
      const since = new Map<string, number>();
      return changed(store, {
        listReady: async (now, limit, options) =>
          (await store.listReady(now, limit, options)).filter(({ lostOn, serial, index, nextAttempt }) => {
            const key = `${serial}/${index}/${nextAttempt}`;
            if (!since.has(key)) since.set(key, now);
            return lostOn.length === 0 || now - (since.get(key) ?? now) > 6_000;
          }),
      });
    },
  },
  {
    name: "what has ended is settled at the seventh time of asking",
    breaks: /^G2: .* was settled \d+ ms later than its end takes to be told$/,
    faults: [],
    plant: (store) => changed(store, { settle: reluctantly(store, () => true) }),
  },
  {
    name: "what was lost with its worker is settled at the seventh time of asking",
    breaks: /^G2: .* was taken for alive for \d+ ms after its worker died$/,
    faults: ["kill-worker"],
    plant: (store) => changed(store, { settle: reluctantly(store, (end) => end.outcome.kind === "lost") }),
  },
  {
    name: "nobody knows how many tasks are unfinished",
    breaks: /^queue: with \S+ there are \d+ unfinished tasks, and 2 may be$/,
    queuedTasksMax: 2,
    plant: (store) => changed(store, { measureQueue: () => Promise.resolve({ tasks: 0, bytes: 0 }) }),
  },
  {
    name: "what takes its runner down is not held against it",
    breaks: /^G9: .* took its runner down, and that is not held against it$/,
    plant: (store) =>
      changed(store, { settle: (id, end, options) => store.settle(id, end, { ...options, isBlameless: true }) }),
  },
  {
    name: "what takes its runner down is held against it once",
    breaks: /^G9: .* was lost \d+ times and is tried again$/,
    faults: [],
    plant: (store) =>
      changed(store, {
        settle: (id, end, options) => {
          const lost = store.disk.state.tasks.get(id.task)?.runs[id.run - 1]?.cursor.lost ?? 0;
          return store.settle(id, end, lost === 0 ? options : { ...options, isBlameless: true });
        },
      }),
  },
  {
    name: "what a drain or a gateway's end has lost is held against the run",
    breaks: /^G9: .* was lost by nothing that it did, and that is held against it$/,
    faults: ["drain-worker", "trouble-store", "kill-gateway"],
    plant: (store) =>
      changed(store, { settle: (id, end, options) => store.settle(id, end, { ...options, isBlameless: false }) }),
  },
  {
    name: "a file that was to be kept is dropped",
    breaks: /^G8: of \S+ run \d+ the files .* are kept, not /,
    plant: (store) =>
      changed(store, {
        keepFile: (id, file, options) =>
          file.path.endsWith("0") ? Promise.resolve("kept") : store.keepFile(id, file, options),
      }),
  },
  {
    name: "content that is still referred to is deleted",
    breaks: /^G8: the content of \S+, kept of \S+ run \d+, is gone$/,
    plant: (store) => changed(store, { isBlobUsed: () => Promise.resolve(false) }),
  },
  {
    name: "a guest is given another task's file",
    breaks: /^G8: attempt /,
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
    breaks: /^leak: the blob \S+ to which nothing refers$/,
    plant: (store) => changed(store, { isBlobUsed: () => Promise.resolve(true) }),
  },
  {
    name: "finished tasks are forgotten before their time",
    breaks: /^G1: \S+ is gone and nobody asked for it$/,
    retainMs: 30_000,
    plant: (store) =>
      changed(store, {
        forgetFinished: (endedBefore, limit, after) => store.forgetFinished(endedBefore + 1_000_000, limit, after),
      }),
  },
  {
    name: "a piece of output is dropped",
    breaks: /^G8: the log of \S+ run \d+ lacks \d+ bytes of attempt \d+$/,
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
