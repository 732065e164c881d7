/**
 * Keeps the queue of unfinished tasks within its limits, in number and in bytes, however many submit at once; and tells
 * whoever finds it full when to come back.
 *
 * Where runs are ready or under way, that time is an estimate: until there is room for what was asked, by how fast tasks
 * have ended since the queue was last seen empty, and of late above all. Who was turned away before is not counted: most of
 * them are the same client again. Where all that there is waits for its time, nothing ends before the first of it is due.
 */
import type { Clock } from "../base/clock.ts";
import { failed, overloaded } from "../base/errors.ts";
import { QUEUED_BYTES_MAX, QUEUED_TASKS_MAX, QUEUE_RETRY_MS_MAX, QUEUE_RETRY_MS_MIN } from "../base/limits.ts";
import type { TaskSpec } from "../model/task.ts";
import type { QueueSize, Store, SubmitterFull } from "../store/store.ts";
import type { EventHub } from "./events.ts";

export interface QueueGateInit {
  readonly store: Pick<Store, "measureQueue" | "countOpenRuns" | "nextDueAt">;
  readonly events: EventHub;
  readonly clock: Clock;
  readonly limits?: Partial<QueueSize> | undefined;
}

const NOTHING: QueueSize = { tasks: 0, bytes: 0 };

export class QueueGate implements Disposable {
  readonly #init: QueueGateInit;
  readonly #limits: QueueSize;
  readonly #subscription: Disposable;
  readonly #ended: RecentRate;
  /** Let in, and not in the store yet. */
  #underWay = NOTHING;

  constructor(init: QueueGateInit) {
    this.#init = init;
    this.#limits = { tasks: QUEUED_TASKS_MAX, bytes: QUEUED_BYTES_MAX, ...init.limits };
    this.#ended = new RecentRate(init.clock);
    this.#subscription = init.events.subscribe((event) => {
      if (event.type === "task" && ENDS.has(event.state)) this.ended();
    });
  }

  /**
   * Lets in what is to be stored; the caller disposes this once it is. Rejects with `overloaded`, code `queue-full`, and
   * when to come back; with `failed`, code `too-large`, where even an empty queue has no room for it.
   */
  async admit(wanted: QueueSize): Promise<Disposable> {
    this.#requireFitting(wanted);
    this.#underWay = sum(this.#underWay, wanted);
    let isIn = true;
    const leave = (): void => {
      if (isIn) this.#underWay = sum(this.#underWay, { tasks: -wanted.tasks, bytes: -wanted.bytes });
      isIn = false;
    };
    try {
      const stored = await this.#init.store.measureQueue();
      if (stored.tasks === 0) this.#ended.restart();
      const all = sum(stored, this.#underWay);
      if (all.tasks <= this.#limits.tasks && all.bytes <= this.#limits.bytes) return { [Symbol.dispose]: leave };
      // It takes no room from others while it is looked up for how long it is to wait.
      leave();
      throw await this.#full(wanted, all);
    } catch (thrown) {
      leave();
      throw thrown;
    }
  }

  /** A task has left the queue. Of those that finish it is known; this is for one that was deleted before it had. */
  ended(): void {
    this.#ended.add();
  }

  [Symbol.dispose](): void {
    this.#subscription[Symbol.dispose]();
  }

  async #full(wanted: QueueSize, all: QueueSize): Promise<Error> {
    const { tasks, bytes } = this.#limits;
    const bytesPerTask = Math.max(1, all.bytes) / Math.max(1, all.tasks);
    const missing = Math.max(all.tasks - tasks, (all.bytes - bytes) / bytesPerTask);
    const what =
      all.tasks > tasks
        ? `${all.tasks - wanted.tasks} tasks are unfinished, and this gateway takes ${tasks}`
        : `${all.bytes - wanted.bytes} bytes of arguments and input wait with unfinished tasks, and this gateway takes ${bytes}`;
    return overloaded(
      `${what}: there is no room for ${wanted.tasks === 1 ? "another" : `${wanted.tasks} more`}; wait until some are done, then send this again`,
      {
        code: "queue-full",
        retryAfterMs: await this.#waitMs(missing),
      },
    );
  }

  #requireFitting(wanted: QueueSize): void {
    const { tasks, bytes } = this.#limits;
    if (wanted.tasks <= tasks && wanted.bytes <= bytes) return;
    const what =
      wanted.tasks > tasks
        ? `these are ${wanted.tasks} tasks, and this gateway takes ${tasks} unfinished ones in all`
        : `these have ${wanted.bytes} bytes of arguments and input, and this gateway takes ${bytes} of unfinished tasks in all`;
    throw failed(`${what}: send them in parts`, { code: "too-large" });
  }

  /** What a submitter is told who has as many unfinished tasks as its token allows, and wants more. */
  async submitterFull({ unfinished }: SubmitterFull, wanted: number): Promise<Error> {
    const more = wanted === 1 ? "another" : `${wanted} more`;
    return overloaded(
      `${unfinished} tasks under this token's limit are unfinished, and there may not be ${more}: wait until some are done, or cancel some`,
      { code: "rate-limited", retryAfterMs: await this.#waitMs(wanted) },
    );
  }

  /** Until about so many tasks have ended; within the limits of what is told. */
  async #waitMs(tasks: number): Promise<number> {
    const waitMs = (await this.#untilDueMs()) ?? tasks / this.#ended.perMs;
    return Math.min(QUEUE_RETRY_MS_MAX, Math.max(QUEUE_RETRY_MS_MIN, waitMs));
  }

  /** Until the first run is due, where none is ready or running. Undefined: some are, or it is not known. */
  async #untilDueMs(): Promise<number | undefined> {
    const { store, clock } = this.#init;
    try {
      const { ready, running } = await store.countOpenRuns();
      const dueAt = ready + running > 0 ? undefined : await store.nextDueAt();
      return dueAt === undefined ? undefined : dueAt - clock.now();
    } catch {
      // A store that has stopped answering says so to whoever comes next.
      return undefined;
    }
  }
}

const ENDS: ReadonlySet<string> = new Set(["succeeded", "failed", "cancelled"]);

/** About what a spec takes of the queue. */
export function queuedBytes(spec: Pick<TaskSpec, "stdin" | "args" | "env" | "description">): number {
  const texts = [spec.description, ...spec.args, ...Object.entries(spec.env).flat()];
  return spec.stdin.length + texts.reduce((bytes, text) => bytes + text.length, FIELDS_BYTES);
}

/** All other fields of a spec, as they are kept. */
const FIELDS_BYTES = 1_024;

function sum(one: QueueSize, other: QueueSize): QueueSize {
  return { tasks: one.tasks + other.tasks, bytes: one.bytes + other.bytes };
}

const RECENT_MS = 60_000;

/** How fast something happens of late: what was counted fades, to a third within RECENT_MS, and so does the time. */
class RecentRate {
  readonly #clock: Clock;
  #count = 0;
  #watchedMs = 0;
  #atMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#atMs = clock.monotonicMs();
  }

  /** Never 0: as if one more came just now. So nothing yet means as long again as it has been watched. */
  get perMs(): number {
    this.#fade();
    return (this.#count + 1) / Math.max(1, this.#watchedMs);
  }

  add(): void {
    this.#fade();
    this.#count++;
  }

  /** Nothing can have happened up to now. */
  restart(): void {
    this.#count = 0;
    this.#watchedMs = 0;
    this.#atMs = this.#clock.monotonicMs();
  }

  #fade(): void {
    const nowMs = this.#clock.monotonicMs();
    const kept = Math.exp((this.#atMs - nowMs) / RECENT_MS);
    this.#count *= kept;
    this.#watchedMs = RECENT_MS - (RECENT_MS - this.#watchedMs) * kept;
    this.#atMs = nowMs;
  }
}
