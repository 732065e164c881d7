/**
 * A real gateway on a real store, a clock that the test moves, and workers driven by hand. When it closes it makes sure
 * that nothing has been left: no attempt in sight, no timer, no stranger.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";
import { LEASE_RENEW_EVERY_MS } from "../../src/base/limits.ts";
import { type Log, silentLog } from "../../src/base/log.ts";
import { Gateway } from "../../src/gateway/gateway.ts";
import { NO_RUN_METER, type RefusalCause } from "../../src/gateway/run-meter.ts";
import type { Run } from "../../src/model/run.ts";
import type { Task, TaskSpec } from "../../src/model/task.ts";
import type { PickPolicy, WorkerState } from "../../src/model/worker.ts";
import { isJoinProof, joinProof, makeNonce } from "../../src/net/join-proof.ts";
import { FileBlobStore } from "../../src/store/file-blobs.ts";
import { SqliteStore } from "../../src/store/sqlite/sqlite-store.ts";
import type { QueueSize, Store } from "../../src/store/store.ts";
import { INSPECTION, T0, peerId, taskId, taskSpec } from "../store/store-samples.ts";
import { type HandRun, HandWorker } from "./hand-worker.ts";
import { ManualClock, settlePromises } from "./manual-clock.ts";
import { SeededRandom } from "./seeded-random.ts";
import { type TroubledStore, troubledStore } from "./troubled-store.ts";

export const GATEWAY_PEER = peerId("G");
export const SECRET = "a-secret-of-tests";
export const NAMESPACE = "tests";

/** How long a condition may take to come true before the test is given up; it is looked at all the time. */
const PATIENCE_MS = 30_000;

export interface ClusterInit {
  readonly isOpen?: boolean;
  readonly policy?: PickPolicy;
  readonly log?: Log;
  readonly queueLimits?: Partial<QueueSize>;
  readonly retainMs?: number;
  readonly retainModulesMs?: number;
  readonly leaseMs?: number;
}

export class GatewayCluster implements AsyncDisposable {
  readonly clock = new ManualClock({ now: T0 });
  readonly trouble: TroubledStore;
  /** Of attempts that came too late, as they are counted. */
  readonly refused: RefusalCause[] = [];
  readonly #init: ClusterInit;
  readonly #folder: string;
  readonly #store: SqliteStore;
  readonly #blobs: FileBlobStore;
  readonly #workers: HandWorker[] = [];
  #gateway: Gateway | undefined;

  static async open(init: ClusterInit = {}): Promise<GatewayCluster> {
    const folder = await mkdtemp(join(tmpdir(), "capmesh-gateway-"));
    const store = await SqliteStore.open({ path: join(folder, "capmesh.db"), log: silentLog });
    const cluster = new GatewayCluster(init, folder, store, await FileBlobStore.open(join(folder, "blobs")));
    await cluster.start();
    return cluster;
  }

  private constructor(init: ClusterInit, folder: string, store: SqliteStore, blobs: FileBlobStore) {
    this.#init = init;
    this.#folder = folder;
    this.#store = store;
    this.#blobs = blobs;
    this.trouble = troubledStore(store);
  }

  get gateway(): Gateway {
    if (this.#gateway === undefined) throw new Error("the gateway is closed");
    return this.#gateway;
  }

  get blobs(): FileBlobStore {
    return this.#blobs;
  }

  get store(): Store {
    return this.trouble.store;
  }

  async start(): Promise<void> {
    this.#gateway = await Gateway.start({
      store: this.trouble.store,
      blobs: this.#blobs,
      retainMs: this.#init.retainMs,
      retainModulesMs: this.#init.retainModulesMs,
      verifier: {
        makeNonce,
        verify: ({ worker, gatewayNonce, workerNonce, proof }) => {
          const input = {
            secret: SECRET,
            namespace: NAMESPACE,
            gatewayPeerId: GATEWAY_PEER,
            workerPeerId: worker,
            gatewayNonce,
            workerNonce,
          };
          return isJoinProof("worker", input, proof) ? joinProof("gateway", input) : undefined;
        },
      },
      isOpen: this.#init.isOpen ?? true,
      policy: this.#init.policy ?? "random",
      leaseMs: this.#init.leaseMs,
      clock: this.clock,
      random: new SeededRandom(1),
      log: this.#init.log ?? silentLog,
      queueLimits: this.#init.queueLimits,
      meter: { ...NO_RUN_METER, refused: (cause) => void this.refused.push(cause) },
    });
  }

  /** The gateway goes, and its connections with it; the store stays. */
  async stop(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker[Symbol.asyncDispose]()));
    this.#workers.length = 0;
    await this.#gateway?.close();
    expect(this.#gateway?.attemptsInSight ?? 0).toBe(0);
    expect(this.#gateway?.admission.strangers ?? 0).toBe(0);
    this.#gateway = undefined;
    await this.quiet();
    expect(this.clock.pendingTimers).toBe(0);
  }

  /** A connection of the worker of this name, which has not logged in. */
  connect(name = "A", state: Partial<WorkerState> = {}): HandWorker {
    const worker = new HandWorker({ gateway: this.gateway, peer: peerId(name), state });
    this.#workers.push(worker);
    return worker;
  }

  /** A worker that is ready to offer. */
  async join(name = "A", state: Partial<WorkerState> = {}): Promise<HandWorker> {
    const worker = this.connect(name, state);
    await worker.join();
    return worker;
  }

  /** Submits a task; the first run is due now. */
  async submit(id: string, changes: Partial<TaskSpec> = {}): Promise<Task> {
    const spec = taskSpec(id, { firstDueAt: this.clock.now(), ...changes });
    const result = await this.gateway.tasks.submit(spec, INSPECTION, this.clock.now());
    if (result.kind !== "created") throw new Error(`${id} is taken`);
    return result.task;
  }

  async task(id: string): Promise<Task> {
    const task = await this.store.getTask(taskId(id));
    if (task === undefined) throw new Error(`no task ${id}`);
    return task;
  }

  async run(id: string, index = 1): Promise<Run> {
    const run = await this.store.getRun(taskId(id), index);
    if (run === undefined) throw new Error(`no run ${index} of ${id}`);
    return run;
  }

  /** Outcomes of a run's attempts, in order; those under way by their state. */
  async attempts(id: string, index = 1): Promise<readonly string[]> {
    return (await this.run(id, index)).attempts.map(({ state }) => state);
  }

  async hasState(id: string, state: Task["state"]): Promise<void> {
    await this.until(`${id} is ${state}`, async () => (await this.task(id)).state === state);
  }

  async hasRunState(id: string, state: Run["state"], index = 1): Promise<Run> {
    await this.until(`run ${index} of ${id} is ${state}`, async () => (await this.run(id, index)).state === state);
    return this.run(id, index);
  }

  /** Resolves when `isTrue` is. Looks again each time something may have happened. */
  async until(what: string, isTrue: () => boolean | Promise<boolean>): Promise<void> {
    const startedMs = performance.now();
    while (!(await isTrue())) {
      if (performance.now() - startedMs > PATIENCE_MS) throw new Error(`not within ${PATIENCE_MS} ms: ${what}`);
      await settlePromises();
    }
  }

  /** Resolves when what was begun has run its course, as far as it needs no time: messages and the store have settled. */
  async quiet(): Promise<void> {
    for (let round = 0; round < 6; round++) {
      await this.#store.measureQueue();
      for (let turn = 0; turn < 6; turn++) await settlePromises();
    }
  }

  /** Lets time go by in steps, with all that happens in each. */
  async pass(ms: number, stepMs = 500): Promise<void> {
    for (let left = ms; left > 0; left -= stepMs) {
      this.clock.advance(Math.min(stepMs, left));
      await this.quiet();
    }
  }

  /** Lets time go by while this worker renews what it holds, as often as it should. */
  async passRenewing(ms: number, worker: HandWorker, held: readonly HandRun[]): Promise<void> {
    for (let left = ms; left > 0; left -= LEASE_RENEW_EVERY_MS) {
      await this.pass(Math.min(LEASE_RENEW_EVERY_MS, left));
      await worker.renew(held);
    }
  }

  forget(id: string): Promise<boolean> {
    return this.gateway.tasks.delete(taskId(id));
  }

  cancel(id: string): Promise<unknown> {
    return this.gateway.tasks.cancel(taskId(id), "not wanted any more");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.trouble.broken.clear();
    try {
      if (this.#gateway !== undefined) await this.stop();
    } finally {
      await this.#store.close();
      await rm(this.#folder, { recursive: true, force: true });
    }
  }
}
