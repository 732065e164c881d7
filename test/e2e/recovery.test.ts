/** What outlives whom, with real processes: outcomes, leases, drains. */
import { spawn } from "node:child_process";
import { readFile, readdir } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { expect, test } from "vitest";
import { Cluster, eventually, guestPath } from "../support/processes.ts";

const hello = await readFile(guestPath("hello"));
const MINUTES = 60_000;

/** Arguments with which a gateway comes back where it was. */
function sameAddress(ready: { readonly addrs: readonly string[]; readonly http?: string }): readonly string[] {
  const [address = ""] = ready.addrs;
  return ["--listen", address.replace(/\/p2p\/.*$/, ""), "--http", ready.http?.replace("http://", "") ?? ""];
}

test(
  "an outcome counts though its gateway was killed before it came, and then its worker, before it was told",
  { timeout: 4 * MINUTES },
  async () => {
    await using cluster = await Cluster.create();
    // A busy machine may take longer than the usual lease to start two processes.
    const data = ["--data", `${cluster.folder}/gateway`, "--lease", "2m"];
    const workerData = ["--data", `${cluster.folder}/worker`];
    const outcomes = async () => {
      const names = await readdir(`${cluster.folder}/worker/outcomes`);
      return names.filter((name) => name.endsWith(".outcome"));
    };
    const before = await cluster.gateway(data);
    const worker = cluster.worker(before.ready.peerId, workerData);
    const { peerId } = await worker.ready;
    const args = ["--sleep", "8000", "--spam", "64000"];
    await before.client.submit({ id: "once", wasm: hello, args });
    // The guest has begun: what it has written is durable.
    await eventually(async () => ((await before.client.rawLog("once")).length > 0 ? true : undefined));
    before.process.kill("SIGKILL");
    await before.process.exited;
    await eventually(async () => ((await outcomes()).length === 1 ? true : undefined));
    worker.kill("SIGKILL");
    await worker.exited;
    const after = await cluster.gateway([...data, ...sameAddress(before.ready)]);
    await cluster.worker(after.ready.peerId, workerData).ready;
    expect(await after.client.waitForTask("once")).toMatchObject({ state: "succeeded" });
    const { attempts } = await after.client.getRun("once", 1);
    expect(attempts).toMatchObject([{ number: 1, worker: peerId, state: "succeeded" }]);
    const shown = args.map((arg, index) => `arg ${index + 1} ${arg}\n`).join("");
    const log = Buffer.from(await after.client.rawLog("once", { stream: "stdout" })).toString();
    expect(log).toBe(`hello from a guest\n${shown}${`${".".repeat(63)}\n`.repeat(1_000)}`);
    await eventually(async () => ((await outcomes()).length === 0 ? true : undefined));
  },
);

test(
  "leases are renewed while every slot spins and the machine has no CPU to spare",
  { timeout: 4 * MINUTES },
  async () => {
    await using cluster = await Cluster.create();
    const slots = 2 * availableParallelism();
    const { ready, client } = await cluster.gateway(["--lease", "15s"]);
    await cluster.worker(ready.peerId, ["--slots", String(slots)]).ready;
    await client.submit({ id: "spin", wasm: hello, args: ["--spin"], repeats: slots });
    const attempts = async () => {
      const runs = await Array.fromAsync(client.listRuns("spin"));
      return runs.flatMap((run) => run.attempts.map(({ state, outcome }) => ({ state, outcome })));
    };
    await eventually(async () => ((await attempts()).length === slots ? true : undefined));
    const hogs = Array.from({ length: slots }, () => spawn(process.execPath, ["-e", "for (;;);"]));
    try {
      const startedMs = performance.now();
      // For longer than a lease.
      await eventually(async () => (performance.now() - startedMs > 17_000 ? true : undefined));
    } finally {
      for (const hog of hogs) hog.kill("SIGKILL");
    }
    expect(await attempts()).toEqual(Array.from({ length: slots }, () => ({ state: "running", outcome: null })));
    await client.cancel("spin");
  },
);

test("a worker is drained, shown so, and gets runs again, by the command line", { timeout: 3 * MINUTES }, async () => {
  await using cluster = await Cluster.create();
  const { ready, client } = await cluster.gateway();
  const { peerId } = await cluster.worker(ready.peerId).ready;
  await eventually(async () => ((await client.workers())[0]?.offers === 2 ? true : undefined));
  const ask = (...args: readonly string[]) => cluster.run({ args: [...args, "--url", ready.http ?? ""] });
  expect(await ask("worker", "drain", peerId)).toMatchObject({ code: 0 });
  await client.submit({ id: "waits", wasm: hello });
  const listed = await ask("worker", "ls");
  expect(JSON.parse(listed.stdout)).toMatchObject([{ id: peerId, status: "draining" }]);
  expect((await client.getTask("waits")).state).toBe("ready");
  expect(await ask("worker", "admit", peerId)).toMatchObject({ code: 0 });
  expect(await client.waitForTask("waits")).toMatchObject({ state: "succeeded" });
});

test("a second signal stops a draining worker at once", { timeout: 2 * MINUTES }, async () => {
  await using cluster = await Cluster.create();
  const { ready, client } = await cluster.gateway();
  const worker = cluster.worker(ready.peerId, ["--grace", "10m"]);
  await worker.ready;
  await client.submit({ id: "endless", wasm: hello, args: ["--spin"] });
  await eventually(async () => ((await client.getTask("endless")).state === "running" ? true : undefined));
  worker.kill("SIGTERM");
  await worker.says(/draining/);
  worker.kill("SIGTERM");
  expect(await worker.exited).toBe(130);
});
