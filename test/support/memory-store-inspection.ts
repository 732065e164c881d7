/** What a MemoryStore knows of where a task is. */
import type { TaskId } from "../../src/base/ids.ts";
import { EXPLAINED_AHEAD_MAX, EXPLAINED_ITEMS_MAX } from "../../src/base/limits.ts";
import { requirementKey } from "../../src/model/worker.ts";
import type { OpenRun, TaskInspection } from "../../src/store/inspection.ts";
import { isHeld, listReady } from "./memory-store-runs.ts";
import { type RunRow, type Transaction, isOpen, taskView } from "./memory-store-state.ts";

export function inspectTask(tx: Transaction, id: TaskId, now: number): TaskInspection | undefined {
  const task = tx.task(id);
  if (task === undefined) return undefined;
  const unmet = task.dependencies.filter(({ state }) => state !== "met");
  const required = requirementKey(task.spec);
  const ready = listReady(tx, now, Infinity).filter(({ spec }) => requirementKey(spec) === required);
  const ahead = Math.max(
    0,
    ready.findIndex(({ serial }) => serial === task.serial),
  );
  return {
    task: taskView(task),
    openRuns: task.runs.filter(isOpen).slice(0, EXPLAINED_ITEMS_MAX).map(openRun),
    waitsFor: unmet.slice(0, EXPLAINED_ITEMS_MAX).map(({ serial, id: other }) => {
      const found = tx.task(other);
      return found?.serial === serial
        ? { id: other, state: tx.stateOf(found) }
        : { id: undefined, state: "deleted" as const };
    }),
    unmetCount: unmet.length,
    readyAhead: Math.min(ahead, EXPLAINED_AHEAD_MAX),
    isMoreAhead: ahead > EXPLAINED_AHEAD_MAX,
  };
}

function openRun(run: RunRow): OpenRun {
  const { state, attempt, lost } = run.cursor;
  const lostOn = run.attempts.filter((each) => each.state === "lost").map(({ worker }) => worker);
  return {
    index: run.index,
    state,
    dueAt: run.dueAt,
    notBefore: run.notBefore,
    cancelledOn: isHeld(run) ? run.attempts.at(-1)?.worker : undefined,
    attempt,
    lost,
    lostOn: [...new Set(lostOn)],
    worker: state === "running" ? run.worker : undefined,
    startedAt: state === "running" ? run.startedAt : undefined,
    lastOutcome: run.attempts.at(-1)?.outcome,
  };
}
