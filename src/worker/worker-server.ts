/**
 * A worker: offers its free slots on a gateway's channel, carries out the attempts it is given, and keeps them across
 * sessions. It is long for what all of that has to agree on: its slots.
 *
 * A session is one login at one gateway. `serve` runs one: resume what is held for it, then offer and renew until it ends.
 * Attempts outlive sessions; only a cancel, the gateway's refusal, or the end of the lease stops a guest. Outcomes outlive
 * this process: those that are not acknowledged soon are on the disk, and the next process tells them.
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
  KEPT_OUTCOME_MS_MAX,
  LEASE_CHECK_EVERY_MS,
  LEASE_RENEW_EVERY_MS_MIN,
  OFFER_RETRY_FIRST_MS,
  OFFER_RETRY_MAX_MS,
} from "../base/limits.ts";
import type { PeerId } from "../base/ids.ts";
import type { Tracer } from "../base/tracing.ts";
import type { Log } from "../base/log.ts";
import type { Random } from "../base/random.ts";
import type { OfferSenderClient } from "../caps/offers.ts";
import type { OutputClient } from "../caps/output.ts";
import { serveRun } from "../caps/run.ts";
import { type RunSources, serveWorker } from "../caps/worker.ts";
import type { WorkerSessionClient } from "../caps/worker-session.ts";
import { type AttemptId, attemptKey } from "../model/run.ts";
import type { RunSpec } from "../model/run-spec.ts";
import type { WorkerState } from "../model/worker.ts";
import { FileRoom } from "./file-room.ts";
import type { Files } from "./files.ts";
import type { Executors } from "./executors.ts";
import { HeldAttempt } from "./held-attempt.ts";
import { KeptAttempt } from "./kept-attempt.ts";
import type { KeptOutcomes } from "./kept-outcomes.ts";
import type { ModuleCache } from "./module-cache.ts";
import { OutcomeKeeper } from "./outcome-keeper.ts";
import { Slot } from "./slot.ts";
import type { WorkerAttempt } from "./worker-attempt.ts";

export interface WorkerServerInit {
  /** Taken over. */
  readonly executors: Executors;
  readonly modules: ModuleCache;
  readonly slots: number;
  readonly weight: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly version: string;
  /** For output that waits for a gateway. Belongs to this worker alone. */
  readonly spoolFolder: string;
  /** Where outcomes are kept until they are acknowledged. Default: in memory, for as long as this process lives. */
  readonly outcomes?: KeptOutcomes | undefined;
  /** Default: the machine's. */
  readonly files?: Files | undefined;
  /** Default: nobody traces. */
  readonly tracer?: Tracer | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Renewing, and offering, until `signal` is aborted: with the session, or with the drain. */
interface Session {
  readonly gateway: PeerId;
  readonly client: WorkerSessionClient;
  readonly sender: OfferSenderClient;
  readonly ended: AbortSignal;
  /** Aborted when the session ends, or the worker drains: withdraws its offers. */
  readonly offers: AbortController;
  /** Between offers that came to nothing. */
  readonly backoff: Backoff;
  isBackingOff: boolean;
}

export interface ServeOptions {
  readonly gateway: PeerId;
  readonly signal: AbortSignal;
}

/** What `Worker.run` is called with. */
interface Order {
  readonly spec: RunSpec;
  readonly sources: RunSources;
  readonly output: OutputClient;
}

export class WorkerServer implements AsyncDisposable {
  readonly #init: WorkerServerInit;
  readonly #attempts = new Map<string, WorkerAttempt>();
  readonly #keeper: OutcomeKeeper | undefined;
  #session: Session | undefined;
  #busy = 0;
  #offered = 0;
  #isDraining = false;
  readonly #fileRoom = new FileRoom(() => this.#offerFreeSlots());
  #spoolCount = 0;
  #changed = Promise.withResolvers<void>();
  /** Forgotten attempts that still have a guest or a file. */
  readonly #leaving = new Set<Promise<void>>();
  readonly #closed = new AbortController();
  #closing: Promise<void> | undefined;

  constructor(init: WorkerServerInit) {
    this.#init = init;
    const onKept = () => this.#notify();
    if (init.outcomes !== undefined) this.#keeper = new OutcomeKeeper({ clock: init.clock, onKept });
    for (const found of init.outcomes?.found ?? []) {
      const key = keyOf(found);
      const onForgotten = () => this.#forgotten(key, attempt);
      const attempt: KeptAttempt = new KeptAttempt({ ...init, found, onFileBytes: this.#fileRoom.add, onForgotten });
      this.#attempts.set(key, attempt);
    }
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
      kinds: this.#init.executors.entries,
      cachedModules: this.#init.modules.digests(),
    };
  }

  /**
   * Serves one session of this gateway until `signal` is aborted, and resolves then; rejects when the gateway fails a call
   * that a session cannot do without. Takes the client over. One session at a time.
   */
  async serve(client: WorkerSessionClient, { gateway, signal }: ServeOptions): Promise<void> {
    using session = client;
    using ended = followAborts([signal, this.#closed.signal]);
    const offers = new AbortController();
    try {
      await this.#resume(gateway, session, ended.signal);
      const { sender, renewEveryMs } = await session.offers({ signal: ended.signal });
      using offering = sender;
      const { random } = this.#init;
      const backoff = new Backoff({ firstMs: OFFER_RETRY_FIRST_MS, maxMs: OFFER_RETRY_MAX_MS, random });
      assert(this.#session === undefined, "one session at a time");
      const rest = { sender: offering, ended: ended.signal, offers, backoff, isBackingOff: false };
      this.#session = { gateway, client: session, ...rest };
      if (this.#isDraining) await session.drain({ signal: ended.signal });
      else this.#offerFreeSlots();
      await this.#renew(this.#session, renewEveryMs);
    } catch (error) {
      if (!ended.signal.aborted) throw error;
    } finally {
      const reason = disconnected("the session has ended");
      offers.abort(reason);
      ended.abort(reason);
      if (this.#session?.client === session) this.#session = undefined;
      for (const attempt of this.#attempts.values()) attempt.detach();
      this.#keeper?.keepAll();
      this.#notify();
    }
  }

  /**
   * Takes no more runs and waits until those under way have ended and their outcomes are acknowledged, or on the disk where
   * there is no gateway to tell them to. When the signal is aborted before, they are handed back: their guests end, and the
   * gateway tries them elsewhere. That takes `handBackMs` at most.
   */
  async drain({ signal, handBackMs }: { signal: AbortSignal; handBackMs: number }): Promise<void> {
    this.#isDraining = true;
    const session = this.#session;
    if (session !== undefined) {
      session.offers.abort(disconnected("the worker is draining"));
      using given = followAborts([signal, session.ended]);
      // A gateway that does not answer may have heard it all the same, and holds up nobody who has nothing left to do.
      using _told = this.#init.clock.setTimer(handBackMs, () => given.abort(overloaded("the time was up")));
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

  /** Ends all guests. Resolves when nothing is left of them but, on the disk, outcomes that were not told. Idempotent. */
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
    this.#keeper?.[Symbol.dispose]();
    for (const attempt of this.#attempts.values()) attempt.leave();
    await this.#init.executors.close();
    await Promise.all(this.#leaving);
  }

  /** What is held for a gateway. Another one would know none of it, or, by the same numbers, something else. */
  #heldFor(gateway: PeerId): readonly WorkerAttempt[] {
    return [...this.#attempts.values()].filter((attempt) => attempt.gateway === gateway);
  }

  async #resume(gateway: PeerId, session: WorkerSessionClient, signal: AbortSignal): Promise<void> {
    const attempts = this.#heldFor(gateway);
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

  async #renew({ gateway, client, ended }: Session, everyMs: number): Promise<void> {
    let waitMs = Math.max(everyMs, LEASE_RENEW_EVERY_MS_MIN);
    for (;;) {
      await sleep(this.#init.clock, waitMs, { signal: ended });
      const attempts = this.#heldFor(gateway);
      const sentAtMs = this.#init.clock.monotonicMs();
      const stop = await this.#tryRenew(client, attempts, ended);
      // Sooner than usual, after a failure, and by the time that the answer took: the lease covers hardly more than two
      // usual waits, and begins when it was asked for.
      const tookMs = this.#init.clock.monotonicMs() - sentAtMs;
      waitMs = Math.max(stop === undefined ? everyMs / 5 : everyMs - tookMs, LEASE_RENEW_EVERY_MS_MIN);
      if (stop === undefined) continue;
      const refused = new Set(stop.map(attemptKey));
      for (const attempt of attempts) {
        if (refused.has(attemptKey(attempt.id))) attempt.stop("the gateway no longer holds this attempt to be alive");
        else attempt.renewed(sentAtMs);
      }
    }
  }

  async #tryRenew(session: WorkerSessionClient, attempts: readonly WorkerAttempt[], signal: AbortSignal) {
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
    while (
      this.#busy + this.#offered < this.#init.slots &&
      this.#attempts.size + this.#offered < HELD_ATTEMPTS_MAX &&
      !this.#fileRoom.isFull
    ) {
      this.#offered++;
      void this.#offer(session);
    }
  }

  /** Offers one slot; gives it back to the free ones when the offer comes to nothing. */
  async #offer(session: Session): Promise<void> {
    const { signal } = session.offers;
    const slot = new Slot({
      begin: (spec, sources, output) => {
        this.#offered--;
        session.backoff.reset();
        return this.#begin(session.gateway, { spec, sources, output });
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

  #begin(gateway: PeerId, { spec, sources, output }: Order): HeldAttempt {
    const key = keyOf({ gateway, id: spec.id });
    if (this.#isDraining || this.#attempts.has(key)) {
      sources[Symbol.dispose]();
      output[Symbol.dispose]();
      queueMicrotask(() => this.#offerFreeSlots());
      throw overloaded(this.#isDraining ? "the worker is draining" : "the worker has this attempt already", {
        code: "slot-used",
      });
    }
    this.#busy++;
    const spoolPath = join(this.#init.spoolFolder, `output-${this.#spoolCount++}`);
    const onForgotten = (): void => this.#forgotten(key, attempt);
    const attempt: HeldAttempt = new HeldAttempt(
      { ...this.#init, spec, gateway, spoolPath, onFileBytes: this.#fileRoom.add, onForgotten },
      sources,
      output,
    );
    this.#attempts.set(key, attempt);
    void attempt.guestEnded().then(() => {
      this.#busy--;
      // It may have been forgotten before its guest had ended.
      if (this.#attempts.get(key) === attempt && !this.#closed.signal.aborted) {
        this.#keeper?.ended(attempt, { isConnected: this.#session?.gateway === gateway });
      }
      this.#notify();
      this.#offerFreeSlots();
    });
    return attempt;
  }

  #forgotten(key: string, attempt: WorkerAttempt): void {
    this.#attempts.delete(key);
    if (attempt instanceof HeldAttempt) this.#keeper?.forgotten(attempt);
    // Which one could not be cleared away it has said itself.
    const left = Promise.resolve(attempt[Symbol.asyncDispose]()).catch(() => {});
    this.#leaving.add(left);
    void left.then(() => this.#leaving.delete(left));
    this.#notify();
    this.#offerFreeSlots();
  }

  /** Stops the guests whose lease could not be renewed. Outcomes that wait to be told are kept: the gateway decides. */
  async #watchLeases(): Promise<void> {
    const { clock, log } = this.#init;
    const { signal } = this.#closed;
    while (!signal.aborted) {
      await sleep(clock, LEASE_CHECK_EVERY_MS, { signal }).catch(() => {});
      const nowMs = clock.monotonicMs();
      for (const attempt of this.#attempts.values()) {
        if (nowMs - attempt.endedAtMs > KEPT_OUTCOME_MS_MAX) attempt.stop("nobody has asked for its outcome for long");
        if (attempt.hasEnded || attempt.hasLeaseAt(nowMs)) continue;
        log.warn("stopping a guest: its lease could not be renewed", { ...attempt.id });
        attempt.stop("its lease could not be renewed");
      }
    }
  }

  /** Resolves when nothing is held that this process could still do something about, or the signal is aborted. */
  async #untilEmpty(signal: AbortSignal): Promise<void> {
    const isLeft = (attempt: WorkerAttempt) => attempt.isKept && this.#session?.gateway !== attempt.gateway;
    while (![...this.#attempts.values()].every(isLeft) && !signal.aborted) {
      await unlessAborted(this.#changed.promise, signal).catch(() => {});
    }
  }

  #notify(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }
}

function keyOf({ gateway, id }: { readonly gateway: PeerId; readonly id: AttemptId }): string {
  return `${gateway}/${attemptKey(id)}`;
}
