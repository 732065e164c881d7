/** Bugs of what is forgotten for its age, for `planted-bugs.ts`. */
import type { ForgetRunsResult, Store } from "../../src/store/store.ts";
import type { RunCursor } from "../../src/model/run.ts";
import { totalRuns } from "../../src/model/task.ts";
import { emptyLog } from "../support/memory-store-log.ts";
import { type TaskRow, rememberedRuns, withRun } from "../support/memory-store-state.ts";
import type { MemoryStore } from "../support/memory-store.ts";
import type { PlantedBug } from "./planted-bugs.ts";
import { changed, put } from "./sabotage.ts";

const ENDLESS = { isEndless: true, retainMs: 5_000 };

export const PLANTED_BUGS_OF_AGE: readonly PlantedBug[] = [
  {
    name: "runs of a task without end are forgotten before their time",
    breaks: /^G1: \S+ run \d+ was forgotten before its time$/,
    ...ENDLESS,
    plant: (store) =>
      changed(store, {
        forgetRuns: (endedBefore, limit, after) => store.forgetRuns(endedBefore + 1_000_000, limit, after),
      }),
  },
  {
    name: "a run that is under way is forgotten",
    breaks: /^G1: \S+ run \d+ was forgotten while it was (ready|running)$/,
    ...ENDLESS,
    plant: (store) =>
      withEndless(store, (task) => {
        const open = rememberedRuns(task).find(({ cursor }) => cursor.state === "ready" || cursor.state === "running");
        if (open !== undefined) put(store, { ...task, firstRun: open.index + 1 });
      }),
  },
  {
    name: "the run is forgotten whose result a task shows",
    breaks: /^G1: \S+ run \d+ was forgotten, which the task shows$/,
    ...ENDLESS,
    plant: (store) =>
      withEndless(store, (task) => {
        const { resultRun } = task;
        if (resultRun === task.firstRun) put(store, { ...task, firstRun: resultRun + 1 });
      }),
  },
  {
    name: "a run is forgotten that is to be run again",
    breaks: /^G1: \S+ run \d+ was forgotten before it was run again$/,
    ...ENDLESS,
    plant: (store) =>
      withEndless(store, (task) => {
        const { retrying, firstRun } = task;
        const isToCome = ({ state }: RunCursor): boolean => state === "failed" || state === "cancelled";
        const next = retrying && task.runs.find(({ index, cursor }) => index >= firstRun && isToCome(cursor));
        if (next !== undefined) put(store, { ...task, firstRun: next.index + 1 });
      }),
  },
  {
    name: "runs of a task that has an end are forgotten",
    breaks: /^G1: runs of \S+ were forgotten, which has an end$/,
    retainMs: 5_000,
    plant: (store) =>
      changed(store, {
        forgetFinished: (...given) => {
          for (const task of store.disk.state.tasks.values()) {
            if (task.firstRun < task.runs.length) put(store, { ...task, firstRun: task.firstRun + 1 });
          }
          return store.forgetFinished(...given);
        },
      }),
  },
  {
    name: "runs that were forgotten come back",
    breaks: /^G1: runs of \S+ that were forgotten are back$/,
    ...ENDLESS,
    plant: (store) => withEndless(store, (task) => task.firstRun > 1 && put(store, { ...task, firstRun: 1 })),
  },
  {
    name: "the number of a run is given again, since others were forgotten",
    breaks: /^G1: the number \d+ of \S+ is given again$/,
    ...ENDLESS,
    plant: (store) =>
      withEndless(store, (task) => {
        const last = task.runs.at(-1);
        if (last?.cursor.state === "scheduled") put(store, { ...task, runs: task.runs.slice(0, -1) });
      }),
  },
  {
    name: "old runs of a task without end are kept for ever",
    breaks: /^leak: \S+ run \d+, which is too old$/,
    ...ENDLESS,
    plant: (store) => changed(store, { forgetRuns: () => Promise.resolve(NOTHING_FORGOTTEN) }),
  },
  {
    name: "what was kept of a run that is forgotten stays",
    breaks: /^leak: the blob \S+ to which nothing refers$/,
    ...ENDLESS,
    plant: (store) =>
      changed(store, {
        forgetRuns: async (...given) => {
          const result = await store.forgetRuns(...given);
          return { ...result, freed: NOTHING_FORGOTTEN.freed };
        },
      }),
  },
  {
    name: "with a run that is forgotten goes the output of the next",
    breaks: /^G8: the log of e\d+ run \d+ lacks \d+ bytes of attempt \d+$/,
    ...ENDLESS,
    faults: [],
    plant: (store) =>
      withEndless(store, (task) => {
        const run = task.runs[task.firstRun - 1];
        if (run?.outcome !== undefined && run.log.bytes > 0) put(store, withRun(task, { ...run, log: emptyLog() }));
      }),
  },
  {
    name: "a task without end stands still once runs of it are forgotten",
    breaks: /^G5: \S+ run \d+ stands still: the slot \d+ has come, and it does not take it$/,
    ...ENDLESS,
    plant: (store) =>
      withEndless(store, (task) => {
        const run = task.runs.at(-1);
        if (task.firstRun === 1 || run?.cursor.state !== "scheduled") return;
        put(store, withRun(task, { ...run, dueAt: run.dueAt + 3_600_000 }));
      }),
  },
  {
    name: "a young gateway believes what its clock says",
    breaks: /^G1: \S+ was forgotten by a clock that is wrong$/,
    hasWrongClocks: true,
    plant: (store) =>
      changed(store, {
        getClockMark: async () => {
          const mark = await store.getClockMark();
          return mark === undefined ? undefined : Number.MAX_SAFE_INTEGER;
        },
      }),
  },
  {
    name: "a mark that a clock has left which was ahead is not taken back",
    breaks: /^G1: \S+ was forgotten by a clock that is wrong$/,
    hasWrongClocks: true,
    plant: (store) =>
      changed(store, {
        setClockMark: async (at) => {
          const mark = await store.getClockMark();
          if (mark === undefined || at > mark) await store.setClockMark(at);
        },
      }),
  },
];

const NOTHING_FORGOTTEN: ForgetRunsResult = { forgotten: 0, freed: { digests: [], hasMore: false }, next: undefined };

/** A store that does this to each task without end that has forgotten runs, or is asked to. */
function withEndless(store: MemoryStore, act: (task: TaskRow) => unknown): Store {
  return changed(store, {
    forgetRuns: async (...given) => {
      const result = await store.forgetRuns(...given);
      for (const task of store.disk.state.tasks.values()) {
        if (totalRuns(task.spec) === Infinity && task.finishedAt === undefined) act(task);
      }
      return result;
    },
  });
}
