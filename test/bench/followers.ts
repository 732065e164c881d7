/**
 * Live logs: how late lines are for 1,000 readers of one task's log, on real connections from another process. Every
 * reader is to have every line, in order, within a second.
 */
import { measureFollowers } from "../support/log-followers.ts";
import type { Figure } from "./measure.ts";

const SECONDS = 5;

export async function benchFollowers(): Promise<Figure[]> {
  return [...(await benchAt(1_000, 20)), ...(await benchAt(1_000, 100))];
}

async function benchAt(followers: number, linesPerSecond: number): Promise<Figure[]> {
  const followed = await measureFollowers({ followers, linesPerSecond, seconds: SECONDS });
  const name = `${followers} followers, ${linesPerSecond} lines/s`;
  return [
    { name: `${name}: readers without every line in order`, unit: "", value: followed.wrong, target: { atMost: 0 } },
    { name: `${name}: lines delivered`, unit: "/s", value: followed.deliveries / SECONDS },
    { name: `${name}: late, p50`, unit: "ms", value: followed.p50 },
    { name: `${name}: late, p99`, unit: "ms", value: followed.p99 },
    { name: `${name}: late, the latest`, unit: "ms", value: followed.max, target: { atMost: 1_000 } },
    { name: `${name}: the gateway's CPU`, unit: "% of a core", value: followed.cpuShare * 100 },
  ];
}
