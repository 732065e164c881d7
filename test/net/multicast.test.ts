import { describe, expect, test } from "vitest";
import { openNetwork, whyNoNetworks } from "./network-namespaces.ts";
import { temporaryFolder, until } from "./host-harness.ts";
import { isEvent, spawnPeer, textOf, type PeerEvent } from "./spawn-peer.ts";

const MDNS_PORT = 5353;
const reason = await whyNoNetworks();
if (reason !== undefined) console.warn(`skipped: finding peers by multicast: ${reason}`);

const GATEWAY = { role: "gateway", namespace: "test", mdns: true };
const WORKER = { role: "worker", namespace: "test", mdns: true };

describe.skipIf(reason !== undefined)("finding peers by multicast", { timeout: 120_000 }, () => {
  test("takes a bare peer id and nothing else, on one machine", async () => {
    await using network = await openNetwork({ hasMulticastRoute: false });
    const { left } = network;
    await left.run("ip link set cable-left down");
    await using gateway = spawnPeer(GATEWAY, left);
    const peerId = textOf(await gateway.waitFor(isEvent("ready")), "peerId");
    await using worker = spawnPeer({ ...WORKER, dial: [peerId] }, left);
    expect(textOf(await worker.waitFor(isEvent("connected")), "peerId")).toBe(peerId);
  });

  test("takes a bare peer id and nothing else, on two machines, and falls silent once connected", async () => {
    await using network = await openNetwork();
    await using gateway = spawnPeer(GATEWAY, network.left);
    const peerId = textOf(await gateway.waitFor(isEvent("ready")), "peerId");
    await using worker = spawnPeer({ ...WORKER, dial: [peerId] }, network.right);
    expect(textOf(await worker.waitFor(isEvent("connected")), "peerId")).toBe(peerId);
    await until(async () => !(await network.right.udpPorts()).includes(MDNS_PORT));
    expect(await network.left.udpPorts()).toContain(MDNS_PORT);
  });

  test("finds a gateway that starts later, and again after it came back on another port", async () => {
    await using network = await openNetwork();
    await using folder = await temporaryFolder();
    const options = { ...GATEWAY, folder: folder.path };
    const first = spawnPeer(options, network.left);
    const peerId = textOf(await first.waitFor(isEvent("ready")), "peerId");
    await first[Symbol.asyncDispose]();
    await using worker = spawnPeer({ ...WORKER, dial: [peerId] }, network.right);
    await worker.waitFor(isEvent("log"));
    const second = spawnPeer(options, network.left);
    await worker.waitFor(isEvent("connected"));
    await second[Symbol.asyncDispose]();
    const after = worker.events.length;
    await using third = spawnPeer(options, network.left);
    await third.waitFor(isEvent("ready"));
    const returnedMs = performance.now();
    await worker.waitFor(isEvent("connected"), after);
    expect(performance.now() - returnedMs).toBeLessThan(24_000);
  });

  test("never finds a peer of another namespace", async () => {
    await using network = await openNetwork();
    await using foreign = spawnPeer({ ...GATEWAY, namespace: "other" }, network.left);
    await using own = spawnPeer(GATEWAY, network.left);
    const foreignId = textOf(await foreign.waitFor(isEvent("ready")), "peerId");
    const ownId = textOf(await own.waitFor(isEvent("ready")), "peerId");
    // The foreign one is preferred, so it would be taken if it were seen at all; it is given several rounds.
    await using stubborn = spawnPeer({ ...WORKER, dial: [foreignId] }, network.right);
    await stubborn.waitFor(isEvent("log"));
    await using worker = spawnPeer({ ...WORKER, dial: [foreignId, ownId] }, network.right);
    expect(textOf(await worker.waitFor(isEvent("connected")), "peerId")).toBe(ownId);
    await using another = spawnPeer({ ...WORKER, dial: [ownId] }, network.right);
    await another.waitFor(isEvent("connected"));
    expect(stubborn.events.some(isEvent("connected"))).toBe(false);
    expect(foreign.events.some(isEvent("stream"))).toBe(false);
  });

  test("warns where multicast has no route, says the cure, and goes on", async () => {
    await using network = await openNetwork({ hasMulticastRoute: false });
    await using gateway = spawnPeer(GATEWAY, network.left);
    const peerId = textOf(await gateway.waitFor(isEvent("ready")), "peerId");
    await using worker = spawnPeer({ ...WORKER, dial: [peerId] }, network.right);
    const isCure = (event: PeerEvent, cable: string): boolean =>
      event.event === "log" && textOf(event, "message").includes(`ip route add 224.0.0.0/4 dev ${cable}`);
    await gateway.waitFor((event) => isCure(event, "cable-left"));
    await worker.waitFor((event) => isCure(event, "cable-right"));
    await network.left.run("ip route add 224.0.0.0/4 dev cable-left");
    await network.right.run("ip route add 224.0.0.0/4 dev cable-right");
    expect(textOf(await worker.waitFor(isEvent("connected")), "peerId")).toBe(peerId);
  });
});
