/**
 * G2: what is due is ready soon, what is ready runs soon where a worker has room for it, again after it has failed or was
 * lost, and what has ended is settled soon. A wake-up that is lost shows here; at the next one all goes on as if nothing had
 * been. Since each step is bounded by limits that have names, so is the time in which a task comes to its end.
 */
import type { PeerId } from "../../src/base/ids.ts";
import {
  LEASE_MS,
  QUARANTINE_FAULTS_MIN,
  UNTRIED_WAIT_FIRST_MS,
  WORKER_FAILURES_BEFORE_REST,
  WORKER_REST_MAX_MS,
} from "../../src/base/limits.ts";
import { attemptKey } from "../../src/model/run.ts";
import type { TaskSpec } from "../../src/model/task.ts";
import { guestFiles, guestPlan } from "./guest-plan.ts";
import type { DurableEvent, GuestEvent, History, KnownWorker } from "./history.ts";
import type { Tally } from "./tally.ts";
import { Weather } from "./weather.ts";

type RunMoved = Extract<DurableEvent, { kind: "run-moved" }> & { readonly atMs: number };
type TaskMade = Extract<DurableEvent, { kind: "task-made" }> & { readonly atMs: number };
type GuestEnded = Extract<GuestEvent, { kind: "guest-ended" }> & { readonly atMs: number };

/** From a due time, or what a run has to wait for besides, until it is ready: a timer, and commits that stall. */
const READY_LATE_MS_MAX = 1_500;
/** Until it runs where there is room: an offer on its way over a link with delays, a reading and a commit that stall. */
const RUNNING_LATE_MS_MAX = 2_500;
/** From a guest's end until its attempt is over, besides what has to travel: readings and commits that stall. */
const SETTLED_LATE_MS_MAX = 1_500;
/** A write of output or of a file, its way there and back not counted: a commit. */
const WRITE_MS_MAX = 15;
/** Output that is put together to one write. */
const WRITE_BYTES = 16 * 1024;
/** Until all workers have found the gateway, at the beginning. */
const CONNECTED_AFTER_MS = 5_000;

export function checkDelays(history: History, tally: Tally): readonly string[] {
  const delays = new Delays(history, tally);
  for (const event of history.events) {
    if (event.kind === "task-made") delays.made(event);
    else if (event.kind === "task-retried") delays.retried(event.serial);
    else if (event.kind === "task-deleted") delays.deleted(event.serial, event.atMs);
    else if (event.kind === "guest-ended") delays.guestEnded(event);
    else if (event.kind === "run-moved") delays.moved(event);
  }
  return delays.found;
}

/** What is known of a worker's slots from what became durable. */
interface WorkerRoom extends KnownWorker {
  readonly running: Set<string>;
  /** Since when it has had a free slot. */
  freeSinceMs: number;
  /** Attempts that were lost on it one after the other: it is left alone for a while then. */
  lostInARow: number;
  restsUntilMs: number;
  /** Attempts that did not end well on it, and went better elsewhere: it may be in quarantine then. */
  faults: number;
}

/** A run that is ready. */
interface Waiting {
  readonly sinceMs: number;
  /** Until when it may wait for its back-off, or an earlier attempt's end. */
  readonly backsOffUntilMs: number;
  /** Where it was lost, and how long it may wait for another worker. */
  readonly lostOn: ReadonlySet<PeerId>;
  readonly untriedMs: number;
  readonly why: "due" | "failed" | "lost";
}

const LOOKED_AT = {
  due: "G2: what is ready runs soon where there is room",
  failed: "G2: what has failed is tried again soon",
  lost: "G2: what was lost is tried again soon",
} as const;
const SAID_OF = { due: "", failed: ", which had failed,", lost: ", which was lost," } as const;

class Delays {
  readonly found: string[] = [];
  readonly #tally: Tally;
  readonly #weather: Weather;
  readonly #rooms: ReadonlyMap<PeerId, WorkerRoom>;
  readonly #made = new Map<number, TaskMade>();
  readonly #retried = new Set<number>();
  /** When something became of one of the task's runs that other runs may wait for: by serial, and by serial and run. */
  readonly #endedAtMs = new Map<number, number>();
  readonly #scheduledAtMs = new Map<string, number>();
  readonly #waiting = new Map<string, Waiting>();
  readonly #lostOn = new Map<string, ReadonlySet<PeerId>>();
  /** Where attempts of a run have not ended well. */
  readonly #suspects = new Map<string, readonly WorkerRoom[]>();
  /** By the names of their attempts. */
  readonly #guestsEnded = new Map<string, GuestEnded>();

  constructor(history: History, tally: Tally) {
    this.#tally = tally;
    this.#weather = new Weather(history);
    this.#rooms = new Map(
      history.workers.map((worker) => [
        worker.peer,
        {
          ...worker,
          running: new Set<string>(),
          freeSinceMs: CONNECTED_AFTER_MS,
          lostInARow: 0,
          restsUntilMs: 0,
          faults: 0,
        },
      ]),
    );
  }

  made(event: TaskMade): void {
    this.#made.set(event.serial, event);
  }

  /** From then on its runs wait for more than is known here. */
  retried(serial: number): void {
    this.#retried.add(serial);
  }

  deleted(serial: number, atMs: number): void {
    for (const room of this.#rooms.values()) {
      for (const key of room.running) if (key.startsWith(`${serial}/`)) leave(room, key, atMs);
    }
  }

  guestEnded(event: GuestEnded): void {
    if (event.outcome !== undefined) this.#guestsEnded.set(attemptKey(event.id), event);
  }

  moved(event: RunMoved): void {
    const key = `${event.serial}/${event.run}`;
    const made = this.#made.get(event.serial);
    if (made === undefined) return;
    if (event.to === "scheduled") this.#scheduledAtMs.set(key, event.atMs);
    if (event.to === "ready") {
      if (event.from !== "running" && !this.#retried.has(event.serial)) this.#checkReady(event, made, key);
      this.#waiting.set(key, this.#waitingOf(event, made, key));
    }
    const room = event.worker === undefined ? undefined : this.#rooms.get(event.worker);
    if (event.to === "running") {
      const waiting = this.#waiting.get(key);
      if (waiting !== undefined) this.#checkRunning(event, made.spec, waiting);
      this.#waiting.delete(key);
      if (room !== undefined) enter(room, key);
    }
    if (event.from !== "running") return;
    this.#endedAtMs.set(event.serial, event.atMs);
    if (room === undefined) return;
    this.#checkSettled(event, made.spec, room);
    leave(room, key, event.atMs);
    this.#judge(event, room, key);
  }

  /** What the end of an attempt says of its worker, at worst. */
  #judge({ attemptState, atMs }: RunMoved, room: WorkerRoom, key: string): void {
    const suspects = this.#suspects.get(key) ?? [];
    if (attemptState === "lost") {
      room.lostInARow += 1;
      if (room.lostInARow >= WORKER_FAILURES_BEFORE_REST) room.restsUntilMs = atMs + WORKER_REST_MAX_MS;
    } else {
      room.lostInARow = 0;
      for (const suspect of suspects) if (suspect !== room) suspect.faults += 1;
    }
    if (attemptState === "lost" || attemptState === "failed") this.#suspects.set(key, [...suspects, room]);
  }

  #waitingOf(event: RunMoved, { spec }: TaskMade, key: string): Waiting {
    const { atMs, from, attempt, attemptState, worker } = event;
    const isAgain = from === "running";
    if (!isAgain) this.#lostOn.delete(key);
    if (isAgain && attemptState === "lost" && worker !== undefined) {
      this.#lostOn.set(key, new Set([...(this.#lostOn.get(key) ?? []), worker]));
    }
    const backoffMs = isAgain && attemptState === "failed" ? spec.backoffMs * 2 ** spec.retries : 0;
    // Beside an attempt that was cancelled, and may run still, nothing begins.
    const leaseMs = from === "cancelled" ? LEASE_MS : 0;
    return {
      sinceMs: atMs,
      backsOffUntilMs: atMs + Math.max(backoffMs, leaseMs),
      lostOn: this.#lostOn.get(key) ?? new Set(),
      // Attempts count from 1, and the first wait is that before the second.
      untriedMs: UNTRIED_WAIT_FIRST_MS * 2 ** Math.max(0, attempt - 1),
      why: !isAgain ? "due" : attemptState === "lost" ? "lost" : "failed",
    };
  }

  #checkReady(event: RunMoved, { atMs: madeAtMs, spec, after }: TaskMade, key: string): void {
    const dueAtMs = event.atMs - (event.wallMs - event.dueAt);
    const othersEndedAtMs = after.map((serial) => this.#endedAtMs.get(serial) ?? Infinity);
    const ownEndedAtMs = spec.overlap === "forbid" ? (this.#endedAtMs.get(event.serial) ?? 0) : 0;
    const scheduledAtMs = this.#scheduledAtMs.get(key) ?? 0;
    const sinceMs = Math.max(dueAtMs, madeAtMs, scheduledAtMs, ownEndedAtMs, ...othersEndedAtMs);
    const lateMs = event.atMs - sinceMs;
    if (!this.#weather.wasFairAtGateway(sinceMs, event.atMs)) return;
    this.#tally.saw("G2: what is due is ready soon");
    if (lateMs <= READY_LATE_MS_MAX) return;
    this.found.push(`G2: ${event.task} run ${event.run} was made ready ${Math.round(lateMs)} ms late`);
  }

  #checkRunning({ task, run, atMs }: RunMoved, { require }: TaskSpec, waiting: Waiting): void {
    const capable = [...this.#rooms.values()].filter(({ labels }) =>
      Object.entries(require).every(([label, value]) => labels[label] === value),
    );
    for (const { peer, isSlow, freeSinceMs, restsUntilMs, faults } of capable) {
      if (faults >= QUARANTINE_FAULTS_MIN) continue;
      // The wait for a worker that has not lost it begins when one that has could take it.
      const untriedMs = waiting.lostOn.has(peer) && capable.length > 1 ? waiting.untriedMs : 0;
      const sinceMs = Math.max(waiting.sinceMs, waiting.backsOffUntilMs, freeSinceMs, restsUntilMs) + untriedMs;
      if (isSlow || sinceMs > atMs || !this.#weather.wasFairFor(peer, sinceMs, atMs)) continue;
      this.#tally.saw(LOOKED_AT[waiting.why]);
      if (atMs - sinceMs <= RUNNING_LATE_MS_MAX) continue;
      const waitedMs = Math.round(atMs - sinceMs);
      this.found.push(
        `G2: ${task} run ${run}${SAID_OF[waiting.why]} waited ${waitedMs} ms while worker ${peer.slice(8, 9)} had room`,
      );
    }
  }

  #checkSettled(event: RunMoved, spec: TaskSpec, room: WorkerRoom): void {
    const { task, serial, run, attempt, atMs } = event;
    const id = { task, serial, run, attempt };
    const ended = this.#guestsEnded.get(attemptKey(id));
    if (ended === undefined || event.to === "cancelled" || room.isSlow) return;
    if (!this.#weather.wasFairFor(room.peer, ended.atMs, atMs)) return;
    this.#tally.saw("G2: what has ended is settled soon");
    const { writes, outputBytes } = guestPlan(spec.args, id);
    const files = spec.outputs.length > 0 ? guestFiles(spec.args, id) : [];
    const pieces = files.reduce((sum, { bytes }) => sum + 3 + Math.ceil(bytes / WRITE_BYTES), 0);
    const trips = 2 + writes.length + Math.ceil(outputBytes / WRITE_BYTES) + pieces;
    const lateMs = atMs - ended.atMs - trips * (2 * room.delayMsMax + WRITE_MS_MAX);
    if (lateMs <= SETTLED_LATE_MS_MAX) return;
    this.found.push(`G2: ${task} run ${run} was settled ${Math.round(lateMs)} ms later than its end takes to be told`);
  }
}

function enter(room: WorkerRoom, key: string): void {
  room.running.add(key);
  if (room.running.size >= room.slots) room.freeSinceMs = Infinity;
}

function leave(room: WorkerRoom, key: string, atMs: number): void {
  const wasFull = room.running.size >= room.slots;
  if (room.running.delete(key) && wasFull && room.running.size < room.slots) room.freeSinceMs = atMs;
}
