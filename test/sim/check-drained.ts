/** G10: what an operator has drained is given nothing more, until it is admitted again. */
import { DECISION_MS_MAX } from "./decision-clock.ts";
import type { History } from "./history.ts";

export function checkDrained({ events }: History): readonly string[] {
  const found: string[] = [];
  const drainedAtMs = new Map<string, number>();
  for (const event of events) {
    if (event.kind === "worker-drained") drainedAtMs.set(event.worker, event.atMs);
    if (event.kind === "worker-admitted") drainedAtMs.delete(event.worker);
    if (event.kind !== "run-moved" || event.to !== "running" || event.worker === undefined) continue;
    const sinceMs = drainedAtMs.get(event.worker);
    // What was on its way to the disk when the drain became durable was decided before.
    if (sinceMs === undefined || event.atMs - sinceMs < DECISION_MS_MAX) continue;
    found.push(`G10: ${event.task} run ${event.run} was given to worker ${event.worker.slice(8, 9)}, which is drained`);
  }
  return found;
}
