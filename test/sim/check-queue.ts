/** The queue is bounded: a gateway that was told how many unfinished tasks it takes never has more of them. */
import type { History } from "./history.ts";
import type { Tally } from "./tally.ts";

export function checkQueue({ events, queuedTasksMax }: History, tally: Tally): readonly string[] {
  if (queuedTasksMax === undefined) return [];
  const found: string[] = [];
  const unfinished = new Set<number>();
  for (const event of events) {
    if (event.kind === "task-finished" || event.kind === "task-deleted") unfinished.delete(event.serial);
    if (event.kind !== "task-made" && event.kind !== "task-retried") continue;
    unfinished.add(event.serial);
    tally.saw("queue: there are no more unfinished tasks than may be");
    if (unfinished.size <= queuedTasksMax) continue;
    found.push(`queue: with ${event.task} there are ${unfinished.size} unfinished tasks, and ${queuedTasksMax} may be`);
  }
  return found;
}
