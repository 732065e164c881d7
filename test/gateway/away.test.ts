/** Workers that go, come back or do not; leases; gateways that are closed and started again. */
import { expect, test } from "vitest";
import { failed } from "../../src/base/errors.ts";
import { AWAY_GRACE_MS, LEASE_MS, LOST_ATTEMPTS_MAX } from "../../src/base/limits.ts";
import { T0, taskId } from "../store/store-samples.ts";
import { GatewayCluster } from "../support/gateway-cluster.ts";
import { matching } from "../support/matchers.ts";

test("a lost connection costs no attempt before the worker's grace is over", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  await worker.take();
  worker.drop();
  await cluster.pass(AWAY_GRACE_MS - 1, 500);
  expect(await cluster.attempts("t")).toEqual(["running"]);
  expect(cluster.gateway.sessions.list()).toMatchObject([{ status: "away" }]);
  await cluster.pass(1);
  expect(await cluster.attempts("t")).toEqual(["lost"]);
  expect((await cluster.run("t")).state).toBe("ready");
  expect(cluster.gateway.sessions.list()).toEqual([]);
});

test("a worker that fell silent keeps its attempts until its lease has lapsed", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  await worker.take();
  worker.fallSilent();
  await cluster.pass(LEASE_MS - 500);
  expect(await cluster.attempts("t")).toEqual(["running"]);
  expect(cluster.gateway.sessions.list()).toMatchObject([{ status: "away" }]);
  await cluster.pass(1_500);
  expect(await cluster.attempts("t")).toEqual(["lost"]);
  await cluster.pass(500);
  expect(cluster.gateway.sessions.list()).toEqual([]);
});

test("a worker that fell silent and is back before its lease has lapsed keeps its attempt", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  worker.fallSilent();
  await cluster.pass(LEASE_MS - 1_000);
  const back = cluster.connect();
  expect(await back.join([run])).toMatchObject([{ kind: "adopt" }]);
  await cluster.pass(AWAY_GRACE_MS * 2);
  run.end();
  await run.acknowledged;
  expect(await cluster.attempts("t")).toEqual(["succeeded"]);
});

test("a worker that is back in time keeps its attempt, and its output goes on", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  await run.write("before ");
  worker.drop();
  await cluster.pass(AWAY_GRACE_MS - 500);
  const back = cluster.connect();
  expect(await back.join([run])).toMatchObject([{ kind: "adopt", offset: 7 }]);
  await cluster.pass(AWAY_GRACE_MS * 2);
  expect(await run.write("after", 7)).toBe(12);
  run.end();
  await run.acknowledged;
  expect(await cluster.run("t")).toMatchObject({ state: "succeeded", result: { stdout: "before after" } });
  expect(await cluster.attempts("t")).toEqual(["succeeded"]);
});

test("an outcome that came while its worker was away is taken when it is back", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  worker.drop();
  run.end({ kind: "exited", code: 4 });
  await cluster.quiet();
  await cluster.connect().join([run]);
  await run.acknowledged;
  expect(await cluster.run("t")).toMatchObject({ state: "failed", outcome: { code: 4 } });
});

test("an attempt that its worker comes back without is lost at once", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  await worker.take();
  worker.drop();
  const back = await cluster.join();
  await cluster.hasRunState("t", "ready");
  expect(await cluster.attempts("t")).toEqual(["lost"]);
  expect((await back.take()).id.attempt).toBe(2);
});

test("a late result of a lost attempt is refused", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  worker.drop();
  await cluster.pass(AWAY_GRACE_MS);
  const back = cluster.connect();
  expect(await back.join([run])).toMatchObject([{ kind: "stop" }]);
  const second = await back.take();
  expect(second.id.attempt).toBe(2);
  second.end();
  await cluster.hasState("t", "succeeded");
});

test("a worker can neither resume nor renew what another one has", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join("A");
  await cluster.submit("t");
  const run = await worker.take();
  const thief = cluster.connect("B");
  expect(await thief.join([run])).toMatchObject([{ kind: "stop" }]);
  expect(await thief.renew([run])).toEqual([run.id]);
  expect(await cluster.attempts("t")).toEqual(["running"]);
  await cluster.pass(LEASE_MS + 1_000);
  expect(await cluster.attempts("t")).toEqual(["lost"]);
});

test("a worker that resumes an attempt twice in one list gets it once", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  expect(await worker.resume([run, run])).toMatchObject([{ kind: "adopt" }, { kind: "stop" }]);
});

test("a lease that lapses in silence is a lost attempt, and its worker is told to end the guest", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  await cluster.pass(LEASE_MS);
  expect(await cluster.attempts("t")).toEqual(["running"]);
  await cluster.pass(1_000);
  expect(await cluster.attempts("t")).toEqual(["lost"]);
  await run.cancelled;
  expect(cluster.gateway.attemptsInSight).toBe(0);
});

test("renewals keep an attempt alive for as long as it takes", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  await cluster.passRenewing(4 * LEASE_MS, worker, [run]);
  expect(await cluster.attempts("t")).toEqual(["running"]);
});

test.each([3_600_000, -3_600_000])("a wall clock that jumps by %i ms ends no lease", async (jumpMs) => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  cluster.clock.jump(jumpMs);
  await cluster.passRenewing(2 * LEASE_MS, worker, [run]);
  expect(await cluster.attempts("t")).toEqual(["running"]);
  await cluster.pass(LEASE_MS + 1_000);
  expect(await cluster.attempts("t")).toEqual(["lost"]);
});

test("a run whose attempts take their worker down again and again has failed, poisoned", async () => {
  await using cluster = await GatewayCluster.open();
  await cluster.submit("t");
  for (let attempt = 1; attempt <= LOST_ATTEMPTS_MAX; attempt++) {
    const worker = await cluster.join();
    worker.offer();
    await cluster.until("the attempt has begun", async () => {
      await cluster.pass(100, 100);
      return worker.runs.length > 0;
    });
    worker.drop();
    await cluster.pass(AWAY_GRACE_MS);
  }
  const run = await cluster.run("t");
  expect(run).toMatchObject({ state: "failed", outcome: { kind: "lost", reason: "poisoned" } });
  expect(run.attempts).toHaveLength(LOST_ATTEMPTS_MAX);
  for (const { outcome } of run.attempts) expect(outcome).toMatchObject({ kind: "lost", reason: matching(/worker/) });
  expect((await cluster.task("t")).reason).toBe("poisoned");
});

test("attempts that a draining worker hands back do not count as poisoned", async () => {
  await using cluster = await GatewayCluster.open();
  await cluster.submit("t");
  for (let attempt = 1; attempt <= LOST_ATTEMPTS_MAX + 2; attempt++) {
    const worker = await cluster.join();
    worker.offer();
    await cluster.until("the attempt has begun", async () => {
      cluster.clock.advance(100);
      return worker.runs.length > 0;
    });
    await worker.session.drain();
    (await worker.nextRun()).end({ kind: "lost", reason: "the worker was stopped" });
    await cluster.hasRunState("t", "ready");
    await worker[Symbol.asyncDispose]();
  }
  expect((await cluster.attempts("t")).every((state) => state === "lost")).toBe(true);
});

test("an attempt that its worker gave up by itself is tried again, not cancelled", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  (await worker.take()).end({ kind: "cancelled", reason: "its lease could not be renewed" });
  await cluster.hasRunState("t", "ready");
  expect(await cluster.attempts("t")).toEqual(["lost"]);
});

test("garbage instead of an outcome costs the attempt and nothing else", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  (await worker.take()).end({ kind: "exited", code: 2 ** 40 });
  await cluster.hasRunState("t", "ready");
  expect(await cluster.attempts("t")).toEqual(["lost"]);
  (await worker.take()).fail(failed("no outcome today"));
  await cluster.until("two are lost", async () => (await cluster.attempts("t")).length === 2);
  (await worker.take()).end();
  await cluster.hasState("t", "succeeded");
});

test("a session that was replaced fails everywhere, and its offers are gone", async () => {
  await using cluster = await GatewayCluster.open();
  const old = await cluster.join();
  const sent = old.send();
  const young = await cluster.join();
  await expect(sent).rejects.toMatchObject({ type: "disconnected", code: "session-replaced" });
  await expect(old.session.renew([], old.state)).rejects.toMatchObject({ code: "session-replaced" });
  await expect(old.session.resume([])).rejects.toMatchObject({ code: "session-replaced" });
  await expect(old.send()).rejects.toMatchObject({ code: "session-replaced" });
  await cluster.submit("t");
  expect((await young.take()).id.task).toBe("t");
  expect(cluster.gateway.sessions.list()).toHaveLength(1);
});

test("a session that is replaced while it resumes takes nothing from the newer one", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  worker.drop();
  const [old, young] = [cluster.connect(), cluster.connect()];
  const release = cluster.trouble.holdAnswers("renew");
  await old.login();
  const late = old.resume([]).catch((error: unknown) => error);
  await cluster.quiet();
  await young.login();
  const resumed = young.resume([run]);
  await cluster.quiet();
  release();
  expect(await late).toMatchObject({ type: "disconnected" });
  expect(await resumed).toMatchObject([{ kind: "adopt" }]);
  await cluster.pass(AWAY_GRACE_MS);
  expect(await cluster.attempts("t")).toEqual(["running"]);
});

test("a worker that has less output left than the store knows of, or more, goes on where both can", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  await run.write("hello");
  expect(await worker.resume([run], 3)).toMatchObject([{ kind: "adopt", offset: 5 }]);
  expect(await worker.resume([run], 7)).toMatchObject([{ kind: "adopt", offset: 7 }]);
});

test("what a worker says of itself when it renews is what is shown of it", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.pass(1_000);
  await worker.session.renew([], { ...worker.state, busy: 3 });
  const view = cluster.gateway.sessions.get(worker.peer);
  expect(view).toMatchObject({ state: { busy: 3 }, lastSeenAt: cluster.clock.now() });
});

test("however often a session asks for its channel, it is one", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.quiet();
  const before = worker.stats();
  const senders = [await worker.session.offers(), await worker.session.offers()].map(({ sender }) => sender);
  expect(worker.stats().exports).toBe(before.exports);
  for (const sender of senders) sender[Symbol.dispose]();
});

test("the output of an attempt that a newer session has adopted comes through the newer one alone", async () => {
  await using cluster = await GatewayCluster.open();
  const old = await cluster.join();
  await cluster.submit("t");
  const run = await old.take();
  const oldOutput = run.output;
  await cluster.connect().join([run]);
  await expect(oldOutput.write(0, "stdout", Buffer.from("old"))).rejects.toMatchObject({ type: "disconnected" });
  expect(await run.write("new")).toBe(3);
});

test("a worker whose session ended between the lease and the call loses nothing by it", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  const release = cluster.trouble.holdAnswers("lease");
  await cluster.submit("t");
  await worker.send();
  await cluster.hasState("t", "running");
  const young = await cluster.join();
  release();
  await cluster.hasRunState("t", "ready");
  expect(worker.runs).toHaveLength(0);
  const run = await young.take();
  expect(run.id.attempt).toBe(2);
  run.end();
  await cluster.hasState("t", "succeeded");
});

test("a worker that resumes while it is being given a run keeps that run", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  const release = cluster.trouble.holdAnswers("lease");
  await cluster.submit("t");
  await worker.send();
  await cluster.hasState("t", "running");
  await worker.resume([]);
  await cluster.quiet();
  release();
  (await worker.nextRun()).end();
  await cluster.hasState("t", "succeeded");
  expect(await cluster.attempts("t")).toEqual(["succeeded"]);
});

test("a worker that drops its session is away, and keeps its attempts for its grace", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  worker.session[Symbol.dispose]();
  await cluster.until("it is away", () => cluster.gateway.sessions.get(worker.peer)?.status === "away");
  expect(await worker.join([run])).toMatchObject([{ kind: "adopt" }]);
  await cluster.pass(AWAY_GRACE_MS + 1_000);
  expect(await cluster.attempts("t")).toEqual(["running"]);
});

test("renewing is refused before resume, so that no attempt lives on without anybody who awaits its end", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  await cluster.stop();
  await cluster.start();
  const back = cluster.connect();
  await back.login();
  expect(await back.renew([])).toEqual([]);
  await expect(back.renew([run])).rejects.toMatchObject({ code: "resume-first" });
  await cluster.pass(LEASE_MS + 1_000);
  expect(await cluster.attempts("t")).toEqual(["lost"]);
});

test("offers are refused before resume, and after a drain", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = cluster.connect();
  await worker.login();
  await expect(worker.session.offers()).rejects.toMatchObject({ code: "resume-first" });
  await worker.join();
  const waiting = worker.send();
  await worker.session.drain();
  await expect(waiting).rejects.toMatchObject({ type: "disconnected" });
  await expect(worker.send()).rejects.toMatchObject({ type: "disconnected" });
  await cluster.submit("t");
  await cluster.quiet();
  expect(worker.runs).toHaveLength(0);
});

test("a barred worker's attempts go to others at once, and its guests are ended", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join("A");
  await cluster.submit("t");
  const run = await worker.take();
  await cluster.gateway.sessions.forget(worker.peer);
  await run.cancelled;
  await expect(worker.renew([run])).rejects.toMatchObject({ code: "barred" });
  await expect(run.write("still here")).rejects.toMatchObject({ type: "failed" });
  const other = await cluster.join("B");
  expect((await other.take()).id).toMatchObject({ task: "t", attempt: 2 });
});

test("a gateway that is started again goes on with the schedule", async () => {
  await using cluster = await GatewayCluster.open();
  await cluster.submit("t", { firstDueAt: T0 + 1_000, delayMs: 1_000, repeats: 3 });
  await cluster.stop();
  cluster.clock.advance(2_499);
  await cluster.start();
  await cluster.pass(1);
  const worker = await cluster.join();
  worker.offer(3);
  expect([(await worker.nextRun()).id.run, (await worker.nextRun()).id.run].toSorted((a, b) => a - b)).toEqual([1, 2]);
  await cluster.pass(500);
  expect((await worker.nextRun()).id.run).toBe(3);
});

test("a gateway that is started again adopts what its workers still run", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  await cluster.stop();
  expect(run.isCancelled).toBe(false);
  cluster.clock.advance(LEASE_MS * 4);
  await cluster.start();
  await cluster.pass(5_000);
  const back = cluster.connect();
  expect(await back.join([run])).toMatchObject([{ kind: "adopt" }]);
  run.end();
  await run.acknowledged;
  expect(await cluster.attempts("t")).toEqual(["succeeded"]);
});

test("attempts that end with their gateway count against nobody, whether the worker is back or not", async () => {
  await using cluster = await GatewayCluster.open();
  await cluster.submit("t");
  for (let round = 0; round < LOST_ATTEMPTS_MAX + 1; round++) {
    const worker = await cluster.join();
    await worker.take();
    await cluster.stop();
    cluster.clock.advance(1);
    await cluster.start();
    if (round % 2 === 0) await cluster.join();
    else await cluster.pass(LEASE_MS + 1_000);
    await cluster.hasRunState("t", "ready");
  }
  expect(await cluster.run("t")).toMatchObject({ state: "ready" });
});

test.each([
  ["the gateway itself stood still", 30_000],
  ["its clock was put back", -3_600_000],
])("attempts that are lost because %s count against nobody", async (_, jumpMs) => {
  await using cluster = await GatewayCluster.open();
  await cluster.submit("t");
  for (let round = 0; round < LOST_ATTEMPTS_MAX + 1; round++) {
    const worker = await cluster.join();
    await worker.take();
    // Nothing of it ran while the time went by, if it did.
    cluster.clock.jump(jumpMs);
    await cluster.pass(600, 100);
    worker.drop();
    if (round % 2 === 0) await cluster.join();
    else await cluster.pass(AWAY_GRACE_MS);
    await cluster.hasRunState("t", "ready");
  }
  expect((await cluster.attempts("t")).length).toBeGreaterThan(LOST_ATTEMPTS_MAX);
  expect(await cluster.run("t")).toMatchObject({ state: "ready" });
});

test.each(["given", "renewed", "given to who came back"])(
  "a lease that was %s by a clock that was wrong between two checks does not end for that",
  async (what) => {
    await using cluster = await GatewayCluster.open();
    const worker = await cluster.join();
    if (what === "given") cluster.clock.jump(-LEASE_MS * 2);
    await cluster.submit("t");
    const run = await worker.take();
    let last = worker;
    if (what !== "given") cluster.clock.jump(-LEASE_MS * 2);
    if (what === "renewed") await worker.renew([run]);
    if (what === "given to who came back") {
      worker.drop();
      last = cluster.connect();
      await last.join([run]);
    }
    cluster.clock.jump(LEASE_MS * 2);
    await cluster.pass(1_000, 100);
    expect(await cluster.attempts("t")).toEqual(["running"]);
    expect(await last.renew([run])).toEqual([]);
    await cluster.pass(LEASE_MS - 1_000, 500);
    expect(await cluster.attempts("t")).toEqual(["running"]);
    await cluster.pass(2_000, 500);
    expect(await cluster.attempts("t")).toEqual(["lost"]);
  },
);

test("an outcome that was not acknowledged before the gateway went is refused by the next one, and forgotten", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const run = await worker.take();
  const release = cluster.trouble.holdAnswers("settle");
  run.end();
  await cluster.hasState("t", "succeeded");
  await cluster.stop();
  release();
  expect(run.isAcknowledged).toBe(false);
  await cluster.start();
  expect(await cluster.connect().join([run])).toMatchObject([{ kind: "stop" }]);
  expect((await cluster.store.getRun(taskId("t"), 1))?.attempts).toHaveLength(1);
  // It had been taken.
  await cluster.quiet();
  expect(cluster.refused).toEqual([]);
});
