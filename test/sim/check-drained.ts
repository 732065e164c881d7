/** G10: what an operator has drained is given nothing more, until it is admitted again; what is told to stop does in time. */
import { DECISION_MS_MAX } from "./decision-clock.ts";
import type { History } from "./history.ts";
import type { Tally } from "./tally.ts";
import { GRACE_MS } from "./sim-process.ts";
import { Weather } from "./weather.ts";

export function checkDrained(history: History, tally: Tally): readonly string[] {
  const { events } = history;
  const found: string[] = [];
  const slowStore = new Weather(history, (what) => what.startsWith("slow-store "));
  const drainedAtMs = new Map<string, number>();
  for (const event of events) {
    if (event.kind === "stopped") {
      tally.saw("G10: a process that is told to stop does");
      if (event.tookMs > GRACE_MS / 2) tally.saw("G10: a process needs its grace");
      if (event.tookMs > GRACE_MS) found.push(`G10: ${event.process} took ${event.tookMs.toFixed(1)} ms to stop`);
    }
    if (event.kind === "worker-drained") drainedAtMs.set(event.worker, event.atMs);
    if (event.kind === "worker-admitted") drainedAtMs.delete(event.worker);
    if (event.kind !== "run-moved" || event.to !== "running" || event.worker === undefined) continue;
    if (drainedAtMs.size > 0) tally.saw("G10: somebody is drained when runs begin");
    const sinceMs = drainedAtMs.get(event.worker);
    // What was on its way to the disk when the drain became durable was decided before.
    if (sinceMs === undefined || event.atMs - sinceMs < DECISION_MS_MAX) continue;
    if (!slowStore.wasFair(sinceMs, event.atMs)) continue;
    found.push(`G10: ${event.task} run ${event.run} was given to worker ${event.worker.slice(8, 9)}, which is drained`);
  }
  return found;
}
