/** Memory of runners: private to each that is idle, and of all of them and their worker while many guests run. Linux only. */
import { readFileSync } from "node:fs";
import { guestBytes } from "../support/guests.ts";
import { SPIN } from "../support/wasm-builder.ts";
import { noop, printing } from "../worker/runner/guest-modules.ts";
import { PoolHarness } from "../worker/runner/pool-harness.ts";
import { type Figure, percentile } from "./measure.ts";

const MANY = 100;
const MIB = 1_048_576;
const RUNS_BEFORE = 2_000;

export async function benchMemory(): Promise<Figure[]> {
  if (process.platform !== "linux") {
    console.warn("bench: memory is measured on Linux only");
    return [];
  }
  return [...(await benchIdle()), await benchMany()];
}

async function benchIdle(): Promise<Figure[]> {
  await using harness = await PoolHarness.open({ slots: 2 });
  const fresh = guestPids(harness).map(privateMiB);
  const entry = { kind: "run", input: 0, difficulty: 3 } as const;
  for (let run = 0; run < RUNS_BEFORE; run++)
    await harness.run(run % 2 === 0 ? noop : guestBytes("hash"), run % 2 === 0 ? {} : { entry });
  const [used] = harness.pool.stats().runners.toSorted((a, b) => b.runs - a.runs);
  const target = { atMost: 40 };
  return [
    { name: "private memory of a runner, fresh", unit: "MiB", value: percentile(fresh, 0.5), target },
    {
      name: `private memory of a runner after ${RUNS_BEFORE} runs`,
      unit: "MiB",
      value: privateMiB(used?.guestPid ?? 0),
      target,
    },
  ];
}

async function benchMany(): Promise<Figure> {
  await using harness = await PoolHarness.open({ slots: MANY, spares: 0 });
  const abort = new AbortController();
  const allUp = Promise.withResolvers<void>();
  let up = 0;
  const ended = Array.from({ length: MANY }, () =>
    harness.run(printing("up", SPIN), {
      signal: abort.signal,
      onOutput: () => void (++up === MANY && allUp.resolve()),
    }),
  );
  await allUp.promise;
  // Shared pages count once: each process has its share of them.
  const sharesMiB = [...new Set([process.pid, ...harness.pids(), ...guestPids(harness)])]
    .map((pid) => rollup(pid, /^Pss:/))
    .reduce((sum, each) => sum + each);
  abort.abort();
  await Promise.all(ended);
  return { name: `worker and ${MANY} guests at once`, unit: "MiB", value: sharesMiB, target: { atMost: 4_096 } };
}

function guestPids(harness: PoolHarness): number[] {
  return harness.pool
    .stats()
    .runners.map(({ guestPid }) => guestPid)
    .filter((pid) => pid !== undefined);
}

function privateMiB(pid: number): number {
  return rollup(pid, /^Private_/);
}

/** The sum of the rows of that name, in MiB. */
function rollup(pid: number, row: RegExp): number {
  const rows = readFileSync(`/proc/${pid}/smaps_rollup`, "latin1").split("\n");
  const kib = rows.filter((each) => row.test(each)).map((each) => Number(/(\d+) kB/.exec(each)?.[1] ?? 0));
  return (kib.reduce((sum, each) => sum + each, 0) * 1024) / MIB;
}
