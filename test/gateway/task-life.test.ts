/** From submission to acknowledgement, with a real store and a worker driven by hand. */
import { expect, test } from "vitest";
import { overloaded } from "../../src/base/errors.ts";
import type { ClusterEvent } from "../../src/gateway/events.ts";
import { T0, taskId, textOf } from "../store/store-samples.ts";
import { GatewayCluster } from "../support/gateway-cluster.ts";

test("a submitted task is run, settled, told and acknowledged, in this order", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  const events: ClusterEvent[] = [];
  using _subscription = cluster.gateway.events.subscribeTask(taskId("t"), (event) => events.push(event));
  await cluster.submit("t", { args: ["one"], entry: "run", input: 7, difficulty: 3 });
  const run = await worker.take();
  expect(run.spec).toMatchObject({
    id: { task: "t", run: 1, attempt: 1 },
    args: ["one"],
    entry: { kind: "run", input: 7, difficulty: 3 },
    moduleBytes: 123,
  });
  expect((await cluster.run("t")).attempts).toMatchObject([{ worker: worker.peer, state: "running" }]);
  run.end();
  await run.acknowledged;
  expect(await cluster.run("t")).toMatchObject({ state: "succeeded", outcome: { kind: "exited", code: 0 } });
  expect(events.filter(({ type }) => type !== "worker")).toMatchObject([
    { type: "task", state: "ready" },
    { type: "run", state: "ready", run: 1, attempt: 0 },
    { type: "run", state: "running", attempt: 1 },
    { type: "task", state: "running" },
    { type: "run", state: "succeeded", attempt: 1 },
    { type: "task", state: "succeeded" },
  ]);
});

test("a finished attempt leaves nothing in the connection's tables", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.quiet();
  const before = worker.stats();
  await cluster.submit("t", { repeats: 5 });
  for (let run = 1; run <= 5; run++) {
    const taken = await worker.take();
    await taken.write("hello");
    taken.end();
    await taken.acknowledged;
    taken.output[Symbol.dispose]();
  }
  await cluster.hasState("t", "succeeded");
  await cluster.until("the tables are as before", () => JSON.stringify(worker.stats()) === JSON.stringify(before));
  expect(cluster.gateway.attemptsInSight).toBe(0);
});

test("runs start at their nominal times, whatever the ones before them took", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  worker.offer(3);
  await cluster.submit("t", { firstDueAt: T0 + 1_000, delayMs: 2_000, repeats: 3 });
  await cluster.pass(999, 333);
  expect(worker.runs).toHaveLength(0);
  await cluster.pass(1);
  await worker.nextRun();
  await cluster.pass(1_999, 333);
  expect(worker.runs).toHaveLength(0);
  await cluster.pass(1);
  await worker.nextRun();
  await cluster.pass(2_000);
  await worker.nextRun();
  const runs = await cluster.store.listRuns(taskId("t"), { fromIndex: 1, limit: 10 });
  expect(runs?.map(({ attempts }) => (attempts[0]?.startedAt ?? 0) - T0)).toEqual([1_000, 3_000, 5_000]);
});

test("repeats are all due at once without a delay", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  worker.offer(3);
  await cluster.submit("t", { repeats: 3 });
  const indexes = [(await worker.nextRun()).id.run, (await worker.nextRun()).id.run, (await worker.nextRun()).id.run];
  expect(indexes.toSorted((a, b) => a - b)).toEqual([1, 2, 3]);
});

test("a run waits for a worker, for as long as it takes", async () => {
  await using cluster = await GatewayCluster.open();
  await cluster.submit("t");
  await cluster.pass(60_000, 10_000);
  expect(await cluster.run("t")).toMatchObject({ state: "ready", attempts: [] });
  const worker = await cluster.join();
  const run = await worker.take();
  expect(run.id).toMatchObject({ task: "t", attempt: 1 });
});

test("a wall clock that jumps ahead makes runs due within a second", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  worker.offer();
  await cluster.submit("t", { firstDueAt: T0 + 3_600_000 });
  await cluster.pass(1_500);
  cluster.clock.jump(3_600_000);
  await cluster.pass(1_000);
  expect((await worker.nextRun()).id.task).toBe("t");
});

test("a failed attempt is tried again after its back-off, and not before", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t", { retries: 2, backoffMs: 10_000 });
  (await worker.take()).end({ kind: "exited", code: 3 });
  await cluster.hasRunState("t", "ready");
  worker.offer();
  await cluster.pass(4_500);
  expect(worker.runs).toHaveLength(0);
  await cluster.pass(5_500);
  const again = await worker.nextRun();
  expect(again.id.attempt).toBe(2);
  again.end();
  await cluster.hasState("t", "succeeded");
  expect(await cluster.attempts("t")).toEqual(["failed", "succeeded"]);
});

test("output is appended where it fits, and refused where bytes before it are missing", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  expect(await run.write("hello ")).toBe(6);
  expect(await run.write("hello world", 0)).toBe(11);
  await expect(run.write("!", 13)).rejects.toMatchObject({ type: "failed", code: "output-gap" });
  const page = await cluster.store.readOutput(taskId("t"), 1, { offset: 0, bytesMax: 100 });
  expect(page?.chunks.map(({ bytes }) => textOf(bytes)).join("")).toBe("hello world");
});

test("an attempt cannot write more than its task allows", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t", { outputBytesMax: 5 });
  const run = await worker.take();
  await expect(run.write("123456")).rejects.toMatchObject({ code: "output-limit" });
  expect(await run.write("12345")).toBe(5);
  await expect(run.write("6", 5)).rejects.toMatchObject({ code: "output-limit" });
});

test("an attempt may write as much as its task allows, whatever lost ones wrote; the log keeps the head", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t", { outputBytesMax: 5, outputLimit: "fail" });
  const first = await worker.take();
  await first.write("lost");
  first.fail(overloaded("handed back"));
  await cluster.hasRunState("t", "ready");
  const second = await worker.take();
  expect(second.spec.outputBytesMax).toBe(5);
  expect(await second.write("ab")).toBe(2);
  expect(await second.write("cde", 2)).toBe(5);
  await expect(second.write("f", 5)).rejects.toMatchObject({ code: "output-limit" });
  second.end();
  await cluster.hasState("t", "succeeded");
  expect(await cluster.run("t")).toMatchObject({ outputBytes: 5, outputTruncated: true, result: { stdout: "a" } });
});

test("an attempt that is adopted may write no more than its task allows", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t", { outputBytesMax: 5 });
  const run = await worker.take();
  await run.write("123");
  worker.drop();
  await cluster.connect().join([run]);
  await expect(run.write("456", 3)).rejects.toMatchObject({ code: "output-limit" });
  expect(await run.write("45", 3)).toBe(5);
});

test("output of an attempt that is over is refused", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  run.end();
  await cluster.hasState("t", "succeeded");
  await expect(run.write("late")).rejects.toMatchObject({ type: "failed", code: "stale-attempt" });
});

test("runs of higher priority are started first, equal ones in their order", async () => {
  await using cluster = await GatewayCluster.open();
  await cluster.submit("low", { priority: -1 });
  await cluster.submit("first");
  await cluster.submit("second");
  await cluster.submit("high", { priority: 5 });
  const worker = await cluster.join();
  const order: string[] = [];
  for (let each = 0; each < 4; each++) order.push((await worker.take()).id.task);
  expect(order).toEqual(["high", "first", "second", "low"]);
});

test("a run waits for a worker that has the labels it requires, and holds no other up", async () => {
  await using cluster = await GatewayCluster.open();
  await cluster.submit("gpu", { require: { gpu: "yes" }, priority: 10 });
  await cluster.submit("any");
  const plain = await cluster.join("A");
  expect((await plain.take()).id.task).toBe("any");
  plain.offer();
  await cluster.quiet();
  expect(plain.runs).toHaveLength(0);
  const capable = await cluster.join("B", { labels: { gpu: "yes" } });
  expect((await capable.take()).id.task).toBe("gpu");
});

test("large specs, which make a reading of the ready runs short, hold no run up while offers wait", async () => {
  await using cluster = await GatewayCluster.open();
  const stdin = () => new Uint8Array(8 * 1024 * 1024);
  for (const id of ["a", "b", "c"]) await cluster.submit(id, { stdin: stdin() });
  const worker = await cluster.join();
  worker.offer(3);
  const tasks = [(await worker.nextRun()).id.task, (await worker.nextRun()).id.task, (await worker.nextRun()).id.task];
  expect(tasks.toSorted()).toEqual(["a", "b", "c"]);
});

test("draining starts nothing more and waits for what is under way", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t", { repeats: 2 });
  const runs = [await worker.take(), await worker.take()];
  let isDrained = false;
  const draining = cluster.gateway.drain({ signal: new AbortController().signal }).then(() => (isDrained = true));
  await cluster.submit("later");
  worker.offer();
  await cluster.quiet();
  expect(worker.runs).toHaveLength(0);
  for (const run of runs) {
    expect(isDrained).toBe(false);
    run.end();
    await run.acknowledged;
    await cluster.quiet();
  }
  await draining;
  expect((await cluster.task("t")).state).toBe("succeeded");
  expect((await cluster.task("later")).state).toBe("ready");
});

test("a drain that takes too long is given up, and the attempt stays its worker's", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  const grace = new AbortController();
  const draining = cluster.gateway.drain({ signal: grace.signal });
  grace.abort();
  await draining;
  expect(run.isCancelled).toBe(false);
  expect((await cluster.task("t")).state).toBe("running");
});
