/** A gateway whose store is out of order for a while. */
import { expect, test } from "vitest";
import { AWAY_GRACE_MS, LEASE_MS, STORE_CHECK_EVERY_MS } from "../../src/base/limits.ts";
import type { StoreTrouble } from "../../src/store/trouble.ts";
import { T0, taskId } from "../store/store-samples.ts";
import { GatewayCluster } from "../support/gateway-cluster.ts";

test("an outcome that cannot be stored is neither lost nor acknowledged, and stored when that is possible", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  cluster.trouble.broken.add("settle");
  run.end();
  await cluster.pass(400, 20);
  expect(cluster.trouble.calls.get("settle") ?? 0).toBeGreaterThan(2);
  expect(cluster.trouble.calls.get("settle") ?? 0).toBeLessThan(12);
  await cluster.pass(3_000);
  expect(run.isAcknowledged).toBe(false);
  expect(await cluster.attempts("t")).toEqual(["running"]);
  cluster.trouble.broken.clear();
  await cluster.pass(6_000);
  await run.acknowledged;
  expect((await cluster.task("t")).state).toBe("succeeded");
});

test("an outcome that waits for its next try is stored as soon as the store is seen to be well", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  let trouble: StoreTrouble | undefined = { kind: "disk-full", message: "the disk is full" };
  cluster.trouble.store.check = () => Promise.resolve(trouble);
  cluster.trouble.broken.add("settle");
  run.end();
  await cluster.passRenewing(10_000, worker, [run]);
  // Tries come seldom by now: none within this, right after one.
  const tries = () => cluster.trouble.calls.get("settle") ?? 0;
  for (const before = tries(); tries() === before;) await cluster.pass(100, 100);
  const before = tries();
  await worker.renew([run]);
  await cluster.pass(STORE_CHECK_EVERY_MS);
  expect(tries()).toBe(before);
  cluster.trouble.broken.clear();
  trouble = undefined;
  await cluster.pass(STORE_CHECK_EVERY_MS);
  expect(run.isAcknowledged).toBe(true);
  expect((await cluster.task("t")).state).toBe("succeeded");
});

test("due runs are started when the store can be asked again", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  worker.offer();
  await cluster.submit("t", { firstDueAt: T0 + 1_000 });
  cluster.trouble.broken.add("promoteDue");
  await cluster.pass(2_000);
  cluster.trouble.broken.clear();
  await cluster.pass(5_000);
  expect((await worker.nextRun()).id.task).toBe("t");
});

test.each(["listReady", "lease", "getModule"] as const)(
  "a store that fails %s is not asked again and again, and its runs are started when it is well",
  async (operation) => {
    await using cluster = await GatewayCluster.open();
    const worker = await cluster.join();
    cluster.trouble.broken.add(operation);
    await cluster.submit("t");
    for (let round = 0; round < 20; round++) {
      // A real worker offers again at once.
      worker.offer(8 - (cluster.gateway.sessions.get(worker.peer)?.offers ?? 0));
      await cluster.pass(100, 100);
    }
    expect(cluster.trouble.calls.get(operation) ?? 0).toBeLessThan(40);
    cluster.trouble.broken.clear();
    worker.offer();
    await cluster.pass(6_000);
    expect((await worker.nextRun()).id.task).toBe("t");
  },
);

test("runs are started as soon as the store is seen to be well, however long the next try was put off", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  let trouble: StoreTrouble | undefined = { kind: "disk-full", message: "the disk is full" };
  cluster.trouble.store.check = () => Promise.resolve(trouble);
  await cluster.submit("t");
  cluster.trouble.broken.add("listReady");
  worker.offer();
  await cluster.pass(20_000);
  const tries = cluster.trouble.calls.get("listReady") ?? 0;
  trouble = undefined;
  cluster.trouble.broken.clear();
  await cluster.pass(STORE_CHECK_EVERY_MS);
  expect(cluster.trouble.calls.get("listReady") ?? 0).toBeGreaterThan(tries);
  expect((await worker.nextRun()).id.task).toBe("t");
});

test("a store that fails for a moment makes no run miss the end of its back-off", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t", { retries: 1, backoffMs: 2_000 });
  (await worker.take()).end({ kind: "exited", code: 1 });
  cluster.trouble.broken.add("nextBackoffEnd");
  await cluster.hasRunState("t", "ready");
  worker.offer();
  await cluster.pass(1_000, 100);
  cluster.trouble.broken.clear();
  await cluster.pass(6_000, 100);
  expect((await worker.nextRun()).id.attempt).toBe(2);
});

test("a back-off that ends while the ready runs are being read is seen", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t", { retries: 1, backoffMs: 2_000 });
  const run = await worker.take();
  worker.offer();
  await cluster.quiet();
  const answer = cluster.trouble.holdAnswers("listReady");
  run.end({ kind: "exited", code: 1 });
  await cluster.hasRunState("t", "ready");
  await cluster.pass(4_000);
  answer();
  await cluster.pass(1_000);
  expect(await cluster.attempts("t")).toEqual(["failed", "running"]);
});

test("a worker is told to wait with its output, and not to end its guest", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  cluster.trouble.broken.add("appendOutput");
  await expect(run.write("hello")).rejects.toMatchObject({ type: "overloaded", code: "store-unavailable" });
  cluster.trouble.broken.clear();
  expect(await run.write("hello")).toBe(5);
});

test("a worker that cannot renew or log in is told to come again", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  cluster.trouble.broken.add("renew").add("getAdmission");
  await expect(worker.renew([run])).rejects.toMatchObject({ type: "overloaded" });
  await expect(cluster.connect("B").login()).rejects.toMatchObject({ type: "overloaded" });
});

test("a worker that cannot resume is told to come again, and nothing is kept of what it brought", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  worker.drop();
  const back = cluster.connect();
  await back.login();
  await cluster.quiet();
  const before = back.stats();
  cluster.trouble.broken.add("renew");
  await expect(back.resume([run])).rejects.toMatchObject({ type: "overloaded", code: "store-unavailable" });
  await cluster.quiet();
  expect(back.stats()).toEqual(before);
  await expect(back.session.offers()).rejects.toMatchObject({ code: "resume-first" });
  cluster.trouble.broken.clear();
  expect(await back.resume([run])).toMatchObject([{ kind: "adopt" }]);
});

test("a store that is out of order for longer than a lease costs no attempt of a worker that is there", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  for (const operation of ["renew", "listExpired", "settle"] as const) cluster.trouble.broken.add(operation);
  await cluster.pass(2 * LEASE_MS);
  cluster.trouble.broken.clear();
  await cluster.pass(2_000);
  expect(await worker.renew([run])).toEqual([]);
  expect(await cluster.attempts("t")).toEqual(["running"]);
});

test("a lease that lapses since the store refused to renew it counts against nobody", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  await cluster.pass(5_000);
  cluster.trouble.broken.add("renew");
  await expect(worker.renew([run])).rejects.toMatchObject({ type: "overloaded" });
  await cluster.pass(LEASE_MS + 1_000);
  expect(await cluster.attempts("t")).toEqual(["lost"]);
  const inspected = await cluster.store.inspectTask(taskId("t"), cluster.clock.now());
  expect(inspected?.openRuns[0]?.lost).toBe(0);
});

test("an attempt that cannot be given up does not keep other leases from being watched", async () => {
  await using cluster = await GatewayCluster.open();
  const silent = await cluster.join();
  await cluster.submit("t");
  await silent.take();
  const release = cluster.trouble.holdAnswers("settle");
  await cluster.pass(LEASE_MS + 1_000);
  expect(cluster.trouble.calls.get("settle")).toBe(1);
  const other = await cluster.join("B");
  expect((await other.take()).id.attempt).toBe(2);
  await cluster.pass(LEASE_MS + 1_000);
  // The one that is being given up is not given up a second time.
  expect(cluster.trouble.calls.get("settle")).toBe(2);
  release();
  await cluster.quiet();
  expect(await cluster.attempts("t")).toEqual(["lost", "lost"]);
});

test("a worker that goes while the store cannot be read does not stay away for ever", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  cluster.trouble.broken.add("listRunning");
  worker.drop();
  await cluster.pass(AWAY_GRACE_MS);
  expect(cluster.gateway.sessions.list()).toEqual([]);
});

test("an attempt that could not be given up and is adopted meanwhile goes on", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  worker.drop();
  cluster.trouble.broken.add("settle");
  await cluster.pass(AWAY_GRACE_MS + 500);
  await cluster.connect().join([run]);
  cluster.trouble.broken.clear();
  await cluster.pass(6_000);
  expect(await cluster.attempts("t")).toEqual(["running"]);
});

test("a gateway closes although its store takes no outcome", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  cluster.trouble.broken.add("settle");
  run.end();
  await cluster.pass(1_000);
  await cluster.stop();
  expect(run.isAcknowledged).toBe(false);
});
