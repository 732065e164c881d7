/**
 * A worker's machine: a disk, a link and an identity that stay, and one process after the other that is a worker: the real
 * worker server, dialer and way of joining, with simulated guests.
 */
import { wasmExecutors } from "../../src/worker/executors.ts";
import { runningApp } from "../../src/app/running.ts";
import type { Powers, RunningApp } from "../../src/app/app.ts";
import { serveGateway } from "../../src/app/serve-gateway.ts";
import type { PeerId } from "../../src/base/ids.ts";
import type { Log } from "../../src/base/log.ts";
import { Dialer } from "../../src/net/dialer.ts";
import type { Where } from "../../src/net/where.ts";
import { openWorker } from "../../src/worker/open-worker.ts";
import type { WorkerServer } from "../../src/worker/worker-server.ts";
import type { SeededRandom } from "../support/seeded-random.ts";
import type { EventLoop } from "./event-loop.ts";
import type { GuestEvent, StopEvent } from "./history.ts";
import type { Sickness } from "./scenario-faults.ts";
import { type MachineHealth, SimExecutor } from "./sim-executor.ts";
import { SimDisk } from "./sim-files.ts";
import type { Link } from "./sim-link.ts";
import { type GatewayPlace, dialerHost } from "./sim-network.ts";
import { GRACE_MS, SimProcess, type WallClock } from "./sim-process.ts";

export interface SimWorkerInit {
  readonly loop: EventLoop;
  readonly peer: PeerId;
  readonly link: Link;
  /** Where it looks for a gateway, in this order. */
  readonly gateways: readonly GatewayPlace[];
  readonly slots: number;
  readonly weight: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly random: SeededRandom;
  readonly log: Log;
  readonly record: (event: GuestEvent | StopEvent) => void;
  /** What it takes for its grace. Default: what it is. */
  readonly graceMs?: number | undefined;
}

interface Incarnation {
  readonly process: SimProcess;
  readonly executor: SimExecutor;
  server?: WorkerServer | undefined;
  app?: RunningApp | undefined;
}

export class SimWorker {
  readonly peer: PeerId;
  readonly link: Link;
  readonly slots: number;
  readonly disk: SimDisk;
  readonly #init: SimWorkerInit;
  readonly #wall: WallClock = { offsetMs: 0 };
  /** What becomes of its guests, while the machine is out of order. */
  readonly #health: MachineHealth = { sickness: undefined };
  #now: Incarnation | undefined;

  constructor(init: SimWorkerInit) {
    this.#init = init;
    this.peer = init.peer;
    this.link = init.link;
    this.slots = init.slots;
    this.disk = new SimDisk(init.random.fork());
  }

  get isUp(): boolean {
    return this.#now !== undefined;
  }

  get process(): SimProcess | undefined {
    return this.#now?.process;
  }

  get server(): WorkerServer | undefined {
    return this.#now?.server;
  }

  /** Guests under way. */
  get guests(): number {
    return this.#now?.executor.active ?? 0;
  }

  start(): void {
    if (this.#now !== undefined) return;
    const { loop, peer, random, record } = this.#init;
    const process = new SimProcess(`worker ${peer.slice(8, 9)}`, loop, this.#wall);
    const executor = new SimExecutor({
      process,
      disk: this.disk,
      health: this.#health,
      worker: peer,
      random: random.fork(),
      record,
    });
    const now: Incarnation = { process, executor };
    this.#now = now;
    const own = random.fork();
    process.deliver(() => void this.#open(now, own));
  }

  /** Somebody sets the machine's clock. */
  jumpClock(ms: number): void {
    this.#wall.offsetMs += ms;
  }

  /** From now on guests end so, whatever they do; undefined: as they do by themselves. */
  setSickness(sickness: Sickness | undefined): void {
    this.#health.sickness = sickness;
  }

  /** SIGKILL; with the machine, if its power fails. */
  kill({ failsPower, wipesDisk }: { readonly failsPower: boolean; readonly wipesDisk: boolean }): void {
    const now = this.#now;
    if (now === undefined) return;
    this.#now = undefined;
    now.process.kill();
    if (failsPower) this.disk.failPower();
    if (wipesDisk) this.disk.wipe();
  }

  /** SIGTERM. Calls back when the process has ended by itself. */
  drain(onEnded: () => void): void {
    const now = this.#now;
    now?.process.deliver(() => {
      const sinceMs = now.process.ranMs;
      void now.app?.drain().then(() => {
        if (this.#now === now) this.#now = undefined;
        now.process.endedAfter(sinceMs, this.#init.record);
        onEnded();
      });
    });
  }

  async #open(now: Incarnation, random: SeededRandom): Promise<void> {
    const { peer, gateways, link, slots, weight, labels, loop, graceMs = GRACE_MS } = this.#init;
    const { process } = now;
    const { clock } = process;
    const log = this.#init.log.child({ worker: peer.slice(8, 9) });
    const files = this.disk.filesOf(process);
    const powers: Powers = { clock, random, log, env: {} };
    const stack = new AsyncDisposableStack();
    const server = stack.use(
      await openWorker({
        folder: "/",
        files,
        openExecutors: () => Promise.resolve(wasmExecutors(now.executor)),
        slots,
        weight,
        labels: { peer, ...labels },
        version: "0.0.0-sim",
        clock,
        random,
        log,
      }),
    );
    stack.use(
      new Dialer({
        host: dialerHost({ loop, link, gateways, process, worker: peer }),
        discovery: discovery(),
        targets: gateways.map(({ gateway }) => ({ kind: "peer", peerId: gateway, secret: undefined })),
        onConnected: (opened) =>
          serveGateway({ worker: server, workerId: peer, namespace: "sim", secret: undefined, powers }, opened),
        clock,
        random,
        log,
      }),
    );
    now.server = server;
    now.app = runningApp({
      ready: { event: "ready", role: "worker", peerId: peer, addrs: [] },
      stack,
      graceMs,
      drain: (options) => server.drain(options),
      powers,
    });
  }
}

/** Gateways that are where they always are. */
function discovery() {
  const nothing: Disposable = { [Symbol.dispose]: () => {} };
  return {
    candidates: (where: Where) =>
      Promise.resolve({
        peerId: where.kind === "host" ? undefined : where.peerId,
        addresses: ["/sim/gateway"],
        notes: [],
      }),
    secretOf: () => Promise.resolve(undefined),
    remember: () => {},
    hunt: () => nothing,
    onNews: () => nothing,
  };
}
