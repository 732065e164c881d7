/** Cancelling and deleting, in each state and between two of them. */
import { expect, test } from "vitest";
import { failed, overloaded } from "../../src/base/errors.ts";
import { LEASE_MS } from "../../src/base/limits.ts";
import { T0, taskId } from "../store/store-samples.ts";
import { GatewayCluster } from "../support/gateway-cluster.ts";
import { HandRun } from "../support/hand-worker.ts";

test("a task that waits for its time is cancelled and never starts", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  worker.offer();
  await cluster.submit("t", { firstDueAt: T0 + 5_000 });
  await cluster.cancel("t");
  await cluster.pass(6_000, 1_000);
  expect(worker.runs).toHaveLength(0);
  expect((await cluster.task("t")).state).toBe("cancelled");
});

test("a task that waits for a worker is cancelled and never starts", async () => {
  await using cluster = await GatewayCluster.open();
  await cluster.submit("t");
  await cluster.cancel("t");
  const worker = await cluster.join();
  worker.offer();
  await cluster.quiet();
  expect(worker.runs).toHaveLength(0);
});

test("a cancellation reaches the worker that runs the task, and what it answers is refused", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  await cluster.cancel("t");
  await run.cancelled;
  run.end();
  await run.acknowledged;
  expect(await cluster.run("t")).toMatchObject({ state: "cancelled", outcome: { kind: "cancelled" } });
  expect((await cluster.task("t")).counts).toMatchObject({ succeeded: 0, cancelled: 1 });
});

test("a worker that never answers a cancellation is not waited for", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  await worker.take();
  await cluster.cancel("t");
  await cluster.gateway.drain({ signal: new AbortController().signal });
  expect(cluster.gateway.attemptsInSight).toBe(0);
});

test("a worker that never answers a cancellation is asked for no longer than a lease, and is told when it renews", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.quiet();
  const { questions, imports } = worker.stats();
  await cluster.submit("t");
  const run = await worker.take();
  run.answerCancel = () => new Promise(() => {});
  await cluster.cancel("t");
  await run.cancelled;
  await cluster.pass(LEASE_MS - 1_000);
  expect(worker.stats().questions).toBeGreaterThan(questions);
  await cluster.pass(1_500);
  expect(worker.stats()).toMatchObject({ questions, imports });
  expect(run.isAcknowledged).toBe(false);
  expect(await worker.renew([run])).toEqual([run.id]);
});

test("a worker that fails to cancel keeps the attempt, so that it is told to stop it when it renews", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  run.answerCancel = () => {
    throw failed("the runner does not listen");
  };
  await cluster.cancel("t");
  await run.cancelled;
  await cluster.quiet();
  expect(run.isAcknowledged).toBe(false);
  expect(await worker.renew([run])).toEqual([run.id]);
});

test("a task cancelled between the lease and the call to its worker does not reach the worker", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  const release = cluster.trouble.holdAnswers("lease");
  await cluster.submit("t");
  const taken = worker.send();
  await taken;
  await cluster.hasState("t", "running");
  await cluster.cancel("t");
  release();
  await cluster.until("the slot is returned", () => worker.returned === 1);
  expect(worker.runs).toHaveLength(0);
  expect((await cluster.task("t")).state).toBe("cancelled");
});

test("cancelling while the outcome is being stored keeps the outcome that was first", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  const release = cluster.trouble.holdAnswers("settle");
  run.end();
  await cluster.hasState("t", "succeeded");
  expect(await cluster.cancel("t")).toMatchObject({ kind: "already-finished" });
  release();
  await run.acknowledged;
  expect(run.isCancelled).toBe(false);
});

test("a task deleted while it runs is ended at its worker; its id is free, and its result and output are refused", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const old = await worker.take();
  await cluster.forget("t");
  await cluster.submit("t");
  const young = await worker.take();
  await old.cancelled;
  old.end({ kind: "exited", code: 9 });
  await expect(old.write("from the old one")).rejects.toMatchObject({ type: "failed" });
  await cluster.quiet();
  expect(await cluster.run("t")).toMatchObject({ state: "running", outputBytes: 0 });
  young.end();
  await cluster.hasState("t", "succeeded");
});

test("a deleted task's attempt is stopped when its worker resumes with it, also under a new task of the same id", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const old = await worker.take();
  worker.drop();
  await cluster.quiet();
  await cluster.forget("t");
  await cluster.submit("t");
  const back = cluster.connect();
  expect(await back.join([old])).toMatchObject([{ kind: "stop" }]);
  expect((await back.take()).id).toMatchObject({ task: "t", attempt: 1 });
});

test("a task cancelled while its worker is away is stopped when the worker is back", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  worker.drop();
  await cluster.quiet();
  await cluster.cancel("t");
  expect(await cluster.connect().join([run])).toMatchObject([{ kind: "stop" }]);
});

test("a run wanted again while its worker is away begins when the lease of its cancelled attempt has ended", async () => {
  await using cluster = await GatewayCluster.open();
  const { other, run } = await cancelledAway(cluster);
  expect(await retry(cluster)).toMatchObject({ kind: "retried", heldUntil: T0 + LEASE_MS });
  await cluster.pass(LEASE_MS - 1_000);
  expect(await cluster.attempts("t")).toEqual(["cancelled"]);
  await cluster.pass(1_500);
  expect((await other.nextRun()).id).toEqual({ ...run.id, attempt: 2 });
});

test("it begins at once when the worker comes back without that attempt", async () => {
  await using cluster = await GatewayCluster.open();
  const { other } = await cancelledAway(cluster);
  await retry(cluster);
  await cluster.connect().join([]);
  expect((await other.nextRun()).id.attempt).toBe(2);
});

test("it begins when the worker that came back with it says that it is over", async () => {
  await using cluster = await GatewayCluster.open();
  const { other, run } = await cancelledAway(cluster);
  await retry(cluster);
  expect(await cluster.connect().join([run])).toMatchObject([{ kind: "stop" }]);
  await run.cancelled;
  await cluster.quiet();
  expect(await cluster.attempts("t")).toEqual(["cancelled"]);
  run.end({ kind: "cancelled", reason: "cancelled by the gateway" });
  expect((await other.nextRun()).id.attempt).toBe(2);
});

test("another worker that says the cancelled attempt is over is not believed", async () => {
  await using cluster = await GatewayCluster.open();
  const { other, run } = await cancelledAway(cluster);
  await retry(cluster);
  const named = new HandRun(run.spec, run.output);
  named.end({ kind: "cancelled", reason: "cancelled by the gateway" });
  expect(await cluster.connect("C").join([named])).toMatchObject([{ kind: "stop" }]);
  await named.acknowledged;
  await cluster.pass(LEASE_MS - 1_000);
  expect(await cluster.attempts("t")).toEqual(["cancelled"]);
  await cluster.pass(1_500);
  expect((await other.nextRun()).id.attempt).toBe(2);
});

test("a run wanted again begins when its worker has ended the cancelled attempt, and not before", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  await cluster.cancel("t");
  await run.cancelled;
  await retry(cluster);
  worker.offer();
  await cluster.quiet();
  expect(await cluster.attempts("t")).toEqual(["cancelled"]);
  run.fail(overloaded("it was given back", { code: "handed-back" }));
  expect((await worker.nextRun()).id.attempt).toBe(2);
});

test("a worker that fails to say how a cancelled attempt ended has said nothing of its guest", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  await cluster.cancel("t");
  run.fail(overloaded("too much to do"));
  await retry(cluster);
  worker.offer();
  await cluster.pass(LEASE_MS - 1_000);
  expect(await cluster.attempts("t")).toEqual(["cancelled"]);
  await cluster.pass(1_500);
  expect((await worker.nextRun()).id.attempt).toBe(2);
});

test("a run that was cancelled before its worker was told of it waits for nothing", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  const release = cluster.trouble.holdAnswers("lease");
  await cluster.submit("t");
  await worker.send();
  await cluster.hasState("t", "running");
  await cluster.cancel("t");
  release();
  await cluster.until("the slot is returned", () => worker.returned === 1);
  await retry(cluster);
  expect((await worker.take()).id.attempt).toBe(2);
});

test("a gateway that was restarted meanwhile waits for the lease all the same", async () => {
  await using cluster = await GatewayCluster.open();
  await cancelledAway(cluster);
  await retry(cluster);
  await cluster.stop();
  await cluster.start();
  const other = await cluster.join("B");
  other.offer();
  await cluster.pass(LEASE_MS - 1_000);
  expect(await cluster.attempts("t")).toEqual(["cancelled"]);
  await cluster.pass(1_500);
  expect((await other.nextRun()).id.attempt).toBe(2);
});

/** Its task was cancelled while A, which has the attempt, is away; B has a free slot. */
async function cancelledAway(cluster: GatewayCluster) {
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  worker.drop();
  await cluster.quiet();
  await cluster.cancel("t");
  const other = await cluster.join("B");
  other.offer();
  return { run, other };
}

function retry(cluster: GatewayCluster) {
  return cluster.gateway.tasks.retry(taskId("t"));
}

test("a worker that renews a cancelled attempt is told to stop it", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  await cluster.cancel("t");
  expect(await worker.renew([run])).toEqual([run.id]);
});

test("a cancelled task with runs still to come makes no more of them", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t", { repeats: 1_000, delayMs: 1_000 });
  const first = await worker.take();
  await cluster.cancel("t");
  await first.cancelled;
  worker.offer();
  await cluster.pass(5_000, 1_000);
  expect(worker.runs).toHaveLength(0);
  expect(await cluster.store.listRuns(taskId("t"), { fromIndex: 1, limit: 10 })).toHaveLength(2);
});

test("an attempt that is cancelled while its worker resumes it is stopped at once, and known to be over when its guest is", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  worker.drop();
  await cluster.quiet();
  const back = cluster.connect();
  await back.login();
  const release = cluster.trouble.holdAnswers("listRunning");
  const resumed = back.resume([run]);
  await cluster.quiet();
  await cluster.cancel("t");
  release();
  expect(await resumed).toMatchObject([{ kind: "stop" }]);
  await run.cancelled;
  run.end({ kind: "cancelled", reason: "its task was cancelled" });
  await run.acknowledged;
  await cluster.gateway.tasks.retry(taskId("t"));
  expect(await cluster.store.nextBackoffEnd(cluster.clock.now())).toBeUndefined();
});
