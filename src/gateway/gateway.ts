/**
 * A gateway without its network: store, channel, scheduler, dispatcher, leases and worker sessions, put together.
 *
 *     submit ──▶ store ──due──▶ Scheduler ──ready──▶ Dispatcher ◀──offers── channel ◀── worker sessions
 *                  ▲                                     │ lease, run
 *                  └────────settle, output──────── Attempts ◀── workers
 */
import { OfferChannel } from "../channel/offer-channel.ts";
import { unlessAborted } from "../base/abort.ts";
import type { Clock } from "../base/clock.ts";
import type { PeerId } from "../base/ids.ts";
import { GRACE_MS_DEFAULT } from "../base/limits.ts";
import { NO_TRACER, type Tracer } from "../base/tracing.ts";
import type { Log } from "../base/log.ts";
import type { Random } from "../base/random.ts";
import type { PickPolicy } from "../model/worker.ts";
import type { BlobStore } from "../store/blobs.ts";
import type { QueueSize, Store } from "../store/store.ts";
import { Admission, type JoinVerifier } from "./admission.ts";
import type { AuditLog } from "./audit.ts";
import { Attempts } from "./attempts.ts";
import { Dispatcher } from "./dispatcher.ts";
import { EventHub } from "./events.ts";
import { LeaseClock } from "./lease-clock.ts";
import { leaseTerms } from "./lease-terms.ts";
import { Leases } from "./leases.ts";
import { BlobPins } from "./blob-pins.ts";
import { QueueGate } from "./queue-gate.ts";
import { Retention, type RetentionPace } from "./retention.ts";
import { NO_RUN_METER, type RunMeter } from "./run-meter.ts";
import { Scheduler } from "./scheduler.ts";
import type { TaskSpec } from "../model/task.ts";
import type { Readiness, RunStarts, TaskService } from "./services.ts";
import type { RunName } from "./unreadable-blobs.ts";
import { StoreHealth } from "./store-health.ts";
import { StoreTaskService } from "./task-service.ts";
import { WorkerHealth } from "./worker-health.ts";
import { WorkerSessions } from "./worker-sessions.ts";

export interface GatewayInit {
  /** Borrowed: closed by whoever opened them, after the gateway. */
  readonly store: Store;
  readonly blobs: BlobStore;
  readonly verifier: JoinVerifier;
  readonly isOpen: boolean;
  /** Of who was let in. Borrowed. Default: nobody keeps it. */
  readonly audit?: AuditLog | undefined;
  readonly policy: PickPolicy;
  /** How long an attempt is held to be alive after its worker was heard of. Default: LEASE_MS. */
  readonly leaseMs?: number | undefined;
  /** How long a worker that an operator drains may finish what it has. Default: GRACE_MS_DEFAULT. */
  readonly graceMs?: number | undefined;
  /** How long a finished task is kept; undefined: for ever. */
  readonly retainMs?: number | undefined;
  /** How long a module that came by itself is held after it was last brought or named; undefined: for ever. */
  readonly retainModulesMs?: number | undefined;
  /** How long nothing is forgotten for its age at first, when the clock may be wrong. Default: RETAIN_CLOCK_TRUST_MS. */
  readonly clockTrustedAfterMs?: number | undefined;
  /** Default: that of base/limits.ts. */
  readonly retentionPace?: RetentionPace | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Default: nobody traces. */
  readonly tracer?: Tracer | undefined;
  /** Default: nobody measures. */
  readonly meter?: RunMeter | undefined;
  /** Of unfinished tasks. Default: those of base/limits.ts. */
  readonly queueLimits?: Partial<QueueSize> | undefined;
}

export class Gateway implements Readiness, RunStarts {
  readonly events = new EventHub();
  readonly pins: BlobPins;
  readonly tasks: TaskService;
  readonly sessions: WorkerSessions;
  readonly admission: Admission;
  readonly storeHealth: StoreHealth;
  readonly #attempts: Attempts;
  readonly #channel: OfferChannel;
  readonly #dispatcher: Dispatcher;
  readonly #scheduler: Scheduler;
  readonly #leases: Leases;
  readonly #gate: QueueGate;
  readonly #retention: Retention;
  #state: "starting" | "ready" | "draining" | "closed" = "starting";

  private constructor(init: GatewayInit) {
    const { store, blobs, clock, random, log, meter = NO_RUN_METER } = init;
    const wake = () => this.#dispatcher.wake();
    this.pins = new BlobPins({ store, blobs, log });
    this.#channel = new OfferChannel();
    const leaseClock = new LeaseClock(clock, leaseTerms(init.leaseMs));
    const { leaseMs } = leaseClock.terms;
    const onChange = (worker: PeerId) => this.sessions.onHealthChanged(worker);
    const health = new WorkerHealth({ clock, random, onChange, onRested: wake });
    const shared = {
      store,
      blobs,
      clock,
      random,
      log,
      meter,
      events: this.events,
      pins: this.pins,
      health,
      leaseClock,
    };
    this.storeHealth = new StoreHealth({ ...shared, onRelieved: () => this.#storeIsWell() });
    this.#attempts = new Attempts({ ...shared, leaseMs, onReady: (nextAt) => this.#onReady(nextAt) });
    const parts = { ...shared, attempts: this.#attempts, storeHealth: this.storeHealth };
    this.sessions = new WorkerSessions({
      ...parts,
      offersFor: (peer, signal) => this.#channel.senderFor({ peer, signal }),
      offerCount: (peer) => this.#channel.waitingOf(peer),
      graceMs: init.graceMs ?? GRACE_MS_DEFAULT,
      onUsable: wake,
    });
    this.admission = new Admission({ ...init, sessions: this.sessions });
    const { policy, tracer = NO_TRACER } = init;
    const offers = this.#channel.offers;
    this.#dispatcher = new Dispatcher({ ...parts, channel: offers, sessions: this.sessions, policy, tracer });
    this.#scheduler = new Scheduler({ ...parts, onReady: wake });
    this.#leases = new Leases(parts);
    this.#gate = new QueueGate({ ...parts, limits: init.queueLimits });
    const { retainMs, retainModulesMs, clockTrustedAfterMs, retentionPace: pace } = init;
    this.#retention = new Retention({ ...parts, retainMs, retainModulesMs, clockTrustedAfterMs, pace });
    this.tasks = new StoreTaskService({
      ...parts,
      gate: this.#gate,
      onChanged: ({ isReady, dueAt }) => {
        if (dueAt !== undefined) this.#scheduler.wake(dueAt);
        if (isReady) wake();
      },
    });
  }

  /** Takes up what the store holds. Rejects as the store does, and leaves nothing behind then. */
  static async start(init: GatewayInit): Promise<Gateway> {
    const gateway = new Gateway(init);
    try {
      await gateway.#leases.start();
      await gateway.sessions.start();
    } catch (error) {
      await gateway.close();
      throw error;
    }
    gateway.#scheduler.wake(init.clock.now());
    gateway.#dispatcher.wake();
    void gateway.pins.sweep();
    gateway.storeHealth.start();
    gateway.#retention.start();
    gateway.#state = "ready";
    return gateway;
  }

  /** Attempts whose outcomes it waits for. */
  get attemptsInSight(): number {
    return this.#attempts.count;
  }

  blobWaitMs(run: RunName, spec: TaskSpec): number | undefined {
    return this.#dispatcher.blobWaitMs(run, spec);
  }

  notReadyBecause(): string | undefined {
    return this.#state === "ready" ? undefined : `the gateway is ${this.#state}`;
  }

  /** Starts no more runs and waits until those under way have ended, or the signal is aborted: workers go on with them. */
  async drain({ signal }: { signal: AbortSignal }): Promise<void> {
    if (this.#state === "closed") return;
    this.#state = "draining";
    this.#scheduler.close();
    const idle = this.#dispatcher.close().then(() => this.#attempts.idle());
    await unlessAborted(idle, signal).catch(() => {});
  }

  /** Ends every session. Workers keep what they have, for the next gateway. Idempotent. */
  async close(): Promise<void> {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#scheduler.close();
    this.#leases.close();
    this.storeHealth.close();
    await this.#dispatcher.close();
    this.#attempts.close();
    this.sessions.close();
    this.#gate[Symbol.dispose]();
    this.#channel[Symbol.dispose]();
    await this.#retention.close();
    await this.pins.close();
  }

  #storeIsWell(): void {
    this.#attempts.storeIsWell();
    this.#scheduler.storeIsWell();
    this.#dispatcher.storeIsWell();
  }

  #onReady(nextAt: number): void {
    if (nextAt !== Infinity) this.#scheduler.wake(nextAt);
    this.#dispatcher.wake();
  }
}
