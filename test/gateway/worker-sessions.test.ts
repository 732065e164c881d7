/** What the gateway knows of its workers while they come, are replaced, drain and go, and what races do to it. */
import { getEventListeners } from "node:events";
import { expect, test } from "vitest";
import { AWAY_GRACE_MS, BARRED_REMEMBERED_MAX } from "../../src/base/limits.ts";
import type { PeerId } from "../../src/base/ids.ts";
import { peerId } from "../store/store-samples.ts";
import { GatewayCluster } from "../support/gateway-cluster.ts";
import type { HandWorker } from "../support/hand-worker.ts";

const PEER = peerId("P");

function statuses(cluster: GatewayCluster): { readonly told: string[] } & Disposable {
  const told: string[] = [];
  const subscription = cluster.gateway.events.subscribe((event) => {
    if (event.type === "worker") told.push(event.status);
  });
  return { told, [Symbol.dispose]: () => subscription[Symbol.dispose]() };
}

function open(cluster: GatewayCluster, worker: HandWorker, ended: AbortSignal, peer: PeerId = PEER): Disposable {
  return cluster.gateway.sessions.open({ id: peer, address: "memory" }, worker.state, ended);
}

test("a worker that goes is told to be away while it has attempts, and then to be gone", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  await worker.take();
  using events = statuses(cluster);
  worker.drop();
  await cluster.quiet();
  expect(events.told).toEqual(["away"]);
  await cluster.pass(AWAY_GRACE_MS);
  expect(events.told).toEqual(["away", "gone"]);
});

test("a worker whose session is replaced is not away for a moment", async () => {
  await using cluster = await GatewayCluster.open();
  await cluster.join();
  using events = statuses(cluster);
  await cluster.join();
  await cluster.quiet();
  expect(events.told).toEqual(["ready"]);
});

test("a worker that is back while its attempts are about to be given up says itself what it has", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  worker.drop();
  await cluster.quiet();
  const release = cluster.trouble.holdAnswers("listRunning");
  await cluster.pass(AWAY_GRACE_MS);
  const back = cluster.connect();
  await back.login();
  const resumed = back.resume([run]);
  await cluster.quiet();
  release();
  expect(await resumed).toMatchObject([{ kind: "adopt" }]);
  await cluster.quiet();
  expect(await cluster.attempts("t")).toEqual(["running"]);
});

test("a worker that an operator admits again while its attempts are about to be taken back keeps them", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  await cluster.gateway.sessions.drain(worker.peer, { graceMs: 1_000 });
  const release = cluster.trouble.holdAnswers("listRunning");
  await cluster.pass(1_000);
  await cluster.gateway.sessions.admit(worker.peer);
  release();
  await cluster.quiet();
  expect(run.isCancelled).toBe(false);
  expect(await cluster.attempts("t")).toEqual(["running"]);
});

test("a session whose connection has ended before it is opened is not there", async () => {
  await using cluster = await GatewayCluster.open();
  using _session = open(cluster, cluster.connect(), AbortSignal.abort());
  await cluster.quiet();
  expect(cluster.gateway.sessions.list()).toEqual([]);
});

test("a connection on which a worker logs in again and again holds on to its latest session alone", async () => {
  await using cluster = await GatewayCluster.open();
  const ended = new AbortController();
  const worker = cluster.connect();
  using sessions = new DisposableStack();
  for (let login = 0; login < 20; login++) sessions.use(open(cluster, worker, ended.signal));
  expect(getEventListeners(ended.signal, "abort")).toHaveLength(1);
  expect(cluster.gateway.sessions.list()).toHaveLength(1);
  ended.abort();
  await cluster.quiet();
  expect(getEventListeners(ended.signal, "abort")).toHaveLength(0);
  expect(cluster.gateway.sessions.list()).toEqual([]);
});

test.each(["is gone", "is barred"])("a stranger that %s while its login is decided is not shown", async (what) => {
  await using cluster = await GatewayCluster.open({ isOpen: false });
  const release = cluster.trouble.holdAnswers("getAdmission");
  const worker = cluster.connect();
  worker.login().catch(() => {});
  await cluster.until("it is decided", () => (cluster.trouble.calls.get("getAdmission") ?? 0) > 0);
  if (what === "is gone") worker.drop();
  else await cluster.gateway.sessions.forget(worker.peer);
  await cluster.quiet();
  release();
  await cluster.quiet();
  expect(cluster.gateway.sessions.list()).toEqual([]);
});

test("a second connection of a worker that is not let in changes nothing of what is shown of the first", async () => {
  await using cluster = await GatewayCluster.open({ isOpen: false });
  const worker = cluster.connect("A");
  using _session = open(cluster, worker, new AbortController().signal, worker.peer);
  const stranger = cluster.connect("A", { slots: 77 });
  expect(await stranger.login()).toMatchObject({ kind: "pending" });
  expect(cluster.gateway.sessions.list()).toMatchObject([{ status: "ready", state: { slots: 8 } }]);
  stranger.drop();
  await cluster.quiet();
  expect(cluster.gateway.sessions.list()).toHaveLength(1);
});

test("those barred last are kept out whatever a login has read before, and only so many are remembered", async () => {
  await using cluster = await GatewayCluster.open();
  const { sessions } = cluster.gateway;
  const worker = cluster.connect();
  // Base 58 has no zero.
  const peers = Array.from({ length: BARRED_REMEMBERED_MAX + 1 }, (_, at) => peerId(`${at}`.replaceAll("0", "z")));
  await Promise.all(peers.map((peer) => sessions.forget(peer)));
  const outcomes = [peers[0], peers[1], peers.at(-1)].map((peer) => {
    if (peer === undefined) throw new Error("there are many");
    try {
      open(cluster, worker, new AbortController().signal, peer)[Symbol.dispose]();
      return "opened";
    } catch {
      return "barred";
    }
  });
  expect(outcomes).toEqual(["opened", "barred", "barred"]);
});

test("a gateway that is closed serves no session any more, and tells why", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.gateway.close();
  await expect(worker.renew([])).rejects.toMatchObject({
    type: "disconnected",
    message: expect.stringContaining("the gateway is closing"),
  });
});
