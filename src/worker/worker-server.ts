/**
 * A worker: offers its free slots on a gateway's channel, carries out the attempts it is given, and keeps them across
 * sessions.
 *
 * A session is one login at one gateway. `serve` runs one: resume what is held, then offer and renew until it ends.
 * Attempts outlive sessions; only a cancel, the gateway's refusal, or the end of the lease stops a guest.
 *
 * Slots: each is free, on offer, or busy. A slot on offer is one `send` that waits; it becomes busy when `run` is called
 * on the capability that was sent, and free when that capability is dropped unused, or the guest has ended.
 *
 * Leases are renewed here, on a timer of the worker process, which no guest can starve: guests are other processes.
 */
import { join } from "node:path";
import { followAborts, unlessAborted } from "../base/abort.ts";
import { Backoff } from "../base/backoff.ts";
import { type Clock, sleep } from "../base/clock.ts";
import { assert, disconnected, messageOf, overloaded, toClusterError } from "../base/errors.ts";
import {
  HELD_ATTEMPTS_MAX,
  LEASE_CHECK_EVERY_MS,
  LEASE_RENEW_EVERY_MS_MIN,
  OFFER_RETRY_FIRST_MS,
  OFFER_RETRY_MAX_MS,
} from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import type { Random } from "../base/random.ts";
import type { ModuleClient } from "../caps/module.ts";
import type { OfferSenderClient } from "../caps/offers.ts";
import type { OutputClient } from "../caps/output.ts";
import { serveRun } from "../caps/run.ts";
import { serveWorker } from "../caps/worker.ts";
import type { WorkerSessionClient } from "../caps/worker-session.ts";
import { attemptKey } from "../model/run.ts";
import type { RunSpec } from "../model/run-spec.ts";
import type { WorkerState } from "../model/worker.ts";
import type { Files } from "./files.ts";
import type { Executor } from "./guest.ts";
import { HeldAttempt } from "./held-attempt.ts";
import type { ModuleCache } from "./module-cache.ts";
import { Slot } from "./slot.ts";

export interface WorkerServerInit {
  /** Taken over. */
  readonly executor: Executor;
  readonly modules: ModuleCache;
  readonly slots: number;
  readonly weight: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly version: string;
  /** For output that waits for a gateway. Belongs to this worker alone. */
  readonly spoolFolder: string;
  /** Default: the machine's. */
  readonly files?: Files | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Renewing, and offering, until `signal` is aborted: with the session, or with the drain. */
interface Session {
  readonly client: WorkerSessionClient;
  readonly sender: OfferSenderClient;
  readonly ended: AbortSignal;
  /** Aborted when the session ends, or the worker drains: withdraws its offers. */
  readonly offers: AbortController;
  /** Between offers that came to nothing. */
  readonly backoff: Backoff;
  isBackingOff: boolean;
}

export class WorkerServer implements AsyncDisposable {
  readonly #init: WorkerServerInit;
  readonly #attempts = new Map<string, HeldAttempt>();
  #session: Session | undefined;
  #busy = 0;
  #offered = 0;
  #isDraining = false;
  #spoolCount = 0;
  #changed = Promise.withResolvers<void>();
  /** Forgotten attempts that still have a guest or a file. */
  readonly #leaving = new Set<Promise<void>>();
  readonly #closed = new AbortController();
  #closing: Promise<void> | undefined;

  constructor(init: WorkerServerInit) {
    this.#init = init;
    void this.#watchLeases();
  }

  /** What is told to gateways and people. */
  state(): WorkerState {
    return {
      slots: this.#init.slots,
      busy: this.#busy,
      weight: this.#init.weight,
      labels: this.#init.labels,
      version: this.#init.version,
      cachedModules: this.#init.modules.digests(),
    };
  }

  /**
   * Serves one session until `signal` is aborted, and resolves then; rejects when the gateway fails a call that a session
   * cannot do without. Takes the client over. One session at a time.
   */
  async serve(client: WorkerSessionClient, { signal }: { signal: AbortSignal }): Promise<void> {
    using session = client;
    using ended = followAborts([signal, this.#closed.signal]);
    const offers = new AbortController();
    try {
      await this.#resume(session, ended.signal);
      const { sender, renewEveryMs } = await session.offers({ signal: ended.signal });
      using offering = sender;
      const { random } = this.#init;
      const backoff = new Backoff({ firstMs: OFFER_RETRY_FIRST_MS, maxMs: OFFER_RETRY_MAX_MS, random });
      assert(this.#session === undefined, "one session at a time");
      this.#session = { client: session, sender: offering, ended: ended.signal, offers, backoff, isBackingOff: false };
      if (this.#isDraining) await session.drain({ signal: ended.signal });
      else this.#offerFreeSlots();
      await this.#renew(session, renewEveryMs, ended.signal);
    } catch (error) {
      if (!ended.signal.aborted) throw error;
    } finally {
      const reason = disconnected("the session has ended");
      offers.abort(reason);
      ended.abort(reason);
      if (this.#session?.client === session) this.#session = undefined;
      for (const attempt of this.#attempts.values()) attempt.detach();
    }
  }

  /**
   * Takes no more runs and waits until those under way have ended and their outcomes are acknowledged. When the signal is
   * aborted before, they are handed back: their guests end, and the gateway tries them elsewhere. That takes `handBackMs`
   * at most.
   */
  async drain({ signal, handBackMs }: { signal: AbortSignal; handBackMs: number }): Promise<void> {
    this.#isDraining = true;
    const session = this.#session;
    if (session !== undefined) {
      session.offers.abort(disconnected("the worker is draining"));
      using given = followAborts([signal, session.ended]);
      await session.client.drain({ signal: given.signal }).catch((error: unknown) => {
        this.#init.log.debug("the gateway was not told of the drain", { error });
      });
    }
    await this.#untilEmpty(signal);
    for (const attempt of this.#attempts.values()) attempt.handBack("the worker was stopped");
    using patience = followAborts([this.#closed.signal]);
    using _timer = this.#init.clock.setTimer(handBackMs, () => patience.abort(overloaded("the time was up")));
    await this.#untilEmpty(patience.signal);
  }

  /** Ends all guests and forgets all attempts. Resolves when nothing is left of them. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#isDraining = true;
    this.#closed.abort(disconnected("the worker was closed"));
    for (const attempt of this.#attempts.values()) attempt.stop("the worker was closed");
    await this.#init.executor.close();
    await Promise.all(this.#leaving);
  }

  async #resume(session: WorkerSessionClient, signal: AbortSignal): Promise<void> {
    const attempts = [...this.#attempts.values()];
    const held = attempts.map((attempt) => ({
      id: attempt.id,
      run: serveRun(attempt),
      outputOffset: attempt.outputOffset,
    }));
    try {
      const sentAtMs = this.#init.clock.monotonicMs();
      const verdicts = await session.resume(held, { signal });
      attempts.forEach((attempt, index) => {
        const verdict = verdicts[index];
        if (verdict?.kind !== "adopt") {
          attempt.stop(verdict?.reason ?? "the gateway did not adopt it");
          return;
        }
        attempt.renewed(sentAtMs);
        attempt.attach(verdict.output, verdict.offset);
      });
    } finally {
      for (const { run } of held) run[Symbol.dispose]();
    }
  }

  async #renew(session: WorkerSessionClient, everyMs: number, signal: AbortSignal): Promise<void> {
    let waitMs = Math.max(everyMs, LEASE_RENEW_EVERY_MS_MIN);
    for (;;) {
      await sleep(this.#init.clock, waitMs, { signal });
      const attempts = [...this.#attempts.values()];
      const sentAtMs = this.#init.clock.monotonicMs();
      const stop = await this.#tryRenew(session, attempts, signal);
      // Sooner than usual, after a failure: the lease covers hardly more than two usual waits.
      waitMs = Math.max(stop === undefined ? everyMs / 5 : everyMs, LEASE_RENEW_EVERY_MS_MIN);
      if (stop === undefined) continue;
      const refused = new Set(stop.map(attemptKey));
      for (const attempt of attempts) {
        if (refused.has(attemptKey(attempt.id))) attempt.stop("the gateway no longer holds this attempt to be alive");
        else attempt.renewed(sentAtMs);
      }
    }
  }

  async #tryRenew(session: WorkerSessionClient, attempts: readonly HeldAttempt[], signal: AbortSignal) {
    try {
      return await session.renew(
        attempts.map(({ id }) => id),
        this.state(),
        { signal },
      );
    } catch (error) {
      // A store that is busy for a moment.
      if (toClusterError(error).type !== "overloaded") throw error;
      this.#init.log.warn("the gateway is too busy to renew leases; trying again", { error });
      return undefined;
    }
  }

  #offerFreeSlots(): void {
    const session = this.#session;
    if (session === undefined || this.#isDraining) return;
    while (this.#busy + this.#offered < this.#init.slots && this.#attempts.size + this.#offered < HELD_ATTEMPTS_MAX) {
      this.#offered++;
      void this.#offer(session);
    }
  }

  /** Offers one slot; gives it back to the free ones when the offer comes to nothing. */
  async #offer(session: Session): Promise<void> {
    const { signal } = session.offers;
    const slot = new Slot({
      begin: (spec, module, output) => {
        this.#offered--;
        session.backoff.reset();
        return this.#begin(spec, module, output);
      },
      onReturned: () => {
        this.#offered--;
        this.#offerLater(session);
      },
    });
    using worker = serveWorker(slot);
    try {
      await session.sender.send(worker, this.state(), { signal });
    } catch (error) {
      if (!signal.aborted && !session.isBackingOff) this.#init.log.warn("an offer failed", { error: messageOf(error) });
    }
  }

  /** Not at once: a gateway that refuses offers, or takes and drops them, must not make us spin. */
  #offerLater(session: Session): void {
    const { signal } = session.offers;
    if (signal.aborted) {
      // Of an earlier session, whose end was noticed late.
      this.#offerFreeSlots();
      return;
    }
    if (session.isBackingOff) return;
    session.isBackingOff = true;
    sleep(this.#init.clock, session.backoff.nextMs(), { signal }).then(
      () => {
        session.isBackingOff = false;
        this.#offerFreeSlots();
      },
      () => {},
    );
  }

  #begin(spec: RunSpec, module: ModuleClient, output: OutputClient): HeldAttempt {
    const key = attemptKey(spec.id);
    if (this.#isDraining || this.#attempts.has(key)) {
      module[Symbol.dispose]();
      output[Symbol.dispose]();
      queueMicrotask(() => this.#offerFreeSlots());
      throw overloaded(this.#isDraining ? "the worker is draining" : "the worker has this attempt already", {
        code: "slot-used",
      });
    }
    this.#busy++;
    const attempt = new HeldAttempt(
      {
        spec,
        executor: this.#init.executor,
        modules: this.#init.modules,
        spoolPath: join(this.#init.spoolFolder, `output-${this.#spoolCount++}`),
        files: this.#init.files,
        clock: this.#init.clock,
        random: this.#init.random,
        log: this.#init.log,
        onForgotten: () => {
          this.#attempts.delete(key);
          this.#leave(attempt);
          this.#notify();
          this.#offerFreeSlots();
        },
      },
      module,
      output,
    );
    this.#attempts.set(key, attempt);
    void attempt.guestEnded().then(() => {
      this.#busy--;
      this.#notify();
      this.#offerFreeSlots();
    });
    return attempt;
  }

  #leave(attempt: HeldAttempt): void {
    const left = attempt[Symbol.asyncDispose]().catch(() => {});
    this.#leaving.add(left);
    void left.then(() => this.#leaving.delete(left));
  }

  /** Stops the guests whose lease could not be renewed. Outcomes that wait to be told are kept: the gateway decides. */
  async #watchLeases(): Promise<void> {
    const { clock, log } = this.#init;
    const { signal } = this.#closed;
    while (!signal.aborted) {
      await sleep(clock, LEASE_CHECK_EVERY_MS, { signal }).catch(() => {});
      const nowMs = clock.monotonicMs();
      for (const attempt of this.#attempts.values()) {
        if (attempt.hasEnded || attempt.hasLeaseAt(nowMs)) continue;
        log.warn("stopping a guest: its lease could not be renewed", { ...attempt.id });
        attempt.stop("its lease could not be renewed");
      }
    }
  }

  /** Resolves when no attempt is held, or the signal is aborted. */
  async #untilEmpty(signal: AbortSignal): Promise<void> {
    while (this.#attempts.size > 0 && !signal.aborted) {
      await unlessAborted(this.#changed.promise, signal).catch(() => {});
    }
  }

  #notify(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }
}
