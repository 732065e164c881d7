/**
 * The gateway's machine: a disk and an address that stay, and one process after the other that is a gateway: the real one,
 * with the real way in for workers, on the simulated disk and network.
 */
import { runningApp } from "../../src/app/running.ts";
import type { RunningApp } from "../../src/app/app.ts";
import { type AcceptedWorkers, acceptWorkers } from "../../src/app/gateway-connections.ts";
import type { Clock } from "../../src/base/clock.ts";
import type { Log } from "../../src/base/log.ts";
import { Gateway } from "../../src/gateway/gateway.ts";
import type { PickPolicy } from "../../src/model/worker.ts";
import type { Store } from "../../src/store/store.ts";
import type { MemoryBlobs } from "../support/memory-blobs.ts";
import { type DiskTrouble, type MemoryDisk, MemoryStore } from "../support/memory-store.ts";
import type { SeededRandom } from "../support/seeded-random.ts";
import type { EventLoop } from "./event-loop.ts";
import type { HistoryEvent, StopEvent } from "./history.ts";
import type { RetentionPlan } from "./scenario-retention.ts";
import type { Listener } from "./sim-network.ts";
import { GRACE_MS, SimProcess, type WallClock } from "./sim-process.ts";

export interface SimGatewayInit {
  readonly loop: EventLoop;
  readonly wall: WallClock;
  readonly disk: MemoryDisk;
  readonly blobs: MemoryBlobs;
  readonly listener: Listener;
  readonly policy: PickPolicy;
  readonly isOpen: boolean;
  readonly retention: RetentionPlan | undefined;
  readonly queuedTasksMax: number | undefined;
  readonly random: SeededRandom;
  readonly log: Log;
  readonly record: (
    event: Extract<HistoryEvent, { kind: "told" | "gateway-began" | "gateway-ended" }> | StopEvent,
  ) => void;
  /** What it takes for its grace. Default: what it is. */
  readonly graceMs?: number | undefined;
  /** What a test puts between the gateway and its store: a planted bug. */
  readonly sabotage?: ((store: MemoryStore) => Store) | undefined;
}

/** One process that is a gateway, or becomes one. */
interface Incarnation {
  readonly process: SimProcess;
  readonly store: MemoryStore;
  gateway?: Gateway | undefined;
  workers?: AcceptedWorkers | undefined;
  app?: RunningApp | undefined;
  /** Requests that it has not answered, those that have not reached it included. */
  requests: number;
}

/** Time a disk takes for a group that reads, that writes, and now and then. */
const READ_MS_MAX = 0.5;
const WRITE_MS_MAX = 12;
const STALL_MS_MAX = 400;

export class SimGateway {
  readonly #init: SimGatewayInit;
  readonly #latency: SeededRandom;
  #now: Incarnation | undefined;
  #trouble: DiskTrouble | undefined;
  /** By how much longer a group may take now. */
  #slowMs = 0;
  /** Called when the next group that writes is on its way to the disk. */
  #onNextCommit: ((withinMs: number) => void) | undefined;

  constructor(init: SimGatewayInit) {
    this.#init = init;
    this.#latency = init.random.fork();
  }

  get isUp(): boolean {
    return this.#now !== undefined;
  }

  /** It takes work. */
  get isReady(): boolean {
    const gateway = this.gateway;
    return gateway !== undefined && gateway.notReadyBecause() === undefined;
  }

  get gateway(): Gateway | undefined {
    return this.#now?.gateway;
  }

  get process(): SimProcess | undefined {
    return this.#now?.process;
  }

  get connections(): AcceptedWorkers["connections"] {
    return this.#now?.workers?.connections ?? new Set();
  }

  /** Requests that it has not answered. */
  get pendingRequests(): number {
    return this.#now?.requests ?? 0;
  }

  /** Requests, and operations of its store. */
  get pendingOperations(): number {
    return (this.#now?.store.pending ?? 0) + (this.#now?.requests ?? 0);
  }

  start(): void {
    if (this.#now !== undefined) return;
    const { loop, wall, disk, random } = this.#init;
    const process = new SimProcess("gateway", loop, wall);
    const latency = { clock: process.clock, nextMs: (isWriting: boolean) => this.#nextLatencyMs(isWriting) };
    const store = new MemoryStore({ disk, latency });
    store.trouble = this.#trouble;
    const now: Incarnation = { process, store, requests: 0 };
    this.#now = now;
    this.#record("gateway-began");
    const own = random.fork();
    process.deliver(() => void this.#open(now, own).catch((error: unknown) => this.#failed(now, error)));
  }

  /** SIGKILL, or the power: of the transactions under way this share is durable. */
  kill(durable: number): void {
    const now = this.#now;
    if (now === undefined) return;
    this.#now = undefined;
    this.#onNextCommit = undefined;
    now.store.crash(durable);
    now.process.kill();
    this.#record("gateway-ended");
    this.#init.blobs.crash();
    this.#init.listener.close(now.process);
  }

  /** Calls once, when a group that writes has begun: its commit ends within so many milliseconds. */
  onNextCommit(act: (withinMs: number) => void): void {
    this.#onNextCommit = act;
  }

  /** The store's thread dies; the process goes on without it. */
  breakStore(durable: number): void {
    this.#now?.store.breakDown(durable);
  }

  setTrouble(trouble: DiskTrouble | undefined): void {
    this.#trouble = trouble;
    if (this.#now !== undefined) this.#now.store.trouble = trouble;
  }

  /** Each group takes up to so much longer from now on; 0: no longer than usual. */
  setSlow(groupMs: number): void {
    this.#slowMs = groupMs;
  }

  /** SIGTERM. Calls back when the process has ended by itself. */
  drain(onEnded: () => void): void {
    const now = this.#now;
    now?.process.deliver(() => {
      const sinceMs = now.process.ranMs;
      void now.app?.drain().then(() => {
        if (this.#now === now) {
          this.#now = undefined;
          this.#record("gateway-ended");
        }
        now.process.endedAfter(sinceMs, this.#init.record);
        this.#init.listener.close(now.process);
        onEnded();
      });
    });
  }

  /** A request that reaches a gateway which takes work; others are turned away, as by the API. Never rejects. */
  request(act: (gateway: Gateway, clock: Clock) => Promise<void>): void {
    const now = this.#now;
    if (now === undefined) return;
    now.requests += 1;
    now.process.deliver(() => {
      now.requests -= 1;
      if (now.gateway === undefined || now.gateway.notReadyBecause() !== undefined) return;
      now.requests += 1;
      void act(now.gateway, now.process.clock).finally(() => (now.requests -= 1));
    });
  }

  #record(kind: "gateway-began" | "gateway-ended"): void {
    this.#init.record({ kind, atMs: this.#init.loop.nowMs });
  }

  async #open(now: Incarnation, random: SeededRandom): Promise<void> {
    const {
      blobs,
      listener,
      policy,
      isOpen,
      retention,
      queuedTasksMax,
      log,
      record,
      sabotage,
      graceMs = GRACE_MS,
    } = this.#init;
    const { process } = now;
    const { clock } = process;
    const stack = new AsyncDisposableStack();
    const store = sabotage?.(now.store) ?? now.store;
    stack.use(now.store);
    const gateway = await Gateway.start({
      store,
      blobs,
      verifier: { makeNonce: () => new Uint8Array(32), verify: () => undefined },
      isOpen,
      policy,
      retainMs: retention?.retainMs,
      clockTrustedAfterMs: retention?.clockTrustedAfterMs,
      retentionPace: retention,
      queueLimits: queuedTasksMax === undefined ? undefined : { tasks: queuedTasksMax },
      clock,
      random,
      log,
    });
    stack.defer(() => gateway.close());
    gateway.events.subscribe((event) => {
      if (event.type !== "worker") record({ kind: "told", event, atMs: process.loop.nowMs });
    });
    now.gateway = gateway;
    now.workers = stack.use(await acceptWorkers({ host: listener.hostOf(process), gateway, clock, log }));
    now.app = runningApp({
      ready: { event: "ready", role: "gateway", peerId: "G", addrs: [] },
      stack,
      graceMs,
      drain: (options) => gateway.drain(options),
      powers: { clock, random, log, env: {} },
    });
  }

  /** It did not come up, because of its store: somebody starts it again. */
  #failed(now: Incarnation, error: unknown): void {
    this.#init.log.error("the gateway did not start; trying again", { error });
    if (this.#now !== now) return;
    this.kill(0);
    this.#init.loop.after(500, () => this.start());
  }

  #nextLatencyMs(isWriting: boolean): number {
    const stall = this.#latency.next() < 0.01 ? STALL_MS_MAX * this.#latency.next() : 0;
    const slow = this.#slowMs > 0 ? this.#slowMs * (0.2 + 0.8 * this.#latency.next()) : 0;
    const usual = slow + (isWriting ? WRITE_MS_MAX : READ_MS_MAX) * (0.05 + 0.95 * this.#latency.next() ** 2);
    const act = this.#onNextCommit;
    if (isWriting && act !== undefined) {
      this.#onNextCommit = undefined;
      act(usual + stall);
    }
    return usual + stall;
  }
}
