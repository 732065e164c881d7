/** `capmesh cluster watch`, on a network of the test's own. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { expect, test } from "vitest";
import { z } from "zod";
import { openNetwork, whyNoNetworks } from "../net/network-namespaces.ts";
import { isEvent, spawnPeer, textOf } from "../net/spawn-peer.ts";

const reason = await whyNoNetworks();
if (reason !== undefined) console.warn(`skipped: watching discovery packets: ${reason}`);

const packetSchema = z.object({
  type: z.enum(["query", "answer"]),
  namespace: z.string(),
  bytes: z.number(),
  from: z.string(),
  peer: z.string().optional(),
  distanceMs: z.number().optional(),
});

test.skipIf(reason !== undefined)("packets are shown as they arrive", { timeout: 120_000 }, async () => {
  await using network = await openNetwork();
  await using gateway = spawnPeer({ role: "gateway", namespace: "test", mdns: true }, network.left);
  const peerId = textOf(await gateway.waitFor(isEvent("ready")), "peerId");
  const [program = "", ...through] = network.right.through;
  const main = join(import.meta.dirname, "../../src/cli/main.ts");
  const args = [...through, process.execPath, main, "cluster", "watch", "--ns", "test", "--json"];
  const watch = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
  const exited = once(watch, "exit");
  const packets: z.infer<typeof packetSchema>[] = [];
  for await (const line of createInterface({ input: watch.stdout })) {
    packets.push(packetSchema.parse(JSON.parse(line)));
    if (packets.at(-1)?.type === "answer") break;
  }
  watch.kill("SIGINT");
  await exited;
  expect(packets.at(-1)).toMatchObject({ type: "answer", namespace: "test", from: "10.77.0.1", peer: peerId });
  expect(packets.at(-1)?.distanceMs).toBeGreaterThan(0);
  expect(packets.some(({ type }) => type === "query")).toBe(true);
});
