/** Workers that do worse than others, attempts whose end is never told, and what becomes of their runs. */
import { expect, test } from "vitest";
import {
  ANSWER_ALLOWANCE_MS,
  AWAY_GRACE_MS,
  LOST_ATTEMPTS_MAX,
  QUARANTINE_FAULTS_MIN,
  QUARANTINE_FIRST_MS,
  UNTRIED_WAIT_FIRST_MS,
} from "../../src/base/limits.ts";
import type { ClusterEvent } from "../../src/gateway/events.ts";
import type { Outcome } from "../../src/model/outcome.ts";
import { peerId } from "../store/store-samples.ts";
import { GatewayCluster } from "../support/gateway-cluster.ts";
import type { HandRun, HandWorker } from "../support/hand-worker.ts";

const LOST: Outcome = { kind: "lost", reason: "the runner died" };

/** Offers one slot again and again, with time going by, until a run comes. */
async function getRun(cluster: GatewayCluster, worker: HandWorker): Promise<HandRun> {
  await cluster.until("a run has come", async () => {
    if (cluster.gateway.sessions.get(worker.peer)?.offers === 0) worker.offer();
    await cluster.pass(20, 20);
    return worker.runs.length > 0;
  });
  return worker.nextRun();
}

/** This worker loses the run, and then that one carries it out. */
async function disgrace(cluster: GatewayCluster, bad: HandWorker, good: HandWorker): Promise<void> {
  for (let each = 0; each < QUARANTINE_FAULTS_MIN; each++) {
    const id = `disgrace-${each}`;
    await cluster.submit(id, { require: { peer: bad.peer } });
    (await getRun(cluster, bad)).end(LOST);
    await cluster.hasRunState(id, "ready");
    // The store has the requirement; the other worker says that it meets it.
    (await getRun(cluster, good)).end();
    await cluster.hasState(id, "succeeded");
  }
}

async function joinBoth(cluster: GatewayCluster): Promise<{ bad: HandWorker; good: HandWorker }> {
  const bad = await cluster.join("A");
  return { bad, good: await cluster.join("B", { labels: { peer: bad.peer } }) };
}

test("a worker that loses what another one carries out gets no runs but a probe, and all again when that is good", async () => {
  await using cluster = await GatewayCluster.open();
  const { bad, good } = await joinBoth(cluster);
  await disgrace(cluster, bad, good);
  await good[Symbol.asyncDispose]();
  bad.offer(2);
  await cluster.submit("later", { repeats: 3 });
  await cluster.quiet();
  const view = cluster.gateway.sessions.get(bad.peer);
  expect(view?.status).toBe("quarantined");
  expect(view?.note).toMatch(/went wrong that other workers carried out.*tried again in \d+ s.*worker admit/);
  expect(bad.runs).toHaveLength(0);
  await cluster.pass(QUARANTINE_FIRST_MS, 1_000);
  expect(bad.runs).toHaveLength(1);
  (await bad.nextRun()).end();
  await cluster.until("it gets runs again", () => bad.runs.length > 0);
  expect(cluster.gateway.sessions.get(bad.peer)?.status).toBe("ready");
});

test("a probe that is cancelled says nothing: the worker gets another run at once", async () => {
  await using cluster = await GatewayCluster.open();
  const { bad, good } = await joinBoth(cluster);
  await disgrace(cluster, bad, good);
  await good[Symbol.asyncDispose]();
  bad.offer(2);
  await cluster.submit("first");
  await cluster.pass(QUARANTINE_FIRST_MS, 1_000);
  expect((await bad.nextRun()).id.task).toBe("first");
  await cluster.submit("second");
  await cluster.quiet();
  expect(bad.runs).toHaveLength(0);
  await cluster.cancel("first");
  expect((await bad.nextRun()).id.task).toBe("second");
});

test("runs of other tasks come as soon as a probe was good", async () => {
  await using cluster = await GatewayCluster.open();
  const { bad, good } = await joinBoth(cluster);
  await disgrace(cluster, bad, good);
  await good[Symbol.asyncDispose]();
  bad.offer(2);
  await cluster.submit("first");
  await cluster.submit("second");
  await cluster.pass(QUARANTINE_FIRST_MS, 1_000);
  const probe = await bad.nextRun();
  await cluster.quiet();
  expect(bad.runs).toHaveLength(0);
  probe.end();
  expect((await bad.nextRun()).id.task).toBe("second");
});

test("an operator's word ends both a drain and a quarantine of one worker", async () => {
  await using cluster = await GatewayCluster.open();
  const { bad, good } = await joinBoth(cluster);
  await disgrace(cluster, bad, good);
  await cluster.gateway.sessions.drain(bad.peer);
  expect(cluster.gateway.sessions.get(bad.peer)?.status).toBe("draining");
  await cluster.gateway.sessions.admit(bad.peer);
  expect(cluster.gateway.sessions.get(bad.peer)?.status).toBe("ready");
});

test("an operator's word ends a quarantine at once, and is no admission", async () => {
  await using cluster = await GatewayCluster.open();
  const told: string[] = [];
  using _subscription = cluster.gateway.events.subscribe((event) => {
    if (event.type === "worker") told.push(event.status);
  });
  const { bad, good } = await joinBoth(cluster);
  await disgrace(cluster, bad, good);
  await cluster.gateway.sessions.admit(bad.peer);
  expect(told.slice(-2)).toEqual(["quarantined", "ready"]);
  expect(await cluster.store.getAdmission(bad.peer)).toBeUndefined();
});

test("a run that was lost waits for a worker that has not lost it, though one that has is free, but not for ever", async () => {
  await using cluster = await GatewayCluster.open();
  const bad = await cluster.join("A");
  const busy = await cluster.join("B");
  await cluster.submit("t");
  (await getRun(cluster, bad)).end(LOST);
  await cluster.hasRunState("t", "ready");
  bad.offer();
  await cluster.pass(UNTRIED_WAIT_FIRST_MS - 500);
  expect(bad.runs).toHaveLength(0);
  await cluster.pass(1_000);
  (await bad.nextRun()).end(LOST);
  await cluster.until("two are lost", async () => (await cluster.attempts("t")).length === 2);
  bad.offer();
  await cluster.pass(UNTRIED_WAIT_FIRST_MS + 1_000, 1_000);
  expect(bad.runs).toHaveLength(0);
  (await getRun(cluster, busy)).end();
  await cluster.hasState("t", "succeeded");
});

test.each(["is away", "drains", "was drained by an operator", "has no slots", "is in quarantine"])(
  "a run that was lost does not wait for a worker that %s",
  async (what) => {
    await using cluster = await GatewayCluster.open();
    const lossy = await cluster.join("A", { labels: { peer: peerId("B") } });
    const other = await cluster.join("B", { slots: what === "has no slots" ? 0 : 8 });
    if (what === "is in quarantine") await disgrace(cluster, other, lossy);
    if (what === "is away") {
      await cluster.submit("held", { require: { peer: other.peer } });
      await getRun(cluster, other);
      other.drop();
    }
    if (what === "drains") await other.session.drain();
    if (what === "was drained by an operator") await cluster.gateway.sessions.drain(other.peer);
    await cluster.submit("t");
    (await getRun(cluster, lossy)).end(LOST);
    await cluster.hasRunState("t", "ready");
    lossy.offer();
    await cluster.quiet();
    expect((await lossy.nextRun()).id).toMatchObject({ task: "t", attempt: 2 });
  },
);

test("bad workers do not poison a run while a good one is busy, and the good one then carries it out", async () => {
  await using cluster = await GatewayCluster.open();
  const bad = [await cluster.join("A"), await cluster.join("B")];
  const busy = await cluster.join("C");
  await cluster.submit("t");
  await cluster.until("it was lost more often than a run may be", async () => {
    for (const worker of bad) {
      if (cluster.gateway.sessions.get(worker.peer)?.offers === 0) worker.offer();
      for (const run of worker.runs.splice(0)) run.end(LOST);
    }
    await cluster.pass(20_000, 20_000);
    const attempts = await cluster.attempts("t");
    return attempts.filter((state) => state === "lost").length > LOST_ATTEMPTS_MAX;
  });
  for (const worker of bad) for (const run of worker.runs.splice(0)) run.end(LOST);
  (await getRun(cluster, busy)).end();
  await cluster.hasState("t", "succeeded");
});

test("a run that every worker loses is poisoned all the same", async () => {
  await using cluster = await GatewayCluster.open();
  const workers = [await cluster.join("A"), await cluster.join("B"), await cluster.join("C")];
  await cluster.submit("t");
  await cluster.until("it is given up", async () => {
    for (const worker of workers) {
      if (cluster.gateway.sessions.get(worker.peer)?.offers === 0) worker.offer();
      for (const run of worker.runs.splice(0)) run.end(LOST);
    }
    await cluster.pass(1_000, 1_000);
    return (await cluster.run("t")).state === "failed";
  });
  expect((await cluster.task("t")).reason).toBe("poisoned");
});

test("a worker that renews for ever but never answers loses the attempt, and is told to end the guest", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join("A");
  await cluster.submit("t", { timeoutMs: 5_000 });
  const run = await worker.take();
  await cluster.passRenewing(5_000 + ANSWER_ALLOWANCE_MS, worker, [run]);
  expect(await cluster.attempts("t")).toEqual(["running"]);
  await cluster.passRenewing(15_000, worker, [run]);
  await run.cancelled;
  expect((await cluster.run("t")).attempts[0]?.outcome).toMatchObject({
    kind: "lost",
    reason: expect.stringContaining("has not told how it ended"),
  });
  expect(await worker.renew([run])).toEqual([run.id]);
});

test("coming back does not give an attempt more time to answer in", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join("A");
  await cluster.submit("t", { timeoutMs: 5_000 });
  const run = await worker.take();
  await cluster.passRenewing(ANSWER_ALLOWANCE_MS, worker, [run]);
  worker.drop();
  const back = cluster.connect("A");
  await back.join([run]);
  await cluster.passRenewing(20_000, back, [run]);
  expect(await cluster.attempts("t")).toEqual(["lost"]);
});

test("what a worker comes back with is told: adopted, or refused because it was lost", async () => {
  await using cluster = await GatewayCluster.open();
  const told: ClusterEvent[] = [];
  using _subscription = cluster.gateway.events.subscribe((event) => {
    if (event.type === "attempt") told.push(event);
  });
  const worker = await cluster.join("A");
  await cluster.submit("t");
  const run = await worker.take();
  worker.drop();
  const back = cluster.connect("A");
  await back.join([run]);
  back.drop();
  await cluster.pass(AWAY_GRACE_MS);
  await cluster.connect("A").join([run]);
  await cluster.until("all is told", () => told.length === 3);
  expect(told).toMatchObject([
    { state: "adopted", task: "t", run: 1, attempt: 1, worker: worker.peer },
    { state: "lost", task: "t", worker: worker.peer, reason: expect.stringContaining("was not back within 3 s") },
    { state: "refused", task: "t", worker: worker.peer, reason: expect.stringContaining("was not back within 3 s") },
  ]);
});

test("a lease of another length is what workers are told, and what ends", async () => {
  await using cluster = await GatewayCluster.open({ leaseMs: 3_000 });
  const worker = await cluster.join("A");
  const { sender, ...terms } = await worker.session.offers();
  sender[Symbol.dispose]();
  expect(terms).toEqual({ leaseMs: 3_000, renewEveryMs: 1_000 });
  await cluster.submit("t");
  expect((await worker.take()).spec.leaseMs).toBe(3_000);
  await cluster.pass(4_000);
  expect(await cluster.attempts("t")).toEqual(["lost"]);
});
