/**
 * Keeps the queue of unfinished tasks within its limits, in number and in bytes, however many submit at once; and tells
 * whoever finds it full when to come back.
 *
 * That time is an estimate from how fast tasks have ended of late: until there is room for what was asked, behind those
 * that were turned away before. So it spreads who comes back, and grows while more come than the cluster gets done.
 */
import type { Clock } from "../base/clock.ts";
import { overloaded } from "../base/errors.ts";
import { QUEUED_BYTES_MAX, QUEUED_TASKS_MAX, QUEUE_RETRY_MS_MAX, QUEUE_RETRY_MS_MIN } from "../base/limits.ts";
import type { TaskSpec } from "../model/task.ts";
import type { QueueSize, Store, SubmitterFull } from "../store/store.ts";
import type { EventHub } from "./events.ts";

export interface QueueGateInit {
  readonly store: Pick<Store, "measureQueue">;
  readonly events: EventHub;
  readonly clock: Clock;
  readonly limits?: Partial<QueueSize> | undefined;
}

const NOTHING: QueueSize = { tasks: 0, bytes: 0 };

export class QueueGate implements Disposable {
  readonly #init: QueueGateInit;
  readonly #limits: QueueSize;
  readonly #subscription: Disposable;
  readonly #ended: RecentCount;
  readonly #turnedAway: RecentCount;
  /** Let in, and not in the store yet. */
  #underWay = NOTHING;

  constructor(init: QueueGateInit) {
    this.#init = init;
    this.#limits = { tasks: QUEUED_TASKS_MAX, bytes: QUEUED_BYTES_MAX, ...init.limits };
    this.#ended = new RecentCount(init.clock);
    this.#turnedAway = new RecentCount(init.clock);
    this.#subscription = init.events.subscribe((event) => {
      if (event.type === "task" && ENDS.has(event.state)) this.ended();
    });
  }

  /**
   * Lets in what is to be stored; the caller disposes this once it is. Rejects with `overloaded`, code `queue-full`, and
   * when to come back.
   */
  async admit(wanted: QueueSize): Promise<Disposable> {
    this.#underWay = sum(this.#underWay, wanted);
    const leave = (): void => {
      this.#underWay = sum(this.#underWay, { tasks: -wanted.tasks, bytes: -wanted.bytes });
    };
    try {
      const stored = await this.#init.store.measureQueue();
      const all = sum(stored, this.#underWay);
      if (all.tasks > this.#limits.tasks || all.bytes > this.#limits.bytes) throw this.#full(wanted, all);
    } catch (thrown) {
      leave();
      throw thrown;
    }
    return { [Symbol.dispose]: leave };
  }

  /** A task has left the queue. Of those that finish it is known; this is for one that was deleted before it had. */
  ended(): void {
    this.#ended.add(1);
  }

  [Symbol.dispose](): void {
    this.#subscription[Symbol.dispose]();
  }

  #full(wanted: QueueSize, all: QueueSize): Error {
    const { tasks, bytes } = this.#limits;
    const bytesPerTask = Math.max(1, all.bytes) / Math.max(1, all.tasks);
    const missing = Math.max(all.tasks - tasks, (all.bytes - bytes) / bytesPerTask) + this.#turnedAway.count;
    this.#turnedAway.add(wanted.tasks);
    const what =
      all.tasks > tasks
        ? `${tasks} tasks are unfinished`
        : `${bytes} bytes of arguments and input wait with unfinished tasks`;
    return overloaded(
      `${what}, which is as much as this gateway takes: wait until some are done, then send this again`,
      {
        code: "queue-full",
        retryAfterMs: this.#waitMs(missing),
      },
    );
  }

  /** What a submitter is told who has as many unfinished tasks as its token allows, and wants more. */
  submitterFull({ unfinished }: SubmitterFull, wanted: number): Error {
    const more = wanted === 1 ? "another" : `${wanted} more`;
    return overloaded(
      `${unfinished} tasks under this token's limit are unfinished, and there may not be ${more}: wait until some are done, or cancel some`,
      { code: "rate-limited", retryAfterMs: this.#waitMs(wanted) },
    );
  }

  /** Until about so many tasks have ended. */
  #waitMs(tasks: number): number {
    return Math.min(QUEUE_RETRY_MS_MAX, Math.max(QUEUE_RETRY_MS_MIN, tasks / this.#ended.perMs));
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

/** How much there was of something of late: what was counted fades, to a third within RECENT_MS. */
class RecentCount {
  readonly #clock: Clock;
  #count = 0;
  #atMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get count(): number {
    const nowMs = this.#clock.monotonicMs();
    this.#count *= Math.exp((this.#atMs - nowMs) / RECENT_MS);
    this.#atMs = nowMs;
    return this.#count;
  }

  /** 0 where nothing was counted. */
  get perMs(): number {
    return this.count / RECENT_MS;
  }

  add(count: number): void {
    this.#count = this.count + count;
  }
}
