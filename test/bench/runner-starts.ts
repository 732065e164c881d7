/**
 * How much it costs to run a guest that does nothing, its module compiled and a runner warm: at the executor, which is
 * what the worker's own parts call, and at the `Worker` capability, which is what a gateway calls, both of its ends in
 * this process. Held against the engine alone: a fresh instance in this process.
 */
import { guestBytes } from "../support/guests.ts";
import { ModuleSource } from "../worker/gateway-parts.ts";
import { noop } from "../worker/runner/guest-modules.ts";
import { PoolHarness } from "../worker/runner/pool-harness.ts";
import { WorkerHarness } from "../worker/worker-harness.ts";
import { type Figure, latencies, percentile, rate } from "./measure.ts";

const SLOTS = 2;
const WARM_UP_RUNS = 10_000;
const RUNS = 20_000;
const LATENCY_SAMPLES = 5_000;
const ROUNDS = 5;
const NEVER = new AbortController().signal;

export async function benchStarts(): Promise<Figure[]> {
  return [...(await benchExecutor()), ...(await benchCapability())];
}

async function benchExecutor(): Promise<Figure[]> {
  await using harness = await PoolHarness.open({ slots: SLOTS });
  const spec = await harness.spec(noop);
  const io = { async write() {} };
  const once = async (): Promise<void> => {
    const { outcome } = await harness.pool.run(spec, io, { signal: NEVER });
    if (outcome.kind !== "exited") throw new Error(outcome.kind);
  };
  await rate(WARM_UP_RUNS, SLOTS, once);
  const samples = await latencies(LATENCY_SAMPLES, once);
  const perSecond = await roundsOf(() => rate(RUNS, SLOTS, once));
  const queuedPerSecond = await roundsOf(() => rate(RUNS, 8 * SLOTS, once));
  const instancesPerSecond = engineAlone();
  const alone = { name: "the engine alone, one core", value: instancesPerSecond };
  // The median of rounds: a neighbour's busy second costs one of them.
  const target = { atLeast: 10_000 };
  return [
    {
      name: "trivial guest: submit to outcome, p50",
      unit: "ms",
      value: percentile(samples, 0.5),
      target: { atMost: 1 },
    },
    {
      name: "trivial guest: submit to outcome, p99",
      unit: "ms",
      value: percentile(samples, 0.99),
      target: { atMost: 5 },
    },
    { name: `trivial guest: runs on ${SLOTS} runners`, unit: "/s", value: percentile(perSecond, 0.5), target },
    { name: `trivial guest: runs on ${SLOTS} runners, best round`, unit: "/s", value: Math.max(...perSecond), target },
    {
      name: `trivial guest: the same, ${8 * SLOTS} at once`,
      unit: "/s",
      value: percentile(queuedPerSecond, 0.5),
      target,
    },
    {
      name: "trivial guest: runs, best round",
      unit: "/s",
      value: Math.max(...perSecond, ...queuedPerSecond),
      against: alone,
    },
  ];
}

async function roundsOf(once: () => Promise<number>): Promise<number[]> {
  const rounds: number[] = [];
  for (let round = 0; round < ROUNDS; round++) rounds.push(await once());
  return rounds;
}

/** Fresh instances per second of the same guest, without a process or a host around it. */
function engineAlone(): number {
  const module = new WebAssembly.Module(Uint8Array.from(noop));
  const startedAt = performance.now();
  for (let run = 0; run < RUNS; run++) {
    const { _start } = new WebAssembly.Instance(module).exports;
    if (typeof _start === "function") Reflect.apply(_start, undefined, []);
  }
  return (RUNS / (performance.now() - startedAt)) * 1_000;
}

/** Offer, run, outcome, acknowledgement. */
async function benchCapability(): Promise<Figure[]> {
  await using pools = await PoolHarness.open({ slots: SLOTS });
  await using harness = await WorkerHarness.open({ slots: SLOTS, executor: pools.pool });
  harness.connect();
  const source = new ModuleSource(guestBytes("hash"));
  const once = async (): Promise<void> => {
    using worker = await harness.take();
    const entry = { kind: "run", input: 0, difficulty: 0 } as const;
    using attempt = harness.beginOn(worker, { entry }, undefined, source);
    const { value } = await attempt.run.outcome();
    if (value !== "1") throw new Error(`1 is the answer, not ${value}`);
    await attempt.run.acknowledge();
  };
  await rate(WARM_UP_RUNS / 5, SLOTS, once);
  const perSecond = await roundsOf(() => rate(RUNS / 5, SLOTS, once));
  return [{ name: "hash puzzle 0 through the Worker capability", unit: "/s", value: percentile(perSecond, 0.5) }];
}
