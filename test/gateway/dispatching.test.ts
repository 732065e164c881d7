/** Many runs, few workers that fit, and workers that lose what they are given. */
import { expect, test } from "vitest";
import { failed, overloaded } from "../../src/base/errors.ts";
import {
  LOST_ATTEMPTS_MAX,
  MATCH_WINDOW_FIRST,
  MATCH_WINDOW_MAX,
  OPEN_RUNS_PER_TASK_MAX,
} from "../../src/base/limits.ts";
import { GatewayCluster } from "../support/gateway-cluster.ts";
import type { HandWorker } from "../support/hand-worker.ts";

test("by round-robin workers are served in turn, also when runs come one by one", async () => {
  await using cluster = await GatewayCluster.open({ policy: "round-robin" });
  const workers = [await cluster.join("A"), await cluster.join("B"), await cluster.join("C")];
  for (const worker of workers) worker.offer(3);
  await cluster.quiet();
  for (let run = 0; run < 6; run++) {
    await cluster.submit(`t${run}`);
    await cluster.hasState(`t${run}`, "running");
  }
  await cluster.until("all have come", () => workers.reduce((count, { runs }) => count + runs.length, 0) === 6);
  expect(workers.map(({ runs }) => runs.length)).toEqual([2, 2, 2]);
});

test("a run behind more than a window of runs that want other workers is found", async () => {
  await using cluster = await GatewayCluster.open();
  await Promise.all(
    Array.from({ length: MATCH_WINDOW_FIRST + 50 }, (_, index) =>
      cluster.submit(`scarce-${index}`, { require: { gpu: "yes" } }),
    ),
  );
  await cluster.submit("plain");
  const worker = await cluster.join("A");
  expect((await worker.take()).id.task).toBe("plain");
  const capable = await cluster.join("B", { labels: { gpu: "yes" } });
  expect((await capable.take()).id.task).toMatch(/^scarce-/);
});

test("a run behind more than the largest window of runs that want other workers is found", async () => {
  await using cluster = await GatewayCluster.open();
  // Their runs are made in turn, so there have to be many tasks for many to be ready.
  const tasks = Math.ceil((MATCH_WINDOW_MAX * 1.5) / OPEN_RUNS_PER_TASK_MAX);
  await Promise.all(
    Array.from({ length: tasks }, (_, index) =>
      cluster.submit(`scarce-${index}`, { require: { gpu: "yes" }, priority: 1, repeats: OPEN_RUNS_PER_TASK_MAX }),
    ),
  );
  await cluster.submit("plain", { repeats: 3 });
  const worker = await cluster.join("A");
  for (let run = 0; run < 3; run++) {
    worker.offer();
    await cluster.until("a run has come", async () => {
      cluster.clock.advance(1);
      return worker.runs.length > 0;
    });
    expect((await worker.nextRun()).id.task).toBe("plain");
  }
});

test("more offers than a window are all used", async () => {
  await using cluster = await GatewayCluster.open();
  const count = MATCH_WINDOW_FIRST + 44;
  await cluster.submit("t", { repeats: 200 });
  await cluster.submit("u", { repeats: 200 });
  const worker = await cluster.join("A", { slots: count });
  worker.offer(count);
  await cluster.until("all slots are used", () => worker.runs.length === count);
  const keys = new Set(worker.runs.map(({ id }) => `${id.task}/${id.run}`));
  expect(keys.size).toBe(count);
});

test("an offer of which the run has gone meanwhile is returned", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t");
  const release = cluster.trouble.holdAnswers("listReady");
  worker.offer();
  await cluster.quiet();
  await cluster.cancel("t");
  release();
  await cluster.until("the slot is returned", () => worker.returned === 1);
  expect(worker.runs).toHaveLength(0);
});

/** Offers again whenever nothing is on offer, as a real worker does, for so many steps of 10 ms. */
async function offerFor(cluster: GatewayCluster, worker: HandWorker, steps: number): Promise<void> {
  for (let step = 0; step < steps; step++) {
    if (cluster.gateway.sessions.get(worker.peer)?.offers === 0) worker.offer();
    await cluster.pass(10, 10);
  }
}

test("a worker that refuses every run is left alone, longer and longer", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  worker.refusal = overloaded("no");
  await cluster.submit("t");
  await offerFor(cluster, worker, 100);
  const attempts = await cluster.attempts("t");
  expect(attempts.length).toBeGreaterThan(3);
  expect(attempts.length).toBeLessThan(12);
  worker.refusal = undefined;
  await cluster.pass(10_000, 1_000);
  expect((await worker.take()).id.task).toBe("t");
});

test("a worker that rests is given runs again at once when something goes well on it", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("first");
  const first = await worker.take();
  worker.refusal = overloaded("no");
  await cluster.submit("t");
  await offerFor(cluster, worker, 20);
  worker.refusal = undefined;
  expect(cluster.gateway.sessions.get(worker.peer)).toMatchObject({ isResting: true, offers: 1 });
  first.end();
  await cluster.hasState("first", "succeeded");
  await cluster.quiet();
  expect((await cluster.attempts("t")).at(-1)).toBe("running");
});

test("a worker that loses every run does not wear out the runs that others can carry out", async () => {
  await using cluster = await GatewayCluster.open();
  const bad = await cluster.join("A");
  bad.refusal = failed("no runner can be started");
  await cluster.submit("t", { repeats: 20 });
  await offerFor(cluster, bad, 20);
  const good = await cluster.join("B");
  await cluster.until("all runs are over", async () => {
    for (const worker of [bad, good]) {
      if (cluster.gateway.sessions.get(worker.peer)?.offers === 0) worker.offer();
    }
    await cluster.pass(10, 10);
    for (const run of good.runs.splice(0)) run.end();
    const { succeeded, failed: lost } = (await cluster.task("t")).counts;
    return succeeded + lost === 20;
  });
  expect((await cluster.task("t")).counts.failed).toBeLessThanOrEqual(1);
});

test("a run that no worker survives stops after its attempts, and other runs are not held up", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("poison", { priority: 10 });
  await cluster.submit("good", { repeats: 3 });
  await cluster.until("both are over", async () => {
    if (cluster.gateway.sessions.get(worker.peer)?.offers === 0) worker.offer();
    await cluster.pass(50, 50);
    for (const run of worker.runs.splice(0)) {
      run.end(run.id.task === "poison" ? { kind: "lost", reason: "the runner died" } : undefined);
    }
    const states = [(await cluster.task("poison")).state, (await cluster.task("good")).state];
    return states.join() === "failed,succeeded";
  });
  expect(await cluster.attempts("poison")).toHaveLength(LOST_ATTEMPTS_MAX);
  expect((await cluster.task("poison")).reason).toBe("poisoned");
});
