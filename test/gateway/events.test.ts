/** What the gateway tells of tasks and runs: every change of a state, in its order. */
import { expect, test } from "vitest";
import { OPEN_RUNS_PER_TASK_MAX } from "../../src/base/limits.ts";
import { T0, taskId } from "../store/store-samples.ts";
import type { ClusterEvent } from "../../src/gateway/events.ts";
import { GatewayCluster } from "../support/gateway-cluster.ts";

/** The events of the task `t` from now on, as lines. */
function told(cluster: GatewayCluster): string[] {
  const lines: string[] = [];
  cluster.gateway.events.subscribeTask(taskId("t"), (event) => {
    if (event.type === "task") lines.push(`task ${event.state}`);
    if (event.type === "run") lines.push(`run ${event.run} ${event.state} ${event.attempt}`);
  });
  return lines;
}

test("a submission tells the task and its runs that are ready", async () => {
  await using cluster = await GatewayCluster.open();
  const lines = told(cluster);
  await cluster.submit("t", { repeats: 3, delayMs: 10, firstDueAt: T0 - 10 });
  expect(lines).toEqual(["task ready", "run 1 ready 0", "run 2 ready 0"]);
});

test("a run that falls due is told, and its task where that changes", async () => {
  await using cluster = await GatewayCluster.open();
  const lines = told(cluster);
  await cluster.submit("t", { repeats: 2, delayMs: 1_000, firstDueAt: T0 + 1_000 });
  await cluster.pass(1_000);
  await cluster.hasRunState("t", "ready", 1);
  await cluster.pass(1_000);
  await cluster.hasRunState("t", "ready", 2);
  expect(lines).toEqual(["task scheduled", "run 1 ready 0", "task ready", "run 2 ready 0"]);
});

test("a run that is made because another has ended is told", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  const next = OPEN_RUNS_PER_TASK_MAX + 1;
  await cluster.submit("t", { repeats: next });
  const lines = told(cluster);
  const run = await worker.take();
  run.end();
  await run.acknowledged;
  expect(lines).toEqual(["run 1 running 1", "task running", "run 1 succeeded 1", `run ${next} ready 0`, "task ready"]);
});

test("a cancellation tells every run that it ends", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = await cluster.join();
  await cluster.submit("t", { repeats: 3, delayMs: 10, firstDueAt: T0 - 10 });
  await worker.take();
  const lines = told(cluster);
  await cluster.cancel("t");
  expect(lines).toEqual(["run 1 cancelled 1", "run 2 cancelled 0", "run 3 cancelled 0", "task cancelled"]);
});

test("a run that waits for its time again, since its task is retried, is told of as any other", async () => {
  await using cluster = await GatewayCluster.open();
  await cluster.submit("t", { firstDueAt: cluster.clock.now() + 100_000 });
  await cluster.gateway.tasks.cancel(taskId("t"), "enough");
  const [all, ofTask]: [ClusterEvent[], ClusterEvent[]] = [[], []];
  using _all = cluster.gateway.events.subscribe((event) => void all.push(event));
  using _ofTask = cluster.gateway.events.subscribeTask(taskId("t"), (event) => void ofTask.push(event));
  await cluster.gateway.tasks.retry(taskId("t"));
  expect(all).toEqual([
    { type: "task", task: "t", state: "scheduled" },
    { type: "run", task: "t", run: 1, attempt: 0, state: "scheduled" },
  ]);
  expect(ofTask).toEqual(all);
});
