/**
 * The attempts under way that this gateway has in sight: it waits for their outcomes, takes their output, and carries
 * cancellations to them.
 *
 *     begun, adopted ──outcome──▶ settled in the store ──▶ told ──▶ acknowledged to the worker
 *           └──connection lost──▶ out of sight: the store still holds it as running, until its worker resumes it,
 *                                 or it is given up as lost (`giveUp`)
 *
 * The store decides: whatever arrives here late is refused there. Commit, then tell.
 */
import { Backoff } from "../base/backoff.ts";
import { type Clock, sleep } from "../base/clock.ts";
import { failed, toClusterError } from "../base/errors.ts";
import type { PeerId } from "../base/ids.ts";
import type { Log } from "../base/log.ts";
import type { Random } from "../base/random.ts";
import { serveOutput } from "../caps/output.ts";
import type { RunClient } from "../caps/run.ts";
import { type AttemptEnd, NO_USAGE } from "../model/outcome.ts";
import { type AttemptId, attemptKey } from "../model/run.ts";
import type { Capability } from "../rpc/capability.ts";
import type { Store } from "../store/store.ts";
import type { EventHub } from "./events.ts";

export interface AttemptsInit {
  readonly store: Store;
  readonly events: EventHub;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** After a settlement: a run may have become ready, or will be due at this time. */
  readonly onReady: (nextRunAt: number | undefined) => void;
}

/** Whether the connection through which an attempt was begun or adopted is still its worker's. */
export interface AttemptSession {
  readonly worker: PeerId;
  readonly isCurrent: () => boolean;
}

interface Sighted {
  readonly id: AttemptId;
  readonly worker: PeerId;
  readonly run: RunClient;
  readonly unwatch: AbortController;
}

export class Attempts {
  readonly #init: AttemptsInit;
  readonly #sighted = new Map<string, Sighted>();
  readonly #perWorker = new Map<PeerId, number>();
  /** Attempts being leased, and whether they were cancelled meanwhile. */
  readonly #expected = new Map<string, { isCancelled: boolean }>();
  readonly #closed = new AbortController();
  #changed = Promise.withResolvers<void>();

  constructor(init: AttemptsInit) {
    this.#init = init;
  }

  /** Attempts in sight on this worker. */
  countOn(worker: PeerId): number {
    return this.#perWorker.get(worker) ?? 0;
  }

  /** Resolves when none is in sight. */
  async idle(): Promise<void> {
    while (this.#sighted.size > 0) await this.#changed.promise;
  }

  /** An attempt is about to be leased and watched: a cancellation in between is kept for it. The caller disposes it. */
  expect(id: AttemptId): Disposable {
    const key = attemptKey(id);
    this.#expected.set(key, { isCancelled: false });
    return { [Symbol.dispose]: () => void this.#expected.delete(key) };
  }

  /** Watches an attempt to its end. Takes the run over. An earlier sighting of the same attempt is replaced. */
  watch(id: AttemptId, run: RunClient, session: AttemptSession): void {
    const key = attemptKey(id);
    const earlier = this.#sighted.get(key);
    if (earlier !== undefined) this.#loseSight(key, earlier);
    const sighted: Sighted = { id, worker: session.worker, run, unwatch: new AbortController() };
    this.#sighted.set(key, sighted);
    this.#perWorker.set(session.worker, this.countOn(session.worker) + 1);
    void this.#follow(key, sighted, session);
    if (this.#expected.get(key)?.isCancelled === true) this.cancel([id]);
  }

  /** Where the output of an attempt goes. The capability becomes the caller's. */
  output(id: AttemptId): Capability {
    const { store, events } = this.#init;
    return serveOutput({
      write: async (offset, stream, bytes) => {
        const result = await store.appendOutput(id, offset, stream, bytes);
        switch (result.kind) {
          case "appended":
            events.publish({
              type: "output",
              task: id.task,
              run: id.run,
              outputBytes: result.runOffset + result.durableOffset,
            });
            return result.durableOffset;
          case "gap":
            throw failed(`output before offset ${offset} is missing; send from ${result.durableOffset}`, {
              code: "output-gap",
            });
          case "stale":
            throw failed("this attempt is over", { code: "stale-attempt" });
        }
      },
    });
  }

  /** Tells workers to end these guests; what they answer is refused by the store. Nothing waits. */
  cancel(ids: readonly AttemptId[]): void {
    for (const id of ids) {
      const expected = this.#expected.get(attemptKey(id));
      if (expected !== undefined) expected.isCancelled = true;
      const sighted = this.#sighted.get(attemptKey(id));
      sighted?.run.cancel().catch((error: unknown) => {
        this.#init.log.debug("a cancellation did not reach its worker; it is told when it resumes", { ...id, error });
      });
    }
  }

  /** Gives an attempt up as lost: its run is ready again, or has failed if this keeps happening. */
  async giveUp(id: AttemptId, reason: string, { isBlameless }: { isBlameless: boolean }): Promise<void> {
    const end: AttemptEnd = {
      outcome: { kind: "lost", reason },
      usage: NO_USAGE,
      outputBytes: 0,
      outputTruncated: false,
    };
    await this.#settle(id, end, isBlameless);
    const sighted = this.#sighted.get(attemptKey(id));
    if (sighted !== undefined) this.#loseSight(attemptKey(id), sighted);
  }

  /** Watches no more. What is under way stays so in the store. */
  close(): void {
    this.#closed.abort(failed("the gateway is closing"));
    for (const [key, sighted] of this.#sighted) this.#loseSight(key, sighted);
  }

  async #follow(key: string, sighted: Sighted, session: AttemptSession): Promise<void> {
    const signal = sighted.unwatch.signal;
    let end: AttemptEnd;
    let isBlameless = false;
    try {
      end = await sighted.run.outcome({ signal });
    } catch (thrown) {
      if (signal.aborted) return;
      const error = toClusterError(thrown);
      if (error.type === "disconnected" && session.isCurrent()) {
        // The session is about to end, and what comes after it decides.
        this.#loseSight(key, sighted);
        return;
      }
      isBlameless = error.type === "overloaded" || error.type === "disconnected";
      const reason = `the worker did not carry it out: ${error.message}`;
      end = { outcome: { kind: "lost", reason }, usage: NO_USAGE, outputBytes: 0, outputTruncated: false };
    }
    await this.#settle(sighted.id, end, isBlameless);
    if (signal.aborted) return;
    await sighted.run.acknowledge().catch(() => {
      // The worker asks again when it resumes, and is told to stop.
    });
    this.#loseSight(key, sighted);
  }

  /** Commits an end and tells of it. Keeps trying while the store is out of order. */
  async #settle(id: AttemptId, end: AttemptEnd, isBlameless: boolean): Promise<void> {
    const { store, clock, random, log, events, onReady } = this.#init;
    const backoff = new Backoff({ firstMs: 50, maxMs: 5_000, random });
    for (;;) {
      try {
        const result = await store.settle(id, end, { now: clock.now(), backoffJitter: random.next(), isBlameless });
        if (result.kind === "stale") {
          log.debug("a late result was refused", { ...id, outcome: end.outcome.kind });
          return;
        }
        const { run, task } = result;
        if (end.outcome.kind === "lost") log.warn("an attempt was lost", { ...id, reason: end.outcome.reason });
        events.publish({ type: "run", task: id.task, run: id.run, attempt: id.attempt, state: run.state });
        events.publish({ type: "task", task: id.task, state: task.state });
        if (task.counts.ready > 0 || task.nextRunAt !== undefined) onReady(task.nextRunAt);
        return;
      } catch (error) {
        log.error("an outcome could not be stored; trying again", { ...id, error });
        await sleep(clock, backoff.nextMs(), { signal: this.#closed.signal }).catch(() => {});
        if (this.#closed.signal.aborted) return;
      }
    }
  }

  #loseSight(key: string, sighted: Sighted): void {
    if (this.#sighted.get(key) !== sighted) return;
    this.#sighted.delete(key);
    const left = this.countOn(sighted.worker) - 1;
    if (left > 0) this.#perWorker.set(sighted.worker, left);
    else this.#perWorker.delete(sighted.worker);
    sighted.unwatch.abort(failed("no longer watched"));
    sighted.run[Symbol.dispose]();
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }
}
