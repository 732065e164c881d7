/** Commit, then tell: what was told of a run had become durable before. */
import type { History } from "./history.ts";
import type { Tally } from "./tally.ts";

export function checkTold(history: History, tally: Tally): readonly string[] {
  const found: string[] = [];
  const durable = new Set<string>();
  const deleted = new Set<string>();
  for (const event of history.events) {
    if (event.kind === "run-moved") durable.add(`${event.task}/${event.run} ${event.to} ${event.attempt}`);
    if (event.kind === "task-deleted") deleted.add(event.task);
    if (event.kind !== "told" || event.event.type !== "run") continue;
    const { task, run, attempt, state } = event.event;
    tally.saw("told: what is told is durable");
    // Of a run that is ready again, the attempt that ended is told.
    const isDurable = durable.has(`${task}/${run} ${state} ${attempt}`);
    if (!isDurable && !deleted.has(task)) found.push(`told: run ${run} of ${task} is ${state} before it was`);
  }
  return found;
}
