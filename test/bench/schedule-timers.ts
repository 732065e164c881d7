/** 100,000 tasks that wait for their time: what they cost while they wait, and how well others are on time meanwhile. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { silentLog } from "../../src/base/log.ts";
import { systemClock } from "../../src/base/system-clock.ts";
import { SqliteStore } from "../../src/store/sqlite/sqlite-store.ts";
import { create, taskSpec } from "../store/store-samples.ts";
import { type Figure, percentile } from "./measure.ts";
import { BenchFolder } from "./schedule-gateway.ts";
import { copyTasks } from "./schedule-rows.ts";

const TIMERS = 100_000;
const PROCESS = fileURLToPath(new URL("schedule-timers-process.ts", import.meta.url));

interface Waiting {
  readonly rssBytes: number;
  readonly cpuShare: number;
  readonly lateMs: readonly number[];
}

export async function benchTimers(): Promise<Figure[]> {
  const none = await measure(0);
  const many = await measure(TIMERS);
  const row = (name: string, unit: string, read: (waiting: Waiting) => number) => ({
    name: `${TIMERS} pending timers: ${name}`,
    unit,
    value: read(many),
    against: { name: "none", value: read(none) },
  });
  return [
    row("fire error, p50", "ms", ({ lateMs }) => percentile(lateMs, 0.5)),
    row("fire error, p99", "ms", ({ lateMs }) => percentile(lateMs, 0.99)),
    row("memory", "MiB", ({ rssBytes }) => rssBytes / 1024 / 1024),
    row("idle CPU", "% of a core", ({ cpuShare }) => cpuShare * 100),
  ];
}

async function measure(timers: number): Promise<Waiting> {
  await using folder = await BenchFolder.create();
  if (timers > 0) await prepare(folder.file("capmesh.db"), timers);
  const { stdout } = await promisify(execFile)(process.execPath, [PROCESS, folder.path]);
  return parseWaiting(stdout);
}

function parseWaiting(text: string): Waiting {
  return JSON.parse(text) as Waiting;
}

/** Tasks that are due from tomorrow on. */
async function prepare(path: string, timers: number): Promise<void> {
  {
    await using store = await SqliteStore.open({ path, log: silentLog });
    await create(store, taskSpec("timer", { firstDueAt: systemClock.now() + 86_400_000 }), systemClock.now());
  }
  copyTasks(path, [{ id: "timer", copies: timers - 1, dueEveryMs: 1 }]);
}
