import { randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { Clock } from "../../src/base/clock.ts";
import { failed } from "../../src/base/errors.ts";
import { systemClock } from "../../src/base/system-clock.ts";
import { makeIdentity } from "../../src/net/identity.ts";
import { acceptStreams, addressesOf, startHost, temporaryFolder, until } from "./host-harness.ts";
import { openNetwork, whyNoNetworks } from "./network-namespaces.ts";
import { isEvent, spawnPeer, textOf, textsOf } from "./spawn-peer.ts";
import { anyString, containing } from "../support/matchers.ts";

const noNetworks = await whyNoNetworks();
if (noNetworks !== undefined) console.warn(`skipped: a machine without IPv6: ${noNetworks}`);

const STATE = { role: "worker", version: "1.0.0", labels: {}, slots: 1, busy: 0 } as const;

/** A TCP port that is taken until disposed. */
async function takePort(port = 0): Promise<AsyncDisposable & { readonly port: number }> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen({ port, host: "0.0.0.0" }, resolve));
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())),
  };
}

describe("Host", () => {
  test("opens streams that tell each side who is at the other end", async () => {
    await using gateway = await startHost();
    await using worker = await startHost({ role: "worker" });
    const remote = Promise.withResolvers<string>();
    await gateway.onStream((stream, { peerId }) => {
      remote.resolve(peerId);
      stream.abort(failed("seen"));
    });
    const opened = await worker.openStream({ peerId: gateway.peerId, addresses: addressesOf(gateway) });
    expect(opened.remotePeerId).toBe(gateway.peerId);
    expect(await remote.promise).toBe(worker.peerId);
  });

  test("learns the peer id of whoever answers at an address", async () => {
    await using gateway = await startHost();
    await using worker = await startHost({ role: "worker" });
    await acceptStreams(gateway);
    const opened = await worker.openStream({ addresses: addressesOf(gateway) });
    expect(opened.remotePeerId).toBe(gateway.peerId);
  });

  test("refuses an address at which another peer answers", async () => {
    await using gateway = await startHost();
    await using worker = await startHost({ role: "worker" });
    await acceptStreams(gateway);
    const { peerId } = await makeIdentity();
    await expect(worker.openStream({ peerId, addresses: addressesOf(gateway) })).rejects.toMatchObject({
      type: "disconnected",
      code: "wrong-peer",
    });
  });

  test("finds the address that works among others that do not", async () => {
    await using gateway = await startHost();
    await using impostor = await startHost();
    await using worker = await startHost({ role: "worker" });
    await acceptStreams(gateway);
    await acceptStreams(impostor);
    const addresses = [
      "/ip4/127.0.0.1/tcp/1",
      ...addressesOf(impostor),
      "/ip4/192.0.2.1/tcp/4077",
      ...addressesOf(gateway),
    ];
    const opened = await worker.openStream({ peerId: gateway.peerId, addresses });
    expect(opened.remotePeerId).toBe(gateway.peerId);
  });

  test("says what is wrong when nobody answers", async () => {
    await using worker = await startHost({ role: "worker" });
    await expect(worker.openStream({ addresses: ["/ip4/127.0.0.1/tcp/1"] })).rejects.toMatchObject({
      code: "unreachable",
      message: containing("ECONNREFUSED"),
    });
    await expect(worker.openStream({ addresses: [] })).rejects.toMatchObject({ code: "unreachable" });
  });

  test("gives up a dial at once when told to", async () => {
    await using worker = await startHost({ role: "worker" });
    const controller = new AbortController();
    const dialling = worker.openStream({ addresses: ["/ip4/192.0.2.1/tcp/4077"] }, { signal: controller.signal });
    const reason = failed("changed our mind");
    controller.abort(reason);
    await expect(dialling).rejects.toBe(reason);
  });

  test("does not talk to a peer of another namespace", async () => {
    await using gateway = await startHost({ namespace: "one" });
    await using worker = await startHost({ namespace: "other", role: "worker" });
    await acceptStreams(gateway);
    gateway.membership.announce({ ...STATE, role: "gateway" });
    worker.membership.announce(STATE);
    await expect(worker.openStream({ peerId: gateway.peerId, addresses: addressesOf(gateway) })).rejects.toMatchObject({
      code: "wrong-namespace",
      message: containing('"other"'),
    });
    expect(worker.membership.members().map(({ peerId }) => peerId)).toEqual([worker.peerId]);
  });

  test("does not dial itself", async () => {
    await using gateway = await startHost();
    await acceptStreams(gateway);
    await expect(gateway.openStream({ addresses: addressesOf(gateway) })).rejects.toMatchObject({
      code: anyString(),
    });
    await expect(gateway.openStream({ peerId: gateway.peerId, addresses: [] })).rejects.toMatchObject({
      code: "dialed-self",
    });
  });

  test("takes twenty workers of one machine that come at the same moment", async () => {
    await using stack = new AsyncDisposableStack();
    const gateway = stack.use(await startHost());
    const seen = new Set<string>();
    await gateway.onStream((stream, { peerId }) => {
      seen.add(peerId);
      stream.start({ onBytes: (bytes) => void stream.write(bytes), onEnd: () => undefined });
    });
    gateway.membership.announce({ ...STATE, role: "gateway" });
    const workers = await Promise.all(Array.from({ length: 20 }, () => startHost({ role: "worker" })));
    for (const worker of workers) stack.use(worker);
    await Promise.all(
      workers.map(async (worker) => {
        worker.membership.announce(STATE);
        const { stream } = await worker.openStream({ peerId: gateway.peerId, addresses: addressesOf(gateway) });
        const echoed = new Promise<void>((resolve) =>
          stream.start({ onBytes: () => resolve(), onEnd: () => undefined }),
        );
        stream.write(Buffer.from("hello"));
        await echoed;
      }),
    );
    expect(seen.size).toBe(20);
    await until(() => gateway.membership.members().length === 21);
    // Each worker sees all others, through the gateway alone.
    await until(() => workers.every((worker) => worker.membership.members().length === 21));
  });

  test("tells at once when a peer stops", async () => {
    await using gateway = await startHost();
    const worker = await startHost({ role: "worker" });
    const accept = await acceptStreams(gateway);
    const gone = Promise.withResolvers<string>();
    gateway.onPeerGone(gone.resolve);
    await worker.openStream({ peerId: gateway.peerId, addresses: addressesOf(gateway) });
    await accept();
    await worker.stop();
    expect(await gone.promise).toBe(worker.peerId);
  });

  test("sends all that was written before it stops", async () => {
    await using gateway = await startHost();
    const worker = await startHost({ role: "worker" });
    const accept = await acceptStreams(gateway);
    const { stream } = await worker.openStream({ peerId: gateway.peerId, addresses: addressesOf(gateway) });
    const received = await accept();
    let bytes = 0;
    const ended = new Promise((resolve) =>
      received.start({ onBytes: (chunk) => void (bytes += chunk.byteLength), onEnd: resolve }),
    );
    for (let count = 0; count < 10; count++) stream.write(Buffer.alloc(100_000));
    await stream.close();
    await worker.stop();
    expect(await ended).toBeUndefined();
    expect(bytes).toBe(1_000_000);
  });

  test("cuts off a peer when asked", async () => {
    await using gateway = await startHost();
    await using worker = await startHost({ role: "worker" });
    const accept = await acceptStreams(gateway);
    const { stream } = await worker.openStream({ peerId: gateway.peerId, addresses: addressesOf(gateway) });
    await accept();
    const ended = new Promise((resolve) => stream.start({ onBytes: () => undefined, onEnd: resolve }));
    gateway.disconnect(worker.peerId, failed("barred"));
    expect(await ended).toMatchObject({ type: "disconnected" });
    await until(() => !gateway.isConnected(worker.peerId));
  });
});

describe("hostile bytes", () => {
  test("cost their own connection and nothing else", async () => {
    await using gateway = await startHost();
    await using worker = await startHost({ role: "worker" });
    const accept = await acceptStreams(gateway);
    const { stream } = await worker.openStream({ peerId: gateway.peerId, addresses: addressesOf(gateway) });
    const received = await accept();
    received.start({ onBytes: (bytes) => void received.write(bytes), onEnd: () => undefined });
    const [, port] = /\/tcp\/(\d+)/.exec(addressesOf(gateway)[0] ?? "") ?? [];
    const multistream = Buffer.from("\x13/multistream/1.0.0\n", "latin1");
    const noise = Buffer.from("\x07/noise\n", "latin1");
    const greetings = [Buffer.alloc(0), multistream, Buffer.concat([multistream, noise])];
    await Promise.all(
      Array.from({ length: 30 }, async (_, index) => {
        const socket = connect({ port: Number(port), host: "127.0.0.1" });
        socket.on("error", () => undefined).resume();
        const closed = new Promise((resolve) => socket.once("close", resolve));
        const greeting = greetings[index % greetings.length] ?? multistream;
        socket.end(Buffer.concat([greeting, randomBytes(1 + ((index * 7_919) % 60_000))]));
        await closed;
      }),
    );
    const echoed = new Promise<string>((resolve) =>
      stream.start({ onBytes: (bytes) => resolve(Buffer.from(bytes).toString()), onEnd: () => resolve("ended") }),
    );
    stream.write(Buffer.from("still here"));
    expect(await echoed).toBe("still here");
  });
});

describe("a connection without a stream", () => {
  test("is closed by a gateway after a while; one with a stream is not", async () => {
    // Time passes twenty times as fast for the gateway alone.
    const clock: Clock = {
      ...systemClock,
      setTimer: (delayMs, callback) => systemClock.setTimer(delayMs / 20, callback),
    };
    const hurried: Clock = { ...clock, monotonicMs: () => systemClock.monotonicMs() * 20 };
    await using gateway = await startHost({ clock: hurried });
    await using idle = await startHost({ role: "worker" });
    await using busy = await startHost({ role: "worker" });
    const accept = await acceptStreams(gateway);
    const target = { peerId: gateway.peerId, addresses: addressesOf(gateway) };
    await busy.openStream(target);
    await accept();
    const { stream } = await idle.openStream(target);
    (await accept()).abort(failed("not welcome"));
    await new Promise((resolve) => stream.start({ onBytes: () => undefined, onEnd: resolve }));
    expect(gateway.isConnected(idle.peerId)).toBe(true);
    await until(() => !gateway.isConnected(idle.peerId));
    expect(gateway.isConnected(busy.peerId)).toBe(true);
    expect((await idle.openStream(target)).remotePeerId).toBe(gateway.peerId);
  });
});

describe("a host's death", () => {
  test("is noticed at once when its process is killed", async () => {
    await using gateway = await startHost();
    await using peer = spawnPeer({ role: "worker", namespace: "test", mdns: false, dial: addressesOf(gateway) });
    const accept = await acceptStreams(gateway);
    const gone = Promise.withResolvers<string>();
    gateway.onPeerGone(gone.resolve);
    const stream = await accept();
    const ended = new Promise((resolve) =>
      stream.start({ onBytes: (bytes) => void stream.write(bytes), onEnd: resolve }),
    );
    const { peerId } = await peer.waitFor(isEvent("ready"));
    await peer.waitFor(isEvent("connected"));
    const killedMs = performance.now();
    peer.kill("SIGKILL");
    expect(await ended).toMatchObject({ type: "disconnected" });
    expect(await gone.promise).toBe(peerId);
    expect(performance.now() - killedMs).toBeLessThan(10_000);
  });

  test("is noticed when its process hangs", async () => {
    await using gateway = await startHost();
    await using peer = spawnPeer({ role: "worker", namespace: "test", mdns: false, dial: addressesOf(gateway) });
    const accept = await acceptStreams(gateway);
    const stream = await accept();
    const ended = new Promise((resolve) =>
      stream.start({ onBytes: (bytes) => void stream.write(bytes), onEnd: resolve }),
    );
    await peer.waitFor(isEvent("connected"));
    const { peerId } = await peer.waitFor(isEvent("ready"));
    await until(() => gateway.membership.members().some((member) => member.peerId === peerId));
    const stoppedMs = performance.now();
    peer.kill("SIGSTOP");
    expect(await ended).toMatchObject({ type: "disconnected" });
    expect(performance.now() - stoppedMs).toBeLessThan(20_000);
    expect(gateway.membership.members()).toEqual([]);
  });
});

describe("where a gateway listens", () => {
  test("is the preferred port, on all interfaces", async () => {
    await using folder = await temporaryFolder();
    const { port } = await freePort();
    await using gateway = await startHost({
      listen: "default",
      preferredPort: port,
      portFile: join(folder.path, "port"),
    });
    expect(gateway.addrs().every((address) => address.includes(`/tcp/${port}/`))).toBe(true);
    expect(gateway.addrs().at(-1)).toMatch(/^\/ip[46]\/(127\.0\.0\.1|::1)\//);
  });

  test("is a free port when that is taken, and the same one at the next start", async () => {
    await using folder = await temporaryFolder();
    await using taken = await takePort();
    const identity = await makeIdentity();
    const portFile = join(folder.path, "port");
    const init = { identity, listen: "default", preferredPort: taken.port, portFile } as const;
    const first = await startHost(init);
    const addresses = first.addrs();
    await first.stop();
    await using second = await startHost(init);
    expect(second.addrs()).toEqual(addresses);
    expect(addresses.join()).toContain(`/tcp/${Number(await readFile(portFile, "utf8"))}/`);
    expect(Number(await readFile(portFile, "utf8"))).not.toBe(taken.port);
  });

  test("does not suffer from a broken port file", async () => {
    await using folder = await temporaryFolder();
    await using taken = await takePort();
    const portFile = join(folder.path, "port");
    await writeFile(portFile, "4077; rm -rf", { mode: 0o600 });
    await using gateway = await startHost({ listen: "default", preferredPort: taken.port, portFile });
    expect(await readFile(portFile, "utf8")).toMatch(/^\d+\n$/);
    expect(gateway.addrs()).not.toEqual([]);
  });

  test("is refused with a clear error when it was given and is taken", async () => {
    await using taken = await takePort();
    await expect(startHost({ listen: [`/ip4/0.0.0.0/tcp/${taken.port}`] })).rejects.toMatchObject({
      code: "address-in-use",
      message: containing(`${taken.port}`),
    });
  });

  test.skipIf(noNetworks !== undefined)("is IPv4 alone on a machine without IPv6", async () => {
    await using network = await openNetwork({ hasIPv6: false });
    await using gateway = spawnPeer(
      { role: "gateway", namespace: "test", mdns: false, listen: "default" },
      network.left,
    );
    const addresses = textsOf(await gateway.waitFor(isEvent("ready")), "addrs");
    expect(addresses.map((address) => address.replace(/\/p2p\/.*$/, ""))).toEqual([
      `/ip4/${network.left.address}/tcp/4077`,
      "/ip4/127.0.0.1/tcp/4077",
    ]);
  });

  test("is nowhere for a worker", async () => {
    await using worker = await startHost({ role: "worker" });
    expect(worker.addrs()).toEqual([]);
  });
});

describe("a gateway that restarts", () => {
  test("is reached again at the same addresses by the same peer id", async () => {
    await using folder = await temporaryFolder();
    const options = { role: "gateway", namespace: "test", mdns: false, folder: folder.path };
    const first = spawnPeer({ ...options, listen: ["/ip4/127.0.0.1/tcp/0"] });
    const ready = await first.waitFor(isEvent("ready"));
    const [address = ""] = textsOf(ready, "addrs");
    await first[Symbol.asyncDispose]();
    await using second = spawnPeer({ ...options, listen: [address.replace(/\/p2p\/.*$/, "")] });
    expect(textOf(await second.waitFor(isEvent("ready")), "peerId")).toBe(textOf(ready, "peerId"));
  });
});

async function freePort(): Promise<{ port: number }> {
  const taken = await takePort();
  await taken[Symbol.asyncDispose]();
  return { port: taken.port };
}
