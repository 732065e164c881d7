/**
 * A process of the simulated cluster: all that reaches the code in it, timers, bytes, answers of the disk, comes through
 * `deliver`. So it can be stopped (SIGSTOP), and gets everything late, or killed (SIGKILL), and gets nothing any more.
 *
 *     running ◀──stop, resume──▶ stopped ──kill──▶ dead ◀──kill── running
 */
import type { Clock, Timer } from "../../src/base/clock.ts";
import type { EventLoop } from "./event-loop.ts";
import type { StopEvent } from "./history.ts";

/** A machine's wall clock, which somebody may set. */
export interface WallClock {
  offsetMs: number;
}

/** How long each process may take to end when it is told to. */
export const GRACE_MS = 30_000;

/** When the simulation begins. */
export const EPOCH_MS = 1_800_000_000_000;

export class SimProcess {
  readonly name: string;
  readonly loop: EventLoop;
  readonly clock: Clock;
  #state: "running" | "stopped" | "dead" = "running";
  #stoppedAtMs = 0;
  #stoodStillMs = 0;
  /** What came while it was stopped. */
  #late: (() => void)[] = [];
  readonly #timers = new Set<Disposable>();
  readonly #onKilled: (() => void)[] = [];

  constructor(name: string, loop: EventLoop, wall: WallClock) {
    this.name = name;
    this.loop = loop;
    this.clock = {
      now: () => EPOCH_MS + loop.nowMs + wall.offsetMs,
      monotonicMs: () => loop.nowMs,
      setTimer: (delayMs, callback) => this.#setTimer(delayMs, callback),
    };
  }

  get isRunning(): boolean {
    return this.#state === "running";
  }

  get isDead(): boolean {
    return this.#state === "dead";
  }

  /** The time that it has had, while it is running. */
  get ranMs(): number {
    return this.loop.nowMs - this.#stoodStillMs;
  }

  /** Timers that are set. */
  get pendingTimers(): number {
    return this.#timers.size;
  }

  /** Runs `act` in this process: now, when it goes on, or never. */
  deliver(act: () => void): void {
    if (this.#state === "dead") return;
    if (this.#state === "stopped") {
      this.#late.push(act);
      return;
    }
    this.loop.touch();
    act();
  }

  /** Called when the process is killed; what its machine does then, not the process. */
  onKilled(act: () => void): void {
    this.#onKilled.push(act);
  }

  stop(): void {
    if (this.#state !== "running") return;
    this.#state = "stopped";
    this.#stoppedAtMs = this.loop.nowMs;
  }

  resume(): void {
    if (this.#state !== "stopped") return;
    this.#state = "running";
    this.#stoodStillMs += this.loop.nowMs - this.#stoppedAtMs;
    const late = this.#late;
    this.#late = [];
    for (const act of late) this.loop.after(0, () => this.deliver(act));
  }

  /**
   * It has done what it does when it is told to stop, which it was at this time of its own. What it has not closed by the
   * end of its grace goes with it.
   */
  endedAfter(sinceMs: number, record: (event: StopEvent) => void): void {
    const tookMs = this.ranMs - sinceMs;
    record({ kind: "stopped", process: this.name, tookMs });
    if (tookMs >= GRACE_MS) this.kill();
  }

  kill(): void {
    if (this.#state === "dead") return;
    this.#state = "dead";
    this.#late = [];
    for (const timer of this.#timers) timer[Symbol.dispose]();
    this.#timers.clear();
    for (const act of this.#onKilled) act();
  }

  #setTimer(delayMs: number, callback: () => void): Timer {
    let isCancelled = this.#state === "dead";
    if (isCancelled) return { [Symbol.dispose]: () => {} };
    const entry = this.loop.after(delayMs, () => {
      this.deliver(() => {
        this.#timers.delete(timer);
        if (!isCancelled) callback();
      });
    });
    const timer: Timer = {
      [Symbol.dispose]: () => {
        isCancelled = true;
        entry[Symbol.dispose]();
        this.#timers.delete(timer);
      },
    };
    this.#timers.add(timer);
    return timer;
  }
}
