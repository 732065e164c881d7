/**
 * G3, by the durable transitions of each run: one after the other as the state table has them, one result, of the attempt
 * under way, as its guest gave it. What is due when is looked at in `check-schedule.ts`.
 */
import { LOST_ATTEMPTS_MAX } from "../../src/base/limits.ts";
import type { Outcome } from "../../src/model/outcome.ts";
import { type AttemptId, type RunState, attemptKey } from "../../src/model/run.ts";
import { isUnresolved } from "../../src/model/task-file.ts";
import type { TaskSpec } from "../../src/model/task.ts";
import { SICK_MACHINE, guestPlan } from "./guest-plan.ts";
import type { DurableEvent, History } from "./history.ts";
import type { Tally } from "./tally.ts";
import { Weather } from "./weather.ts";

type RunMoved = Extract<DurableEvent, { kind: "run-moved" }> & { readonly atMs: number };

/** What one run has been through. */
interface RunCourse {
  state: RunState | undefined;
  attempt: number;
  /** Attempts by how they ended. */
  failed: number;
  lost: number;
  leasedAtMs: number;
  /** It is over, and its task has not been retried since. */
  isClosed: boolean;
}

/** May one become the other, and how the attempt number changes. */
const MOVES: Readonly<Record<string, 0 | 1>> = {
  "none>scheduled": 0,
  "none>ready": 0,
  "scheduled>ready": 0,
  "scheduled>cancelled": 0,
  "ready>running": 1,
  "ready>cancelled": 0,
  "running>ready": 0,
  "running>succeeded": 0,
  "running>failed": 0,
  "running>cancelled": 0,
  "failed>scheduled": 0,
  "failed>ready": 0,
  "cancelled>scheduled": 0,
  "cancelled>ready": 0,
};

export function checkRuns(history: History, tally: Tally): readonly string[] {
  const found: string[] = [];
  const courses = new Map<string, RunCourse>();
  const specs = new Map<number, TaskSpec>();
  const ended = new Map<string, Outcome | undefined>();
  const began = new Set<string>();
  const weather = new Weather(history);
  for (const event of history.events) {
    if (event.kind === "task-made") specs.set(event.serial, event.spec);
    if (event.kind === "guest-began") began.add(runKey(event.id.serial, event.id.run));
    if (event.kind === "task-retried") {
      for (const [key, course] of courses) if (key.startsWith(`${event.serial}/`)) course.isClosed = false;
    }
    if (event.kind === "guest-ended") ended.set(attemptKey(event.id), event.outcome);
    if (event.kind !== "run-moved") continue;
    const key = runKey(event.serial, event.run);
    const course = courses.get(key) ?? newCourse();
    courses.set(key, course);
    const where = `${event.task} run ${event.run}`;
    if (isOver(course.state)) tally.saw("G3: who is run again was to be");
    found.push(...checkMove(event, course, where));
    const spec = specs.get(event.serial);
    if (spec === undefined) found.push(`G3: ${where} moved and its task was not made`);
    else found.push(...checkEnd(event, course, { spec, ended, began, weather, tally }, where));
    if (event.to === "running") course.leasedAtMs = event.atMs;
    course.state = event.to;
    course.attempt = event.attempt;
    if (isOver(event.to)) course.isClosed = true;
  }
  return found;
}

function runKey(serial: number, run: number): string {
  return `${serial}/${run}`;
}

function newCourse(): RunCourse {
  return { state: undefined, attempt: 0, failed: 0, lost: 0, leasedAtMs: 0, isClosed: false };
}

function isOver(state: RunState | undefined): boolean {
  return state === "succeeded" || state === "failed" || state === "cancelled";
}

function checkMove(event: RunMoved, course: RunCourse, where: string): readonly string[] {
  const found: string[] = [];
  if (event.from !== course.state) found.push(`G3: ${where} was ${course.state} and is taken for ${event.from}`);
  const step = MOVES[`${event.from ?? "none"}>${event.to}`];
  if (step === undefined) found.push(`G3: ${where} went from ${event.from} to ${event.to}`);
  else if (event.attempt !== course.attempt + step) {
    found.push(`G3: ${where} went from attempt ${course.attempt} to ${event.attempt} as it became ${event.to}`);
  }
  if (isOver(course.state)) {
    if (course.isClosed) found.push(`G3: ${where} was ${course.state} and is run again, and nobody asked for that`);
    // As if it had not been tried.
    course.failed = 0;
    course.lost = 0;
  }
  return found;
}

interface Known {
  readonly spec: TaskSpec;
  /** How guests have ended so far. */
  readonly ended: ReadonlyMap<string, Outcome | undefined>;
  /** Runs that have had a guest. */
  readonly began: ReadonlySet<string>;
  readonly weather: Weather;
  readonly tally: Tally;
}

/** The attempt under way has come to its end. */
function checkEnd(event: RunMoved, course: RunCourse, known: Known, where: string): readonly string[] {
  if (event.from !== "running") return [];
  const { spec, began, tally } = known;
  const wasFair = known.weather.wasFairFor(event.worker, course.leasedAtMs, event.atMs);
  if (wasFair) tally.saw("G2: nothing is lost where nothing is wrong");
  const found: string[] = [];
  const id: AttemptId = { task: event.task, serial: event.serial, run: event.run, attempt: event.attempt };
  const plan = guestPlan(spec.args, id);
  const what = `${where} attempt ${event.attempt}`;
  switch (event.attemptState) {
    case "succeeded":
    case "failed":
      found.push(...checkResult(event, id, known, what));
      if (event.attemptState === "failed") course.failed += 1;
      break;
    case "lost":
      course.lost += 1;
      if (plan.outcome.kind !== "lost" && wasFair) {
        found.push(`G2: ${what} was lost though nothing went wrong`);
      }
      break;
    case "cancelled":
      break;
    default:
      found.push(`G3: ${what} is over and its attempt is ${event.attemptState}`);
  }
  if (event.to === "succeeded") tally.saw("G2: a success had a guest");
  if (event.to === "succeeded" && !began.has(runKey(event.serial, event.run))) found.push(`G2: ${where} had no guest`);
  if (event.to === "failed") found.push(...checkFailure(event, course, known, where));
  return found;
}

/** What the store took for the attempt's result is what its guest gave. */
function checkResult(event: RunMoved, id: AttemptId, { spec, ended, tally }: Known, what: string): readonly string[] {
  const found: string[] = [];
  const outcome = event.attemptOutcome;
  // `checkFiles` knows whether there was one.
  if (outcome?.kind === "rejected" && spec.files.some(isUnresolved)) return [];
  tally.saw("G3: a result is the one that the guest gave");
  const own = ended.get(attemptKey(id));
  if (!ended.has(attemptKey(id))) found.push(`G3: ${what} has a result that its guest had not given`);
  else if (own === undefined || !isSame(own, outcome)) {
    found.push(`G3: ${what} has the result ${show(outcome)}; its guest gave ${show(own)}`);
  }
  // A guest that was kept from its plan has ended otherwise.
  const isKeptFrom = outcome?.kind === "output-exceeded" || isSame({ kind: "trapped", reason: SICK_MACHINE }, outcome);
  if (!isKeptFrom && !isSame(guestPlan(spec.args, id).outcome, outcome)) {
    found.push(`G3: ${what} has the result ${show(outcome)}, which is none of its guest's`);
  }
  return found;
}

function checkFailure(event: RunMoved, course: RunCourse, { spec, tally }: Known, where: string): readonly string[] {
  if (event.attemptState === "lost") {
    tally.saw("G2: a run is given up after so many losses");
    if (course.lost >= LOST_ATTEMPTS_MAX) return [];
    return [`G2: ${where} was given up after ${course.lost} lost attempts`];
  }
  const kind = event.attemptOutcome?.kind;
  const isRetryable = spec.retryOn.some((each) => each === kind);
  if (isRetryable) tally.saw("G2: a run has all of its tries");
  if (isRetryable && course.failed !== spec.retries + 1) {
    return [`G2: ${where} has failed after ${course.failed} of ${spec.retries + 1} tries`];
  }
  return [];
}

function isSame(a: Outcome, b: Outcome | undefined): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function show(outcome: Outcome | undefined): string {
  return outcome === undefined ? "none" : JSON.stringify(outcome);
}
