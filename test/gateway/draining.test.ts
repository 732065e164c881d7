/** Workers that an operator drains, and gives runs again. */
import { expect, test } from "vitest";
import { AWAY_GRACE_MS, GRACE_MS_DEFAULT } from "../../src/base/limits.ts";
import type { WorkerView } from "../../src/model/worker.ts";
import { peerId, taskId } from "../store/store-samples.ts";
import { GatewayCluster } from "../support/gateway-cluster.ts";
import type { HandWorker } from "../support/hand-worker.ts";

function view(cluster: GatewayCluster, worker: HandWorker): WorkerView | undefined {
  return cluster.gateway.sessions.get(worker.peer);
}

test("a drained worker finishes what it has and gets no more, until it is admitted again", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("first");
  const run = await worker.take();
  worker.offer();
  expect(await cluster.gateway.sessions.drain(worker.peer)).toBe(true);
  await cluster.submit("second");
  await cluster.quiet();
  expect(view(cluster, worker)).toMatchObject({ status: "draining", running: 1, offers: 1 });
  expect(view(cluster, worker)?.note).toContain("worker admit");
  run.end();
  await cluster.hasState("first", "succeeded");
  expect(await cluster.attempts("second")).toEqual([]);
  await cluster.gateway.sessions.admit(worker.peer);
  expect((await worker.nextRun()).id.task).toBe("second");
  expect(view(cluster, worker)).toMatchObject({ status: "ready", note: undefined });
  expect(await cluster.store.getAdmission(worker.peer)).toBeUndefined();
});

test("what a drained worker has not finished in time is tried elsewhere, and counts against nobody", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join("A");
  const other = await cluster.join("B");
  await cluster.submit("t");
  const run = await worker.take();
  const lostCount = async () => (await cluster.store.inspectTask(taskId("t"), cluster.clock.now()))?.openRuns[0]?.lost;
  await cluster.gateway.sessions.drain(worker.peer, { graceMs: 2_000 });
  await cluster.pass(1_999);
  expect(await cluster.attempts("t")).toEqual(["running"]);
  await cluster.pass(1);
  await run.cancelled;
  expect((await other.take()).id.attempt).toBe(2);
  expect((await cluster.run("t")).attempts[0]?.outcome).toMatchObject({ kind: "lost" });
  expect(await lostCount()).toBe(0);
  // What a worker loses that nobody drains does count.
  other.drop();
  await cluster.pass(AWAY_GRACE_MS);
  expect(await lostCount()).toBe(1);
});

test("what a drained worker has not finished is taken back although the store was out of order when its time was up", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join("A");
  const other = await cluster.join("B");
  await cluster.submit("t");
  const run = await worker.take();
  await cluster.gateway.sessions.drain(worker.peer, { graceMs: 2_000 });
  cluster.trouble.broken.add("listRunning");
  await cluster.pass(3_000);
  cluster.trouble.broken.clear();
  await cluster.pass(6_000);
  await run.cancelled;
  expect((await other.take()).id.attempt).toBe(2);
});

test("a worker stays drained when it comes back, when it is started again, and when the gateway is", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.gateway.sessions.drain(worker.peer);
  worker.drop();
  await cluster.submit("t");
  const back = await cluster.join();
  back.offer();
  await cluster.quiet();
  expect(view(cluster, back)?.status).toBe("draining");
  await cluster.stop();
  await cluster.start();
  const again = await cluster.join();
  again.offer();
  await cluster.pass(GRACE_MS_DEFAULT + AWAY_GRACE_MS, 5_000);
  expect(view(cluster, again)?.status).toBe("draining");
  expect(await cluster.attempts("t")).toEqual([]);
  await cluster.gateway.sessions.admit(again.peer);
  expect((await again.nextRun()).id.task).toBe("t");
  expect(await cluster.store.listDrained()).toEqual([]);
});

test("a worker that has gone may be admitted again before it is back", async () => {
  await using cluster = await GatewayCluster.open({ isOpen: false });
  const worker = cluster.connect();
  await cluster.gateway.sessions.admit(worker.peer);
  await worker.join();
  await cluster.gateway.sessions.drain(worker.peer);
  worker.drop();
  await cluster.until("it is gone", () => view(cluster, worker) === undefined);
  await cluster.gateway.sessions.admit(worker.peer);
  await cluster.submit("t");
  const back = await cluster.join();
  expect((await back.take()).id.task).toBe("t");
});

test("only a worker that is here can be drained", async () => {
  await using cluster = await GatewayCluster.open({ isOpen: false });
  const pending = cluster.connect();
  await pending.login();
  expect(await cluster.gateway.sessions.drain(pending.peer)).toBe(false);
  expect(await cluster.gateway.sessions.drain(peerId("Q"))).toBe(false);
  expect(await cluster.store.listDrained()).toEqual([]);
});

test("a worker that was drained and then barred is let in when it is admitted again", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.gateway.sessions.drain(worker.peer);
  await cluster.gateway.sessions.forget(worker.peer);
  await cluster.gateway.sessions.admit(worker.peer);
  await cluster.submit("t");
  const back = await cluster.join();
  expect((await back.take()).id.task).toBe("t");
});

test("that a worker drains by itself is told once", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  const told: string[] = [];
  using _subscription = cluster.gateway.events.subscribe((event) => {
    if (event.type === "worker") told.push(event.status);
  });
  await worker.session.drain();
  await worker.session.drain();
  expect(told).toEqual(["draining"]);
  expect(view(cluster, worker)?.status).toBe("draining");
});

test("draining is told, and so is its end", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  const told: string[] = [];
  using _subscription = cluster.gateway.events.subscribe((event) => {
    if (event.type === "worker") told.push(event.status);
  });
  await cluster.gateway.sessions.drain(worker.peer);
  await cluster.gateway.sessions.admit(worker.peer);
  expect(told).toEqual(["draining", "ready"]);
});
