import { randomBytes } from "node:crypto";
import { multiaddr } from "@multiformats/multiaddr";
import { describe, expect, test } from "vitest";
import { silentLog, type Log } from "../../src/base/log.ts";
import { systemClock } from "../../src/base/system-clock.ts";
import type { Host } from "../../src/net/host.ts";
import { makeIdentity } from "../../src/net/identity.ts";
import { startLibp2p } from "../../src/net/libp2p-stack.ts";
import { membersTopicOf } from "../../src/net/namespace.ts";
import { acceptStreams, addressesOf, startHost, testRandom, until } from "./host-harness.ts";

const STATE = { role: "worker", version: "1.2.3", labels: { zone: "a" }, slots: 4, busy: 1 } as const;

async function startPair(workerLog: Log = silentLog) {
  const stack = new AsyncDisposableStack();
  const gateway = stack.use(await startHost());
  const worker = stack.use(await startHost({ role: "worker", log: workerLog }));
  await acceptStreams(gateway);
  gateway.membership.announce({ ...STATE, role: "gateway", slots: 0, busy: 0 });
  worker.membership.announce(STATE);
  await worker.openStream({ peerId: gateway.peerId, addresses: addressesOf(gateway) });
  return { gateway, worker, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

function seenBy(host: Host, peer: Host) {
  return host.membership.members().find(({ peerId }) => peerId === peer.peerId);
}

describe("Membership", () => {
  test("shows each side the other, with what it says of itself", async () => {
    await using pair = await startPair();
    const { gateway, worker } = pair;
    await until(() => seenBy(gateway, worker) !== undefined && seenBy(worker, gateway) !== undefined);
    expect(seenBy(gateway, worker)).toMatchObject({ ...STATE, isConnected: true, addrs: [] });
    expect(seenBy(worker, gateway)).toMatchObject({ role: "gateway", addrs: gateway.addrs() });
    expect(Math.abs((seenBy(gateway, worker)?.lastSeen ?? 0) - Date.now())).toBeLessThan(5_000);
  });

  test("shows news soon after they are announced", async () => {
    await using pair = await startPair();
    const { gateway, worker } = pair;
    await until(() => seenBy(gateway, worker) !== undefined);
    const changed = new Promise<void>((resolve) => {
      gateway.membership.onChange(() => {
        if (seenBy(gateway, worker)?.busy === 3) resolve();
      });
    });
    worker.membership.announce({ ...STATE, busy: 2 });
    worker.membership.announce({ ...STATE, busy: 3 });
    await changed;
  });

  test("stops showing a peer as soon as its connection closes", async () => {
    await using pair = await startPair();
    const { gateway, worker } = pair;
    await until(() => seenBy(gateway, worker) !== undefined && seenBy(worker, gateway) !== undefined);
    const gone = new Promise<void>((resolve) => gateway.onPeerGone(() => resolve()));
    await worker.stop();
    await gone;
    expect(seenBy(gateway, worker)).toBeUndefined();
  });

  test("carries heartbeats past the gateway to peers that are not connected, and goodbyes too", async () => {
    await using pair = await startPair();
    const { gateway, worker } = pair;
    await using other = await startHost({ role: "worker" });
    other.membership.announce({ ...STATE, labels: { zone: "b" } });
    await other.openStream({ peerId: gateway.peerId, addresses: addressesOf(gateway) });
    await until(() => seenBy(worker, other) !== undefined);
    expect(seenBy(worker, other)).toMatchObject({ labels: { zone: "b" }, isConnected: false });
    const stoppedMs = performance.now();
    await other.stop();
    await until(() => seenBy(worker, other) === undefined);
    // Sooner than silence would show.
    expect(performance.now() - stoppedMs).toBeLessThan(9_000);
  });

  test("shows only itself when alone, and nothing before it announced anything", async () => {
    await using host = await startHost();
    expect(host.membership.members()).toEqual([]);
    host.membership.announce(STATE);
    expect(host.membership.members().map(({ peerId }) => peerId)).toEqual([host.peerId]);
  });

  test("shows all again after the gateway has restarted", async () => {
    await using stack = new AsyncDisposableStack();
    const identity = await makeIdentity();
    const first = await startHost({ identity });
    await acceptStreams(first);
    first.membership.announce({ ...STATE, role: "gateway" });
    const [address = ""] = addressesOf(first);
    const workers = await Promise.all([1, 2, 3].map(() => startHost({ role: "worker" })));
    const target = { peerId: identity.peerId, addresses: [address] };
    for (const worker of workers) {
      stack.use(worker).membership.announce(STATE);
      await worker.openStream(target);
    }
    await until(() => workers.every((worker) => worker.membership.members().length === 4));
    for (let restart = 0, old = first; restart < 3; restart++) {
      await old.stop();
      await until(() => workers.every((worker) => !worker.isConnected(identity.peerId)));
      const gateway = stack.use(await startHost({ identity, listen: [address] }));
      await acceptStreams(gateway);
      gateway.membership.announce({ ...STATE, role: "gateway" });
      await Promise.all(workers.map((worker) => worker.openStream(target)));
      const returnedMs = performance.now();
      await until(() => gateway.membership.members().length === 4);
      await until(() => workers.every((worker) => worker.membership.members().length === 4));
      expect(performance.now() - returnedMs).toBeLessThan(24_000);
      old = gateway;
    }
  });

  test("sends no heartbeat that is too large, and says so", async () => {
    const warned = Promise.withResolvers<string>();
    await using pair = await startPair({ ...silentLog, warn: warned.resolve });
    const { gateway, worker } = pair;
    await until(() => seenBy(gateway, worker) !== undefined);
    const labels = Object.fromEntries(Array.from({ length: 64 }, (_, index) => [`key-${index}`, "x".repeat(250)]));
    worker.membership.announce({ ...STATE, labels, busy: 4 });
    expect(await warned.promise).toContain("too large");
    expect(seenBy(gateway, worker)).toMatchObject({ busy: 1 });
  });

  test("takes no notice of what is not a heartbeat", async () => {
    await using gateway = await startHost();
    gateway.membership.announce({ ...STATE, role: "gateway" });
    const stranger = await startLibp2p({
      identity: await makeIdentity(),
      namespace: "test",
      listen: [],
      multicast: "off",
      clock: systemClock,
      random: testRandom,
      log: silentLog,
    });
    await using _ = { [Symbol.asyncDispose]: async () => stranger.libp2p.stop() };
    const topic = membersTopicOf("test");
    stranger.gossip.subscribe(topic);
    await stranger.libp2p.dial(multiaddr(addressesOf(gateway)[0] ?? ""));
    await until(() => stranger.gossip.getSubscribers(topic).length === 1);
    const good = {
      ...STATE,
      startedAt: 1,
      beat: 1,
      addrs: [],
      isLeaving: false,
    };
    for (const bytes of [
      Buffer.from("nonsense"),
      Buffer.from("null"),
      randomBytes(1_000),
      Buffer.from(JSON.stringify({ ...good, slots: "many" })),
      Buffer.from(JSON.stringify({ ...good, padding: "x".repeat(10_000) })),
    ]) {
      await stranger.gossip.publish(topic, bytes);
    }
    // Messages of one peer come in order: once the last is here, the others were.
    await stranger.gossip.publish(topic, Buffer.from(JSON.stringify({ ...good, version: "last" })));
    await until(() => gateway.membership.members().length === 2);
    expect(
      gateway.membership
        .members()
        .map(({ version }) => version)
        .sort(),
    ).toEqual(["1.2.3", "last"]);
  });
});
