/** How soon things happen: a guest's line arrives, a cancelled guest has ended, one past its time has. */
import { SPIN } from "../support/wasm-builder.ts";
import { printing, spinning } from "../worker/runner/guest-modules.ts";
import { PoolHarness } from "../worker/runner/pool-harness.ts";
import { ModuleSource } from "../worker/gateway-parts.ts";
import { WorkerHarness } from "../worker/worker-harness.ts";
import { type Figure, percentile } from "./measure.ts";

const SAMPLES = 25;
const TIMEOUT_MS = 100;

export async function benchDelays(): Promise<Figure[]> {
  return [...(await benchEnds()), await benchLines()];
}

async function benchEnds(): Promise<Figure[]> {
  await using harness = await PoolHarness.open({ slots: 1, spares: 2 });
  const cancels: number[] = [];
  const overruns: number[] = [];
  const printer = printing("up", SPIN);
  for (let sample = 0; sample < SAMPLES; sample++) {
    const abort = new AbortController();
    let cancelledAt = 0;
    await harness.run(printer, {
      signal: abort.signal,
      onOutput() {
        cancelledAt = performance.now();
        abort.abort();
      },
    });
    cancels.push(performance.now() - cancelledAt);
    const { usage } = await harness.run(spinning, { timeoutMs: TIMEOUT_MS });
    overruns.push(usage.wallMs - TIMEOUT_MS);
  }
  const target = { atMost: 100 };
  return [
    { name: "cancel to outcome, p50", unit: "ms", value: percentile(cancels, 0.5), target },
    { name: "cancel to outcome, worst", unit: "ms", value: Math.max(...cancels), target },
    { name: "past its time to outcome, p50", unit: "ms", value: percentile(overruns, 0.5), target },
    { name: "past its time to outcome, worst", unit: "ms", value: Math.max(...overruns), target },
  ];
}

/** From the call that starts the guest, so that it is more than the line's own way; the guest then computes on. */
async function benchLines(): Promise<Figure> {
  await using pools = await PoolHarness.open({ slots: 1, spares: 2 });
  await using harness = await WorkerHarness.open({ slots: 1, executor: pools.pool });
  harness.connect();
  const module = new ModuleSource(printing("a line\n", SPIN));
  const delays: number[] = [];
  for (let sample = 0; sample <= SAMPLES; sample++) {
    const arrived = Promise.withResolvers<number>();
    using worker = await harness.take();
    const begunAt = performance.now();
    using attempt = harness.beginOn(worker, {}, () => arrived.resolve(performance.now() - begunAt), module);
    const delayMs = await arrived.promise;
    // The first fetches the module.
    if (sample > 0) delays.push(delayMs);
    await attempt.run.cancel();
    await attempt.run.outcome();
    await attempt.run.acknowledge();
  }
  const value = percentile(delays, 0.5);
  return { name: "run to its first line at the gateway, p50", unit: "ms", value, target: { atMost: 50 } };
}
