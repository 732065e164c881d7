/** In which order tasks that are made together are bound to those that they run after. */
import { describe, expect, test } from "vitest";
import { type DependentTask, dependencyOrder } from "../../src/model/dependency-order.ts";
import { taskId } from "../store/store-samples.ts";
import { fc } from "../support/properties.ts";

/** As `{ a: "b c" }`: a runs after b and c. */
function tasksOf(after: Readonly<Record<string, string>>): readonly DependentTask[] {
  return Object.entries(after).map(([id, ids]) => ({
    id: taskId(id),
    after: ids.split(" ").flatMap((each) => (each === "" ? [] : taskId(each))),
  }));
}

/** Some tasks, some without an id or with another's, that run after any of them, themselves, and tasks from elsewhere. */
const anyTasks: fc.Arbitrary<readonly DependentTask[]> = fc.array(
  fc.record({
    id: fc.option(
      fc.integer({ min: 0, max: 12 }).map((each) => taskId(`t${each}`)),
      { nil: undefined, freq: 8 },
    ),
    after: fc.array(
      fc.integer({ min: 0, max: 14 }).map((each) => taskId(`t${each}`)),
      { maxLength: 3 },
    ),
  }),
  { maxLength: 12 },
);

/** Where those stand that each runs after, as far as one task alone has the id. */
function edgesOf(tasks: readonly DependentTask[]): readonly (readonly number[])[] {
  return tasks.map(({ after }) =>
    after.flatMap((id) => {
      const places = tasks.flatMap((task, index) => (task.id === id ? index : []));
      return places.length === 1 ? places : [];
    }),
  );
}

/** Takes away what runs after nothing that is left, until there is no more: all goes where there is no cycle. */
function hasCycle(edges: readonly (readonly number[])[]): boolean {
  const left = new Set(edges.keys());
  for (let size = -1; size !== left.size;) {
    size = left.size;
    for (const index of left) if (!edges[index]?.some((each) => left.has(each))) left.delete(index);
  }
  return left.size > 0;
}

describe("the order of tasks that are made together", () => {
  test("is theirs, where each runs after those before it and others", () => {
    const tasks = tasksOf({ a: "", b: "a elsewhere", c: "a b", d: "" });
    expect(dependencyOrder(tasks)).toEqual({ kind: "ordered", order: [0, 1, 2, 3] });
  });

  test("has what a task runs after just before it, where that comes later", () => {
    const tasks = tasksOf({ a: "", b: "e d", c: "", d: "f", e: "", f: "" });
    expect(dependencyOrder(tasks)).toEqual({ kind: "ordered", order: [0, 4, 5, 3, 1, 2] });
  });

  test("is none where tasks run after each other: each such cycle is named, from its first task on", () => {
    const tasks = tasksOf({ x: "c", a: "b", b: "c x", c: "a", own: "own", y: "x", d: "e", e: "d" });
    expect(dependencyOrder(tasks)).toEqual({
      kind: "cyclic",
      cycles: [
        { index: 1, ids: ["a", "b", "c"] },
        { index: 4, ids: ["own"] },
        { index: 6, ids: ["d", "e"] },
      ],
    });
  });

  test("knows no task by an id that several have, or by none", () => {
    const tasks = [...tasksOf({ a: "b", b: "a" }), ...tasksOf({ a: "b" }), { id: undefined, after: [taskId("b")] }];
    expect(dependencyOrder(tasks)).toEqual({ kind: "ordered", order: [1, 0, 2, 3] });
  });

  test("is all tasks once, each behind those it runs after, or there is a cycle and that is one", () => {
    fc.assert(
      fc.property(anyTasks, (tasks) => {
        const edges = edgesOf(tasks);
        const result = dependencyOrder(tasks);
        expect(result.kind).toBe(hasCycle(edges) ? "cyclic" : "ordered");
        if (result.kind === "ordered") {
          expect(result.order.toSorted((one, other) => one - other)).toEqual([...tasks.keys()]);
          for (const [place, index] of result.order.entries()) {
            for (const each of edges[index] ?? []) expect(result.order.indexOf(each)).toBeLessThan(place);
          }
          return;
        }
        const named = result.cycles.flatMap(({ ids }) => ids);
        expect(new Set(named).size).toBe(named.length);
        for (const { index, ids } of result.cycles) {
          const places = ids.map((id) => tasks.findIndex((task) => task.id === id));
          expect(places[0]).toBe(index);
          expect(Math.min(...places)).toBe(index);
          for (const [at, place] of places.entries()) {
            expect(edges[place]).toContain(places[(at + 1) % places.length]);
          }
        }
        // Whatever hangs together in a circle has one that is named: without these nothing is left of it.
        const isNamed = (index: number): boolean => named.some((id) => id === tasks[index]?.id);
        expect(hasCycle(edges.map((after, index) => (isNamed(index) ? [] : after)))).toBe(false);
      }),
    );
  });

  test("is found for a chain of any length, forwards, backwards and closed", () => {
    const length = 200_000;
    const chain = Array.from({ length }, (_, index) => ({
      id: taskId(`t${index}`),
      after: index + 1 < length ? [taskId(`t${index + 1}`)] : [],
    }));
    const backwards = dependencyOrder(chain);
    expect(backwards.kind === "ordered" && backwards.order.slice(0, 2)).toEqual([length - 1, length - 2]);
    const forwards = dependencyOrder(chain.toReversed());
    expect(forwards.kind === "ordered" && forwards.order.slice(0, 2)).toEqual([0, 1]);
    const closed = dependencyOrder([...chain.slice(0, -1), { id: taskId(`t${length - 1}`), after: [taskId("t0")] }]);
    expect(closed.kind === "cyclic" && closed.cycles.map(({ ids }) => ids.length)).toEqual([length]);
  });
});
