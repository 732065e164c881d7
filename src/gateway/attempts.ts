/**
 * The attempts under way that this gateway has in sight: it waits for their outcomes, takes their output, and carries
 * cancellations to them.
 *
 *     begun, adopted ──outcome──▶ settled in the store ──▶ told ──▶ acknowledged to the worker, out of sight
 *           ├──cancelled, given up──▶ over in the store; its worker is told to end the guest, out of sight
 *           └──session ended──▶ out of sight: the store still holds it as running, until its worker resumes it, or it is
 *                               given up as lost (`giveUp`)
 *
 * The store decides: whatever arrives here late is refused there. Commit, then tell. Nothing here waits for a worker
 * that does not answer: an attempt is in sight for as long as the store may take its outcome, and no longer.
 */
import { Backoff } from "../base/backoff.ts";
import { type Clock, sleep } from "../base/clock.ts";
import { type ClusterError, disconnected, failed, toClusterError } from "../base/errors.ts";
import type { PeerId } from "../base/ids.ts";
import { SETTLE_RETRY_FIRST_MS, SETTLE_RETRY_MAX_MS } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import type { Random } from "../base/random.ts";
import type { RunClient } from "../caps/run.ts";
import { type AttemptEnd, NO_USAGE, type Outcome } from "../model/outcome.ts";
import { type AttemptId, attemptKey } from "../model/run.ts";
import type { Capability } from "../rpc/capability.ts";
import { revocable } from "../rpc/revoke.ts";
import type { Store } from "../store/store.ts";
import { outputOf } from "./attempt-output.ts";
import type { BlobPins } from "./blob-pins.ts";
import { type EventHub, publishReady } from "./events.ts";
import type { WorkerRests } from "./worker-rests.ts";

export interface AttemptsInit {
  readonly store: Store;
  readonly pins: Pick<BlobPins, "retireFreed">;
  readonly events: EventHub;
  readonly rests: WorkerRests;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** After a settlement: a run may have become ready, or will be due at this time. */
  readonly onReady: (nextRunAt: number | undefined) => void;
}

/** The session through which an attempt was begun or adopted. */
export interface AttemptSession {
  readonly worker: PeerId;
  /** It is its worker's session still. */
  readonly isCurrent: () => boolean;
  /** Its worker has said that it stops. */
  readonly isDraining: () => boolean;
}

export interface WatchedAttempt {
  readonly id: AttemptId;
  readonly session: AttemptSession;
  /** Bytes of log that this attempt may write. */
  readonly outputBytesMax: number;
}

/** An attempt that is being leased: the store may cancel it before anybody watches it. */
export interface ExpectedAttempt extends Disposable {
  readonly isCancelled: boolean;
}

interface Sighted {
  readonly id: AttemptId;
  readonly session: AttemptSession;
  readonly run: RunClient;
  readonly unwatch: AbortController;
  readonly revokeOutput: (reason: ClusterError) => void;
}

export class Attempts {
  readonly #init: AttemptsInit;
  readonly #sighted = new Map<string, Sighted>();
  readonly #perWorker = new Map<PeerId, number>();
  readonly #expected = new Map<string, { isCancelled: boolean }>();
  readonly #closed = new AbortController();
  #changed = Promise.withResolvers<void>();

  constructor(init: AttemptsInit) {
    this.#init = init;
  }

  /** Attempts in sight. */
  get count(): number {
    return this.#sighted.size;
  }

  /** Attempts in sight on this worker. */
  countOn(worker: PeerId): number {
    return this.#perWorker.get(worker) ?? 0;
  }

  /** Resolves when none is in sight. */
  async idle(): Promise<void> {
    while (this.#sighted.size > 0) await this.#changed.promise;
  }

  /** An attempt is about to be leased: a cancellation is kept for whoever leases it, who disposes this. */
  expect(id: AttemptId): ExpectedAttempt {
    const key = attemptKey(id);
    const state = { isCancelled: false };
    this.#expected.set(key, state);
    return {
      get isCancelled() {
        return state.isCancelled;
      },
      [Symbol.dispose]: () => {
        if (this.#expected.get(key) === state) this.#expected.delete(key);
      },
    };
  }

  isExpected(id: AttemptId): boolean {
    return this.#expected.has(attemptKey(id));
  }

  /**
   * Watches an attempt to its end. `begin` borrows where its output goes, and gives the run, which is taken over. An
   * earlier sighting of the same attempt is replaced, and its output capability fails from then on.
   */
  watch({ id, session, outputBytesMax }: WatchedAttempt, begin: (output: Capability) => RunClient): void {
    const key = attemptKey(id);
    const earlier = this.#sighted.get(key);
    if (earlier !== undefined) this.#loseSight(key, earlier, disconnected("a newer session has this attempt"));
    const { store, events } = this.#init;
    using served = outputOf({ id, bytesMax: outputBytesMax, store, events });
    const { capability, revoke } = revocable(served);
    using output = capability;
    const sighted: Sighted = {
      id,
      session,
      run: begin(output),
      unwatch: new AbortController(),
      revokeOutput: revoke,
    };
    this.#sighted.set(key, sighted);
    this.#perWorker.set(session.worker, this.countOn(session.worker) + 1);
    void this.#follow(key, sighted);
  }

  /** These are cancelled in the store: tells their workers to end the guests. What they answer is not waited for. */
  cancel(ids: readonly AttemptId[]): void {
    for (const id of ids) {
      const key = attemptKey(id);
      const expected = this.#expected.get(key);
      if (expected !== undefined) expected.isCancelled = true;
      const sighted = this.#sighted.get(key);
      if (sighted !== undefined) this.#dismiss(key, sighted);
    }
  }

  /**
   * Gives an attempt up as lost: its run is ready again, or has failed if this keeps happening. Keeps trying while the
   * store is out of order, unless the attempt is adopted meanwhile. Never rejects.
   */
  async giveUp(
    { id, worker }: { readonly id: AttemptId; readonly worker: PeerId },
    reason: string,
    { isBlameless }: { readonly isBlameless: boolean },
  ): Promise<void> {
    const key = attemptKey(id);
    const before = this.#sighted.get(key);
    const isMeant = () => this.#sighted.get(key) === before;
    if (!isBlameless) this.#init.rests.failed(worker);
    await this.#settle(id, lostEnd(reason), isBlameless, isMeant);
    if (before !== undefined && isMeant()) this.#dismiss(key, before);
  }

  /** Watches no more. What is under way stays so in the store. */
  close(): void {
    const reason = disconnected("the gateway is closing");
    this.#closed.abort(reason);
    for (const [key, sighted] of this.#sighted) this.#loseSight(key, sighted, reason);
  }

  async #follow(key: string, sighted: Sighted): Promise<void> {
    const { id, session, run } = sighted;
    const { signal } = sighted.unwatch;
    let end: AttemptEnd;
    let isBlameless: boolean;
    try {
      end = await run.outcome({ signal });
      isBlameless = session.isDraining();
      if (end.outcome.kind === "cancelled") {
        // Nobody here has cancelled it, or the store refuses this: its worker gave it up, and somebody else is to try.
        end = { ...end, outcome: { kind: "lost", reason: `its worker ended it: ${end.outcome.reason}` } };
        isBlameless = true;
      }
    } catch (thrown) {
      if (signal.aborted) return;
      const error = toClusterError(thrown);
      if (error.type === "disconnected" && !session.isCurrent()) {
        // An attempt belongs to its worker, not to a call: it may be back in time, or is given up when it is not.
        this.#loseSight(key, sighted, error);
        return;
      }
      end = lostEnd(`the worker did not carry it out: ${error.message}`);
      isBlameless = error.type === "overloaded" || error.type === "disconnected" || session.isDraining();
    }
    if (end.outcome.kind === "lost") this.#init.rests.failed(session.worker);
    else this.#init.rests.worked(session.worker);
    await this.#settle(id, end, isBlameless, () => !signal.aborted);
    if (signal.aborted) return;
    // A worker that misses this asks again when it resumes or renews, and is told to stop.
    run.acknowledge().catch(() => {});
    this.#loseSight(key, sighted, attemptIsOver());
  }

  /** Commits an end and tells of it. Keeps trying while the store is out of order and the end is still `meant`. */
  async #settle(id: AttemptId, end: AttemptEnd, isBlameless: boolean, isMeant: () => boolean): Promise<void> {
    const { store, pins, clock, random, log, events, onReady } = this.#init;
    const backoff = new Backoff({ firstMs: SETTLE_RETRY_FIRST_MS, maxMs: SETTLE_RETRY_MAX_MS, random });
    while (!this.#closed.signal.aborted && isMeant()) {
      try {
        const result = await store.settle(id, end, { now: clock.now(), backoffJitter: random.next(), isBlameless });
        if (result.kind === "stale") {
          log.debug("a late result was refused", { ...id, outcome: end.outcome.kind });
          return;
        }
        const { run, task, ready, hasDependents, freed } = result;
        if (end.outcome.kind === "lost") log.warn("an attempt was lost", { ...id, reason: end.outcome.reason });
        events.publish({ type: "run", task: id.task, run: id.run, attempt: id.attempt, state: run.state });
        publishReady(events, id.task, ready);
        events.publish({ type: "task", task: id.task, state: task.state });
        const nextAt = hasDependents ? clock.now() : task.nextRunAt;
        if (task.counts.ready > 0 || nextAt !== undefined) onReady(nextAt);
        void pins.retireFreed(freed);
        return;
      } catch (error) {
        if (this.#closed.signal.aborted) return;
        log.error("an outcome could not be stored; trying again", { ...id, error });
        await sleep(clock, backoff.nextMs(), { signal: this.#closed.signal }).catch(() => {});
      }
    }
  }

  /** The attempt is over in the store: its worker ends the guest and forgets it. */
  #dismiss(key: string, sighted: Sighted): void {
    const { id, run } = sighted;
    run.cancel().catch((error: unknown) => {
      this.#init.log.debug("a cancellation did not reach its worker; it is told when it resumes", { ...id, error });
    });
    run.acknowledge().catch(() => {});
    this.#loseSight(key, sighted, attemptIsOver());
  }

  #loseSight(key: string, sighted: Sighted, reason: ClusterError): void {
    if (this.#sighted.get(key) !== sighted) return;
    this.#sighted.delete(key);
    const { worker } = sighted.session;
    const left = this.countOn(worker) - 1;
    if (left > 0) this.#perWorker.set(worker, left);
    else this.#perWorker.delete(worker);
    sighted.unwatch.abort(reason);
    sighted.revokeOutput(reason);
    sighted.run[Symbol.dispose]();
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }
}

function attemptIsOver(): ClusterError {
  return failed("this attempt is over", { code: "stale-attempt" });
}

function lostEnd(reason: string): AttemptEnd {
  const outcome: Outcome = { kind: "lost", reason };
  return { outcome, usage: NO_USAGE, outputBytes: 0, outputTruncated: false };
}
