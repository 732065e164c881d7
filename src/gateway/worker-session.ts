/**
 * One worker's session: what it may ask of its gateway while it is logged in. A worker resumes what it holds first, then
 * offers its slots and renews its leases.
 */
import { type ClusterError, assert, disconnected, failed } from "../base/errors.ts";
import type { Clock } from "../base/clock.ts";
import type { PeerId } from "../base/ids.ts";
import { KEPT_FILES_BYTES_MAX } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import type { RunClient } from "../caps/run.ts";
import type { HeldAttempt, ResumeVerdict, WorkerSessionTarget } from "../caps/worker-session.ts";
import { type AttemptId, attemptKey } from "../model/run.ts";
import type { WorkerState } from "../model/worker.ts";
import type { Capability } from "../rpc/capability.ts";
import type { RunningAttempt, Store } from "../store/store.ts";
import { type AttemptSession, type Attempts, answerMsMax } from "./attempts.ts";
import type { EventHub } from "./events.ts";
import type { LeaseClock } from "./lease-clock.ts";
import { storeTrouble } from "./store-trouble.ts";

export interface WorkerSessionInit {
  readonly store: Store;
  readonly attempts: Attempts;
  readonly events: EventHub;
  /** A facet of the offer channel for one worker, cut off by the signal. The capability becomes the caller's. */
  readonly offersFor: (worker: PeerId, signal: AbortSignal) => Capability;
  readonly leaseClock: LeaseClock;
  readonly clock: Clock;
  readonly log: Log;
}

export interface SessionHooks {
  readonly onState: (state: WorkerState) => void;
  readonly onDrain: () => void;
  readonly onDropped: () => void;
}

/** The target of a `WorkerSession` capability. */
export class WorkerSession implements WorkerSessionTarget {
  readonly #init: WorkerSessionInit;
  readonly #session: AttemptSession;
  readonly #hooks: SessionHooks;
  readonly #ended = new AbortController();
  readonly #offers = new AbortController();
  #sender: Capability | undefined;
  #hasResumed = false;

  constructor(init: WorkerSessionInit, session: AttemptSession, hooks: SessionHooks) {
    this.#init = init;
    this.#session = session;
    this.#hooks = hooks;
  }

  offers() {
    this.#requireResumed();
    const signal = AbortSignal.any([this.#ended.signal, this.#offers.signal]);
    this.#sender ??= this.#init.offersFor(this.#session.worker, signal);
    const { leaseMs, renewEveryMs } = this.#init.leaseClock.terms;
    return { sender: this.#sender, leaseMs, renewEveryMs };
  }

  async resume(held: readonly HeldAttempt<RunClient>[]): Promise<readonly ResumeVerdict<Capability>[]> {
    const { attempts, leaseClock, log } = this.#init;
    const { worker } = this.#session;
    let running: readonly RunningAttempt[];
    try {
      running = await this.#running();
    } catch (error) {
      for (const { run } of held) run[Symbol.dispose]();
      throw storeTrouble(error);
    }
    // From here on nothing waits, so that nothing changes.
    this.#hasResumed = true;
    const known = new Map(running.map((attempt) => [attemptKey(attempt.id), attempt]));
    const verdicts = held.map(({ id, run, outputOffset }): ResumeVerdict<Capability> => {
      const attempt = known.get(attemptKey(id));
      if (attempt === undefined) {
        attempts.refuse({ id, worker }, run);
        return { kind: "stop", reason: "the gateway no longer holds this attempt to be alive" };
      }
      known.delete(attemptKey(id));
      return this.#adopt(attempt, run, outputOffset);
    });
    attempts.cameBack(
      worker,
      held.map(({ id }) => id),
    );
    for (const attempt of known.values()) {
      // One that is just being leased is the dispatcher's: it has not been told to the worker, or is on its way.
      if (attempts.isExpected(attempt.id)) continue;
      const cause = attempts.hasBegunBefore(attempt.id, leaseClock.heldSinceMs) ? "gateway" : "silence";
      void attempts.giveUp(attempt, "its worker came back without it", cause);
    }
    if (held.length > 0) {
      const adopted = verdicts.filter(({ kind }) => kind === "adopt").length;
      log.info("a worker came back with attempts", { worker, held: held.length, adopted });
    }
    return verdicts;
  }

  async renew(ids: readonly AttemptId[], state: WorkerState): Promise<readonly AttemptId[]> {
    this.#hooks.onState(state);
    if (ids.length === 0) return [];
    // What is renewed has somebody who waits for its outcome, and does not do so for ever.
    this.#requireResumed();
    const { store, leaseClock } = this.#init;
    return store.renew(ids, this.#session.worker, leaseClock.leaseEnd()).catch((error: unknown) => {
      leaseClock.noteDisorder();
      throw storeTrouble(error);
    });
  }

  drain(): void {
    if (this.#offers.signal.aborted || this.#ended.signal.aborted) return;
    this.#offers.abort(disconnected("the worker is draining"));
    this.#hooks.onDrain();
  }

  /** False: it had ended before. */
  end(reason: ClusterError): boolean {
    if (this.#ended.signal.aborted) return false;
    this.#ended.abort(reason);
    this.#sender?.[Symbol.dispose]();
    return true;
  }

  [Symbol.dispose](): void {
    this.#hooks.onDropped();
  }

  #requireResumed(): void {
    if (!this.#hasResumed) throw failed("call resume first, also with nothing to resume", { code: "resume-first" });
  }

  /** What the store holds to be on this worker, with leases that are good for the time being. */
  async #running(): Promise<readonly RunningAttempt[]> {
    const { store, leaseClock } = this.#init;
    const { worker } = this.#session;
    const running = await store.listRunning(worker);
    const ids = running.map(({ id }) => id);
    const refused = await store.renew(ids, worker, leaseClock.leaseEnd());
    // What was cancelled or given up meanwhile is not on it any more.
    const over = new Set(refused.map(attemptKey));
    if (!this.#session.isCurrent()) throw disconnected("this session has ended");
    return running.filter(({ id }) => !over.has(attemptKey(id)));
  }

  #adopt(attempt: RunningAttempt, run: RunClient, outputOffset: number): ResumeVerdict<Capability> {
    let output: Capability | undefined;
    const { id, worker, outputBytesMax, timeoutMs } = attempt;
    const { attempts, events } = this.#init;
    const watched = {
      id,
      session: this.#session,
      isResumed: true,
      outputBytesMax,
      answerMsMax: answerMsMax(timeoutMs, outputBytesMax + KEPT_FILES_BYTES_MAX),
    };
    attempts.watch(watched, (borrowed) => {
      output = borrowed.dup();
      return run;
    });
    assert(output !== undefined, "watching begins at once");
    const reason = "its worker came back with it";
    events.publish({
      type: "attempt",
      task: id.task,
      run: id.run,
      attempt: id.attempt,
      worker,
      state: "adopted",
      reason,
    });
    return { kind: "adopt", output, offset: Math.max(attempt.outputBytes, outputOffset) };
  }
}
