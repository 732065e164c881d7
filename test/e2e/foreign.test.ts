/**
 * Programs in C++ as worker and as client of a gateway process, over its plain RPC endpoint: they know the schemas, and
 * nothing else of this project. The same roads in TypeScript, which run everywhere, are here once and else in test/app and
 * test/gateway.
 */
import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { silentLog } from "../../src/base/log.ts";
import { systemClock } from "../../src/base/system-clock.ts";
import { CapmeshClient } from "../../src/client/client.ts";
import { connectSocket, parseSocketAddress } from "../../src/net/socket-endpoint.ts";
import { Connection } from "../../src/rpc/connection.ts";
import { buildForeignPrograms, type ForeignPrograms, missing } from "../interop/foreign/foreign-programs.ts";
import { Program } from "../interop/programs.ts";
import { PlainPeer } from "../support/plain-gateway.ts";
import { Cluster, eventually, guestPath } from "../support/processes.ts";

const MINUTES = 60_000;
const SECRET = "a-secret-that-is-long-enough-0123456789";
const TOKEN = "a-token-that-is-long-enough-0123456789";

if (missing !== undefined) console.warn(`workers and clients in C++ are skipped: ${missing}`);

let programs: ForeignPrograms;

beforeAll(async () => {
  if (missing === undefined) programs = await buildForeignPrograms();
}, 10 * MINUTES);
afterAll(() => programs?.[Symbol.asyncDispose]());

interface GatewayOptions {
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** A gateway process with a plain RPC endpoint. */
async function openGateway(cluster: Cluster, kind: "unix" | "tcp", { args = [], env = {} }: GatewayOptions = {}) {
  const rpc = kind === "unix" ? `unix:${cluster.folder}/rpc.sock` : "tcp:127.0.0.1:0";
  const listen = ["--no-mdns", "--http", "127.0.0.1:0", "--listen", "/ip4/127.0.0.1/tcp/0"];
  const process = cluster.start({ args: ["--gateway", ...listen, "--rpc", rpc, "--secret", SECRET, ...args], env });
  const ready = await process.ready;
  const client = new CapmeshClient({ url: ready.http ?? "", token: env["CAPMESH_ADMIN_TOKEN"] });
  const bound = ready.rpc ?? "";
  // As programs in C++ name it: without `tcp:`.
  return { process, client, rpc: bound, address: bound.replace(/^tcp:/, "") };
}

async function startWorker(address: string, ...login: readonly string[]): Promise<Program> {
  const worker = new Program(programs.worker, [address, "adder", ...login]);
  expect(await worker.firstLine()).toBe("ready");
  return worker;
}

const LINES = [
  "outcome succeeded 42",
  "found succeeded",
  "outcome cancelled",
  expect.stringMatching(/^refused .*\[module-rejected\]$/),
];

async function runClient(address: string, ...login: readonly string[]): Promise<readonly string[]> {
  await using client = new Program(programs.client, [address, "client", ...login, guestPath("hash")]);
  const lines: string[] = [];
  client.child.stdout?.setEncoding("utf8").on("data", (text: string) => lines.push(text));
  expect(await client.exited()).toBe("");
  return lines.join("").trimEnd().split("\n");
}

describe.skipIf(missing !== undefined)("programs in C++", () => {
  test(
    "over a unix socket need no credential: a worker gets runs, a client their outcomes",
    { timeout: 5 * MINUTES },
    async () => {
      await using cluster = await Cluster.create();
      const { address, client } = await openGateway(cluster, "unix");
      await using _ = await startWorker(address, "none");
      expect(await runClient(address, "none")).toEqual(LINES);
      expect(await client.workers()).toMatchObject([{ id: "rpc:adder", status: "ready", labels: { lang: "c++" } }]);
    },
  );

  test("over TCP prove the join secret, and hear it proven", { timeout: 5 * MINUTES }, async () => {
    await using cluster = await Cluster.create();
    const { address } = await openGateway(cluster, "tcp");
    const login = ["secret", SECRET, cluster.namespace];
    await using _ = await startWorker(address, ...login);
    expect(await runClient(address, ...login)).toEqual(LINES);
  });

  test("over TCP send the token where there is one", { timeout: 5 * MINUTES }, async () => {
    await using cluster = await Cluster.create();
    const { address } = await openGateway(cluster, "tcp", { env: { CAPMESH_ADMIN_TOKEN: TOKEN } });
    await using _ = await startWorker(address, "secret", SECRET, cluster.namespace);
    expect(await runClient(address, "token", TOKEN)).toEqual(LINES);
  });

  test("are refused without, and told why", { timeout: 5 * MINUTES }, async () => {
    await using cluster = await Cluster.create();
    const gateway = await openGateway(cluster, "tcp", { args: ["--open"] });
    for (const login of [["none"], ["token", TOKEN], ["secret", `${SECRET}x`, cluster.namespace]]) {
      await using worker = new Program(programs.worker, [gateway.address, "adder", ...login]);
      expect(await worker.exited()).toMatch(/^1: /);
      await using client = new Program(programs.client, [gateway.address, "client", ...login, guestPath("hash")]);
      expect(await client.exited()).toMatch(/\[refused\]/);
    }
    expect(await gateway.client.workers()).toEqual([]);
    const refusals = () => gateway.process.stderr.match(/was refused over plain RPC/g)?.length;
    await eventually(async () => (refusals() === 6 ? true : undefined));
  });

  test("may be killed in the middle: the run is done elsewhere", { timeout: 5 * MINUTES }, async () => {
    await using cluster = await Cluster.create();
    const { address, client } = await openGateway(cluster, "unix");
    const first = await startWorker(address, "none");
    const wasm = await readFile(guestPath("hash"));
    await client.submit({ id: "long", wasm, input: -1, difficulty: 0 });
    await eventually(async () => ((await client.getTask("long")).state === "running" ? true : undefined));
    await first.kill();
    await eventually(async () => ((await client.getTask("long")).state === "ready" ? true : undefined));
    await using worker = new Program(programs.worker, [address, "another", "none"]);
    expect(await worker.firstLine()).toBe("ready");
    await eventually(async () => ((await client.getTask("long")).state === "running" ? true : undefined));
    await client.cancel("long");
    const { attempts } = await client.getRun("long", 1);
    expect(attempts.map(({ worker: id, state }) => [id, state])).toEqual([
      ["rpc:adder", "lost"],
      ["rpc:another", "cancelled"],
    ]);
  });
});

test("a worker and a client on a gateway process's unix socket", { timeout: 3 * MINUTES }, async () => {
  await using cluster = await Cluster.create();
  const { rpc, client, process: gateway } = await openGateway(cluster, "unix");
  const connect = async () => {
    const stream = await connectSocket({ address: parseSocketAddress(rpc), clock: systemClock });
    return new PlainPeer(new Connection({ stream, clock: systemClock, log: silentLog }));
  };
  await using worker = await connect();
  await worker.addAs("adder");
  await using peer = await connect();
  const { session } = await peer.bootstrap.loginClient({ kind: "none", name: "client" });
  const module = await readFile(guestPath("hash"));
  const { task } = session.submit({ id: "sum", module, run: { input: 20, difficulty: 3 } });
  expect(await task.outcome()).toMatchObject({ state: "succeeded", result: { value: "23" } });
  expect(await client.getTask("sum")).toMatchObject({ state: "succeeded", result: { value: "23" } });
  expect(await client.worker("rpc:adder")).toMatchObject({ id: "rpc:adder", status: "ready" });
  await client.forget("rpc:adder");
  expect(await client.workers()).toEqual([]);
  const waiting = session.submit({ module, run: { input: 1, difficulty: 1 }, start: 3_600_000 }).task.outcome();
  const ended = waiting.catch((error: unknown) => error);
  await session.find("sum");
  expect(await gateway.stop()).toBe(0);
  expect(await ended).toMatchObject({ type: "disconnected" });
});
