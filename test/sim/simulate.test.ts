import { expect, test } from "vitest";
import { simulate } from "./simulate.ts";

test.each([1, 23, 96])("seed %d has the same history each time", async (seed) => {
  const log: string[] = [];
  const first = await simulate(seed, { onLog: (line) => log.push(line) });
  const again: string[] = [];
  const second = await simulate(seed, { onLog: (line) => again.push(line) });
  expect(second.history).toEqual(first.history);
  expect(again).toEqual(log);
  expect(first.history.events.length).toBeGreaterThan(50);
});

test("another seed has another history", async () => {
  const [one, other] = [await simulate(1), await simulate(2)];
  expect(one.history.events).not.toEqual(other.history.events);
});
