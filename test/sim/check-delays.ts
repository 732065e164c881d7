/**
 * G2: what is due is ready soon, and what is ready runs soon where a worker has room for it. A wake-up that is lost shows
 * here; at the next one all goes on as if nothing had been.
 */
import type { PeerId } from "../../src/base/ids.ts";
import type { TaskSpec } from "../../src/model/task.ts";
import type { DurableEvent, History, KnownWorker } from "./history.ts";
import { Weather } from "./weather.ts";

type RunMoved = Extract<DurableEvent, { kind: "run-moved" }> & { readonly atMs: number };
type TaskMade = Extract<DurableEvent, { kind: "task-made" }> & { readonly atMs: number };

/** From a due time, or what a run has to wait for besides, until it is ready: a timer, and commits that stall. */
const READY_LATE_MS_MAX = 1_500;
/** Until it runs where there is room: an offer on its way over a link with delays, a reading and a commit that stall. */
const RUNNING_LATE_MS_MAX = 2_500;
/** Until all workers have found the gateway, at the beginning. */
const CONNECTED_AFTER_MS = 5_000;

export function checkDelays(history: History): readonly string[] {
  const delays = new Delays(history);
  for (const event of history.events) {
    if (event.kind === "task-made") delays.made(event);
    else if (event.kind === "task-retried") delays.retried(event.serial);
    else if (event.kind === "task-deleted") delays.deleted(event.serial, event.atMs);
    else if (event.kind === "run-moved") delays.moved(event);
  }
  return delays.found;
}

/** What is known of a worker's slots from what became durable. */
interface WorkerRoom extends KnownWorker {
  readonly running: Set<string>;
  /** Since when it has had a free slot. */
  freeSinceMs: number;
  /** All that it was given came to a good end. One that did not may be left alone for a while. */
  isTrusted: boolean;
}

class Delays {
  readonly found: string[] = [];
  readonly #weather: Weather;
  readonly #rooms: ReadonlyMap<PeerId, WorkerRoom>;
  readonly #made = new Map<number, TaskMade>();
  readonly #retried = new Set<number>();
  /** When something became of one of the task's runs that other runs may wait for: by serial, and by serial and run. */
  readonly #endedAtMs = new Map<number, number>();
  readonly #scheduledAtMs = new Map<string, number>();
  readonly #readyAtMs = new Map<string, number>();

  constructor(history: History) {
    this.#weather = new Weather(history);
    this.#rooms = new Map(
      history.workers.map((worker) => [
        worker.peer,
        { ...worker, running: new Set<string>(), freeSinceMs: CONNECTED_AFTER_MS, isTrusted: true },
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

  moved(event: RunMoved): void {
    const key = `${event.serial}/${event.run}`;
    const made = this.#made.get(event.serial);
    if (made === undefined) return;
    if (event.to === "scheduled") this.#scheduledAtMs.set(key, event.atMs);
    if (event.to === "ready" && event.from !== "running") {
      this.#readyAtMs.set(key, event.atMs);
      if (!this.#retried.has(event.serial)) this.#checkReady(event, made, this.#scheduledAtMs.get(key) ?? 0);
    }
    const room = event.worker === undefined ? undefined : this.#rooms.get(event.worker);
    if (event.to === "running") {
      if (event.attempt === 1) this.#checkRunning(event, made.spec, this.#readyAtMs.get(key) ?? event.atMs);
      if (room !== undefined) enter(room, key);
    }
    if (event.from !== "running") return;
    this.#endedAtMs.set(event.serial, event.atMs);
    if (room === undefined) return;
    leave(room, key, event.atMs);
    if (event.attemptState === "lost" || event.attemptState === "failed") room.isTrusted = false;
  }

  #checkReady(event: RunMoved, { atMs: madeAtMs, spec, after }: TaskMade, scheduledAtMs: number): void {
    const dueAtMs = event.atMs - (event.wallMs - event.dueAt);
    const othersEndedAtMs = after.map((serial) => this.#endedAtMs.get(serial) ?? Infinity);
    const ownEndedAtMs = spec.overlap === "forbid" ? (this.#endedAtMs.get(event.serial) ?? 0) : 0;
    const sinceMs = Math.max(dueAtMs, madeAtMs, scheduledAtMs, ownEndedAtMs, ...othersEndedAtMs);
    const lateMs = event.atMs - sinceMs;
    if (lateMs <= READY_LATE_MS_MAX || !this.#weather.wasFair(sinceMs, event.atMs)) return;
    this.found.push(`G2: ${event.task} run ${event.run} was made ready ${Math.round(lateMs)} ms late`);
  }

  #checkRunning({ task, run, atMs }: RunMoved, { require }: TaskSpec, readyAtMs: number): void {
    for (const { peer, labels, isSlow, isTrusted, freeSinceMs } of this.#rooms.values()) {
      const isCapable = Object.entries(require).every(([label, value]) => labels[label] === value);
      const sinceMs = Math.max(readyAtMs, freeSinceMs);
      if (isSlow || !isTrusted || !isCapable || atMs - sinceMs <= RUNNING_LATE_MS_MAX) continue;
      if (!this.#weather.wasFair(sinceMs, atMs)) continue;
      const waitedMs = Math.round(atMs - sinceMs);
      this.found.push(`G2: ${task} run ${run} waited ${waitedMs} ms while worker ${peer.slice(8, 9)} had room`);
    }
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
