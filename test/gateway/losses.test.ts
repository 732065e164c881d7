/** What a lost attempt is held against: its run, its worker, or nobody; and what becomes of the attempt itself. */
import { describe, expect, test } from "vitest";
import { disconnected, failed } from "../../src/base/errors.ts";
import {
  ANSWER_ALLOWANCE_MS,
  AWAY_GRACE_MS,
  KEPT_FILES_BYTES_MAX,
  LEASE_MS,
  QUARANTINE_FAULTS_MIN,
  UNTRIED_WAIT_FIRST_MS,
} from "../../src/base/limits.ts";
import { answerMsMax } from "../../src/gateway/attempts.ts";
import type { ClusterEvent } from "../../src/gateway/events.ts";
import { taskId } from "../store/store-samples.ts";
import { GatewayCluster } from "../support/gateway-cluster.ts";
import type { HandRun, HandWorker } from "../support/hand-worker.ts";

/** How many losses of the run are held against it. */
async function lostCount(cluster: GatewayCluster, id = "t"): Promise<number | undefined> {
  return (await cluster.store.inspectTask(taskId(id), cluster.clock.now()))?.openRuns[0]?.lost;
}

/** Given three runs at once, one for each of three tasks, which may go to the other worker as well. */
async function takeThree(cluster: GatewayCluster, worker: HandWorker): Promise<readonly HandRun[]> {
  const runs: HandRun[] = [];
  for (let each = 0; each < QUARANTINE_FAULTS_MIN; each++) {
    await cluster.submit(`t${each}`, { require: { group: "one" }, timeoutMs: 1_000 });
    runs.push(await worker.take());
  }
  return runs;
}

async function carryOutThree(cluster: GatewayCluster, worker: HandWorker): Promise<void> {
  worker.offer(QUARANTINE_FAULTS_MIN);
  for (let each = 0; each < QUARANTINE_FAULTS_MIN; each++) (await worker.nextRun()).end();
  for (let each = 0; each < QUARANTINE_FAULTS_MIN; each++) await cluster.hasState(`t${each}`, "succeeded");
}

describe("a loss is held against the run", () => {
  test("whose worker went away, from the gateway's first moment on", async () => {
    await using cluster = await GatewayCluster.open();
    const worker = await cluster.join();
    await cluster.submit("t");
    await worker.take();
    worker.drop();
    await cluster.pass(AWAY_GRACE_MS);
    expect(await lostCount(cluster)).toBe(1);
  });

  test("whose worker came back without it", async () => {
    await using cluster = await GatewayCluster.open();
    const worker = await cluster.join();
    await cluster.submit("t");
    await worker.take();
    worker.drop();
    await cluster.join();
    await cluster.hasRunState("t", "ready");
    expect(await lostCount(cluster)).toBe(1);
  });

  test("whose worker was there, and said that it did not carry it out", async () => {
    await using cluster = await GatewayCluster.open();
    const worker = await cluster.join();
    await cluster.submit("t");
    (await worker.take()).fail(failed("the runner died"));
    await cluster.hasRunState("t", "ready");
    expect(await lostCount(cluster)).toBe(1);
  });
});

describe("a loss is not held against the run", () => {
  test("whose worker drains, and went away", async () => {
    await using cluster = await GatewayCluster.open();
    const worker = await cluster.join();
    await cluster.submit("t");
    await worker.take();
    await worker.session.drain();
    worker.drop();
    await cluster.pass(AWAY_GRACE_MS);
    expect(await cluster.attempts("t")).toEqual(["lost"]);
    expect(await lostCount(cluster)).toBe(0);
  });

  test.each(["drained", "was drained by an operator"])("whose worker %s, and came back without it", async (what) => {
    await using cluster = await GatewayCluster.open();
    const worker = await cluster.join();
    await cluster.submit("t");
    await worker.take();
    await (what === "drained" ? worker.session.drain() : cluster.gateway.sessions.drain(worker.peer));
    worker.drop();
    await cluster.join();
    await cluster.hasRunState("t", "ready");
    expect(await cluster.attempts("t")).toEqual(["lost"]);
    expect(await lostCount(cluster)).toBe(0);
  });

  test("that was adopted by the session in which its worker drained, before it came back without it", async () => {
    await using cluster = await GatewayCluster.open();
    const worker = await cluster.join();
    await cluster.submit("t");
    const run = await worker.take();
    worker.drop();
    const draining = cluster.connect();
    await draining.join([run]);
    await draining.session.drain();
    draining.drop();
    await cluster.join();
    await cluster.hasRunState("t", "ready");
    expect(await lostCount(cluster)).toBe(0);
  });

  const ways = ["ended it by itself", "has no connection to it", "drains", "is drained by an operator"];
  test.each(ways)("whose worker %s", async (what) => {
    await using cluster = await GatewayCluster.open();
    const worker = await cluster.join();
    await cluster.submit("t");
    const run = await worker.take();
    if (what === "drains") await worker.session.drain();
    if (what === "is drained by an operator") await cluster.gateway.sessions.drain(worker.peer);
    if (what === "ended it by itself") run.end({ kind: "cancelled", reason: "its lease could not be renewed" });
    else if (what === "has no connection to it") run.fail(disconnected("the runner's machine is gone"));
    else run.fail(failed("it was stopped"));
    await cluster.hasRunState("t", "ready");
    expect(await cluster.attempts("t")).toEqual(["lost"]);
    expect(await lostCount(cluster)).toBe(0);
  });

  test("whose worker had lost it before, while another one was busy", async () => {
    await using cluster = await GatewayCluster.open();
    const worker = await cluster.join("A");
    await cluster.join("B");
    await cluster.submit("t");
    for (let attempt = 1; attempt <= 2; attempt++) {
      const back = attempt === 1 ? worker : await cluster.join("A");
      back.offer();
      await cluster.pass(UNTRIED_WAIT_FIRST_MS + 1_000, 1_000);
      await back.nextRun();
      back.drop();
      await cluster.pass(AWAY_GRACE_MS, 1_000);
      await cluster.hasRunState("t", "ready");
    }
    expect(await cluster.attempts("t")).toEqual(["lost", "lost"]);
    expect(await lostCount(cluster)).toBe(1);
  });

  test("that an earlier gateway began, though a later one had adopted it", async () => {
    await using cluster = await GatewayCluster.open();
    const worker = await cluster.join();
    await cluster.submit("t");
    const run = await worker.take();
    await cluster.stop();
    cluster.clock.advance(1_000);
    await cluster.start();
    const back = cluster.connect();
    expect(await back.join([run])).toMatchObject([{ kind: "adopt" }]);
    back.drop();
    await cluster.pass(AWAY_GRACE_MS);
    expect(await cluster.attempts("t")).toEqual(["lost"]);
    expect(await lostCount(cluster)).toBe(0);
  });

  test("that an earlier gateway began, and whose worker came back without it", async () => {
    await using cluster = await GatewayCluster.open();
    const worker = await cluster.join();
    await cluster.submit("t");
    await worker.take();
    await cluster.stop();
    await cluster.start();
    await cluster.join();
    await cluster.hasRunState("t", "ready");
    expect(await lostCount(cluster)).toBe(0);
  });

  test("that was being leased when its worker came back in a newer session", async () => {
    await using cluster = await GatewayCluster.open();
    const worker = await cluster.join();
    const release = cluster.trouble.holdAnswers("lease");
    await cluster.submit("t");
    await worker.send();
    await cluster.hasState("t", "running");
    await cluster.join();
    await cluster.quiet();
    release();
    await cluster.hasRunState("t", "ready");
    expect(await lostCount(cluster)).toBe(0);
  });

  test("that an operator took from a worker by barring it", async () => {
    await using cluster = await GatewayCluster.open();
    const worker = await cluster.join();
    await cluster.submit("t");
    await worker.take();
    const told: string[] = [];
    using _subscription = cluster.gateway.events.subscribe((event) => {
      if (event.type === "worker") told.push(event.status);
    });
    await cluster.gateway.sessions.forget(worker.peer);
    expect([cluster.gateway.sessions.list(), told]).toEqual([[], ["gone"]]);
    await cluster.hasRunState("t", "ready");
    expect(await lostCount(cluster)).toBe(0);
  });
});

describe("a worker", () => {
  const labels = { group: "one" };

  test("that has lost several runs by one silence, which others carry out, is trusted", async () => {
    await using cluster = await GatewayCluster.open();
    const silent = await cluster.join("A", { labels });
    await takeThree(cluster, silent);
    silent.drop();
    await cluster.pass(AWAY_GRACE_MS);
    await carryOutThree(cluster, await cluster.join("B", { labels }));
    const back = await cluster.join("A", { labels });
    expect(cluster.gateway.sessions.get(back.peer)?.status).toBe("ready");
  });

  test("that is there and does not tell how several runs ended, which others carry out, is not", async () => {
    await using cluster = await GatewayCluster.open();
    const mute = await cluster.join("A", { labels });
    const runs = await takeThree(cluster, mute);
    await cluster.passRenewing(ANSWER_ALLOWANCE_MS + 20_000, mute, runs);
    await carryOutThree(cluster, await cluster.join("B", { labels }));
    expect(cluster.gateway.sessions.get(mute.peer)?.status).toBe("quarantined");
  });
});

test("an attempt that could not be given up, and is adopted meanwhile, is waited for no longer than any other", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t", { timeoutMs: 1_000 });
  const run = await worker.take();
  worker.drop();
  cluster.trouble.broken.add("settle");
  await cluster.pass(AWAY_GRACE_MS + 500);
  const back = cluster.connect();
  await back.join([run]);
  cluster.trouble.broken.clear();
  const { outputBytesMax } = run.spec;
  for (let left = answerMsMax(1_000, outputBytesMax + KEPT_FILES_BYTES_MAX); left > 0; left -= 10_000) {
    expect(await cluster.attempts("t")).toEqual(["running"]);
    await cluster.pass(10_000, 10_000);
    await back.renew([run]);
  }
  await run.cancelled;
  expect(await cluster.attempts("t")).toEqual(["lost"]);
});

test("a worker that fails to end an attempt that was given up keeps it, and is told to stop it when it renews", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t", { timeoutMs: 1_000 });
  const run = await worker.take();
  run.answerCancel = () => {
    throw failed("the runner does not listen");
  };
  await cluster.passRenewing(answerMsMax(1_000, run.spec.outputBytesMax + KEPT_FILES_BYTES_MAX), worker, [run]);
  await run.cancelled;
  await cluster.quiet();
  expect(await cluster.attempts("t")).toEqual(["lost"]);
  expect(run.isAcknowledged).toBe(false);
  expect(await worker.renew([run])).toEqual([run.id]);
});

describe("that an attempt comes too late", () => {
  function refusals(cluster: GatewayCluster): { readonly told: ClusterEvent[] } & Disposable {
    const told: ClusterEvent[] = [];
    const subscription = cluster.gateway.events.subscribe((event) => {
      if (event.type === "attempt" && event.state === "refused") told.push(event);
    });
    return { told, [Symbol.dispose]: () => subscription[Symbol.dispose]() };
  }

  test("is told of what its own worker brings, and of no other's, nor of another task's of the same id", async () => {
    await using cluster = await GatewayCluster.open();
    const worker = await cluster.join("A");
    await cluster.submit("t");
    const old = await worker.take();
    await cluster.forget("t");
    await cluster.submit("t");
    const run = await worker.take();
    expect(run.id).toMatchObject({ task: old.id.task, run: old.id.run, attempt: old.id.attempt });
    worker.drop();
    await cluster.pass(AWAY_GRACE_MS);
    using events = refusals(cluster);
    expect(await cluster.connect("B").join([run])).toMatchObject([{ kind: "stop" }]);
    const back = cluster.connect("A");
    expect(await back.join([old])).toMatchObject([{ kind: "stop" }]);
    await cluster.quiet();
    expect(events.told).toEqual([]);
    expect(cluster.refused).toEqual([]);
    await back.resume([run]);
    await cluster.until("it is told", () => events.told.length > 0);
    expect(events.told).toMatchObject([{ task: "t", attempt: 1, worker: worker.peer }]);
    expect(cluster.refused).toEqual(["lost"]);
  });

  test("is told where its task was cancelled just before its outcome came", async () => {
    await using cluster = await GatewayCluster.open();
    const worker = await cluster.join();
    await cluster.submit("t");
    const run = await worker.take();
    using events = refusals(cluster);
    const release = cluster.trouble.holdAnswers("cancelTask");
    const cancelling = cluster.cancel("t");
    await cluster.hasState("t", "cancelled");
    run.end();
    await run.acknowledged;
    release();
    await cancelling;
    expect(events.told).toMatchObject([{ reason: "the attempt was over before" }]);
    await cluster.until("it is counted", () => cluster.refused.length > 0);
    expect(cluster.refused).toEqual(["cancelled"]);
  });

  test("is counted where its task was deleted just before its outcome came", async () => {
    await using cluster = await GatewayCluster.open();
    const worker = await cluster.join();
    await cluster.submit("t");
    const run = await worker.take();
    const release = cluster.trouble.holdAnswers("deleteTask");
    const deleting = cluster.forget("t");
    await cluster.until("it is gone", async () => (await cluster.store.getTask(run.id.task)) === undefined);
    run.end();
    await cluster.until("it is counted", () => cluster.refused.length > 0);
    expect(cluster.refused).toEqual(["deleted"]);
    release();
    await deleting;
  });

  test("is counted as superseded where somebody else has begun the run again", async () => {
    await using cluster = await GatewayCluster.open();
    const worker = await cluster.join("A");
    await cluster.submit("t");
    const run = await worker.take();
    worker.fallSilent();
    await cluster.pass(LEASE_MS + 1_000);
    const other = await cluster.join("B");
    const second = await other.take();
    expect(second.id.attempt).toBe(2);
    run.end();
    await cluster.connect("A").join([run]);
    await cluster.until("it is counted", () => cluster.refused.length > 0);
    second.end();
    await cluster.hasState("t", "succeeded");
    expect(cluster.refused).toEqual(["superseded"]);
  });

  test("is not told of an outcome that could not be stored before its task was cancelled", async () => {
    await using cluster = await GatewayCluster.open();
    const worker = await cluster.join();
    await cluster.submit("t");
    const run = await worker.take();
    using events = refusals(cluster);
    cluster.trouble.broken.add("settle");
    run.end();
    await cluster.until("it was tried", () => (cluster.trouble.calls.get("settle") ?? 0) > 0);
    await cluster.cancel("t");
    cluster.trouble.broken.clear();
    await cluster.pass(LEASE_MS, 5_000);
    expect(events.told).toEqual([]);
    expect((await cluster.task("t")).state).toBe("cancelled");
  });
});

test("how many attempts a worker has is shown as they come and go", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  const running = () => cluster.gateway.sessions.get(worker.peer)?.running;
  await cluster.submit("t", { repeats: 2 });
  const runs = [await worker.take(), await worker.take()];
  expect(running()).toBe(2);
  for (const left of [1, 0]) {
    runs.pop()?.end();
    await cluster.until(`${left} are left`, () => running() === left);
  }
});
