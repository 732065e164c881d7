/**
 * In which order tasks that are made together are bound to those that they run after, some of which may come later among
 * them: each behind what it runs after, and otherwise as they came.
 *
 * It takes time in proportion to the tasks and what they name, and no stack: a chain may be as long as a batch.
 */
import { assert } from "../base/errors.ts";
import type { TaskId } from "../base/ids.ts";

export interface DependentTask {
  /** Undefined: nobody can mean this one. */
  readonly id: TaskId | undefined;
  /** What is not among the tasks is there already, or is not: that is for others to say. */
  readonly after: readonly TaskId[];
}

/** Tasks that would wait for each other for ever. */
export interface DependencyCycle {
  /** Of the one that comes first among all. */
  readonly index: number;
  /** Beginning with that one: each runs after the next, and the last after the first. */
  readonly ids: readonly [TaskId, ...TaskId[]];
}

export type DependencyOrder =
  /** The indexes of all. */
  | { readonly kind: "ordered"; readonly order: readonly number[] }
  /** At least one cycle of all that hang together; none has a task of another. */
  | { readonly kind: "cyclic"; readonly cycles: readonly DependencyCycle[] };

/** An id that several tasks have means none of them. */
export function dependencyOrder(tasks: readonly DependentTask[]): DependencyOrder {
  const steps = tasks.map(({ id, after }, index): Step => ({
    id,
    index,
    left: after.values(),
    state: "new",
    depth: 0,
  }));
  const byId = new Map<TaskId, Step | undefined>();
  for (const step of steps) if (step.id !== undefined) byId.set(step.id, byId.has(step.id) ? undefined : step);
  const order: number[] = [];
  const cycles: DependencyCycle[] = [];
  const path: Step[] = [];
  const enter = (step: Step): void => {
    step.state = "on-path";
    step.depth = path.push(step) - 1;
  };
  for (const first of steps) {
    if (first.state === "new") enter(first);
    for (let last = path.at(-1); last !== undefined; last = path.at(-1)) {
      const { done, value } = last.left.next();
      const dependency = done === true ? undefined : byId.get(value);
      if (done === true) {
        last.state = "done";
        order.push(last.index);
        path.pop();
      } else if (dependency?.state === "new") enter(dependency);
      else if (dependency?.state === "on-path") {
        const around = path.splice(dependency.depth);
        for (const step of around) step.state = "done";
        cycles.push(cycleOf(around));
      }
    }
  }
  return cycles.length === 0 ? { kind: "ordered", order } : { kind: "cyclic", cycles };
}

/** A task on the way through all that it runs after, depth first. */
interface Step extends Omit<DependentTask, "after"> {
  readonly index: number;
  /** What it runs after and was not looked at yet. */
  readonly left: Iterator<TaskId, undefined>;
  state: "new" | "on-path" | "done";
  /** On the path: its place there. */
  depth: number;
}

function cycleOf(steps: readonly Step[]): DependencyCycle {
  const index = steps.reduce((least, step) => Math.min(least, step.index), Infinity);
  const at = steps.findIndex((step) => step.index === index);
  const [id, ...ids] = [...steps.slice(at), ...steps.slice(0, at)].flatMap((step) => step.id ?? []);
  assert(id !== undefined, "a task that others run after has an id");
  return { index, ids: [id, ...ids] };
}
