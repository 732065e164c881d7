/**
 * The attempts under way that this gateway has in sight: it waits for their outcomes, takes their output, and carries
 * cancellations to them.
 *
 *     begun, adopted ──outcome──▶ settled in the store ──▶ told ──▶ acknowledged to the worker, out of sight
 *           ├──cancelled, given up──▶ over in the store; its worker is told to end the guest, out of sight; what comes of one
 *           │                         that was cancelled is cancelled-attempts.ts's to know
 *           └──session ended──▶ out of sight: the store still holds it as running, until its worker resumes it, or it is
 *                               given up as lost (`giveUp`)
 *
 * The store decides: whatever arrives here late is refused there. Commit, then tell. Nothing here waits for a worker
 * that does not answer: an attempt is in sight for as long as the store may take its outcome, and no longer. One whose
 * outcome does not come in time is given up, however often its worker renews it, in sight or not.
 */
import { Backoff } from "../base/backoff.ts";
import { type Clock, type Timer, sleep } from "../base/clock.ts";
import { type ClusterError, disconnected, toClusterError } from "../base/errors.ts";
import type { Digest, PeerId } from "../base/ids.ts";
import {
  ANSWER_ALLOWANCE_MS,
  SETTLE_RETRY_FIRST_MS,
  SETTLE_RETRY_MAX_MS,
  TRANSFER_BYTES_PER_SECOND_MIN,
} from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import type { Random } from "../base/random.ts";
import type { RunClient } from "../caps/run.ts";
import type { AttemptEnd } from "../model/outcome.ts";
import { type AttemptId, attemptKey } from "../model/run.ts";
import type { Capability } from "../rpc/capability.ts";
import { revocable } from "../rpc/revoke.ts";
import type { BlobStore } from "../store/blobs.ts";
import type { Store } from "../store/store.ts";
import { type LossCause, attemptIsOver, lostEnd, signOf, unstartedEnd } from "./attempt-ends.ts";
import { type AttemptOn, tellLateOutcome, tellLateReturn, tellLost } from "./attempt-news.ts";
import { outputOf } from "./attempt-output.ts";
import { type AttemptSpans, endSpan } from "./attempt-spans.ts";
import type { BlobPins } from "./blob-pins.ts";
import { CancelledAttempts } from "./cancelled-attempts.ts";
import { type EventHub, publishReady } from "./events.ts";
import type { EndedAttempt } from "./quarantine.ts";
import type { RunMeter } from "./run-meter.ts";
import type { WorkerHealth } from "./worker-health.ts";

export interface AttemptsInit {
  readonly store: Store;
  readonly blobs: Pick<BlobStore, "create">;
  readonly pins: Pick<BlobPins, "pin" | "retireUnused" | "retireFreed">;
  readonly events: EventHub;
  readonly health: WorkerHealth;
  readonly meter: RunMeter;
  readonly leaseMs: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** After a settlement: a run may have become ready, or will be due, or done with its back-off, at this time. */
  readonly onReady: (nextAt: number) => void;
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
  /** Not known of one that an earlier gateway began. */
  readonly module?: Digest | undefined;
  /** How long its outcome may take to come, from when it is first seen. */
  readonly answerMsMax: number;
  /** Its worker has come back with it: an earlier gateway began it, where this one does not know it. */
  readonly isResumed?: boolean | undefined;
  /** Its worker has lost this run before, and others have not been tried: if it does so again, that says little of the run. */
  readonly isSecondChoice?: boolean | undefined;
  /** Taken over: they end with the attempt, and with the answer of its worker. */
  readonly spans?: AttemptSpans | undefined;
}

/** How long the outcome of a guest may take that may run for `timeoutMs`, and for which so many bytes may have to move. */
export function answerMsMax(timeoutMs: number, bytes: number): number {
  return timeoutMs + ANSWER_ALLOWANCE_MS + (bytes / TRANSFER_BYTES_PER_SECOND_MIN) * 1_000;
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

interface Settlement {
  readonly id: AttemptId;
  readonly worker: PeerId;
  readonly end: AttemptEnd;
  readonly isBlameless: boolean;
}

/** An attempt that was watched and is not over, in sight or not. */
interface Begun {
  /** By the monotonic clock. -Infinity: under an earlier gateway. */
  readonly atMs: number;
  /** The last one to have it in sight. */
  session: AttemptSession;
  readonly module: Digest | undefined;
  readonly isSecondChoice: boolean;
  readonly spans: AttemptSpans | undefined;
  readonly deadline: Timer;
}

export class Attempts {
  readonly #init: AttemptsInit;
  readonly #sighted = new Map<string, Sighted>();
  readonly #begun = new Map<string, Begun>();
  readonly #perWorker = new Map<PeerId, number>();
  readonly #expected = new Map<string, { isCancelled: boolean }>();
  readonly #cancelled: CancelledAttempts;
  readonly #closed = new AbortController();
  /** Ends the waits for a store that is out of order: they are over when it is well, or this is closed. */
  #untilWell = new AbortController();
  #changed = Promise.withResolvers<void>();

  constructor(init: AttemptsInit) {
    this.#init = init;
    this.#cancelled = new CancelledAttempts({ ...init, onReady: () => init.onReady(init.clock.now()) });
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

  /** Whether it began before this moment of the monotonic clock. One that is not known here did: under an earlier gateway. */
  hasBegunBefore(id: AttemptId, momentMs: number): boolean {
    return (this.#begun.get(attemptKey(id))?.atMs ?? -Infinity) < momentMs;
  }

  /**
   * Watches an attempt to its end. `begin` borrows where its output goes, and gives the run, which is taken over. An
   * earlier sighting of the same attempt is replaced, and its output capability fails from then on.
   */
  watch(attempt: WatchedAttempt, begin: (output: Capability) => RunClient): void {
    const { id, session, outputBytesMax } = attempt;
    const key = attemptKey(id);
    const begun = this.#begun.get(key);
    if (begun === undefined) this.#begun.set(key, this.#begunOf(attempt));
    else begun.session = session;
    const earlier = this.#sighted.get(key);
    if (earlier !== undefined) this.#loseSight(key, earlier, disconnected("a newer session has this attempt"));
    using served = outputOf({ ...this.#init, id, bytesMax: outputBytesMax });
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

  /** These are cancelled in the store: tells their workers to end the guests. Waits for none of them. */
  cancel(ids: readonly AttemptId[]): void {
    for (const id of ids) {
      const key = attemptKey(id);
      const expected = this.#expected.get(key);
      if (expected !== undefined) expected.isCancelled = true;
      const begun = this.#begun.get(key);
      if (begun !== undefined) {
        this.#over({ id, worker: begun.session.worker, sign: "nothing", what: "cancelled" });
        endSpan(begun.spans?.attempt, "cancelled");
      }
      const sighted = this.#sighted.get(key);
      if (sighted !== undefined) {
        const cancelled = { id, worker: sighted.session.worker };
        this.#cancelled.add(cancelled);
        this.#cancelled.end(cancelled, sighted.run);
        this.#loseSight(key, sighted, attemptIsOver());
      } else if (expected !== undefined) this.#cancelled.isOver(id);
      else if (begun !== undefined) this.#cancelled.add({ id, worker: begun.session.worker });
    }
  }

  /** A worker has come back, and holds these. */
  cameBack(worker: PeerId, held: readonly AttemptId[]): void {
    this.#cancelled.cameBack(worker, held);
  }

  /** A worker has come back with an attempt that is not its own any more: it is to end it. Takes the run over. */
  refuse({ id, worker }: AttemptOn, run: RunClient): void {
    using _ = run;
    this.#cancelled.end({ id, worker }, run);
    void tellLateReturn(this.#init, { id, worker });
  }

  /**
   * Gives an attempt up as lost: its run is ready again, or has failed if this keeps happening. Keeps trying while the
   * store is out of order, unless the attempt is adopted meanwhile. A worker that drained may never have got it, or has
   * ended it: that says nothing of either. Never rejects.
   */
  async giveUp({ id, worker }: AttemptOn, reason: string, cause: LossCause): Promise<void> {
    const key = attemptKey(id);
    const before = this.#sighted.get(key);
    const isMeant = () => this.#sighted.get(key) === before;
    const isNobodys = cause === "gateway" || this.#begun.get(key)?.session.isDraining() === true;
    const sign = isNobodys ? "nothing" : "lost";
    const begun = this.#over({ id, worker, sign, what: reason, isSilence: cause === "silence" });
    const isBlameless = isNobodys || begun?.isSecondChoice === true;
    await this.#settle({ id, worker, end: lostEnd(reason), isBlameless }, isMeant);
    endSpan(begun?.spans?.attempt, reason);
    if (before !== undefined && isMeant()) this.#dismiss(key, before);
  }

  /**
   * Ends an attempt whose run cannot be carried out anywhere, through no fault of its worker, which may have been told of it
   * or not. Never rejects.
   */
  async reject({ id, worker }: AttemptOn, reason: string): Promise<void> {
    const key = attemptKey(id);
    const before = this.#sighted.get(key);
    if (before !== undefined) this.#over({ id, worker, sign: "nothing", what: reason });
    const end = unstartedEnd({ kind: "rejected", reason });
    await this.#settle({ id, worker, end, isBlameless: true }, () => this.#sighted.get(key) === before);
    if (before !== undefined && this.#sighted.get(key) === before) this.#dismiss(key, before);
  }

  /** The store takes something again: what waits for the next try is tried now. */
  storeIsWell(): void {
    this.#untilWell.abort();
    this.#untilWell = new AbortController();
  }

  /** Watches no more. What is under way stays so in the store. */
  close(): void {
    const reason = disconnected("the gateway is closing");
    this.#closed.abort(reason);
    this.#untilWell.abort(reason);
    this.#cancelled.close();
    for (const [key, sighted] of this.#sighted) this.#loseSight(key, sighted, reason);
    for (const { deadline, spans } of this.#begun.values()) {
      deadline[Symbol.dispose]();
      for (const span of [spans?.call, spans?.attempt]) endSpan(span, "the gateway was closed");
    }
    this.#begun.clear();
  }

  #begunOf(attempt: WatchedAttempt): Begun {
    const { id, session, module, answerMsMax: ms, isResumed, isSecondChoice = false, spans } = attempt;
    const { clock } = this.#init;
    const { worker } = session;
    const reason = `its worker has not told how it ended, ${Math.round(ms / 1_000)} s after it got it`;
    const onLate = () => void this.giveUp({ id, worker }, reason, "no-answer");
    const atMs = isResumed === true ? -Infinity : clock.monotonicMs();
    return { atMs, session, module, isSecondChoice, spans, deadline: clock.setTimer(ms, onLate) };
  }

  /** The attempt has ended, as far as its worker is concerned. */
  #over(end: Omit<EndedAttempt, "module">): Begun | undefined {
    const key = attemptKey(end.id);
    const begun = this.#begun.get(key);
    begun?.deadline[Symbol.dispose]();
    this.#begun.delete(key);
    const problem = end.sign === "succeeded" ? undefined : end.what;
    if (problem !== undefined) begun?.spans?.attempt.fail(problem);
    endSpan(begun?.spans?.call, problem);
    this.#init.health.ended({ ...end, module: begun?.module });
    return begun;
  }

  async #follow(key: string, sighted: Sighted): Promise<void> {
    const { id, session, run } = sighted;
    const { worker } = session;
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
    const begun = this.#over({ id, worker, ...signOf(end.outcome, session) });
    isBlameless ||= begun?.isSecondChoice === true;
    await this.#settle({ id, worker, end, isBlameless }, () => !signal.aborted);
    begun?.spans?.attempt.set({ "capmesh.outcome": end.outcome.kind });
    begun?.spans?.attempt.end();
    if (signal.aborted) return;
    // A worker that misses this asks again when it resumes or renews, and is told to stop.
    run.acknowledge().catch(() => {});
    this.#loseSight(key, sighted, attemptIsOver());
  }

  /** Commits an end and tells of it. Keeps trying while the store is out of order and the end is still `meant`. */
  async #settle({ id, worker, end, isBlameless }: Settlement, isMeant: () => boolean): Promise<void> {
    const { store, pins, clock, random, log, events, meter, onReady } = this.#init;
    const backoff = new Backoff({ firstMs: SETTLE_RETRY_FIRST_MS, maxMs: SETTLE_RETRY_MAX_MS, random });
    while (!this.#closed.signal.aborted && isMeant()) {
      try {
        const result = await store.settle(id, end, { now: clock.now(), backoffJitter: random.next(), isBlameless });
        if (result.kind === "stale") {
          if (end.outcome.kind !== "lost") void tellLateOutcome(this.#init, { id, worker });
          return;
        }
        const { run, task, ready, hasDependents, backoffEnd, freed } = result;
        meter.ended({ outcome: end.outcome.kind, usage: end.usage, state: run.state });
        if (end.outcome.kind === "lost") tellLost(this.#init, { id, worker }, end.outcome.reason);
        events.publish({ type: "run", task: id.task, run: id.run, attempt: id.attempt, state: run.state });
        publishReady(events, id.task, ready);
        events.publish({ type: "task", task: id.task, state: task.state });
        const nextAt = hasDependents ? clock.now() : Math.min(task.nextRunAt ?? Infinity, backoffEnd ?? Infinity);
        if (task.counts.ready > 0 || nextAt !== Infinity) onReady(nextAt);
        void pins.retireFreed(freed);
        return;
      } catch (error) {
        if (this.#closed.signal.aborted) return;
        log.error("an outcome could not be stored; trying again", { ...id, error });
        await sleep(clock, backoff.nextMs(), { signal: this.#untilWell.signal }).catch(() => {});
      }
    }
  }

  /** The attempt is over in the store: its worker ends the guest and forgets it. */
  #dismiss(key: string, sighted: Sighted): void {
    const { id, run } = sighted;
    this.#cancelled.dismiss(id, run);
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
