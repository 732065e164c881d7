/** The main road, with real processes: gateway and workers over loopback, guests in their runners. */
import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import vectors from "../wasm-tasks/vectors/hash-puzzle.json" with { type: "json" };
import { Cluster, eventually, guestPath } from "../support/processes.ts";

const hash = await readFile(guestPath("hash"));
const hello = await readFile(guestPath("hello"));
const component = await readFile(guestPath("component"));

const MINUTES = 60_000;

test("runs a scheduled task on another process's worker, at its nominal times", { timeout: 3 * MINUTES }, async () => {
  await using cluster = await Cluster.create();
  const { ready, client } = await cluster.gateway();
  const worker = await cluster.worker(ready.peerId).ready;
  const form = { id: "task1", description: "Hash puzzle", complete: 0, duration: 5, start: 1, delay: 2, repeats: 3 };
  const submitted = await client.submit({ ...form, wasm: hash, input: 0, difficulty: 3 });
  expect(submitted.state).toBe("scheduled");
  const task = await client.waitForTask("task1");
  expect(task).toMatchObject({ state: "succeeded", completions: 3, progress: 1, result: { value: "2832" } });
  const runs = await Array.fromAsync(client.listRuns("task1"));
  expect(runs.map((run) => run.attempts.map((attempt) => attempt.worker))).toEqual([
    [worker.peerId],
    [worker.peerId],
    [worker.peerId],
  ]);
  const createdAt = Date.parse(task.createdAt);
  expect(runs.map((run) => Date.parse(run.dueAt ?? "") - createdAt)).toEqual([1_000, 3_000, 5_000]);
  for (const run of runs) {
    const startedAt = Date.parse(run.attempts[0]?.startedAt ?? "");
    expect(startedAt).toBeGreaterThanOrEqual(Date.parse(run.dueAt ?? ""));
  }
});

test("spreads 300 tasks over three workers and gets every result right", { timeout: 4 * MINUTES }, async () => {
  await using cluster = await Cluster.create();
  const { ready, client } = await cluster.gateway();
  const workers = [cluster.worker(ready.peerId), cluster.worker(ready.peerId), cluster.worker(ready.peerId)];
  await Promise.all(workers.map((worker) => worker.ready));
  const offering = async () => (await client.workers()).filter(({ offers }) => offers > 0);
  await eventually(async () => ((await offering()).length === 3 ? true : undefined));
  const cases = vectors.cases.filter(({ difficulty }) => difficulty <= 3);
  const expected = Array.from({ length: 300 }, (_, index) => cases[index % cases.length]);
  const tasks = await Promise.all(
    expected.map((puzzle) => client.submit({ wasm: hash, input: puzzle?.input, difficulty: puzzle?.difficulty })),
  );
  const finished = await Promise.all(tasks.map((task) => client.waitForTask(task.id)));
  expect(finished.map((task) => task.result?.value)).toEqual(expected.map((puzzle) => puzzle?.result));
  const used = new Set<string>();
  for (const task of tasks) {
    const run = await client.getRun(task.id, 1);
    for (const attempt of run.attempts) used.add(attempt.worker);
  }
  expect(used.size).toBe(3);
});

test(
  "runs commands and components, and passes on args, env, stdin, output and exit code",
  { timeout: 3 * MINUTES },
  async () => {
    await using cluster = await Cluster.create();
    const { ready, client } = await cluster.gateway();
    await cluster.worker(ready.peerId).ready;
    await client.submit({
      id: "hello",
      wasm: hello,
      args: ["--exit", "7", "größe"],
      env: { NAME: "Ada" },
      stdin: "from stdin\n",
    });
    const task = await client.waitForTask("hello");
    expect(task.state).toBe("failed");
    expect(task.result?.exitCode).toBe(7);
    expect(task.result?.stdout).toContain("größe");
    expect(task.result?.stdout).toContain("NAME=Ada");
    expect(task.result?.stdout).toContain("from stdin");
    await client.submit({ id: "component", wasm: component, args: ["one"], env: { NAME: "Ada" } });
    const second = await client.waitForTask("component");
    expect(second).toMatchObject({ state: "succeeded", kind: "component", result: { exitCode: 0 } });
    expect(second.result?.stdout).toContain("NAME=Ada");
  },
);

test(
  "finishes a run elsewhere when its worker is killed, and records the lost attempt",
  { timeout: 3 * MINUTES },
  async () => {
    await using cluster = await Cluster.create();
    const { ready, client } = await cluster.gateway();
    const first = cluster.worker(ready.peerId);
    const firstId = (await first.ready).peerId;
    await client.submit({ id: "slow", wasm: hello, args: ["--sleep", "20000"] });
    await eventually(async () => ((await client.getTask("slow")).state === "running" ? true : undefined));
    first.kill("SIGKILL");
    await first.exited;
    const second = await cluster.worker(ready.peerId).ready;
    const task = await client.waitForTask("slow");
    expect(task.state).toBe("succeeded");
    const { attempts } = await client.getRun("slow", 1);
    expect(attempts.map(({ worker, state }) => ({ worker, state }))).toEqual([
      { worker: firstId, state: "lost" },
      { worker: second.peerId, state: "succeeded" },
    ]);
    expect((await client.workers()).map((worker) => worker.id)).toEqual([second.peerId]);
  },
);

test("keeps a task waiting until a worker comes", { timeout: 2 * MINUTES }, async () => {
  await using cluster = await Cluster.create();
  const { ready, client } = await cluster.gateway();
  await client.submit({ id: "early", wasm: hash, input: 42, difficulty: 3, repeats: 3 });
  expect((await client.getTask("early")).state).toBe("ready");
  await cluster.worker(ready.peerId).ready;
  expect(await client.waitForTask("early")).toMatchObject({
    state: "succeeded",
    completions: 3,
    result: { value: "8147" },
  });
});

test(
  "goes on with a schedule and adopts the guest that ran on when the gateway is killed and comes back",
  { timeout: 4 * MINUTES },
  async () => {
    await using cluster = await Cluster.create();
    // A busy machine may take longer than the usual lease to start a process.
    const data = ["--data", `${cluster.folder}/gateway`, "--lease", "2m"];
    const before = await cluster.gateway(data);
    const [address = ""] = before.ready.addrs;
    const sameAddress = [
      "--listen",
      address.replace(/\/p2p\/.*$/, ""),
      "--http",
      before.ready.http?.replace("http://", "") ?? "",
    ];
    const worker = await cluster.worker(before.ready.peerId).ready;
    await before.client.submit({ id: "long", wasm: hello, args: ["--sleep", "6000", "--exit", "0"] });
    await before.client.submit({ id: "later", wasm: hash, input: 1, difficulty: 3, start: 2, delay: 2, repeats: 3 });
    // The guest has begun: what it has written is durable.
    await eventually(async () => ((await before.client.rawLog("long")).length > 0 ? true : undefined));
    before.process.kill("SIGKILL");
    await before.process.exited;
    const after = await cluster.gateway([...data, ...sameAddress]);
    expect(after.ready.peerId).toBe(before.ready.peerId);
    expect(await after.client.waitForTask("long")).toMatchObject({ state: "succeeded" });
    expect(await after.client.waitForTask("later")).toMatchObject({
      state: "succeeded",
      completions: 3,
      result: { value: "2823" },
    });
    const { attempts } = await after.client.getRun("long", 1);
    expect(attempts.map(({ number, worker: id, state }) => ({ number, id, state }))).toEqual([
      { number: 1, id: worker.peerId, state: "succeeded" },
    ]);
    // Once: an output that was sent again after the restart is not kept twice.
    const log = Buffer.from(await after.client.rawLog("long", { stream: "stdout" })).toString();
    expect(log.split("--sleep").length).toBe(2);
  },
);

test("cancels a guest that never ends, and the slot is free again", { timeout: 2 * MINUTES }, async () => {
  await using cluster = await Cluster.create();
  const { ready, client } = await cluster.gateway();
  await cluster.worker(ready.peerId, ["--slots", "1"]).ready;
  await client.submit({ id: "endless", wasm: hello, args: ["--spin"] });
  await eventually(async () => ((await client.getTask("endless")).state === "running" ? true : undefined));
  expect(await client.cancel("endless")).toMatchObject({ state: "cancelled" });
  await client.submit({ id: "next", wasm: hash, input: 0, difficulty: 1 });
  expect(await client.waitForTask("next")).toMatchObject({ state: "succeeded", result: { value: "3" } });
});

test("hands unfinished work back when a worker is stopped, and exits with 0", { timeout: 3 * MINUTES }, async () => {
  await using cluster = await Cluster.create();
  const { ready, client } = await cluster.gateway();
  const first = cluster.worker(ready.peerId, ["--grace", "200ms"]);
  await first.ready;
  await client.submit({ id: "handed", wasm: hello, args: ["--sleep", "20000"] });
  await eventually(async () => ((await client.getTask("handed")).state === "running" ? true : undefined));
  expect(await first.stop()).toBe(0);
  await cluster.worker(ready.peerId).ready;
  expect(await client.waitForTask("handed")).toMatchObject({ state: "succeeded" });
  expect((await client.getRun("handed", 1)).attempts.map(({ state }) => state)).toEqual(["lost", "succeeded"]);
});
