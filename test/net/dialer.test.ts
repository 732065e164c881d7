import { describe, expect, test } from "vitest";
import { failed, disconnected } from "../../src/base/errors.ts";
import { silentLog, type Log } from "../../src/base/log.ts";
import { systemClock } from "../../src/base/system-clock.ts";
import { Dialer, type DialedPeer, type DialerInit } from "../../src/net/dialer.ts";
import { Discovery, type ResolveHost } from "../../src/net/discovery.ts";
import type { Host } from "../../src/net/host.ts";
import { makeIdentity } from "../../src/net/identity.ts";
import { RunFolder } from "../../src/net/run-file.ts";
import { parseWhere } from "../../src/net/where.ts";
import { addressesOf, startHost, temporaryFolder, testRandom, until } from "./host-harness.ts";

/** A gateway whose streams are echoed, counted, and held open. */
async function startGateway(init: Parameters<typeof startHost>[0] = {}) {
  const host = await startHost(init);
  const state = { accepted: 0 };
  await host.onStream((stream) => {
    state.accepted++;
    stream.start({ onBytes: (bytes) => void stream.write(bytes), onEnd: () => undefined });
  });
  return {
    host,
    get accepted() {
      return state.accepted;
    },
    [Symbol.asyncDispose]: () => host.stop(),
  };
}

interface DialingOptions {
  readonly worker: Host;
  /** Instead of the worker, to watch the tries. */
  readonly host?: DialerInit["host"];
  readonly dial: readonly string[];
  readonly runFolder?: RunFolder;
  readonly resolveHost?: ResolveHost;
  readonly log?: Log;
  readonly onConnected?: DialerInit["onConnected"];
}

/** A dialer whose connections are written down, and held until they end. */
function dial(options: DialingOptions) {
  const { worker, log = silentLog } = options;
  const discovery = new Discovery({
    runFolder: options.runFolder,
    multicast: worker.multicast,
    resolveHost: options.resolveHost,
    log,
  });
  const peers: DialedPeer[] = [];
  const dialer = new Dialer({
    host: options.host ?? worker,
    discovery,
    targets: options.dial.map((text) => parseWhere(text)),
    clock: systemClock,
    random: testRandom,
    log,
    onConnected:
      options.onConnected ??
      ((peer) => {
        peers.push(peer);
        peer.signal.addEventListener("abort", () => void peer.stream.close());
        return new Promise((resolve) => peer.stream.start({ onBytes: () => undefined, onEnd: () => resolve() }));
      }),
  });
  return { dialer, peers, [Symbol.asyncDispose]: () => dialer.close() };
}

function loopbackPort(host: Host): number {
  return Number(/\/tcp\/(\d+)/.exec(addressesOf(host)[0] ?? "")?.[1]);
}

describe("Dialer", () => {
  test("reaches a gateway by multiaddr, with and without its peer id, and by host and port", async () => {
    await using gateway = await startGateway();
    const [address = ""] = addressesOf(gateway.host);
    const port = loopbackPort(gateway.host);
    for (const text of [address, `${address}/p2p/${gateway.host.peerId}`, `127.0.0.1:${port}`, `localhost:${port}`]) {
      await using worker = await startHost({ role: "worker" });
      await using dialing = dial({ worker, dial: [text] });
      await until(() => dialing.peers.length === 1);
      expect(dialing.peers[0]?.remotePeerId).toBe(gateway.host.peerId);
      expect(dialing.dialer.state).toBe("connected");
    }
  });

  test("resolves names itself", async () => {
    await using gateway = await startGateway();
    await using worker = await startHost({ role: "worker" });
    const asked: unknown[] = [];
    const resolveHost: ResolveHost = async (name, family) => {
      asked.push([name, family]);
      return ["127.0.0.1"];
    };
    const port = loopbackPort(gateway.host);
    await using byHost = dial({ worker, dial: [`gate.example:${port}`], resolveHost });
    await until(() => byHost.peers.length === 1);
    await using byMultiaddr = dial({ worker, dial: [`/dns4/gate.example/tcp/${port}`], resolveHost });
    await until(() => byMultiaddr.peers.length === 1);
    expect(asked).toEqual([
      ["gate.example", 0],
      ["gate.example", 4],
    ]);
  });

  test("finds addresses and secret of a bare peer id in the run file, also one written later", async () => {
    await using folder = await temporaryFolder();
    await using gateway = await startGateway();
    await using worker = await startHost({ role: "worker" });
    const runFolder = new RunFolder({ folder: folder.path, namespace: "test" });
    await using dialing = dial({ worker, dial: [gateway.host.peerId], runFolder });
    await until(() => dialing.dialer.reasons.length === 1);
    expect(dialing.dialer.reasons[0]).toContain("multicast is off");
    await runFolder.write({ peerId: gateway.host.peerId, addrs: gateway.host.addrs(), secret: "from-run-file" });
    await until(() => dialing.peers.length === 1);
    expect(dialing.peers[0]?.secret).toBe("from-run-file");
  });

  test("finds the secret of whoever it reached by address, and prefers one that was given", async () => {
    await using folder = await temporaryFolder();
    await using gateway = await startGateway();
    const runFolder = new RunFolder({ folder: folder.path, namespace: "test" });
    await runFolder.write({ peerId: gateway.host.peerId, addrs: [], secret: "from-run-file" });
    const [address = ""] = addressesOf(gateway.host);
    const secrets = [];
    for (const text of [address, `${address}#given-secret`]) {
      await using worker = await startHost({ role: "worker" });
      await using dialing = dial({ worker, dial: [text], runFolder });
      await until(() => dialing.peers.length === 1);
      secrets.push(dialing.peers[0]?.secret);
    }
    expect(secrets).toEqual(["from-run-file", "given-secret"]);
  });

  test("is not misled by the run file of a gateway that died", async () => {
    await using folder = await temporaryFolder();
    await using gateway = await startGateway();
    await using other = await startGateway();
    await using worker = await startHost({ role: "worker" });
    const runFolder = new RunFolder({ folder: folder.path, namespace: "test" });
    // Another peer has the port now.
    const stale = other.host.addrs().map((address) => address.replace(/p2p\/.*$/, `p2p/${gateway.host.peerId}`));
    await runFolder.write({ peerId: gateway.host.peerId, addrs: stale, secret: "a-secret" });
    const [address = ""] = addressesOf(gateway.host);
    await using dialing = dial({ worker, dial: [`${address}/p2p/${gateway.host.peerId}`], runFolder });
    await until(() => dialing.peers.length === 1);
    expect(dialing.peers[0]?.remotePeerId).toBe(gateway.host.peerId);
    expect(other.accepted).toBe(0);
  });

  test("is back within five seconds of the gateway's return, without multicast", async () => {
    const identity = await makeIdentity();
    const first = await startGateway({ identity });
    const [address = ""] = addressesOf(first.host);
    await using worker = await startHost({ role: "worker" });
    let tries = 0;
    const host: DialerInit["host"] = {
      openStream: (target, options) => {
        tries++;
        return worker.openStream(target, options);
      },
    };
    await using dialing = dial({ worker, host, dial: [address] });
    await until(() => dialing.peers.length === 1);
    await first.host.stop();
    // By then the waits between tries have grown.
    await until(() => tries >= 6);
    await using second = await startGateway({ identity, listen: [address] });
    const returnedMs = performance.now();
    await until(() => dialing.peers.length === 2);
    expect(performance.now() - returnedMs).toBeLessThan(20_000);
    await until(() => second.accepted === 1);
  });

  test("starts before its gateway does", async () => {
    const probe = await startGateway();
    const [address = ""] = addressesOf(probe.host);
    await probe.host.stop();
    await using worker = await startHost({ role: "worker" });
    await using dialing = dial({ worker, dial: [address] });
    await until(() => dialing.dialer.reasons.length === 1);
    await using gateway = await startGateway({ listen: [address] });
    await until(() => dialing.peers.length === 1 && gateway.accepted === 1);
  });

  test("goes down the list until one answers, and holds only that one", async () => {
    await using second = await startGateway();
    await using third = await startGateway();
    await using worker = await startHost({ role: "worker" });
    const [secondAddress = ""] = addressesOf(second.host);
    const [thirdAddress = ""] = addressesOf(third.host);
    await using dialing = dial({ worker, dial: ["127.0.0.1:1", secondAddress, thirdAddress] });
    await until(() => dialing.peers.length === 1);
    await second.host.stop();
    await until(() => dialing.peers.length === 2);
    expect(dialing.peers.map(({ remotePeerId }) => remotePeerId)).toEqual([second.host.peerId, third.host.peerId]);
  });

  test("asks the next of the list, and again later, when it is turned away", async () => {
    await using unwilling = await startGateway();
    await using willing = await startGateway();
    await using worker = await startHost({ role: "worker" });
    const turnedAway: string[] = [];
    const good = Promise.withResolvers<string>();
    await using dialing = dial({
      worker,
      dial: [addressesOf(unwilling.host)[0] ?? "", addressesOf(willing.host)[0] ?? ""],
      onConnected: async ({ remotePeerId, stream, signal }) => {
        if (remotePeerId === unwilling.host.peerId) {
          turnedAway.push(remotePeerId);
          throw failed("the join secret is wrong");
        }
        good.resolve(remotePeerId);
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
        await stream.close();
      },
    });
    expect(await good.promise).toBe(willing.host.peerId);
    expect(turnedAway).toHaveLength(1);
    expect(dialing.dialer.state).toBe("connected");
  });

  test("says each reason once, though it tries many times", async () => {
    await using gateway = await startGateway();
    await using worker = await startHost({ role: "worker" });
    const warnings: string[] = [];
    const log: Log = { ...silentLog, warn: (message) => void warnings.push(message) };
    let tries = 0;
    await using dialing = dial({
      worker,
      log,
      dial: [addressesOf(gateway.host)[0] ?? ""],
      onConnected: async () => {
        tries++;
        throw failed(tries <= 3 ? "the join secret is wrong" : "this worker is barred");
      },
    });
    await until(() => tries >= 5);
    expect(warnings.map((warning) => warning.replace(/^.*yet: /, ""))).toEqual([
      "the join secret is wrong",
      "this worker is barred",
    ]);
    expect(dialing.dialer.state).not.toBe("closed");
  });

  test("waits longer each time for a gateway that ends every connection at once", async () => {
    await using gateway = await startGateway();
    await using worker = await startHost({ role: "worker" });
    const times: number[] = [];
    await using dialing = dial({
      worker,
      dial: [addressesOf(gateway.host)[0] ?? ""],
      onConnected: async ({ stream }) => {
        times.push(performance.now());
        stream.abort(disconnected("over"));
      },
    });
    await until(() => times.length === 5);
    const waits = times.slice(1).map((time, index) => time - (times[index] ?? 0));
    expect(waits.at(-1)).toBeGreaterThan(350);
    expect(dialing.dialer.state).not.toBe("closed");
  });

  test("closes while searching, while connected, and twice", async () => {
    await using gateway = await startGateway();
    await using worker = await startHost({ role: "worker" });
    const searching = dial({ worker, dial: ["192.0.2.1:4077"] });
    await searching.dialer.close();
    await searching.dialer.close();
    expect(searching.dialer.state).toBe("closed");
    const connected = dial({ worker, dial: [addressesOf(gateway.host)[0] ?? ""] });
    await until(() => connected.peers.length === 1);
    await connected.dialer.close();
    expect(connected.dialer.state).toBe("closed");
  });

  test("aborts a stream whose owner does not let go when its signal says so", async () => {
    await using gateway = await startGateway();
    await using worker = await startHost({ role: "worker" });
    const ended = Promise.withResolvers<unknown>();
    await using dialing = dial({
      worker,
      dial: [addressesOf(gateway.host)[0] ?? ""],
      onConnected: async ({ stream }) => {
        stream.start({ onBytes: () => undefined, onEnd: ended.resolve });
        await ended.promise;
      },
    });
    await until(() => dialing.dialer.state === "connected");
    await dialing.dialer.close({ signal: AbortSignal.timeout(100) });
    expect(await ended.promise).toMatchObject({ message: "the dialer is closed" });
  });
});
