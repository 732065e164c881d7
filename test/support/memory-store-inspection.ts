/** What a MemoryStore knows of where a task is. */
import type { TaskId } from "../../src/base/ids.ts";
import { EXPLAINED_AHEAD_MAX, EXPLAINED_ITEMS_MAX } from "../../src/base/limits.ts";
import { requirementKey } from "../../src/model/worker.ts";
import type { OpenRun, TaskInspection, UnmetDependency } from "../../src/store/inspection.ts";
import { isHeld, listReady } from "./memory-store-runs.ts";
import { type Dependency, type RunRow, type Transaction, isOpen, taskView } from "./memory-store-state.ts";

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
    waitsFor: waitsFor(tx, unmet),
    unmetCount: unmet.length,
    readyAhead: Math.min(ahead, EXPLAINED_AHEAD_MAX),
    isMoreAhead: ahead > EXPLAINED_AHEAD_MAX,
  };
}

function waitsFor(tx: Transaction, unmet: readonly Dependency[]): readonly UnmetDependency[] {
  return unmet
    .toSorted((a, b) => a.serial - b.serial)
    .map(({ serial, id }): UnmetDependency => {
      const found = tx.task(id);
      return found?.serial === serial ? { id, state: tx.stateOf(found) } : { id: undefined, state: "deleted" };
    })
    .toSorted((a, b) => placeOf(a) - placeOf(b))
    .slice(0, EXPLAINED_ITEMS_MAX);
}

function placeOf({ state }: UnmetDependency): number {
  if (state === "deleted") return 0;
  if (state === "failed" || state === "cancelled") return 1;
  return state === "succeeded" ? 3 : 2;
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
