/** A worker that fails what another one carries out, with real processes: it is set aside, shown so, and taken back. */
import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { QUARANTINE_FIRST_MS } from "../../src/base/limits.ts";
import type { CapmeshClient } from "../../src/client/client.ts";
import { Cluster, eventually, guestPath } from "../support/processes.ts";

const MINUTES = 60_000;
const HURRIED = fileURLToPath(new URL("../support/hurried-process.ts", import.meta.url));
const hello = await readFile(guestPath("hello"));

test(
  "a worker whose disk has failed is quarantined and shown so, another one does its runs, and it comes back in time",
  { timeout: 4 * MINUTES },
  async () => {
    await using cluster = await Cluster.create();
    const { ready, client, process: gateway } = await cluster.gateway([], { NODE_OPTIONS: `--import=${HURRIED}` });
    const start = (name: string, slots: number) =>
      cluster.worker(ready.peerId, ["--data", join(cluster.folder, name), "--slots", String(slots)]);
    const [bad, good] = await Promise.all([start("bad", 4).ready, start("good", 1).ready]);
    const offering = async () => (await client.workers()).filter(({ offers }) => offers > 0);
    await eventually(async () => ((await offering()).length === 2 ? true : undefined));
    const modules = join(cluster.folder, "bad", "modules");
    await rename(modules, `${modules}.away`);
    await writeFile(modules, "");

    const statusOf = async (id: string) => (await client.workers()).find((worker) => worker.id === id)?.status;
    for (let number = 1; (await statusOf(bad.peerId)) === "ready"; number++) {
      expect(number).toBeLessThan(60);
      await client.submit({ id: `task-${number}`, wasm: hello });
      expect(await client.waitForTask(`task-${number}`)).toMatchObject({ state: "succeeded" });
      expect(await lastWorker(client, `task-${number}`)).toBe(good.peerId);
    }
    expect(await statusOf(good.peerId)).toBe("ready");
    const { stdout } = await cluster.run({ args: ["worker", "ls", "--url", ready.http ?? ""] });
    const note = expect.stringMatching(/went wrong that other workers carried out.*ENOTDIR.*tried again in \d+ s/);
    expect(JSON.parse(stdout)).toContainEqual(expect.objectContaining({ id: bad.peerId, status: "quarantined", note }));
    await client.submit({ id: "patient", wasm: hello, require: { peer: bad.peerId } });
    expect(await client.explain("patient")).toMatchObject({
      state: "ready",
      reasons: [{ code: "worker", workers: [{ id: bad.peerId, status: "quarantined" }] }],
    });

    await rm(modules);
    await rename(`${modules}.away`, modules);
    expect(QUARANTINE_FIRST_MS).toBeLessThan(1 * MINUTES);
    gateway.kill("SIGUSR2");
    // The timer of the gateway knows nothing of that; but something else comes.
    await client.submit({ wasm: hello });
    expect(await client.waitForTask("patient")).toMatchObject({ state: "succeeded" });
    expect(await lastWorker(client, "patient")).toBe(bad.peerId);
    expect(await statusOf(bad.peerId)).toBe("ready");
  },
);

async function lastWorker(client: CapmeshClient, id: string): Promise<string | undefined> {
  return (await client.getRun(id, 1)).attempts.at(-1)?.worker;
}
