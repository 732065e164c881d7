import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { replay } from "./replay.ts";
import { simulate } from "./simulate.ts";

test.each([1, 23, 96])("seed %d has the same history each time", async (seed) => {
  const log: string[] = [];
  const first = await simulate(seed, { onLog: (line) => log.push(line) });
  const again: string[] = [];
  const second = await simulate(seed, { onLog: (line) => again.push(line) });
  expect(second.history).toEqual(first.history);
  expect(again).toEqual(log);
  expect(first.history.events.length).toBeGreaterThan(20);
});

test("a seed has the same history in another process", { timeout: 60_000 }, async () => {
  const main = fileURLToPath(new URL("main.ts", import.meta.url));
  const run = promisify(execFile)(process.execPath, [main, "--seed", "23"], { maxBuffer: 2 ** 28 });
  const { lines } = await replay(23);
  const { stdout } = await run;
  expect(stdout.split("\n")).toEqual([...lines, "seed 23: no promise broken", ""]);
});

test.each([2615, 2649])("seed %d, in which a guest ended while its worker stood still past its lease", async (seed) => {
  expect((await simulate(seed)).breaches).toEqual([]);
});

test("another seed has another history", async () => {
  const [one, other] = [await simulate(1), await simulate(2)];
  expect(one.history.events).not.toEqual(other.history.events);
});
