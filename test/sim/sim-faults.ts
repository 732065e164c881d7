/** What goes wrong in a simulated cluster, from when it begins to when it is mended. */
import { assert } from "../../src/base/errors.ts";
import type { MemoryBlobs } from "../support/memory-blobs.ts";
import type { PeerId } from "../../src/base/ids.ts";
import type { DecisionClock } from "./decision-clock.ts";
import type { EventLoop } from "./event-loop.ts";
import type { EventWithoutTime } from "./history.ts";
import type { Action } from "./scenario-orders.ts";
import { type CutKind, type FaultAction, SLOW_GROUP_MS_MAX } from "./scenario-faults.ts";
import type { SimGateway } from "./sim-gateway.ts";
import type { WallClock } from "./sim-process.ts";
import type { SimWorker } from "./sim-worker.ts";

export interface SimFaultsInit {
  readonly loop: EventLoop;
  /** Of the gateway's machine. */
  readonly wall: WallClock;
  readonly decisions: DecisionClock;
  readonly gateway: SimGateway;
  /** Of the gateway's machine. */
  readonly blobs: MemoryBlobs;
  readonly workers: readonly SimWorker[];
  readonly record: (event: EventWithoutTime) => void;
}

export class SimFaults {
  readonly #init: SimFaultsInit;
  #underway = 0;
  /** Nobody is started any more. */
  #isStopping = false;
  /** Since when the gateway's process stands still. */
  #gatewayPausedAtMs: number | undefined;

  constructor(init: SimFaultsInit) {
    this.#init = init;
  }

  /** Those that have begun and are not mended. */
  get underway(): number {
    return this.#underway;
  }

  /** Takes back everything that went wrong, and what is still to. */
  recover(): void {
    const { gateway, workers } = this.#init;
    gateway.onNextCommit(() => {});
    gateway.setTrouble(undefined);
    gateway.setSlow(0);
    this.#init.blobs.isUnreadable = false;
    this.#setClockRight();
    this.#resumeGateway(gateway.process);
    for (const worker of workers) {
      worker.link.toGateway.mend();
      worker.link.toWorker.mend();
      worker.disk.isFull = false;
      worker.setSickness(undefined);
      this.#resume(worker, worker.process);
    }
  }

  /** The clock is set right: that, too, is a jump. */
  #setClockRight(): void {
    const { wall } = this.#init;
    if (wall.offsetMs === 0) return;
    const mended = this.begin({ kind: "jump-clock", ms: -wall.offsetMs });
    this.#setClock(0);
    mended();
  }

  #setClock(offsetMs: number): void {
    const { decisions, loop, record } = this.#init;
    decisions.set(offsetMs, loop.nowMs);
    record({ kind: "clock-set", offsetMs });
  }

  /** From now on nothing comes of what is still to be mended. */
  stop(): void {
    this.#isStopping = true;
  }

  /** Something goes wrong from now on, until what this returns is called. `worker`: that it befalls, if not the gateway. */
  begin({ kind, ...rest }: Action, worker?: PeerId): () => void {
    const what = `${kind} ${JSON.stringify(rest)}`;
    this.#init.record({ kind: "fault", what, worker });
    this.#underway += 1;
    return () => {
      this.#underway -= 1;
      this.#init.record({ kind: "mended", what, worker });
    };
  }

  /** From its beginning until it is mended. */
  carryOut(action: FaultAction): void {
    if ("worker" in action) return this.#failWorker(action);
    this.#failGateway(action, this.begin(action));
  }

  #failGateway(action: Exclude<FaultAction, { readonly worker: number }>, mended: () => void): void {
    const { gateway, wall, loop } = this.#init;
    switch (action.kind) {
      case "kill-gateway": {
        const kill = () => this.#killGateway(action.durable, action.downMs, mended);
        if (!action.isMidCommit) return kill();
        return gateway.onNextCommit((withinMs) => this.#later(withinMs * action.durable, kill));
      }
      case "restart-gateway":
        return this.#restartGateway(action, mended);
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
      case "slow-store":
        gateway.setSlow(action.groupMs);
        return this.#later(action.ms, () => {
          gateway.setSlow(0);
          // What has begun takes its time still.
          this.#later(SLOW_GROUP_MS_MAX, mended);
        });
      case "hide-blobs": {
        const { blobs } = this.#init;
        blobs.isUnreadable = true;
        return this.#later(action.ms, () => {
          blobs.isUnreadable = false;
          mended();
        });
      }
      case "jump-clock":
        this.#setClock(wall.offsetMs + action.ms);
        if (action.backAfterMs === undefined) return mended();
        return this.#later(action.backAfterMs, () => {
          // Somebody may have set it right meanwhile.
          if (wall.offsetMs !== 0) this.#setClock(wall.offsetMs - action.ms);
          mended();
        });
      case "pause-gateway": {
        const { process } = gateway;
        process?.stop();
        this.#gatewayPausedAtMs ??= loop.nowMs;
        return this.#later(action.ms, () => {
          this.#resumeGateway(process);
          mended();
        });
      }
    }
  }

  #failWorker(action: Extract<FaultAction, { readonly worker: number }>): void {
    // One that has something to lose, where there is one.
    const { workers } = this.#init;
    const busy = workers.filter((each) => each.guests > 0);
    const choice = busy.length > 0 ? busy : workers;
    const worker = choice[action.worker % choice.length];
    assert(worker !== undefined, "there are workers");
    const mended = this.begin(action, worker.peer);
    const startLater = (): void =>
      this.#later(action.kind === "kill-worker" || action.kind === "drain-worker" ? action.downMs : 0, () => {
        worker.start();
        mended();
      });
    switch (action.kind) {
      case "kill-worker":
        worker.kill(action);
        this.#init.record({ kind: "died", worker: worker.peer });
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
      case "jump-worker-clock":
        worker.jumpClock(action.ms);
        return mended();
      case "sicken-worker":
        worker.setSickness(action.sickness);
        return this.#later(action.ms, () => {
          worker.setSickness(undefined);
          mended();
        });
      case "drop":
        worker.link.drop(action.end, action);
        return mended();
      case "lag": {
        const ends = waysOf(worker, action.way).map((way) => way.lag(action.lagMs));
        return this.#later(action.ms, () => {
          for (const end of ends) end();
          // What was sent last arrives by then.
          this.#later(action.lagMs, mended);
        });
      }
      case "cut": {
        const ways = waysOf(worker, action.way);
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
    this.#init.record({ kind: "paused", worker: worker.peer });
    this.#later(ms, () => {
      this.#resume(worker, process);
      mended();
    });
  }

  #resume(worker: SimWorker, process: SimWorker["process"]): void {
    if (process === undefined || process.isRunning || process.isDead) return;
    process.resume();
    this.#init.record({ kind: "resumed", worker: worker.peer });
  }

  /** The clock is set while no gateway is there to see it. */
  #restartGateway(
    { durable, downMs, aheadMs, rightAfterMs }: Extract<FaultAction, { kind: "restart-gateway" }>,
    mended: () => void,
  ): void {
    this.#init.gateway.kill(durable);
    this.#setClock(aheadMs);
    this.#later(downMs, () => this.#startGateway(mended));
    if (rightAfterMs === undefined) return;
    const isRight = this.begin({ kind: "jump-clock", ms: -aheadMs });
    this.#later(downMs + rightAfterMs, () => {
      // Somebody may have set it right meanwhile, or another has started that has it otherwise.
      if (this.#init.wall.offsetMs === aheadMs) this.#setClock(0);
      isRight();
    });
  }

  #killGateway(durable: number, downMs: number, mended: () => void): void {
    this.#init.gateway.kill(durable);
    this.#later(downMs, () => this.#startGateway(mended));
  }

  #startGateway(mended: () => void): void {
    this.#init.gateway.start();
    mended();
  }

  #resumeGateway(process: SimGateway["process"]): void {
    process?.resume();
    if (this.#gatewayPausedAtMs === undefined) return;
    this.#init.decisions.resumed(this.#gatewayPausedAtMs, this.#init.loop.nowMs);
    if (this.#init.gateway.process?.isRunning !== false) this.#gatewayPausedAtMs = undefined;
  }

  #later(ms: number, act: () => void): void {
    this.#init.loop.after(ms, () => {
      if (!this.#isStopping) act();
    });
  }
}

function waysOf({ link }: SimWorker, way: CutKind) {
  const { toGateway, toWorker } = link;
  return { both: [toGateway, toWorker], "to-gateway": [toGateway], "to-worker": [toWorker] }[way];
}
