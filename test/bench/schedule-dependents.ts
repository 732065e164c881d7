/**
 * 10,000 tasks that wait for one: how long after its end they are all with their worker, how late others are meanwhile,
 * and what the process has of memory by then.
 */
import { parseTaskId } from "../../src/base/ids.ts";
import { systemClock } from "../../src/base/system-clock.ts";
import { INSPECTION, taskSpec } from "../store/store-samples.ts";
import { type Figure, percentile } from "./measure.ts";
import { BenchFolder, BenchGateway } from "./schedule-gateway.ts";

const DEPENDENTS = 10_000;
/** Until the one that they wait for is due: all are submitted by then. */
const LEAD_MS = 6_000;
/** Tasks of others that fall due while the dependents are seen to, and how often. They go before them. */
const OTHERS = 40;
const OTHERS_EVERY_MS = 50;
const OTHERS_PRIORITY = 1;

export async function benchDependents(): Promise<Figure[]> {
  await using folder = await BenchFolder.create();
  await using bench = await BenchGateway.open(folder);
  const dueAt = systemClock.now() + LEAD_MS;
  const root = await bench.submit({ firstDueAt: dueAt });
  await submitDependents(bench, root);
  const dueTimes = Array.from({ length: OTHERS }, (_, index) => dueAt + index * OTHERS_EVERY_MS);
  const others = await Promise.all(
    dueTimes.map((firstDueAt) => bench.submit({ firstDueAt, priority: OTHERS_PRIORITY })),
  );
  if (systemClock.now() >= dueAt) throw new Error("the tasks took longer to submit than they should");
  const rssBefore = process.memoryUsage.rss();
  await bench.started(1 + DEPENDENTS + OTHERS);
  const rssAfter = process.memoryUsage.rss();
  const endedAt = bench.startedAt.get(root) ?? NaN;
  const waits = dependentNames().map((name) => (bench.startedAt.get(name) ?? NaN) - endedAt);
  const late = others.map((id, index) => (bench.startedAt.get(id) ?? NaN) - (dueTimes[index] ?? NaN));
  const row = (name: string, unit: string, value: number): Figure => ({
    name: `${DEPENDENTS} dependents of one task: ${name}`,
    unit,
    value,
  });
  return [
    row("the first has started", "ms", Math.min(...waits)),
    row("all have started", "ms", Math.max(...waits)),
    row("due to start of others meanwhile, p50", "ms", percentile(late, 0.5)),
    row("due to start of others meanwhile, p99", "ms", percentile(late, 0.99)),
    row("memory more", "MiB", (rssAfter - rssBefore) / 1024 / 1024),
  ];
}

function dependentNames(): readonly string[] {
  return Array.from({ length: DEPENDENTS }, (_, index) => `dependent-${index}`);
}

async function submitDependents({ gateway }: BenchGateway, root: string): Promise<void> {
  const after = parseTaskId(root);
  if (after === undefined) throw new Error("no task id");
  const tasks = dependentNames().map((name) => ({
    spec: taskSpec(name, { after: [after], start: 0, firstDueAt: systemClock.now() }),
    inspection: INSPECTION,
  }));
  const result = await gateway.tasks.submitAll(tasks, systemClock.now());
  if (result.kind !== "created") throw new Error(`the dependents are ${result.kind}`);
}
