/**
 * A gateway of its own process, on the database in the folder that is named: what it costs while it waits, and how well runs
 * are on time that fall due meanwhile. Says it in one line of JSON.
 */
import { BenchFolder, BenchGateway } from "./schedule-gateway.ts";
import { measureLateness } from "./schedule-latency.ts";

const IDLE_MS = 4_000;
const FIRED_PER_SECOND = 100;
const FIRED_SECONDS = 4;

const folder = BenchFolder.at(process.argv[2] ?? "");
await using bench = await BenchGateway.open(folder);
await idle(1_000);
const cpuBefore = process.cpuUsage();
const startedAt = performance.now();
await idle(IDLE_MS);
const { user, system } = process.cpuUsage(cpuBefore);
const cpuShare = (user + system) / 1_000 / (performance.now() - startedAt);
const rssBytes = process.memoryUsage.rss();
const lateMs = await measureLateness(bench, FIRED_PER_SECOND, 1, FIRED_SECONDS);
console.log(JSON.stringify({ rssBytes, cpuShare, lateMs }));

function idle(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
