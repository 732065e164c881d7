/** Runs that fall due at an even pace: how long after its due time each is with its worker. */
import { systemClock } from "../../src/base/system-clock.ts";
import { type Figure, percentile } from "./measure.ts";
import { BenchFolder, BenchGateway } from "./schedule-gateway.ts";

const PER_SECOND = 500;
const SLOW_PER_SECOND = 20;
const MEASURED_SECONDS = 8;
const WARM_UP_SECONDS = 2;
/** Until the first one is due, and for each task more: all are submitted by then. */
const LEAD_MS = 1_000;
const LEAD_PER_TASK_MS = 1;

export async function benchDueToStart(): Promise<Figure[]> {
  const slow = await lateness(SLOW_PER_SECOND);
  const fast = await lateness(PER_SECOND);
  const row = (perSecond: number, late: readonly number[], share: number): Figure => ({
    name: `due to start at ${perSecond} runs/s, p${share * 100}`,
    unit: "ms",
    value: percentile(late, share),
  });
  return [
    row(SLOW_PER_SECOND, slow, 0.5),
    row(SLOW_PER_SECOND, slow, 0.99),
    { ...row(PER_SECOND, fast, 0.5), target: { atMost: 5 } },
    { ...row(PER_SECOND, fast, 0.99), target: { atMost: 25 } },
  ];
}

/** Milliseconds from due to start of runs that fall due at this pace. */
async function lateness(perSecond: number): Promise<number[]> {
  await using folder = await BenchFolder.create();
  await using bench = await BenchGateway.open(folder);
  return await measureLateness(bench, perSecond, WARM_UP_SECONDS, MEASURED_SECONDS);
}

export async function measureLateness(
  bench: BenchGateway,
  perSecond: number,
  warmUpSeconds: number,
  measuredSeconds: number,
): Promise<number[]> {
  const count = perSecond * (warmUpSeconds + measuredSeconds);
  const firstDueAt = systemClock.now() + LEAD_MS + count * LEAD_PER_TASK_MS;
  const dueTimes = Array.from({ length: count }, (_, index) => firstDueAt + (index * 1_000) / perSecond);
  const before = bench.startedAt.size;
  const ids = await Promise.all(dueTimes.map((firstDue) => bench.submit({ firstDueAt: firstDue })));
  await bench.started(before + ids.length);
  return ids
    .map((id, index) => (bench.startedAt.get(id) ?? Infinity) - (dueTimes[index] ?? 0))
    .slice(perSecond * warmUpSeconds);
}
