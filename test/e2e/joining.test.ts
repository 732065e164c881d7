/** How workers join, on one host: secrets, admission, data directories, start order. */
import { stat } from "node:fs/promises";
import { expect, test } from "vitest";
import { Cluster, eventually } from "../support/processes.ts";

const MINUTES = 60_000;

test(
  "several workers with nothing but the peer id join, each with a data directory of its own",
  { timeout: 2 * MINUTES },
  async () => {
    await using cluster = await Cluster.create();
    const { ready, client } = await cluster.gateway();
    const workers = await Promise.all([1, 2, 3].map(() => cluster.worker(ready.peerId).ready));
    const ids = workers.map((worker) => worker.peerId).sort();
    expect(new Set(ids).size).toBe(3);
    const joined = await eventually(async () => {
      const list = await client.workers();
      return list.length === 3 && list.every((worker) => worker.status === "ready") ? list : undefined;
    });
    expect(joined.map((worker) => worker.id).sort()).toEqual(ids);
    const { mode } = await stat(`${cluster.folder}/.local/share/capmesh/worker/identity.key`);
    expect(mode & 0o777).toBe(0o600);
  },
);

test("a worker that was started first joins when the gateway comes", { timeout: 2 * MINUTES }, async () => {
  await using cluster = await Cluster.create();
  const data = ["--data", `${cluster.folder}/gateway`];
  const first = await cluster.gateway(data);
  expect(await first.process.stop()).toBe(0);
  await cluster.worker(first.ready.peerId).ready;
  const { client } = await cluster.gateway(data);
  await eventually(async () => ((await client.workers()).length === 1 ? true : undefined));
});

test("a wrong secret is refused, and both sides say so", { timeout: 2 * MINUTES }, async () => {
  await using cluster = await Cluster.create();
  const { ready, process, client } = await cluster.gateway();
  const address = ready.addrs[0] ?? "";
  const worker = cluster.start({ args: ["--dial", `${address}#not-the-secret`, "--no-mdns", "--slots", "1"] });
  await Promise.all([worker.says(/refused this worker: wrong join secret/), process.says(/wrong join secret/)]);
  expect(await client.workers()).toEqual([]);
});

test("without the secret a worker stays pending until it is admitted", { timeout: 2 * MINUTES }, async () => {
  await using cluster = await Cluster.create();
  const { ready, process, client } = await cluster.gateway();
  const hostPort = (ready.addrs[0] ?? "").replace(/^\/ip4\/([\d.]+)\/tcp\/(\d+).*$/, "$1:$2");
  // A home of its own: nothing of the gateway's lies about there.
  const worker = cluster.start({
    args: ["--dial", hostPort, "--no-mdns", "--slots", "1"],
    env: { HOME: `${cluster.folder}/other`, XDG_RUNTIME_DIR: `${cluster.folder}/other/run` },
  });
  const { peerId } = await worker.ready;
  await Promise.all([worker.says(/waiting to be admitted/), process.says(/waits to be admitted/)]);
  expect(await client.workers()).toMatchObject([{ id: peerId, status: "pending" }]);
  await client.admit(peerId);
  await eventually(async () => ((await client.worker(peerId)).status === "ready" ? true : undefined));
});

test("an open gateway admits without a secret", { timeout: 2 * MINUTES }, async () => {
  await using cluster = await Cluster.create();
  const { ready, client } = await cluster.gateway(["--open"]);
  const worker = cluster.start({
    args: ["--dial", ready.addrs[0] ?? "", "--no-mdns", "--slots", "1"],
    env: { HOME: `${cluster.folder}/other`, XDG_RUNTIME_DIR: `${cluster.folder}/other/run` },
  });
  const { peerId } = await worker.ready;
  await eventually(async () => ((await client.worker(peerId)).status === "ready" ? true : undefined));
});

test("a forgotten worker is out, and stays out", { timeout: 2 * MINUTES }, async () => {
  await using cluster = await Cluster.create();
  const { ready, client } = await cluster.gateway();
  const worker = cluster.worker(ready.peerId);
  const { peerId } = await worker.ready;
  await eventually(async () => ((await client.worker(peerId)).status === "ready" ? true : undefined));
  await client.forget(peerId);
  await worker.says(/barred/);
  expect(await client.workers()).toEqual([]);
});

test("a second process on the same data directory is refused with what to do", { timeout: 2 * MINUTES }, async () => {
  await using cluster = await Cluster.create();
  const data = ["--data", `${cluster.folder}/gateway`];
  await cluster.gateway(data);
  const second = cluster.start({ args: ["--gateway", "--no-mdns", "--http", "127.0.0.1:0", ...data] });
  expect(await second.exited).not.toBe(0);
  expect(second.stderr).toMatch(/in use by another process.*--data/s);
});

test(
  "a worker is back within 5 s of its gateway's return, on the same data directory and port",
  { timeout: 3 * MINUTES },
  async () => {
    await using cluster = await Cluster.create();
    const data = ["--data", `${cluster.folder}/gateway`];
    const before = await cluster.gateway(data);
    const worker = cluster.worker(before.ready.peerId);
    await worker.ready;
    await eventually(async () => ((await before.client.workers()).length === 1 ? true : undefined));
    before.process.kill("SIGKILL");
    await before.process.exited;
    const listen = (before.ready.addrs[0] ?? "").replace(/\/p2p\/.*$/, "");
    const after = await cluster.gateway([...data, "--listen", listen]);
    await eventually(async () => ((await after.client.workers())[0]?.status === "ready" ? true : undefined));
  },
);

test("members that are gone are no longer shown", { timeout: 2 * MINUTES }, async () => {
  await using cluster = await Cluster.create();
  const { ready, client } = await cluster.gateway();
  const worker = cluster.worker(ready.peerId);
  const { peerId } = await worker.ready;
  const ids = async () => (await client.cluster()).map((member) => member.id);
  await eventually(async () => ((await ids()).includes(peerId) ? true : undefined));
  worker.kill("SIGKILL");
  await worker.exited;
  await eventually(async () => ((await ids()).includes(peerId) ? undefined : true));
  await eventually(async () => ((await client.workers()).length === 0 ? true : undefined));
});
