/** G1: what was accepted survives, once, and whole. G2: it comes to its end. */
import { isDeepStrictEqual } from "node:util";
import type { TaskId } from "../../src/base/ids.ts";
import type { TaskSpec } from "../../src/model/task.ts";
import { isFinished } from "../../src/model/task.ts";
import { type TaskRow, stateOf } from "../support/memory-store-state.ts";
import type { DurableEvent, History, HistoryEvent } from "./history.ts";
import type { Tally } from "./tally.ts";

type TaskMade = Extract<DurableEvent, { kind: "task-made" }>;

export function checkAccepted(history: History, tally: Tally): readonly string[] {
  const ledger = new Ledger(tally, history.retention?.retainMs);
  for (const event of history.events) ledger.see(event);
  return [...ledger.breaches, ...ledger.checkEnd(history.tasks)];
}

/** What was asked for, what was answered, and what was durable when. */
class Ledger {
  readonly breaches: string[] = [];
  readonly #asked: TaskSpec[] = [];
  readonly #batches = new Map<number, readonly TaskSpec[]>();
  readonly #deletions = new Set<string>();
  readonly #retries = new Set<string>();
  readonly #retried = new Set<string>();
  /** Ids that were asked for with a key, and the tasks that were made of them. */
  readonly #idsByKey = new Map<string, Set<string>>();
  readonly #serialsByKey = new Map<string, Set<number>>();
  readonly #made = new Map<number, TaskMade>();
  readonly #alive = new Map<number, TaskMade>();
  /** Those that are, and those that have been. */
  readonly #cancelled = new Set<number>();
  readonly #wasCancelled = new Set<number>();
  readonly #retainMs: number;
  readonly #tally: Tally;
  #lastSerial = 0;

  constructor(tally: Tally, retainMs = Infinity) {
    this.#tally = tally;
    this.#retainMs = retainMs;
  }

  see(event: HistoryEvent): void {
    switch (event.kind) {
      case "submit-asked":
        this.#asked.push(event.spec);
        if (event.key !== undefined) entry(this.#idsByKey, event.key).add(event.spec.id);
        return;
      case "batch-asked":
        this.#asked.push(...event.specs);
        this.#batches.set(event.batch, event.specs);
        return;
      case "delete-asked":
        this.#deletions.add(event.task);
        return;
      case "task-made":
        return this.#onMade(event);
      case "retry-asked":
        this.#retries.add(event.task);
        return;
      case "task-cancelled":
        this.#cancelled.add(event.serial);
        this.#wasCancelled.add(event.serial);
        return;
      case "task-retried":
        if (!this.#retries.has(event.task)) this.#say(`${event.task} was over, and is not, and nobody asked for it`);
        this.#retried.add(event.task);
        this.#cancelled.delete(event.serial);
        return;
      case "task-deleted": {
        const isOld = event.ageMs !== undefined && event.ageMs >= this.#retainMs;
        this.#tally.saw(isOld ? "G1: what is forgotten has its age" : "G1: nothing is gone that nobody deleted");
        if (!isOld && !this.#deletions.has(event.task)) this.#say(`${event.task} is gone and nobody asked for it`);
        this.#alive.delete(event.serial);
        return;
      }
      case "submit-answered":
        return this.#onSubmitAnswered(event);
      case "retry-answered":
        if (event.answer === "retried") this.#tally.saw("G1: what is said to run again does");
        if (event.answer === "retried" && !this.#retried.has(event.task)) {
          this.#say(`${event.task} was said to run again and does not`);
        }
        return;
      case "batch-answered":
        return this.#onBatchAnswered(event);
      case "cancel-answered":
        return this.#onCancelAnswered(event);
      default:
    }
  }

  checkEnd(tasks: readonly TaskRow[]): readonly string[] {
    const bySerial = new Map(tasks.map((task) => [task.serial, task]));
    return [...this.#alive.values()].flatMap(({ serial, spec }) => {
      const task = bySerial.get(serial);
      if (task === undefined) return [`G1: ${spec.id} was durable and is gone`];
      const found: string[] = [];
      const state = stateOf(task);
      this.#tally.saw("G1: what was accepted is there at the end");
      if (!isDeepStrictEqual(task.spec, spec)) found.push(`G1: ${spec.id} is not any more what was submitted`);
      if (!isFinished(state)) found.push(`G2: ${spec.id} is still ${state} at the end`);
      if (this.#cancelled.has(serial) && state !== "cancelled") {
        found.push(`G1: ${spec.id} was cancelled and is ${state}`);
      }
      return found;
    });
  }

  #onMade(event: TaskMade): void {
    const { serial, task, spec } = event;
    if (serial <= this.#lastSerial) this.#say(`serial ${serial} was given twice`);
    this.#lastSerial = serial;
    if (!this.#asked.some((asked) => isDeepStrictEqual(asked, spec))) this.#say(`${task} is not what was submitted`);
    for (const [key, ids] of this.#idsByKey) {
      if (!ids.has(task)) continue;
      const serials = entry(this.#serialsByKey, key).add(serial);
      if (serials.size > 1) this.#say(`${key} has made ${serials.size} tasks`);
    }
    this.#made.set(serial, event);
    this.#alive.set(serial, event);
  }

  #onSubmitAnswered({ task, serial, key, answer }: Extract<HistoryEvent, { kind: "submit-answered" }>): void {
    if (serial === undefined) return;
    this.#tally.saw(
      answer === "repeated" ? "G1: a submission is answered as it was before" : "G1: an acceptance is durable",
    );
    if (!this.#made.has(serial)) this.#say(`${task} was accepted before it was durable`);
    if (key !== undefined && this.#serialsByKey.get(key)?.has(serial) !== true) {
      this.#say(`${key} was answered with another's task`);
    }
  }

  /** All of its tasks were made at once, or none. */
  #onBatchAnswered({ batch, answer }: Extract<HistoryEvent, { kind: "batch-answered" }>): void {
    const specs = this.#batches.get(batch) ?? [];
    const made = [...this.#made.values()].filter(({ spec }) => specs.some((each) => isDeepStrictEqual(each, spec)));
    const transactions = new Set(made.map(({ transaction }) => transaction));
    const isWhole = made.length === specs.length && transactions.size === 1;
    if (answer === "created" && specs.length > 1) this.#tally.saw("G1: a batch is made whole");
    if (answer === "created" && !isWhole) this.#say(`batch ${batch} has made ${made.length} of ${specs.length} tasks`);
    if (answer === "refused" && made.length > 0) this.#say(`batch ${batch} was refused and has made tasks`);
  }

  #onCancelAnswered({ task, answer }: { readonly task: TaskId; readonly answer: string }): void {
    const isDone = [...this.#wasCancelled].some((serial) => this.#made.get(serial)?.task === task);
    if (answer === "cancelled") this.#tally.saw("G1: what is said to be cancelled is");
    if (answer === "cancelled" && !isDone) this.#say(`${task} was said to be cancelled and was not`);
  }

  #say(what: string): void {
    this.breaches.push(`G1: ${what}`);
  }
}

function entry<T>(map: Map<string, Set<T>>, key: string): Set<T> {
  const found = map.get(key) ?? new Set<T>();
  map.set(key, found);
  return found;
}
