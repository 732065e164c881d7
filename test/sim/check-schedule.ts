/**
 * G5: each slot of a schedule is one run, ready once, at its time or later. While nothing is wrong a task with cron does not
 * stand still, whatever the clock has said before: it goes on with the first slot that none of its runs has. Runs of a task that forbids overlap follow each
 * other. A task that runs after others has no run before those have succeeded, and ends with them if they do not.
 */
import { type CronSchedule, parseCron } from "../../src/model/cron.ts";
import type { RunState } from "../../src/model/run.ts";
import { type TaskSpec, totalRuns } from "../../src/model/task.ts";
import type { DurableEvent, History } from "./history.ts";
import { EPOCH_MS } from "./sim-process.ts";
import type { Tally } from "./tally.ts";
import { Weather } from "./weather.ts";

type TaskMade = Extract<DurableEvent, { kind: "task-made" }> & { readonly atMs: number };
type RunMoved = Extract<DurableEvent, { kind: "run-moved" }> & { readonly atMs: number };

/** How long it may take from a slot until its run is ready. */
const STANDSTILL_MS_MAX = 5_000;

const OVER: readonly RunState[] = ["succeeded", "failed", "cancelled"];

export function checkSchedule(history: History, tally: Tally): readonly string[] {
  const found: string[] = [];
  const weather = new Weather(history);
  const tasks = new Map<number, TaskCourse>();
  /** Ids whose cancellation somebody has asked for; the task may be on its way to the disk only. */
  const unwanted = new Set<string>();
  for (const event of history.events) {
    switch (event.kind) {
      case "task-made":
        tasks.set(event.serial, new TaskCourse(event, tally));
        break;
      case "run-moved":
        found.push(...(tasks.get(event.serial)?.move(event, tasks, weather) ?? []));
        break;
      case "task-cancelled":
        found.push(...(tasks.get(event.serial)?.checkGoesOn(event, weather) ?? []));
        found.push(...(tasks.get(event.serial)?.cancel(tasks, unwanted) ?? []));
        break;
      case "task-retried":
        tasks.get(event.serial)?.retry(event.atMs);
        break;
      case "cancel-asked":
        unwanted.add(event.task);
        break;
      case "task-deleted": {
        const task = tasks.get(event.serial);
        if (task === undefined) break;
        found.push(...task.checkGoesOn(event, weather));
        task.isDeleted = true;
        break;
      }
      case "runs-forgotten":
        tasks.get(event.serial)?.forget(event.to);
        break;
      case "clock-set":
        for (const task of tasks.values()) task.wasClockSet = true;
        break;
      default:
    }
  }
  const endMs = history.events.at(-1)?.atMs ?? 0;
  return [...found, ...[...tasks.values()].flatMap((task) => task.checkWhole(endMs, weather))];
}

/** What has become of one task's runs so far. */
class TaskCourse {
  readonly id: string;
  isDeleted = false;
  /** Since it was made: it may come to slots again whose runs are forgotten. */
  wasClockSet = false;
  readonly #made: TaskMade;
  readonly #tally: Tally;
  readonly #spec: TaskSpec;
  readonly #after: readonly number[];
  readonly #cron: CronSchedule | undefined;
  readonly #runs = new Map<number, { state: RunState; dueAt: number; readyAtMs: number | undefined }>();
  #firstRun = 1;
  #isCancelled = false;
  #retriedAtMs = -Infinity;

  constructor(made: TaskMade, tally: Tally) {
    const { task, spec, after } = made;
    this.#made = made;
    this.#tally = tally;
    this.id = task;
    this.#spec = spec;
    this.#after = after;
    const cron = spec.cron === undefined ? undefined : parseCron(spec.cron, spec.timezone);
    this.#cron = cron?.ok === true ? cron.schedule : undefined;
  }

  get hasSucceeded(): boolean {
    const runs = [...this.#runs.values()];
    return runs.length === totalRuns(this.#spec) && runs.every(({ state }) => state === "succeeded");
  }

  /** It will not succeed any more. */
  get isBroken(): boolean {
    if (this.isDeleted || this.#isCancelled) return true;
    return [...this.#runs.values()].some(({ state }) => state === "failed" || state === "cancelled");
  }

  move(event: RunMoved, tasks: ReadonlyMap<number, TaskCourse>, weather: Weather): readonly string[] {
    const where = `${event.task} run ${event.run}`;
    const found: string[] = [];
    if (event.from === undefined) found.push(...this.#checkMade(event, tasks, where));
    const known = this.#runs.get(event.run);
    const isReopened = known !== undefined && OVER.includes(known.state);
    if (isReopened) found.push(...this.#checkAlone(where));
    const run = { state: event.to, dueAt: event.dueAt, readyAtMs: isReopened ? undefined : known?.readyAtMs };
    this.#runs.set(event.run, run);
    if (event.to === "ready" && (event.from === undefined || event.from === "scheduled")) {
      if (run.readyAtMs !== undefined) found.push(`G5: ${where} was made ready twice`);
      run.readyAtMs = event.atMs;
      found.push(...this.#checkReady(event, weather, where));
    }
    return found;
  }

  cancel(tasks: ReadonlyMap<number, TaskCourse>, unwanted: ReadonlySet<string>): readonly string[] {
    this.#isCancelled = true;
    const isForOthers = this.#after.some((serial) => tasks.get(serial)?.isBroken === true);
    if (unwanted.has(this.id) || isForOthers) return [];
    return [`G1: ${this.id} was cancelled, and neither was that asked for nor has another one failed it`];
  }

  /** Runs before this one are known no more. */
  forget(firstRun: number): void {
    this.#firstRun = firstRun;
  }

  /** Somebody wants it to run again; `checkRuns` sees to what may. */
  retry(atMs: number): void {
    this.#isCancelled = false;
    this.#retriedAtMs = atMs;
  }

  /** At the end: every slot is a run. The clock is right then. */
  checkWhole(endMs: number, weather: Weather): readonly string[] {
    const total = totalRuns(this.#spec);
    if (this.isDeleted || this.#isCancelled) return [];
    const found = this.#runs.size === total ? [] : [`G5: ${this.id} has ${this.#runs.size} of ${total} runs`];
    return [...found, ...this.checkGoesOn({ atMs: endMs, wallMs: EPOCH_MS + endMs }, weather)];
  }

  /** Its next run waits for a slot that has not come. */
  checkGoesOn({ atMs, wallMs }: Pick<RunMoved, "atMs" | "wallMs">, weather: Weather): readonly string[] {
    const run = this.#runs.size;
    const last = this.#runs.get(run);
    if (this.#cron === undefined || last?.state !== "scheduled") return [];
    const moment = { run, atMs, wallMs, dueAt: undefined };
    return this.#checkStandstill(moment, this.#cron, weather, `${this.id} run ${run}`);
  }

  #checkMade(event: RunMoved, tasks: ReadonlyMap<number, TaskCourse>, where: string): readonly string[] {
    const found: string[] = [];
    if (event.run > totalRuns(this.#spec)) found.push(`G5: ${where} is one run too many`);
    if (event.run !== this.#runs.size + 1) found.push(`G5: ${where} was made after ${this.#runs.size} others`);
    found.push(...this.#checkAlone(where));
    for (const serial of this.#after) {
      this.#tally.saw("G5: a run waits for other tasks");
      const other = tasks.get(serial);
      if (other?.hasSucceeded !== true) found.push(`G5: ${where} was made before ${other?.id} has succeeded`);
    }
    return found;
  }

  #checkAlone(where: string): readonly string[] {
    if (this.#spec.overlap === "allow") return [];
    this.#tally.saw("G4: a run waits for the one before");
    const isAlone = [...this.#runs.values()].every(({ state }) => OVER.includes(state));
    return isAlone ? [] : [`G4: ${where} was made while another was under way`];
  }

  #checkReady(event: RunMoved, weather: Weather, where: string): readonly string[] {
    const found: string[] = [];
    this.#tally.saw("G5: a run is ready at its time and not before");
    if (event.wallMs < event.dueAt) found.push(`G5: ${where} was made ready before its time`);
    if (this.#cron !== undefined) return [...found, ...this.#checkSlot(event, this.#cron, weather, where)];
    const { delayMs, firstDueAt } = this.#spec;
    const due = event.firstDueAt + (event.run - 1) * delayMs;
    if (event.dueAt !== due) found.push(`G5: ${where} is due at ${event.dueAt}, not ${due}`);
    if (this.#after.length === 0 && event.firstDueAt !== firstDueAt) found.push(`G5: ${where} has another start`);
    if (event.firstDueAt < firstDueAt) found.push(`G5: ${where} starts before it may`);
    return found;
  }

  #checkSlot(event: RunMoved, cron: CronSchedule, weather: Weather, where: string): readonly string[] {
    if (cron.next(event.dueAt - 1) !== event.dueAt) return [`G5: ${where} is due at ${event.dueAt}, which is no slot`];
    if (this.#hasFired(event.dueAt, event.run)) return [`G5: ${where} has the slot ${event.dueAt}, which was taken`];
    const before = this.#runs.get(event.run - 1);
    if (before === undefined) return this.#checkFirstSlot(event, cron, weather, where);
    const stoodStill = this.#checkStandstill(event, cron, weather, where);
    if (stoodStill.length > 0) return stoodStill;
    const next = this.#nextFree(cron, before.dueAt, event.run);
    // Where runs may overlap and the gateway was there all the time, none is left out.
    const sinceMs = before.readyAtMs ?? 0;
    const isGoingOn = this.#spec.overlap === "allow" && this.#retriedAtMs < sinceMs;
    const wasServed = isGoingOn && weather.wasFairAtGateway(sinceMs, event.atMs);
    if (wasServed) this.#tally.saw("G5: a slot follows the one before");
    return wasServed && next !== event.dueAt ? [`G5: ${where} leaves out the slot ${next}`] : [];
  }

  /**
   * Since it was fair, and the run before was ready, the first slot that was free is the run's, or one before it. `dueAt`:
   * undefined for a run that is not ready, which may have taken another slot than at first.
   */
  #checkStandstill(
    { run, atMs, wallMs, dueAt }: Pick<RunMoved, "run" | "atMs" | "wallMs"> & { readonly dueAt: number | undefined },
    cron: CronSchedule,
    weather: Weather,
    where: string,
  ): readonly string[] {
    const fairSinceMs = weather.fairAtGatewaySince(atMs);
    if (fairSinceMs === undefined || this.#spec.overlap === "forbid") return [];
    // What it waited for has ended when its first run is made; that is looked at as any run is.
    const isFirst = run === 1 && this.#after.length === 0;
    const readyAtMs = isFirst ? this.#made.atMs : this.#runs.get(run - 1)?.readyAtMs;
    const sinceMs = Math.max(fairSinceMs, readyAtMs ?? Infinity, this.#retriedAtMs);
    if (sinceMs >= atMs) return [];
    this.#tally.saw("G5: a schedule does not stand still");
    if (this.#firstRun > 1) this.#tally.saw("G5: a task goes on whose runs were forgotten");
    const free = this.#nextFree(cron, wallMs - (atMs - sinceMs), run);
    // What is decided takes its time to be durable.
    const isLate = free !== undefined && free < (dueAt ?? Infinity) && free < wallMs - STANDSTILL_MS_MAX;
    const goesOn = dueAt === undefined ? "does not take it" : `waits for ${dueAt}`;
    return isLate ? [`G5: ${where} stands still: the slot ${free} has come, and it ${goesOn}`] : [];
  }

  /** Another run of the task has the slot, and is or was ready at it. */
  #hasFired(slot: number, run: number): boolean {
    const first = this.wasClockSet ? this.#firstRun : 1;
    return [...this.#runs].some(([index, { dueAt }]) => index !== run && index >= first && dueAt === slot);
  }

  #nextFree(cron: CronSchedule, after: number, run: number): number | undefined {
    let slot = cron.next(after);
    while (slot !== undefined && this.#hasFired(slot, run)) slot = cron.next(slot);
    return slot;
  }

  /** The first one after the task was made, or after what it waited for had ended. */
  #checkFirstSlot(event: RunMoved, cron: CronSchedule, weather: Weather, where: string): readonly string[] {
    const { createdAt, atMs } = this.#made;
    if (this.#retriedAtMs > -Infinity || this.#after.length > 0 || !weather.wasFairAtGateway(atMs, event.atMs))
      return [];
    this.#tally.saw("G5: the first slot is the first");
    const first = cron.next(createdAt);
    return event.dueAt === first ? [] : [`G5: ${where} has the slot ${event.dueAt}, not its first, ${first}`];
  }
}
