/**
 * Scheduling under load: very many pending timers, very many tasks that wait for one, a store with a million tasks, and how long after its due time a run
 * starts. Each is held against the same on a gateway that has nothing else to do.
 */
import type { Figure } from "./measure.ts";
import { benchDependents } from "./schedule-dependents.ts";
import { benchDueToStart } from "./schedule-latency.ts";
import { benchMillionTasks } from "./schedule-million.ts";
import { benchTimers } from "./schedule-timers.ts";

export async function benchSchedule(): Promise<Figure[]> {
  return [
    ...(await benchDueToStart()),
    ...(await benchTimers()),
    ...(await benchDependents()),
    ...(await benchMillionTasks()),
  ];
}
