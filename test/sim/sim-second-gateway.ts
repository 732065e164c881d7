/**
 * A second gateway, on which workers fall back while the first one is not there. It has a store of its own, so that its
 * attempts bear the same numbers as those of the first, and a history of its own, to which the same promises apply. It comes
 * and goes: a worker stays with the gateway that it has found until that one goes.
 */
import type { Log } from "../../src/base/log.ts";
import type { PeerId, TaskId } from "../../src/base/ids.ts";
import type { PickPolicy } from "../../src/model/worker.ts";
import { peerId } from "../store/store-samples.ts";
import { MemoryBlobs } from "../support/memory-blobs.ts";
import { MemoryDisk } from "../support/memory-store.ts";
import type { TaskRow } from "../support/memory-store-state.ts";
import type { SeededRandom } from "../support/seeded-random.ts";
import { durableEvents } from "./durable-events.ts";
import type { EventLoop } from "./event-loop.ts";
import type { EventWithoutTime, HistoryEvent } from "./history.ts";
import { SECOND_PREFIX, type SecondPlan } from "./scenario.ts";
import { type ClientOrder, SimClient } from "./sim-client.ts";
import { SimGateway } from "./sim-gateway.ts";
import { Listener } from "./sim-network.ts";
import { EPOCH_MS } from "./sim-process.ts";
import { msLeft } from "./time-left.ts";

export interface SecondGatewayInit {
  readonly loop: EventLoop;
  readonly plan: SecondPlan;
  readonly policy: PickPolicy;
  readonly random: SeededRandom;
  readonly log: Log;
  readonly orderOf: (order: SecondPlan["submissions"][number]["order"]) => ClientOrder;
}

export class SecondGateway {
  readonly peer: PeerId = peerId("H");
  readonly listener = new Listener();
  readonly disk = new MemoryDisk();
  readonly blobs = new MemoryBlobs();
  readonly events: HistoryEvent[] = [];
  readonly gateway: SimGateway;
  readonly #init: SecondGatewayInit;
  readonly #client: SimClient;
  #transactions = 0;
  /** It comes and goes no more by itself. */
  #isSettled = false;

  constructor(init: SecondGatewayInit) {
    this.#init = init;
    const { loop, policy, random, log } = init;
    const record = (event: EventWithoutTime): void => this.record(event);
    this.gateway = new SimGateway({
      loop,
      wall: { offsetMs: 0 },
      disk: this.disk,
      blobs: this.blobs,
      listener: this.listener,
      policy,
      isOpen: true,
      retention: undefined,
      queuedTasksMax: undefined,
      random: random.fork(),
      log,
      record,
    });
    this.#client = new SimClient({ loop, gateway: this.gateway, blobs: this.blobs, record });
    this.disk.onDurable = (before, after) => {
      this.#transactions += 1;
      const moment = { wallMs: EPOCH_MS + loop.nowMs, transaction: this.#transactions };
      for (const event of durableEvents(before, after, moment)) this.record(event);
    };
  }

  isOf(task: TaskId): boolean {
    return task.startsWith(SECOND_PREFIX);
  }

  record(event: EventWithoutTime): void {
    this.events.push({ ...event, atMs: this.#init.loop.nowMs });
  }

  /** Begins to be there, and to go from time to time. */
  begin(): void {
    const { loop, plan, orderOf } = this.#init;
    this.gateway.start();
    for (const { atMs, order } of plan.submissions) {
      loop.after(atMs, () => this.#client.submit(orderOf(order), { isRepeated: true, losesAnswer: false }));
    }
    for (const { atMs, downMs, durable } of plan.absences) {
      loop.after(atMs, () => {
        if (this.#isSettled) return;
        if (durable === undefined) this.gateway.drain(() => {});
        else this.gateway.kill(durable);
        loop.after(downMs, () => this.#isSettled || this.gateway.start());
      });
    }
  }

  /** It is there no more, until it is started again; resolves when it has ended. */
  async stop(): Promise<void> {
    this.#isSettled = true;
    this.#client.leave();
    await this.#ended(this.gateway);
  }

  /** The first one is away meanwhile: all that was begun here comes to its end. True: it has. */
  async finishWithout(first: SimGateway, workers: number): Promise<boolean> {
    const { loop } = this.#init;
    await this.#ended(first);
    this.gateway.start();
    const tasks = (): readonly TaskRow[] => [...this.disk.state.tasks.values()];
    const endMs = loop.nowMs + msLeft(tasks(), EPOCH_MS + loop.nowMs) + STEADY_MS_MAX;
    const isDone = (): boolean =>
      this.gateway.isReady &&
      this.gateway.gateway?.attemptsInSight === 0 &&
      this.gateway.pendingOperations === 0 &&
      this.gateway.gateway.sessions.list().length === workers &&
      tasks().every((task) => task.finishedAt !== undefined);
    while (!isDone() && loop.nowMs < endMs) await loop.run(STEP_MS);
    const wasDone = isDone();
    await loop.run(STEP_MS);
    await this.#ended(this.gateway);
    first.start();
    return wasDone;
  }

  async #ended(gateway: SimGateway): Promise<void> {
    const { loop } = this.#init;
    const endMs = loop.nowMs + STEADY_MS_MAX;
    gateway.drain(() => {});
    while (gateway.isUp && loop.nowMs < endMs) await loop.run(STEP_MS);
    gateway.kill(0);
  }
}

const STEP_MS = 500;
/** Time that anything takes besides what is waited for and worked at. */
const STEADY_MS_MAX = 60_000;
