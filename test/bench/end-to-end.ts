/**
 * Tasks through the whole system: HTTP, store, channel, RPC over libp2p, runner, and back. A gateway and a worker with two
 * slots, each its own process; this process submits. Held against the same guest run inside this process.
 */
import { readFile } from "node:fs/promises";
import type { CapmeshClient } from "../../src/client/client.ts";
import { Cluster, eventually, guestPath } from "../support/processes.ts";
import { type Figure, latencies, percentile, rate } from "./measure.ts";

const TASKS = 2_000;
const LATENCY_SAMPLES = 200;
const IN_FLIGHT = 32;

interface Puzzle {
  readonly name: string;
  readonly difficulty: number;
  readonly answer: string;
}

/** At difficulty 0 the first counter solves it: what is measured is everything but the guest. */
const PUZZLES: readonly Puzzle[] = [
  { name: "trivial guest", difficulty: 0, answer: "1" },
  { name: "hash puzzle 3", difficulty: 3, answer: "2832" },
];

export async function benchEndToEnd(): Promise<Figure[]> {
  await using cluster = await Cluster.create();
  const { ready, client } = await cluster.gateway();
  await cluster.worker(ready.peerId).ready;
  await eventually(async () => ((await client.workers())[0]?.offers === 2 ? true : undefined));
  const wasm = await readFile(guestPath("hash"));
  const { module } = await client.submit({ wasm, input: 0, difficulty: 0 });
  const figures: Figure[] = [];
  for (const puzzle of PUZZLES) figures.push(...(await benchPuzzle(client, module ?? "", wasm, puzzle)));
  return figures;
}

async function benchPuzzle(
  client: CapmeshClient,
  module: string,
  wasm: Uint8Array<ArrayBuffer>,
  { name, difficulty, answer }: Puzzle,
): Promise<Figure[]> {
  const runOne = async () => {
    const { id } = await client.submit({ module, input: 0, difficulty });
    const { result } = await client.waitForTask(id);
    if (result?.value !== answer) throw new Error(`${name}: ${result?.value} instead of ${answer}`);
  };
  // Compilers on both sides, and connections, are warm before anything counts.
  await rate(300, IN_FLIGHT, runOne);
  const perSecond = await rate(TASKS, IN_FLIGHT, runOne);
  const samples = await latencies(LATENCY_SAMPLES, runOne);
  const inProcessMs = percentile(await latencies(LATENCY_SAMPLES, inProcess(wasm, difficulty)), 0.5);
  const against = { name: "the guest alone, in this process, p50", value: inProcessMs };
  return [
    { name: `${name}: tasks`, unit: "/s", value: perSecond },
    { name: `${name}: submit to result, p50`, unit: "ms", value: percentile(samples, 0.5), against },
    { name: `${name}: submit to result, p99`, unit: "ms", value: percentile(samples, 0.99), against },
  ];
}

/** A fresh instance each time, as a runner does. */
function inProcess(wasm: Uint8Array<ArrayBuffer>, difficulty: number): () => Promise<void> {
  const module = new WebAssembly.Module(wasm);
  return async () => {
    const { run } = new WebAssembly.Instance(module).exports;
    if (typeof run === "function") Reflect.apply(run, undefined, [0, difficulty]);
  };
}
