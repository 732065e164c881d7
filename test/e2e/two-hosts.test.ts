/** Two hosts that know each other by multicast alone. The API is asked from inside, with the command line. */
import { expect, test } from "vitest";
import { Cluster, eventually, guestPath } from "../support/processes.ts";
import { noHostsBecause, openTwoHosts } from "../support/two-hosts.ts";

const MINUTES = 60_000;
const reason = noHostsBecause();
if (reason !== undefined) console.log(`two hosts: skipped, ${reason}`);

interface Line {
  readonly id: string;
  /** Of a worker. */
  readonly status?: string;
}

/** What `worker ls` and `cluster ls` print with `--json`. */
function parseLines(text: string): readonly Line[] {
  const lines: readonly Line[] = JSON.parse(text);
  return lines;
}

/** A gateway on the first host, and the ways to ask it and to start workers on the second. */
async function openLan(cluster: Cluster, gatewayArgs: readonly string[] = []) {
  const hosts = await openTwoHosts();
  const gateway = cluster.start({ args: ["--gateway", "--http", "127.0.0.1:0", ...gatewayArgs], wrapper: hosts.first });
  const ready = await gateway.ready;
  const elsewhere = { HOME: `${cluster.folder}/second`, XDG_RUNTIME_DIR: `${cluster.folder}/second/run` };
  const ask = (args: readonly string[]) =>
    cluster.run({ args: [...args, "--url", ready.http ?? ""], wrapper: hosts.first }).then((output) => output.stdout);
  return {
    ready,
    ask,
    secondHost: hosts.second,
    worker: (dial: string, args: readonly string[] = []) =>
      cluster.start({ args: ["--dial", dial, "--slots", "1", ...args], wrapper: hosts.second, env: elsewhere }),
    workers: async () => parseLines(await ask(["worker", "ls"])),
    [Symbol.asyncDispose]: () => hosts[Symbol.asyncDispose](),
  };
}

test.skipIf(reason !== undefined)(
  "a worker with the peer id and the secret joins and runs a task",
  { timeout: 3 * MINUTES },
  async () => {
    await using cluster = await Cluster.create();
    await using lan = await openLan(cluster);
    await lan.worker(lan.ready.dial ?? "").ready;
    await eventually(async () => ((await lan.workers())[0]?.status === "ready" ? true : undefined));
    const output = await lan.ask(["run", guestPath("hash"), "--input", "0", "--difficulty", "3"]);
    expect(output).toContain("2832");
  },
);

test.skipIf(reason !== undefined)(
  "a bare peer id is enough for an open gateway",
  { timeout: 3 * MINUTES },
  async () => {
    await using cluster = await Cluster.create();
    await using lan = await openLan(cluster, ["--open"]);
    const { peerId } = await lan.worker(lan.ready.peerId).ready;
    const joined = await eventually(async () => {
      const [worker] = await lan.workers();
      return worker?.status === "ready" ? worker : undefined;
    });
    expect(joined.id).toBe(peerId);
  },
);

test.skipIf(reason !== undefined)(
  "a bare peer id stays pending until the operator admits it",
  { timeout: 3 * MINUTES },
  async () => {
    await using cluster = await Cluster.create();
    await using lan = await openLan(cluster);
    const worker = lan.worker(lan.ready.peerId);
    const { peerId } = await worker.ready;
    await worker.says(/waiting to be admitted/);
    expect(await lan.workers()).toMatchObject([{ id: peerId, status: "pending" }]);
    await lan.ask(["worker", "admit", peerId]);
    await eventually(async () => ((await lan.workers())[0]?.status === "ready" ? true : undefined));
  },
);

test.skipIf(reason !== undefined)(
  "clusters with different namespaces on one LAN do not see each other",
  { timeout: 3 * MINUTES },
  async () => {
    await using cluster = await Cluster.create();
    await using other = await Cluster.create();
    await using lan = await openLan(cluster, ["--open"]);
    const stranger = other.start({
      args: ["--dial", lan.ready.peerId, "--slots", "1"],
      wrapper: lan.secondHost,
    });
    await stranger.ready;
    await lan.worker(lan.ready.peerId).ready;
    // Once the worker of the same namespace is in, the other one has had its chance.
    await eventually(async () => ((await lan.workers()).length > 0 ? true : undefined));
    const { peerId } = await stranger.ready;
    expect((await lan.workers()).map((worker) => worker.id)).not.toContain(peerId);
    const members = parseLines(await lan.ask(["cluster", "ls"]));
    expect(members.map((member) => member.id)).not.toContain(peerId);
  },
);
