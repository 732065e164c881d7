/**
 * G9: a run that takes its runner down comes to its end, as this is held against it. What is lost by the gateway's doing, or
 * an operator's, is not.
 */
import { LOST_ATTEMPTS_MAX } from "../../src/base/limits.ts";
import type { Outcome } from "../../src/model/outcome.ts";
import { type AttemptId, attemptKey } from "../../src/model/run.ts";
import type { TaskSpec } from "../../src/model/task.ts";
import { guestPlan } from "./guest-plan.ts";
import type { DurableEvent, History } from "./history.ts";
import type { Tally } from "./tally.ts";
import { Weather } from "./weather.ts";

type RunMoved = Extract<DurableEvent, { kind: "run-moved" }> & { readonly atMs: number };

interface RunCourse {
  beganAtMs: number;
  leasedAtMs: number;
  /** Attempts that were lost: ever, and since somebody last wanted it to run again. */
  everLost: number;
  lost: number;
  blamed: number;
}

/**
 * What may be lost besides on workers that have lost the run before while others are busy, which does not count. The waits
 * before these double from 10 s on: no more of them fit into the time that a simulation lasts.
 */
const SECOND_CHOICES_MAX = 5;
/**
 * What a run may have brought about, for all that the gateway can know. One that stood still cannot know, either, whether a
 * worker that comes back without an attempt was never told of it or has died of it.
 */
const DOUBTFUL_FAULTS = /^(kill-worker|pause-worker|sicken-worker|cut|lag|drop|fill-disk|pause-gateway|slow-store) /;

export function checkBlame(history: History, tally: Tally): readonly string[] {
  const found: string[] = [];
  const courses = new Map<string, RunCourse>();
  const specs = new Map<number, TaskSpec>();
  const ended = new Map<string, Outcome | undefined>();
  const weather = new Weather(history);
  const doubtful = new Weather(history, (what) => DOUBTFUL_FAULTS.test(what));
  for (const event of history.events) {
    if (event.kind === "task-made") specs.set(event.serial, event.spec);
    if (event.kind === "guest-ended") ended.set(attemptKey(event.id), event.outcome);
    if (event.kind !== "run-moved") continue;
    const key = `${event.serial}/${event.run}`;
    const course = courses.get(key) ?? { beganAtMs: event.atMs, leasedAtMs: 0, everLost: 0, lost: 0, blamed: 0 };
    courses.set(key, course);
    if (event.from === "failed" || event.from === "cancelled")
      Object.assign(course, { lost: 0, beganAtMs: event.atMs });
    if (event.to === "running") course.leasedAtMs = event.atMs;
    const spec = specs.get(event.serial);
    if (spec !== undefined && event.from === "running" && event.attemptState === "lost") {
      found.push(...checkLoss(event, course, { spec, ended, weather, doubtful, tally }));
    }
    course.blamed = event.blamed;
  }
  return found;
}

interface Known {
  readonly spec: TaskSpec;
  readonly ended: ReadonlyMap<string, Outcome | undefined>;
  readonly weather: Weather;
  readonly doubtful: Weather;
  readonly tally: Tally;
}

function checkLoss(event: RunMoved, course: RunCourse, known: Known): readonly string[] {
  const { spec, ended, weather, doubtful, tally } = known;
  const found: string[] = [];
  const { task, serial, run, attempt, atMs } = event;
  const where = `${task} run ${run}`;
  const id: AttemptId = { task, serial, run, attempt };
  const isBlamed = event.blamed > course.blamed;
  course.lost += 1;
  course.everLost += 1;
  // Of the first one there is no doubt.
  const isItsDoing = ended.get(attemptKey(id))?.kind === "lost" && course.everLost === 1;
  const isClear = isItsDoing && weather.wasFairFor(event.worker, course.leasedAtMs, atMs);
  if (isClear) tally.saw("G9: what takes its runner down is held against it");
  if (isClear && !isBlamed) {
    found.push(`G9: ${where} attempt ${attempt} took its runner down, and that is not held against it`);
  }
  const isHarmless = guestPlan(spec.args, id).outcome.kind !== "lost";
  const isWithoutDoubt = isHarmless && doubtful.wasFairFor(event.worker, course.leasedAtMs, atMs);
  if (isWithoutDoubt) tally.saw("G9: what nothing could be done about is not held against it");
  if (isWithoutDoubt && isBlamed) {
    found.push(`G9: ${where} attempt ${attempt} was lost by nothing that it did, and that is held against it`);
  }
  const isOnceMore = course.lost === LOST_ATTEMPTS_MAX + SECOND_CHOICES_MAX + 1;
  if (isOnceMore && weather.wasFair(course.beganAtMs, atMs)) {
    found.push(`G9: ${where} was lost ${course.lost} times and is tried again`);
  }
  return found;
}
