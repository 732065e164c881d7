/** What a gateway finds when it starts on a store and blobs that an earlier one has left. */
import { expect, test } from "vitest";
import type { Digest } from "../../src/base/ids.ts";
import { bytesOf } from "../store/store-samples.ts";
import { GatewayCluster } from "../support/gateway-cluster.ts";

async function commit(cluster: GatewayCluster, text: string): Promise<Digest> {
  await using writer = await cluster.blobs.create();
  await writer.write(bytesOf(text));
  const { digest } = await writer.finish();
  await writer.commit();
  return digest;
}

async function isThere(cluster: GatewayCluster, module: Digest): Promise<boolean> {
  await using blob = await cluster.blobs.open(module);
  return blob !== undefined;
}

test("a module whose task was never stored is removed, and one that a task uses is kept", async () => {
  await using cluster = await GatewayCluster.open();
  const orphan = await commit(cluster, "the gateway ended before the task was stored");
  const module = await commit(cluster, "used");
  await cluster.submit("t", { module });
  await cluster.stop();
  await cluster.start();
  await cluster.until("the orphan is gone", async () => !(await isThere(cluster, orphan)));
  await cluster.stop();
  await cluster.start();
  expect(await isThere(cluster, module)).toBe(true);
});

test("a gateway that cannot start leaves no timer behind", async () => {
  await using cluster = await GatewayCluster.open();
  await cluster.stop();
  cluster.trouble.broken.add("listDrained");
  await expect(cluster.start()).rejects.toMatchObject({ code: "store-unavailable" });
  await cluster.quiet();
  expect(cluster.clock.pendingTimers).toBe(0);
});
