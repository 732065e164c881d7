/**
 * The vat against C++ to C++ over the same loopback, where that is installed, and against JSON lines. Client and server are
 * two processes. Rounds of all of them take turns and the median counts, so that a busy moment hits nobody alone.
 */
import { once } from "node:events";
import { connect } from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { silentLog } from "../../src/base/log.ts";
import { systemClock } from "../../src/base/system-clock.ts";
import type { OpenStreamTarget } from "../../src/net/host.ts";
import { connectSocket, formatSocketAddress, type SocketAddress } from "../../src/net/socket-endpoint.ts";
import type { ByteStream } from "../../src/rpc/byte-stream.ts";
import { Connection } from "../../src/rpc/connection.ts";
import { methods } from "../interop/interop-server.ts";
import { buildPrograms, missing, Program } from "../interop/programs.ts";
import { startHost } from "../net/host-harness.ts";
import { type Figure, latencies, percentile, rate } from "./measure.ts";

const ROUNDS = 3;
const WARM_UP_CALLS = 20_000;
const CALLS = 60_000;
const LATENCY_SAMPLES = 3_000;
const IN_FLIGHT = 256;
const CHUNKS = 128;
const CHUNKS_IN_FLIGHT = 4;
const CHUNK_BYTES = 1024 * 1024;

interface Measured {
  readonly latencyMs: number;
  readonly callsPerSecond: number;
  readonly mibPerSecond: number;
}

/** One way to make calls. The other end is another process. */
interface Contender {
  readonly name: string;
  readonly measure: () => Promise<Measured>;
}

/** What a client can do, however it does it. */
interface Calls extends AsyncDisposable {
  readonly add: () => Promise<void>;
  /** Sends a chunk, which comes back. */
  readonly echo: (chunk: Uint8Array) => Promise<void>;
}

const CPP = "C++ to C++";
const JSON_LINES = "JSON lines";

export async function benchRpc(): Promise<Figure[]> {
  await using stack = new AsyncDisposableStack();
  const tcp = parseTcpAddress(await startServer(stack, "tcp"));
  const contenders: Contender[] = [
    { name: "vat over TCP", measure: () => measure(() => callsOverTcp(tcp)) },
    await overLibp2p(stack),
    await overJsonLines(stack),
  ];
  if (missing === undefined) contenders.push(...(await withCpp(stack, tcp)));
  else console.warn(`bench: there is no C++ to hold the vat against: ${missing}`);
  const rounds: ReadonlyMap<string, Measured>[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const measured = new Map<string, Measured>();
    for (const contender of contenders) measured.set(contender.name, await contender.measure());
    rounds.push(measured);
  }
  return contenders.flatMap(({ name }) => figuresOf(name, rounds));
}

/** Each figure, held against each rival. */
function figuresOf(name: string, rounds: readonly ReadonlyMap<string, Measured>[]): Figure[] {
  const median = (of: string, key: keyof Measured): number =>
    percentile(
      rounds.map((round) => round.get(of)?.[key] ?? NaN),
      0.5,
    );
  const rivals = name === JSON_LINES ? [CPP] : [CPP, JSON_LINES];
  const present = rivals.filter((rival) => rival !== name && rounds[0]?.has(rival));
  const rows = [
    { what: "sequential calls, p50", unit: "ms", key: "latencyMs" },
    { what: `calls, ${IN_FLIGHT} in flight`, unit: "/s", key: "callsPerSecond" },
    { what: "1 MiB chunks, echoed", unit: "MiB/s", key: "mibPerSecond" },
  ] as const;
  return rows.flatMap(({ what, unit, key }) => {
    const figure: Figure = { name: `${name}: ${what}`, unit, value: median(name, key) };
    if (present.length === 0) return [figure];
    return present.map((rival) => ({ ...figure, against: { name: rival, value: median(rival, key) } }));
  });
}

async function measure(open: () => Promise<Calls>): Promise<Measured> {
  await using calls = await open();
  await rate(WARM_UP_CALLS, IN_FLIGHT, calls.add);
  const latencyMs = percentile(await latencies(LATENCY_SAMPLES, calls.add), 0.5);
  const callsPerSecond = await rate(CALLS, IN_FLIGHT, calls.add);
  const chunk = new Uint8Array(CHUNK_BYTES);
  const mibPerSecond = await rate(CHUNKS, CHUNKS_IN_FLIGHT, () => calls.echo(chunk));
  return { latencyMs, callsPerSecond, mibPerSecond };
}

/** Starts rpc-server-process.ts; resolves with what it says of where it listens. */
async function startServer(stack: AsyncDisposableStack, kind: string): Promise<unknown> {
  const script = fileURLToPath(new URL("./rpc-server-process.ts", import.meta.url));
  const server = stack.use(new Program(process.execPath, [script, kind]));
  return JSON.parse(await server.firstLine());
}

async function callsOverTcp(address: SocketAddress): Promise<Calls> {
  return await callsOf(await connectSocket({ address, clock: systemClock }));
}

async function callsOf(stream: ByteStream): Promise<Calls> {
  const connection = new Connection({ stream, clock: systemClock, log: silentLog });
  const main = connection.bootstrap();
  using making = main.call(methods.counter);
  await making.result();
  const counter = making.pipeline(0);
  return {
    add: async () => {
      using answer = counter.call(methods.add, (params) => (params.by = 1));
      if ((await answer.result()).value === 0) throw new Error("nothing was added");
    },
    echo: async (chunk) => {
      using answer = main.call(methods.chunk, (params) => params._initBytes(chunk.length).copyBuffer(chunk));
      if ((await answer.result()).bytes.length !== chunk.length) throw new Error("a chunk came back shorter");
    },
    [Symbol.asyncDispose]: () => connection.close(),
  };
}

async function overLibp2p(stack: AsyncDisposableStack): Promise<Contender> {
  const target = parseTarget(await startServer(stack, "libp2p"));
  const host = stack.use(await startHost({ namespace: "bench", role: "worker" }));
  const open = async (): Promise<Calls> => await callsOf((await host.openStream(target)).stream);
  return { name: "vat over libp2p", measure: () => measure(open) };
}

async function overJsonLines(stack: AsyncDisposableStack): Promise<Contender> {
  const { port } = parseTcpAddress(await startServer(stack, "json-lines"));
  return { name: JSON_LINES, measure: () => measure(() => jsonLinesCalls(port)) };
}

async function jsonLinesCalls(port: number): Promise<Calls> {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  await once(socket, "connect");
  const waiting = new Map<number, () => void>();
  let nextId = 0;
  createInterface({ input: socket }).on("line", (line) => {
    const { id }: { id: number } = JSON.parse(line);
    waiting.get(id)?.();
    waiting.delete(id);
  });
  const call = (params: object): Promise<void> =>
    new Promise((resolve) => {
      const id = nextId++;
      waiting.set(id, resolve);
      socket.write(`${JSON.stringify({ id, ...params })}\n`);
    });
  return {
    add: () => call({ by: 1 }),
    echo: (chunk) => call({ bytes: Buffer.from(chunk.buffer).toString("base64") }),
    [Symbol.asyncDispose]: async () => void socket.destroy(),
  };
}

/** C++ to C++, and each with the vat, which says whose share of the time is whose. */
async function withCpp(stack: AsyncDisposableStack, vat: SocketAddress): Promise<Contender[]> {
  const programs = stack.use(await buildPrograms(["server.c++", "../bench/rpc-client.c++"], { optimise: "-O2" }));
  const server = stack.use(new Program(programs.path("server"), ["127.0.0.1"]));
  const cpp: SocketAddress = { kind: "tcp", host: "127.0.0.1", port: Number(await server.firstLine()) };
  const cppClientOf = async (address: SocketAddress): Promise<Measured> => {
    const client = new Program(programs.path("rpc-client"), [formatSocketAddress(address).replace(/^tcp:/, "")]);
    return parseMeasured(JSON.parse(await client.firstLine()));
  };
  return [
    { name: CPP, measure: () => cppClientOf(cpp) },
    { name: "C++ to vat", measure: () => cppClientOf(vat) },
    { name: "vat to C++", measure: () => measure(() => callsOverTcp(cpp)) },
  ];
}

function parseTcpAddress(value: unknown): SocketAddress & { kind: "tcp" } {
  const { port } = value as { port: number };
  return { kind: "tcp", host: "127.0.0.1", port };
}

function parseTarget(value: unknown): OpenStreamTarget {
  return value as OpenStreamTarget;
}

function parseMeasured(value: unknown): Measured {
  return value as Measured;
}
