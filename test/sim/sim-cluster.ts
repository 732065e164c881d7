/** The simulated cluster: carries a scenario out, step by step, then lets everything recover, and writes the history. */
import { assert } from "../../src/base/errors.ts";
import type { Digest, PeerId } from "../../src/base/ids.ts";
import type { Log, LogFields } from "../../src/base/log.ts";
import type { WorkerView } from "../../src/model/worker.ts";
import type { Store } from "../../src/store/store.ts";
import { peerId } from "../store/store-samples.ts";
import { MemoryBlobs } from "../support/memory-blobs.ts";
import { MemoryDisk, type MemoryStore } from "../support/memory-store.ts";
import type { StoreState } from "../support/memory-store-state.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { durableEvents } from "./durable-events.ts";
import { EventLoop } from "./event-loop.ts";
import type { History, HistoryEvent } from "./history.ts";
import type { Action, FaultAction, Order, Scenario } from "./scenario.ts";
import { type ClientOrder, SimClient } from "./sim-client.ts";
import { SimGateway } from "./sim-gateway.ts";
import { Link } from "./sim-link.ts";
import { Listener } from "./sim-network.ts";
import { EPOCH_MS, type WallClock } from "./sim-process.ts";
import { SimWorker } from "./sim-worker.ts";
import { msLeft } from "./time-left.ts";

export interface ClusterOptions {
  /** A bug that a test plants between the gateway and its store. */
  readonly sabotage?: ((store: MemoryStore) => Store) | undefined;
  /** Sees every line of the log, with its time. */
  readonly onLog?: ((line: string) => void) | undefined;
}

/** Time without faults in which everything is to come to its end, besides what is waited for and worked at. */
const CALM_MS_MAX = 60_000;
const CALM_STEP_MS = 500;
/** Time for everybody to stop, at the end. */
const STOP_MS_MAX = 60_000;

/** The time that faults may take from the last step on. */
const FAULTS_MS_MAX = 60_000;
/** The longest that a group's commit may take. */
const COMMIT_MS_MAX = 1_000;
/** How long the last words about a run may take to reach everybody, over the slowest link. */
const QUIET_MS_MAX = 20_000;

const GATEWAY = peerId("G");

export class SimCluster {
  readonly #scenario: Scenario;
  readonly #loop = new EventLoop();
  readonly #disk = new MemoryDisk();
  readonly #wall: WallClock = { offsetMs: 0 };
  readonly #events: HistoryEvent[] = [];
  readonly #leaks: string[] = [];
  readonly #modules: readonly { readonly digest: Digest; readonly bytes: Uint8Array }[];
  readonly #gateway: SimGateway;
  readonly #client: SimClient;
  /** Says that what an operator did to a worker is over. */
  readonly #operated: (() => void)[] = [];
  readonly #workers: readonly SimWorker[];
  /** Nobody is started any more. */
  #isStopping = false;
  /** What the wall clock was off before it was set, and until when. */
  readonly #offsetsBefore: { readonly untilMs: number; readonly offsetMs: number }[] = [];
  #transactions = 0;
  /** Under way. */
  #faults = 0;
  readonly #onLog: ((line: string) => void) | undefined;

  constructor(scenario: Scenario, options: ClusterOptions = {}) {
    this.#scenario = scenario;
    this.#onLog = options.onLog;
    const random = new SeededRandom(scenario.seed ^ 0x5bd1e995);
    const listener = new Listener();
    const blobs = new MemoryBlobs();
    this.#modules = [100, 5_000].map((length) => {
      const bytes = Uint8Array.from({ length }, (_, index) => index * 13 + length);
      return { bytes, digest: new MemoryBlobs().put(bytes) };
    });
    const log = this.#logOf("");
    this.#disk.onDurable = (before, after) => this.#onDurable(before, after);
    this.#gateway = new SimGateway({
      loop: this.#loop,
      wall: this.#wall,
      disk: this.#disk,
      blobs,
      listener,
      policy: scenario.policy,
      random: random.fork(),
      log,
      record: (event) => this.#record(event),
      sabotage: options.sabotage,
    });
    this.#client = new SimClient({
      loop: this.#loop,
      gateway: this.#gateway,
      blobs,
      record: (event) => this.#record(event),
    });
    this.#workers = scenario.workers.map(
      (plan) =>
        new SimWorker({
          ...plan,
          loop: this.#loop,
          gateway: GATEWAY,
          link: new Link(plan.link, random.fork()),
          listener,
          random: random.fork(),
          log,
          record: (event) => this.#record(event),
        }),
    );
  }

  /** Carries out all of it. Call it once. */
  async run(): Promise<History> {
    this.#gateway.start();
    for (const worker of this.#workers) worker.start();
    for (const { waitMs, action } of this.#scenario.steps) {
      await this.#loop.run(waitMs);
      this.#act(action);
    }
    await this.#untilMended();
    this.#recover();
    await this.#untilDone();
    await this.#lookForLeaks();
    await this.#stopAll();
    return {
      seed: this.#scenario.seed,
      events: this.#events,
      tasks: [...this.#disk.state.tasks.values()],
      leaks: this.#leaks,
    };
  }

  /** Events of the loop so far. */
  get steps(): number {
    return this.#loop.events;
  }

  #act(action: Action): void {
    const client = this.#client;
    switch (action.kind) {
      case "submit":
        return client.submit(this.#order(action), action);
      case "batch":
        return client.batch(action.orders.map((order) => this.#order(order)));
      case "cancel":
        return client.cancel(action.task);
      case "delete":
        return client.delete(action.task);
      case "operate": {
        const worker = this.#workers[action.worker];
        assert(worker !== undefined, "the scenario knows its workers");
        this.#operated.push(this.#begin(describe(action)));
        return client.operate(worker.peer, action.what);
      }
      default:
        return this.#fail(action, this.#begin(describe(action)));
    }
  }

  #order({ spec, module: index }: Order): ClientOrder {
    const module = this.#modules[index];
    assert(module !== undefined, "there are two modules");
    return { spec: { ...spec, module: module.digest }, module };
  }

  /** Something goes wrong from now on, until what this returns is called. */
  #begin(what: string): () => void {
    this.#record({ kind: "fault", what });
    this.#faults += 1;
    return () => {
      this.#faults -= 1;
      this.#record({ kind: "mended", what });
    };
  }

  #fail(action: FaultAction, mended: () => void): void {
    const gateway = this.#gateway;
    switch (action.kind) {
      case "kill-gateway": {
        const kill = () => this.#killGateway(action.durable, action.downMs, mended);
        if (!action.isMidCommit) return kill();
        return gateway.onNextCommit((withinMs) => this.#later(withinMs * action.durable, kill));
      }
      case "drain-gateway":
        return gateway.drain(() => this.#later(action.downMs, () => this.#startGateway(mended)));
      case "break-store":
        gateway.breakStore(action.durable);
        return this.#later(action.killAfterMs, () => this.#killGateway(0, action.downMs, mended));
      case "trouble-store":
        gateway.setTrouble(action.trouble);
        return this.#later(action.ms, () => {
          gateway.setTrouble(undefined);
          mended();
        });
      case "jump-clock":
        this.#setClock(this.#wall.offsetMs + action.ms);
        return mended();
      case "pause-gateway": {
        const { process } = gateway;
        process?.stop();
        return this.#later(action.ms, () => {
          process?.resume();
          mended();
        });
      }
      default:
        return this.#failWorker(action, mended);
    }
  }

  #failWorker(action: Extract<FaultAction, { readonly worker: number }>, mended: () => void): void {
    // One that has something to lose, where there is one.
    const busy = this.#workers.filter((each) => each.guests > 0);
    const choice = busy.length > 0 ? busy : this.#workers;
    const worker = choice[action.worker % choice.length];
    assert(worker !== undefined, "there are workers");
    const startLater = (): void =>
      this.#later(action.kind === "kill-worker" || action.kind === "drain-worker" ? action.downMs : 0, () => {
        worker.start();
        mended();
      });
    switch (action.kind) {
      case "kill-worker":
        worker.kill(action);
        return startLater();
      case "drain-worker":
        return worker.drain(startLater);
      case "pause-worker":
        return this.#pause(worker, action.ms, mended);
      case "fill-disk":
        worker.disk.isFull = true;
        return this.#later(action.ms, () => {
          worker.disk.isFull = false;
          mended();
        });
      case "cut": {
        const { toGateway, toWorker } = worker.link;
        const ways = { both: [toGateway, toWorker], "to-gateway": [toGateway], "to-worker": [toWorker] }[action.way];
        for (const way of ways) way.cut();
        return this.#later(action.ms, () => {
          for (const way of ways) way.mend();
          mended();
        });
      }
    }
  }

  #pause(worker: SimWorker, ms: number, mended: () => void): void {
    const { process } = worker;
    if (process === undefined || !process.isRunning) return mended();
    process.stop();
    this.#record({ kind: "paused", worker: worker.peer });
    this.#later(ms, () => {
      this.#resume(worker, process);
      mended();
    });
  }

  #resume(worker: SimWorker, process: SimWorker["process"]): void {
    if (process === undefined || process.isRunning || process.isDead) return;
    process.resume();
    this.#record({ kind: "resumed", worker: worker.peer });
  }

  #killGateway(durable: number, downMs: number, mended: () => void): void {
    this.#gateway.kill(durable);
    this.#later(downMs, () => this.#startGateway(mended));
  }

  #startGateway(mended: () => void): void {
    this.#gateway.start();
    mended();
  }

  #setClock(offsetMs: number): void {
    if (offsetMs === this.#wall.offsetMs) return;
    this.#offsetsBefore.push({ untilMs: this.#loop.nowMs, offsetMs: this.#wall.offsetMs });
    this.#wall.offsetMs = offsetMs;
  }

  #later(ms: number, act: () => void): void {
    this.#loop.after(ms, () => {
      if (!this.#isStopping) act();
    });
  }

  /** Faults take the time they take; what waits for an occasion has had it. */
  async #untilMended(): Promise<void> {
    const endMs = this.#loop.nowMs + FAULTS_MS_MAX;
    await this.#loop.run(100);
    while (this.#faults > this.#operated.length && this.#loop.nowMs < endMs) await this.#loop.run(CALM_STEP_MS);
  }

  /** Takes back everything that went wrong, and what is still to. */
  #recover(): void {
    this.#record({ kind: "calm" });
    this.#gateway.onNextCommit(() => {});
    this.#gateway.setTrouble(undefined);
    this.#setClock(0);
    this.#gateway.process?.resume();
    for (const worker of this.#workers) {
      worker.link.toGateway.mend();
      worker.link.toWorker.mend();
      worker.disk.isFull = false;
      this.#resume(worker, worker.process);
    }
  }

  /** An operator lets every worker in again that was drained, put in quarantine or barred. */
  async #admitAll(): Promise<void> {
    const endMs = this.#loop.nowMs + CALM_MS_MAX;
    // A drain that is under way may be later than what lets its worker in again.
    while (!this.#gateway.isReady || this.#gateway.pendingRequests > 0) {
      if (this.#loop.nowMs > endMs) return;
      await this.#loop.run(CALM_STEP_MS);
    }
    for (const worker of this.#workers) this.#client.operate(worker.peer, "admit");
    for (const mended of this.#operated) mended();
  }

  async #untilDone(): Promise<void> {
    await this.#admitAll();
    // What is asked for at this moment is to be in the store.
    await this.#loop.run(CALM_STEP_MS);
    this.#client.leave();
    const leftMs = msLeft([...this.#disk.state.tasks.values()], EPOCH_MS + this.#loop.nowMs);
    const endMs = this.#loop.nowMs + leftMs + CALM_MS_MAX;
    while (this.#loop.nowMs < endMs && !this.#isDone()) await this.#loop.run(CALM_STEP_MS);
  }

  #isDone(): boolean {
    const { gateway } = this.#gateway;
    return (
      gateway?.notReadyBecause() === undefined &&
      gateway?.attemptsInSight === 0 &&
      this.#gateway.pendingOperations === 0 &&
      gateway.sessions.list().filter(isHere).length === this.#workers.length &&
      this.#workers.every((worker) => worker.guests === 0 && worker.server?.state().busy === 0) &&
      [...this.#disk.state.tasks.values()].every((task) => task.finishedAt !== undefined)
    );
  }

  /** Nothing may be left of what is done, once the last words about it have got through. */
  async #lookForLeaks(): Promise<void> {
    if (!this.#isDone()) {
      this.#leaks.push("something was still under way");
      return;
    }
    let found = this.#leftovers();
    const endMs = this.#loop.nowMs + QUIET_MS_MAX;
    for (; found.length > 0 && this.#loop.nowMs < endMs; found = this.#leftovers()) await this.#loop.run(CALM_STEP_MS);
    this.#leaks.push(...found);
  }

  #leftovers(): readonly string[] {
    const found: string[] = [];
    const slots = new Map(this.#workers.map((worker) => [worker.peer, worker.slots]));
    for (const view of this.#gateway.gateway?.sessions.list() ?? []) {
      if (view.offers !== slots.get(view.id)) found.push(`${view.offers} offers of worker ${nameOf(view.id)}`);
    }
    const connections = [...this.#gateway.connections];
    if (connections.length !== this.#workers.length) found.push(`${connections.length} connections`);
    const tables = connections.map((connection) => JSON.stringify(connection.stats())).toSorted();
    const idle = this.#workers.map((worker) => JSON.stringify(idleStats(worker.slots))).toSorted();
    if (tables.join() !== idle.join()) found.push(`tables of connections: ${tables.join(" ")}`);
    const files = this.#workers.flatMap((worker) => worker.disk.files());
    const left = files.filter((path) => !/^\/modules\/[0-9a-f]{64}$/.test(path));
    if (left.length > 0) found.push(`files: ${left.join(" ")}`);
    return found;
  }

  /** Everybody stops in good order, and nothing is left of them. */
  async #stopAll(): Promise<void> {
    if (this.#leaks.length > 0) return;
    this.#isStopping = true;
    const processes = [this.#gateway, ...this.#workers].map((each) => each.process);
    for (const worker of this.#workers) worker.drain(() => {});
    const endMs = this.#loop.nowMs + STOP_MS_MAX;
    while (this.#workers.some((worker) => worker.isUp) && this.#loop.nowMs < endMs) await this.#loop.run(50);
    this.#gateway.drain(() => {});
    while (this.#gateway.isUp && this.#loop.nowMs < endMs) await this.#loop.run(50);
    if (this.#gateway.isUp) this.#leaks.push("the gateway did not stop");
    for (const worker of this.#workers) if (worker.isUp) this.#leaks.push(`worker ${nameOf(worker.peer)} did not stop`);
    await this.#loop.run(20_000);
    for (const process of processes) {
      if (process !== undefined && process.pendingTimers > 0) {
        this.#leaks.push(`${process.pendingTimers} timers of ${process.name}`);
      }
    }
  }

  #onDurable(before: StoreState, after: StoreState): void {
    // What becomes durable now was decided a moment ago.
    const recent = this.#offsetsBefore.filter(({ untilMs }) => this.#loop.nowMs - untilMs < COMMIT_MS_MAX);
    const offsetMs = Math.max(this.#wall.offsetMs, ...recent.map((before) => before.offsetMs));
    const wallMs = EPOCH_MS + this.#loop.nowMs + offsetMs;
    this.#transactions += 1;
    const moment = { wallMs, transaction: this.#transactions };
    for (const event of durableEvents(before, after, moment)) this.#record(event);
  }

  #record(event: EventWithoutTime): void {
    this.#events.push({ ...event, atMs: this.#loop.nowMs });
  }

  #logOf(prefix: string): Log {
    const say = (level: string, message: string, fields: LogFields = {}): void => {
      this.#onLog?.(`${this.#loop.nowMs.toFixed(2)} ${prefix}${level}: ${message} ${describeFields(fields)}`);
      if (level === "error" && !isExpected(message)) this.#record({ kind: "complaint", message });
    };
    return {
      debug: (message, fields) => say("debug", message, fields),
      info: (message, fields) => say("info", message, fields),
      warn: (message, fields) => say("warn", message, fields),
      error: (message, fields) => say("error", message, fields),
      child: (fields) => this.#logOf(`${prefix}${describeFields(fields)} `),
    };
  }
}

type EventWithoutTime<Event = HistoryEvent> = Event extends HistoryEvent ? Omit<Event, "atMs"> : never;

/** Errors that a store in trouble may cause. All others are our own. */
function isExpected(message: string): boolean {
  return /trying again|could not be read|will end/.test(message);
}

function isHere({ status }: WorkerView): boolean {
  return status === "ready" || status === "quarantined";
}

/** Of a connection on which a worker waits with all its slots on offer. */
function idleStats(slots: number) {
  return { questions: 0, answers: slots, exports: 2, imports: slots };
}

function nameOf(peer: PeerId): string {
  return peer.slice(8, 9);
}

function describe({ kind, ...rest }: Action): string {
  return `${kind} ${JSON.stringify(rest)}`;
}

function describeFields(fields: LogFields): string {
  const texts = Object.entries(fields).map(([key, value]) => {
    return `${key}=${value instanceof Error ? value.message : JSON.stringify(value)}`;
  });
  return texts.join(" ");
}
