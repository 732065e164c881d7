/**
 * G1, with age: what is over is forgotten when it is older than it is to be kept, and not by a clock that is wrong; of tasks
 * without end the runs from the first one on, as far as they are over and nothing more is to become of them, and not those
 * that the task shows. A run's number is never given again.
 */
import type { RunState } from "../../src/model/run.ts";
import { totalRuns } from "../../src/model/task.ts";
import { GatewayClock } from "./gateway-clock.ts";
import type { DurableEvent, History, HistoryEvent } from "./history.ts";
import { EPOCH_MS } from "./sim-process.ts";
import type { Tally } from "./tally.ts";

type TaskMade = Extract<DurableEvent, { kind: "task-made" }>;
type TaskDeleted = Extract<HistoryEvent, { kind: "task-deleted" }>;
type RunMoved = Extract<HistoryEvent, { kind: "run-moved" }>;
type RunsForgotten = Extract<HistoryEvent, { kind: "runs-forgotten" }>;

interface Course {
  readonly made: TaskMade;
  readonly states: Map<number, RunState>;
  /** They are to run again, since somebody asked for that. */
  toRunAgain: Set<number>;
  /** The run that was begun last, and the one that came to its end last: what is shown of the task. */
  latestBegun: number;
  latestEnded: number;
  firstRun: number;
  finished: Ended | undefined;
  /** Runs that are over. */
  readonly ended: Map<number, EndMoment>;
}

/** When something came to its end, and by how much the clock was ahead that said so. */
interface EndMoment {
  readonly atMs: number;
  readonly offsetMs: number;
}

interface Ended extends EndMoment {
  /** As it is in the store. */
  readonly finishedAt: number;
}

export function checkForgetting(history: History, tally: Tally): readonly string[] {
  const ledger = new Ledger(history, tally);
  for (const event of history.events) ledger.see(event);
  return ledger.found;
}

class Ledger {
  readonly found: string[] = [];
  readonly #tally: Tally;
  readonly #retention: History["retention"];
  readonly #clock: GatewayClock;
  readonly #courses = new Map<number, Course>();
  readonly #deletions = new Set<string>();

  constructor(history: History, tally: Tally) {
    this.#tally = tally;
    this.#retention = history.retention;
    this.#clock = new GatewayClock(history);
  }

  see(event: HistoryEvent): void {
    if (event.kind === "clock-set" || event.kind === "gateway-ended") this.#lookAtClock(event.atMs);
    this.#clock.see(event);
    switch (event.kind) {
      case "delete-asked":
        this.#deletions.add(event.task);
        return;
      case "task-made":
        this.#courses.set(event.serial, newCourse(event));
        return;
      case "task-deleted":
        this.#checkDeleted(event);
        this.#courses.delete(event.serial);
        return;
      case "runs-forgotten":
        this.#checkForgotten(event);
        return;
      default:
    }
    const course = "serial" in event && event.serial !== undefined ? this.#courses.get(event.serial) : undefined;
    if (course === undefined) return;
    if (event.kind === "run-moved") this.#move(event, course);
    if (event.kind === "task-cancelled") course.toRunAgain = new Set();
    if (event.kind === "task-finished") course.finished = { ...event, offsetMs: this.#clock.offsetMs };
    if (event.kind !== "task-retried") return;
    course.finished = undefined;
    course.toRunAgain = new Set([...course.states].flatMap(([run, state]) => (hasFailed(state) ? [run] : [])));
  }

  #move(event: RunMoved, course: Course): void {
    const { run, from, to } = event;
    if (from === undefined) {
      if (course.firstRun > 1) this.#tally.saw("G1: a number is not given again");
      if (course.states.has(run)) this.found.push(`G1: the number ${run} of ${event.task} is given again`);
    }
    course.states.set(run, to);
    if (isOver(to)) course.ended.set(run, { atMs: event.atMs, offsetMs: this.#clock.offsetMs });
    course.toRunAgain.delete(run);
    if (to === "running") course.latestBegun = run;
    if (from === "running" && (to === "succeeded" || to === "failed")) course.latestEnded = run;
  }

  #checkForgotten(event: RunsForgotten): void {
    const { task, from, to, wallMs, atMs } = event;
    const course = this.#courses.get(event.serial);
    if (course === undefined) return;
    course.firstRun = to;
    if (to < from) this.found.push(`G1: runs of ${task} that were forgotten are back`);
    if (this.#retention === undefined) this.found.push(`G1: runs of ${task} were forgotten, and nothing was to be`);
    if (totalRuns(course.made.spec) < Infinity) this.found.push(`G1: runs of ${task} were forgotten, which has an end`);
    for (const [at, endedAt] of event.endedAt.entries()) {
      const run = from + at;
      const where = `${task} run ${run}`;
      const state = course.states.get(run);
      const end = course.ended.get(run);
      const ended = end && { ...end, finishedAt: endedAt };
      this.#tally.saw("G1: a run that is forgotten has its age");
      if (!isOver(state)) this.found.push(`G1: ${where} was forgotten while it was ${state}`);
      if (course.toRunAgain.has(run)) this.found.push(`G1: ${where} was forgotten before it was run again`);
      if (run === course.latestBegun || run === course.latestEnded) {
        this.found.push(`G1: ${where} was forgotten, which the task shows`);
      }
      if (wallMs - endedAt < this.#retainMs) this.found.push(`G1: ${where} was forgotten before its time`);
      else if (ended !== undefined && this.#isEarly(ended, atMs))
        this.found.push(`G1: ${where} was forgotten by a clock that is wrong`);
      course.states.set(run, "succeeded");
    }
  }

  /** Of those that are forgotten for their age `checkAccepted` sees to the rest. */
  #checkDeleted({ task, serial, atMs }: TaskDeleted): void {
    const finished = this.#courses.get(serial)?.finished;
    if (finished === undefined || this.#deletions.has(task) || this.#retention === undefined) return;
    if (this.#isEarly(finished, atMs)) this.found.push(`G1: ${task} was forgotten by a clock that is wrong`);
  }

  /** It is promised that what is forgotten now is old, and by the right time it is not. */
  #isEarly(ended: Ended, atMs: number): boolean {
    return this.#clock.isPromised(atMs) && EPOCH_MS + atMs - rightTimeOf(ended) < this.#retainMs;
  }

  /** The clock that was wrong would have made something old. */
  #lookAtClock(atMs: number): void {
    const retention = this.#retention;
    const { offsetMs, sinceMs } = this.#clock;
    if (retention === undefined || offsetMs <= 0 || !this.#clock.isPromised(atMs)) return;
    const now = EPOCH_MS + atMs;
    for (const { finished } of this.#courses.values()) {
      // What has ended since goes by another clock.
      if (finished === undefined || finished.atMs >= sinceMs || atMs - sinceMs < 2 * retention.sweepEveryMs) continue;
      const ageMs = now - rightTimeOf(finished);
      const isTempting = ageMs < retention.retainMs && ageMs + offsetMs >= retention.retainMs;
      if (isTempting) this.#tally.saw("G1: a clock that is wrong makes nothing old");
    }
  }

  get #retainMs(): number {
    return this.#retention?.retainMs ?? Infinity;
  }
}

function newCourse(made: TaskMade): Course {
  return {
    made,
    states: new Map(),
    toRunAgain: new Set(),
    latestBegun: 0,
    latestEnded: 0,
    firstRun: 1,
    finished: undefined,
    ended: new Map(),
  };
}

/** The clock may have been set between its saying so and the end's being durable. */
function rightTimeOf({ finishedAt, offsetMs, atMs }: Ended): number {
  return Math.min(finishedAt - offsetMs, EPOCH_MS + atMs);
}

function isOver(state: RunState | undefined): boolean {
  return state === "succeeded" || hasFailed(state);
}

function hasFailed(state: RunState | undefined): boolean {
  return state === "failed" || state === "cancelled";
}
