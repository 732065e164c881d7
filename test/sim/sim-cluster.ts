/**
 * The simulated cluster: carries a scenario out, step by step, then lets everything recover, and writes the history. It is
 * long because every kind of step is here.
 */
import { assert, messageOf } from "../../src/base/errors.ts";
import type { Digest } from "../../src/base/ids.ts";
import type { Log, LogFields } from "../../src/base/log.ts";
import type { InputFile } from "../../src/model/task-file.ts";
import type { WorkerView } from "../../src/model/worker.ts";
import type { Store } from "../../src/store/store.ts";
import { peerId } from "../store/store-samples.ts";
import { MemoryBlobs } from "../support/memory-blobs.ts";
import { MemoryDisk, type MemoryStore } from "../support/memory-store.ts";
import type { StoreState } from "../support/memory-store-state.ts";
import { SeededRandom } from "../support/seeded-random.ts";
import { DecisionClock } from "./decision-clock.ts";
import { durableEvents } from "./durable-events.ts";
import { EventLoop } from "./event-loop.ts";
import { digestOf } from "./guest-plan.ts";
import type { EventWithoutTime, GuestEvent, History, HistoryEvent, StopEvent } from "./history.ts";
import type { Scenario } from "./scenario.ts";
import type { Action, Order } from "./scenario-orders.ts";
import { SimAgeing } from "./sim-ageing.ts";
import { type ClientOrder, SimClient } from "./sim-client.ts";
import { leftovers, nameOf } from "./leftovers.ts";
import { SimFaults } from "./sim-faults.ts";
import { SecondGateway } from "./sim-second-gateway.ts";
import { SimGateway } from "./sim-gateway.ts";
import { Link } from "./sim-link.ts";
import { Listener } from "./sim-network.ts";
import { EPOCH_MS, type WallClock } from "./sim-process.ts";
import { SimWorker } from "./sim-worker.ts";
import { isProgrammersError, isStoreTrouble } from "./thrown-errors.ts";
import { msLeft } from "./time-left.ts";

export interface ClusterOptions {
  /** A bug that a test plants between the gateway and its store. */
  readonly sabotage?: ((store: MemoryStore) => Store) | undefined;
  /** What every process takes for its grace. Default: what it is. */
  readonly graceMs?: number | undefined;
  /** Sees every line of the log, with its time. */
  readonly onLog?: ((line: string) => void) | undefined;
}

/** Time without faults in which everything is to come to its end, besides what is waited for and worked at. */
const CALM_MS_MAX = 60_000;
const CALM_STEP_MS = 500;
/** No part of any period, so that what comes again and again is not met each time. */
const LOOK_STEP_MS = 97;
/** Time for everybody to stop, at the end. */
const STOP_MS_MAX = 60_000;

/** The time that faults may take from the last step on. */
const FAULTS_MS_MAX = 60_000;
/** How long the last words about a run may take to reach everybody, over the slowest link. */
const QUIET_MS_MAX = 20_000;

/** Between two workers that an operator lets in. */
const LET_IN_AFTER_MS = 1_700;

const GATEWAY = peerId("G");

export class SimCluster {
  readonly #scenario: Scenario;
  readonly #loop = new EventLoop();
  readonly #disk = new MemoryDisk();
  readonly #blobs = new MemoryBlobs();
  readonly #wall: WallClock = { offsetMs: 0 };
  readonly #events: HistoryEvent[] = [];
  readonly #leaks: string[] = [];
  readonly #modules: readonly { readonly digest: Digest; readonly bytes: Uint8Array }[];
  readonly #gateway: SimGateway;
  readonly #client: SimClient;
  /** Says that what an operator did to a worker is over. */
  readonly #operated: (() => void)[] = [];
  readonly #workers: readonly SimWorker[];
  readonly #second: SecondGateway | undefined;
  readonly #decisions = new DecisionClock(this.#wall);
  #transactions = 0;
  readonly #faults: SimFaults;
  readonly #ageing: SimAgeing;
  readonly #onLog: ((line: string) => void) | undefined;

  constructor(scenario: Scenario, options: ClusterOptions = {}) {
    this.#scenario = scenario;
    this.#onLog = options.onLog;
    const random = new SeededRandom(scenario.seed ^ 0x5bd1e995);
    const listener = new Listener();
    const blobs = this.#blobs;
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
      isOpen: scenario.isOpen,
      retention: scenario.retention,
      queuedTasksMax: scenario.queuedTasksMax,
      random: random.fork(),
      log,
      record: (event) => this.#record(event),
      sabotage: options.sabotage,
      graceMs: options.graceMs,
    });
    this.#client = new SimClient({
      loop: this.#loop,
      gateway: this.#gateway,
      blobs,
      record: (event) => this.#record(event),
    });
    this.#ageing = new SimAgeing({
      ...scenario,
      loop: this.#loop,
      wall: this.#wall,
      decisions: this.#decisions,
      disk: this.#disk,
      blobs,
      client: this.#client,
    });
    this.#second =
      scenario.second &&
      new SecondGateway({
        loop: this.#loop,
        plan: scenario.second,
        policy: scenario.policy,
        random: random.fork(),
        log: log.child({ gateway: "H" }),
        orderOf: (order) => this.#order(order),
      });
    const places = [{ gateway: GATEWAY, listener }, ...(this.#second === undefined ? [] : [placeOf(this.#second)])];
    this.#workers = scenario.workers.map(
      (plan) =>
        new SimWorker({
          ...plan,
          graceMs: options.graceMs,
          loop: this.#loop,
          gateways: places,
          link: new Link(plan.link, random.fork()),
          random: random.fork(),
          log,
          record: (event) => this.#recordOfWorker(event),
        }),
    );
    this.#faults = new SimFaults({
      loop: this.#loop,
      wall: this.#wall,
      decisions: this.#decisions,
      gateway: this.#gateway,
      blobs,
      workers: this.#workers,
      record: (event) => this.#recordForAll(event),
    });
  }

  /** Carries out all of it, and gives the history of each gateway. Call it once. */
  async run(): Promise<readonly History[]> {
    this.#gateway.start();
    if (this.#second !== undefined) {
      this.#second.begin();
      // Where a worker is there is nothing else to be promised.
      this.#recordForAll({ kind: "fault", what: "two-gateways {}" });
    }
    for (const worker of this.#workers) worker.start();
    if (!this.#scenario.isOpen) this.#letInLate();
    for (const { waitMs, action } of this.#scenario.steps) {
      await this.#loop.run(waitMs);
      this.#act(action);
    }
    await this.#untilMended();
    this.#recordForAll({ kind: "calm" });
    this.#faults.recover();
    await this.#second?.stop();
    await this.#untilDone();
    await this.#finishSecond();
    if (this.#isDone()) await this.#ageing.untilForgotten();
    await this.#lookForLeaks();
    await this.#stopAll();
    const { retention, queuedTasksMax } = this.#scenario;
    const { looks } = this.#ageing;
    const leaks = [...this.#leaks, ...this.#ageing.leaks];
    const first = await this.#historyOf({ disk: this.#disk, blobs: this.#blobs, events: this.#events });
    const all = [{ ...first, retention, queuedTasksMax, looks, leaks }];
    return this.#second === undefined ? all : [...all, await this.#historyOf(this.#second)];
  }

  async #historyOf({ disk, blobs, events }: Pick<SecondGateway, "disk" | "blobs" | "events">): Promise<History> {
    return {
      seed: this.#scenario.seed,
      workers: this.#scenario.workers.map(({ peer, slots, labels, link }) => {
        return { peer, slots, labels, isSlow: link.bytesPerMs !== Infinity, delayMsMax: link.delayMsMax };
      }),
      retention: undefined,
      queuedTasksMax: undefined,
      events,
      tasks: [...disk.state.tasks.values()],
      blobs: new Set(await Array.fromAsync(blobs.list())),
      looks: [],
      leaks: [],
    };
  }

  /** What was begun at the second gateway ends there, while the first one is away; then all is as it was. */
  async #finishSecond(): Promise<void> {
    if (this.#second === undefined || !this.#isDone()) return;
    if (!(await this.#second.finishWithout(this.#gateway, this.#workers.length))) {
      this.#leaks.push("something was still under way at the second gateway");
    }
    const endMs = this.#loop.nowMs + CALM_MS_MAX;
    while (this.#loop.nowMs < endMs && !this.#isDone()) await this.#loop.run(CALM_STEP_MS);
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
      case "retry":
        return client.retry(action.task);
      case "operate": {
        const worker = this.#workers[action.worker];
        assert(worker !== undefined, "the scenario knows its workers");
        this.#operated.push(this.#faults.begin(action, worker.peer));
        return client.operate(worker.peer, action.what);
      }
      default:
        return this.#faults.carryOut(action);
    }
  }

  /** A gateway that lets nobody in by itself: operators do, in the end at the latest. */
  #letInLate(): void {
    for (const [index, worker] of this.#workers.entries()) {
      this.#operated.push(this.#faults.begin({ kind: "operate", worker: index, what: "admit" }, worker.peer));
      this.#loop.after((index + 1) * LET_IN_AFTER_MS, () => this.#client.operate(worker.peer, "admit"));
    }
  }

  #order({ spec, module: index, input, inputFrom }: Order): ClientOrder {
    const module = this.#modules[index];
    assert(module !== undefined, "there are two modules");
    const files: InputFile[] = [];
    if (input !== undefined) files.push({ path: "in/own", digest: digestOf(input), bytes: input.length });
    if (inputFrom !== undefined) files.push({ path: "in/other", from: inputFrom });
    const blobs = [module, ...(input === undefined ? [] : [{ digest: digestOf(input), bytes: input }])];
    return { spec: { ...spec, module: module.digest, files }, module, blobs };
  }

  /** Faults take the time they take; what waits for an occasion has had it. */
  async #untilMended(): Promise<void> {
    const endMs = this.#loop.nowMs + FAULTS_MS_MAX;
    await this.#loop.run(100);
    while (this.#faults.underway > this.#operated.length && this.#loop.nowMs < endMs)
      await this.#loop.run(CALM_STEP_MS);
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
    await this.#ageing.endEndless();
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
    const endMs = this.#loop.nowMs + QUIET_MS_MAX;
    // A look at the store that comes again and again may be under way at this moment.
    while (!this.#isDone() && this.#loop.nowMs < endMs) await this.#loop.run(LOOK_STEP_MS);
    if (!this.#isDone()) {
      const workers = this.#gateway.gateway?.sessions.list() ?? [];
      const views = workers.map(({ id, ...view }) => `${nameOf(id)} ${JSON.stringify(view)}`);
      this.#leaks.push(`something was still under way; workers at the gateway: ${views.join(", ")}`);
      return;
    }
    let found = this.#leftovers();
    for (; found.length > 0 && this.#loop.nowMs < endMs; found = this.#leftovers()) await this.#loop.run(CALM_STEP_MS);
    this.#leaks.push(...found);
  }

  #leftovers(): readonly string[] {
    return leftovers(this.#gateway, this.#workers);
  }

  /** Everybody stops in good order, and nothing is left of them. */
  async #stopAll(): Promise<void> {
    if (this.#leaks.length > 0) return;
    this.#faults.stop();
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
    this.#transactions += 1;
    const moment = { wallMs: this.#decisions.latest(this.#loop.nowMs), transaction: this.#transactions };
    for (const event of durableEvents(before, after, moment)) this.#record(event);
  }

  #recordOfWorker(event: GuestEvent | StopEvent): void {
    if (event.kind !== "stopped" && this.#second?.isOf(event.id.task) === true) this.#second.record(event);
    else this.#record(event);
  }

  /** What befalls the cluster befalls each of its gateways. */
  #recordForAll(event: EventWithoutTime): void {
    this.#record(event);
    this.#second?.record(event);
  }

  #record(event: EventWithoutTime): void {
    this.#events.push({ ...event, atMs: this.#loop.nowMs });
  }

  #logOf(prefix: string): Log {
    const say = (level: string, message: string, fields: LogFields = {}): void => {
      this.#onLog?.(`${this.#loop.nowMs.toFixed(2)} ${prefix}${level}: ${message} ${describeFields(fields)}`);
      const { error } = fields;
      if (isProgrammersError(error) || (level === "error" && !isExpected(message, error))) {
        this.#record({ kind: "complaint", message: error === undefined ? message : `${message}: ${messageOf(error)}` });
      }
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

/** What the gateway says of a store in trouble that has refused it something. All other errors are our own. */
function isExpected(message: string, error: unknown): boolean {
  if (message === "the store is in trouble: no new work is taken, what there is can be read") return true;
  return /trying again|could not be read|will end/.test(message) && isStoreTrouble(error);
}

function placeOf({ peer, listener }: SecondGateway) {
  return { gateway: peer, listener };
}

function isHere({ status }: WorkerView): boolean {
  return status === "ready" || status === "quarantined";
}

function describeFields(fields: LogFields): string {
  const texts = Object.entries(fields).map(([key, value]) => {
    return `${key}=${value instanceof Error ? value.message : JSON.stringify(value)}`;
  });
  return texts.join(" ");
}
