/**
 * The latest events, numbered, so that a reader of the event stream that was away can go on where it was. The numbers
 * are of this process: an id of another one, or one that is too old, is answered by a `reset`.
 */
import type { EventJson } from "../../api/event-json.ts";
import { unlessAborted } from "../../base/abort.ts";
import { EVENT_HISTORY_MAX } from "../../base/limits.ts";
import type { ClusterEvent, EventHub } from "../events.ts";

export interface NumberedEvent {
  readonly id: string;
  readonly event: EventJson;
}

export class EventHistory implements Disposable {
  /** Tells the ids of this process from those of another. */
  readonly #epoch: string;
  readonly #subscription: Disposable;
  readonly #listeners = new Set<(event: NumberedEvent) => void>();
  #latest: EventJson[] = [];
  /** Number of the first event in `#latest`. */
  #first = 1;

  constructor(events: EventHub, epoch: string) {
    this.#epoch = epoch;
    this.#subscription = events.subscribe((event) => this.#take(event));
  }

  /** Of the event that was last: where a reader that begins now would resume. */
  get lastId(): string {
    return this.#idOf(this.#first + this.#latest.length - 1);
  }

  /**
   * Calls `listener` with each event from now on, after those since `lastId` if it is given. The caller disposes it.
   * Listeners must not throw, and must not wait.
   */
  subscribe(lastId: string | undefined, listener: (event: NumberedEvent) => void): Disposable {
    if (lastId !== undefined) for (const event of this.#since(lastId)) listener(event);
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** The events after `lastId`, or from now on: at least one, which is waited for. Rejects with the signal's reason. */
  async next(
    lastId: string | undefined,
    { signal }: { readonly signal: AbortSignal },
  ): Promise<readonly NumberedEvent[]> {
    signal.throwIfAborted();
    const known = lastId === undefined ? [] : this.#since(lastId);
    if (known.length > 0) return known;
    const first = Promise.withResolvers<NumberedEvent>();
    using _subscription = this.subscribe(undefined, first.resolve);
    return [await unlessAborted(first.promise, signal)];
  }

  [Symbol.dispose](): void {
    this.#subscription[Symbol.dispose]();
  }

  #take(event: ClusterEvent): void {
    // Output is told by the logs of its run; here it would drown everything else.
    if (event.type === "output") return;
    this.#latest.push(event);
    if (this.#latest.length > 2 * EVENT_HISTORY_MAX) {
      this.#first += this.#latest.length - EVENT_HISTORY_MAX;
      this.#latest = this.#latest.slice(-EVENT_HISTORY_MAX);
    }
    const numbered = { id: this.#idOf(this.#first + this.#latest.length - 1), event };
    for (const listener of this.#listeners) listener(numbered);
  }

  #since(lastId: string): readonly NumberedEvent[] {
    const [epoch, number] = lastId.split(":");
    const next = Number(number) + 1;
    const end = this.#first + this.#latest.length;
    if (epoch !== this.#epoch || !(next >= this.#first && next <= end)) {
      return [{ id: this.#idOf(end - 1), event: { type: "reset" } }];
    }
    return this.#latest.slice(next - this.#first).map((event, index) => ({ id: this.#idOf(next + index), event }));
  }

  #idOf(number: number): string {
    return `${this.#epoch}:${number}`;
  }
}
