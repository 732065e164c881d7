/** Waiting for tasks' ends: told once it is so, however many wait, and at the cost of one. */
import { getEventListeners } from "node:events";
import { expect, test } from "vitest";
import { TaskEnds } from "../../src/gateway/task-ends.ts";
import { GatewayCluster } from "../support/gateway-cluster.ts";

test("many who wait for one task watch it once, and read the store once for a change", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  const { spec, serial } = await cluster.submit("one");
  const ends = new TaskEnds({ store: cluster.store, events: cluster.gateway.events });
  const reads = () => cluster.trouble.calls.get("getTask") ?? 0;
  const before = reads();
  const { signal } = new AbortController();
  const waiting = Array.from({ length: 1_000 }, () => ends.of({ id: spec.id, serial }, { signal }));
  await cluster.until("the store is read", () => reads() === before + 1);
  expect(ends.size).toBe(1);
  const run = await worker.take();
  for (let count = 0; count < 20; count++) await run.write("x", count);
  run.end();
  const finished = await Promise.all(waiting);
  expect(new Set(finished.map((task) => task?.state))).toEqual(new Set(["succeeded"]));
  // One for each time its state was told, and no more for its output.
  expect(reads() - before).toBeLessThan(6);
  expect(ends.size).toBe(0);
});

test("who no longer waits leaves the others waiting, and the last takes the watch along", async () => {
  await using cluster = await GatewayCluster.open();
  const { spec, serial } = await cluster.submit("one");
  const ends = new TaskEnds({ store: cluster.store, events: cluster.gateway.events });
  const [one, other] = [new AbortController(), new AbortController()];
  const first = ends.of({ id: spec.id, serial }, one);
  const second = ends.of({ id: spec.id, serial }, other);
  one.abort(new Error("enough"));
  await expect(first).rejects.toThrow("enough");
  expect(ends.size).toBe(1);
  other.abort(new Error("enough"));
  await expect(second).rejects.toThrow("enough");
  expect(ends.size).toBe(0);
});

test("a task that is deleted, or is another's by now, has no end", async () => {
  await using cluster = await GatewayCluster.open();
  const { spec, serial } = await cluster.submit("one");
  const ends = new TaskEnds({ store: cluster.store, events: cluster.gateway.events });
  const { signal } = new AbortController();
  const waiting = ends.of({ id: spec.id, serial }, { signal });
  await cluster.forget("one");
  expect(await waiting).toBeUndefined();
  await cluster.submit("one");
  expect(await ends.of({ id: spec.id, serial }, { signal })).toBeUndefined();
});

test("an end that comes while the store is read is not missed", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  const { spec, serial } = await cluster.submit("one");
  const run = await worker.take();
  const ends = new TaskEnds({ store: cluster.store, events: cluster.gateway.events });
  const { signal } = new AbortController();
  const release = cluster.trouble.holdAnswers("getTask");
  const end = ends.of({ id: spec.id, serial }, { signal });
  await cluster.quiet();
  run.end();
  await run.acknowledged;
  release();
  expect((await end)?.state).toBe("succeeded");
});

test("nothing is left of a wait that is over, and none begins that is over already", async () => {
  await using cluster = await GatewayCluster.open();
  const { spec, serial } = await cluster.submit("one");
  const ends = new TaskEnds({ store: cluster.store, events: cluster.gateway.events });
  const waiting = new AbortController();
  const end = ends.of({ id: spec.id, serial }, waiting);
  const reads = () => cluster.trouble.calls.get("getTask") ?? 0;
  await expect(ends.of({ id: spec.id, serial }, { signal: AbortSignal.abort(new Error("no")) })).rejects.toThrow("no");
  await cluster.cancel("one");
  expect((await end)?.state).toBe("cancelled");
  expect(getEventListeners(waiting.signal, "abort")).toEqual([]);
  await cluster.quiet();
  const before = reads();
  cluster.gateway.events.publish({ type: "task", task: spec.id, state: "cancelled" });
  expect(reads()).toBe(before);
});

test("a store that fails is told to those who wait", async () => {
  await using cluster = await GatewayCluster.open();
  const { spec, serial } = await cluster.submit("one");
  const ends = new TaskEnds({ store: cluster.store, events: cluster.gateway.events });
  cluster.trouble.broken.add("getTask");
  const { signal } = new AbortController();
  await expect(ends.of({ id: spec.id, serial }, { signal })).rejects.toMatchObject({ type: "failed" });
  expect(ends.size).toBe(0);
});
