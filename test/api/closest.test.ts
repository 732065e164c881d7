import { expect, test } from "vitest";
import { closestName } from "../../src/api/closest.ts";

test("the closest name is one that was likely meant", () => {
  expect(closestName("tsk", ["task", "worker"])).toBe("task");
  expect(closestName("WORKR", ["task", "worker"])).toBe("worker");
});

test("there is none when nothing is near", () => {
  expect(closestName("zzzzzz", ["task", "worker"])).toBeUndefined();
  expect(closestName("x", ["a"])).toBeUndefined();
});
