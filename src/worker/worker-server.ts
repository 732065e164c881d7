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
import { Backoff } from "../base/backoff.ts";
import { type Clock, sleep } from "../base/clock.ts";
import { disconnected, messageOf, overloaded, toClusterError } from "../base/errors.ts";
import { HELD_ATTEMPTS_MAX, LEASE_CHECK_EVERY_MS } from "../base/limits.ts";
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
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Our lease ends this much before the gateway's, so that no guest of ours overlaps the next attempt. */
const LEASE_MARGIN = 0.9;

interface Session {
  readonly client: WorkerSessionClient;
  readonly sender: OfferSenderClient;
  readonly signal: AbortSignal;
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
  /** Withdraws the offers of the session under way. */
  #offers = new AbortController();
  readonly #closed = new AbortController();

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
    const ended = AbortSignal.any([signal, this.#closed.signal]);
    try {
      await this.#resume(session, ended);
      const { sender, renewEveryMs } = await session.offers({ signal: ended });
      using offers = sender;
      this.#offers = new AbortController();
      this.#session = { client: session, sender: offers, signal: ended };
      if (this.#isDraining) await session.drain({ signal: ended });
      else this.#offerFreeSlots();
      await this.#renew(session, renewEveryMs, ended);
    } catch (error) {
      if (!ended.aborted) throw error;
    } finally {
      this.#offers.abort(disconnected("the session has ended"));
      this.#session = undefined;
      for (const attempt of this.#attempts.values()) attempt.detach();
    }
  }

  /**
   * Takes no more runs and waits until those under way have ended and their outcomes are acknowledged. When the signal is
   * aborted before, they are handed back: their guests end, and the gateway tries them elsewhere.
   */
  async drain({ signal, handBackMs }: { signal: AbortSignal; handBackMs: number }): Promise<void> {
    this.#isDraining = true;
    this.#offers.abort(disconnected("the worker is draining"));
    await this.#session?.client.drain({ signal: this.#session.signal }).catch((error: unknown) => {
      this.#init.log.debug("the gateway was not told of the drain", { error });
    });
    await this.#untilEmpty(signal);
    for (const attempt of this.#attempts.values()) attempt.handBack("the worker was stopped");
    await this.#untilEmpty(AbortSignal.any([this.#closed.signal, timeout(this.#init.clock, handBackMs)]));
  }

  /** Ends all guests and forgets all attempts. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed.signal.aborted) return;
    this.#isDraining = true;
    this.#closed.abort(disconnected("the worker was closed"));
    for (const attempt of this.#attempts.values()) attempt.stop("the worker was closed");
    await this.#init.executor.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
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
        attempt.leaseEndsAtMs = sentAtMs + attempt.leaseMs * LEASE_MARGIN;
        attempt.attach(verdict.output, verdict.offset);
      });
    } finally {
      for (const { run } of held) run[Symbol.dispose]();
    }
  }

  async #renew(session: WorkerSessionClient, everyMs: number, signal: AbortSignal): Promise<void> {
    for (;;) {
      await sleep(this.#init.clock, everyMs, { signal });
      const attempts = [...this.#attempts.values()];
      const sentAtMs = this.#init.clock.monotonicMs();
      const stop = await this.#tryRenew(session, attempts, signal);
      if (stop === undefined) continue;
      const refused = new Set(stop.map(attemptKey));
      for (const attempt of attempts) {
        if (refused.has(attemptKey(attempt.id))) attempt.stop("the gateway no longer holds this attempt to be alive");
        else attempt.leaseEndsAtMs = sentAtMs + attempt.leaseMs * LEASE_MARGIN;
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
      // A store that is busy for a moment: the lease covers several renewals.
      if (toClusterError(error).type !== "overloaded") throw error;
      this.#init.log.warn("the gateway is too busy to renew leases; trying again", { error });
      return undefined;
    }
  }

  #offerFreeSlots(): void {
    const session = this.#session;
    if (session === undefined || this.#isDraining || this.#attempts.size >= HELD_ATTEMPTS_MAX) return;
    while (this.#busy + this.#offered < this.#init.slots) {
      this.#offered++;
      void this.#offer(session);
    }
  }

  /** Offers one slot; gives it back to the free ones when the offer comes to nothing. */
  async #offer(session: Session): Promise<void> {
    const { clock, random, log } = this.#init;
    const signal = AbortSignal.any([session.signal, this.#offers.signal]);
    const slot = new Slot({
      begin: (spec, module, output) => {
        this.#offered--;
        return this.#begin(spec, module, output);
      },
      onReturned: () => {
        this.#offered--;
        // Not at once: a gateway that takes offers and drops them must not make us spin.
        if (!signal.aborted) void this.#offerAgain(session, signal);
      },
    });
    using worker = serveWorker(slot);
    try {
      await session.sender.send(worker, this.state(), { signal });
    } catch (error) {
      if (signal.aborted) return;
      log.warn("an offer failed", { error: messageOf(error) });
      await sleep(clock, new Backoff({ firstMs: 500, maxMs: 500, random }).nextMs(), { signal }).catch(() => {});
    }
  }

  async #offerAgain(session: Session, signal: AbortSignal): Promise<void> {
    await sleep(this.#init.clock, 1, { signal }).catch(() => {});
    if (this.#session === session) this.#offerFreeSlots();
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
        clock: this.#init.clock,
        random: this.#init.random,
        log: this.#init.log,
        onForgotten: () => {
          this.#attempts.delete(key);
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

  /** Stops the guests whose lease could not be renewed. Outcomes that wait to be told are kept: the gateway decides. */
  async #watchLeases(): Promise<void> {
    const { clock, log } = this.#init;
    const { signal } = this.#closed;
    while (!signal.aborted) {
      await sleep(clock, LEASE_CHECK_EVERY_MS, { signal }).catch(() => {});
      const nowMs = clock.monotonicMs();
      for (const attempt of this.#attempts.values()) {
        if (attempt.hasEnded || nowMs < attempt.leaseEndsAtMs) continue;
        log.warn("stopping a guest: its lease could not be renewed", { ...attempt.id });
        attempt.stop("its lease could not be renewed");
      }
    }
  }

  async #untilEmpty(signal: AbortSignal): Promise<void> {
    const aborted = Promise.withResolvers<void>();
    const onAbort = () => aborted.resolve();
    signal.addEventListener("abort", onAbort, { once: true });
    while (this.#attempts.size > 0 && !signal.aborted) await Promise.race([this.#changed.promise, aborted.promise]);
    signal.removeEventListener("abort", onAbort);
  }

  #notify(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }
}

function timeout(clock: Clock, delayMs: number): AbortSignal {
  const controller = new AbortController();
  clock.setTimer(delayMs, () => controller.abort(overloaded("the time was up")));
  return controller.signal;
}
