/** The join secret is replaced while workers are at work. */
import { readFile, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Cluster, eventually, guestPath } from "../support/processes.ts";

test("a replaced join secret lets the ones in that are in, and nobody else", { timeout: 180_000 }, async () => {
  await using cluster = await Cluster.create();
  const data = join(cluster.folder, "gateway-data");
  const { process: gateway, ready, client } = await cluster.gateway(["--data", data]);
  const [peerId, oldSecret] = (ready.dial ?? "").split("#");
  const address = ready.addrs[0] ?? "";
  const worker = (secret: string, name: string) =>
    cluster.start({
      args: ["--dial", address, "--no-mdns", "--slots", "1", "--data", join(cluster.folder, name)],
      // It finds no run file: it is of another machine.
      env: { CAPMESH_SECRET: secret, XDG_RUNTIME_DIR: join(cluster.folder, "elsewhere") },
    });
  await worker(oldSecret ?? "", "one").ready;
  const [before] = await eventually(async () => {
    const workers = await client.workers();
    return workers.length > 0 ? workers : undefined;
  });
  const rotated = await cluster.run({ args: ["secret", "rotate", "--url", ready.http ?? ""] });
  expect([rotated.code, rotated.stderr]).toEqual([0, ""]);
  const { dial } = parseRotated(rotated.stdout);
  const [samePeerId, secret] = dial.split("#");
  expect(samePeerId).toBe(peerId);
  expect(secret).not.toBe(oldSecret);
  await expectFile(join(data, "join-secret"), `${secret}\n`);
  await expectFile(await runFile(cluster), expect.stringContaining(`"secret":"${secret}"`));
  // One that comes with the old one is told so, and the one that is in does not notice.
  const late = worker(oldSecret ?? "", "late");
  await late.says(/refused this worker/);
  await worker(secret ?? "", "new").ready;
  await eventually(async () => ((await client.workers()).length === 2 ? true : undefined));
  const workers = await client.workers();
  expect(workers.map(({ id, connectedAt }) => ({ id, connectedAt }))).toContainEqual({
    id: before?.id,
    connectedAt: before?.connectedAt,
  });
  const wasm = await readFile(guestPath("hash"));
  const { id } = await client.submit({ wasm, input: 0, difficulty: 2, require: { peer: before?.id ?? "" } });
  expect((await client.waitForTask(id)).state).toBe("succeeded");
  // The next process of the gateway goes on with the new one.
  expect(await gateway.stop()).toBe(0);
  const again = await cluster.gateway(["--data", data]);
  expect(again.ready.dial).toBe(dial);
});

async function expectFile(path: string, content: unknown): Promise<void> {
  expect(await readFile(path, "utf8")).toEqual(content);
  expect((await stat(path)).mode & 0o777).toBe(0o600);
}

async function runFile(cluster: Cluster): Promise<string> {
  const folder = join(cluster.folder, "run", "capmesh", cluster.namespace);
  const [name = ""] = await readdir(folder);
  return join(folder, name);
}

function parseRotated(text: string): { readonly dial: string } {
  return JSON.parse(text) as { readonly dial: string };
}
