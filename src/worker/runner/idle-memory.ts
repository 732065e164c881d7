/**
 * Has runners give back what their guests have left in them: what the engine holds for no reason, then the compiled
 * modules, and in the end the process itself. A runner is looked at when it is given back, a second after the last time
 * at the earliest, and when it has stayed idle since. What has grown is collected; what counts is what it has after that.
 *
 *     look --grown, and still too much once collected--> forget --still too much--> replace
 *      ▲                                                   │
 *      └───────────────── no longer too much ──────────────┘
 *
 * Only Linux tells what a process has; elsewhere nothing happens here.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import {
  IDLE_MEMORY_GROWTH_BYTES,
  IDLE_MEMORY_READ_EVERY_MS,
  RUNNER_FRESH_BYTES,
  RUNNER_IDLE_BYTES_MAX,
} from "../../base/limits.ts";
import { type MemoryUse, readMemoryUse } from "./memory-use.ts";
import type { RunnerProcess } from "./runner-process.ts";

type Runner = Pick<RunnerProcess, "state" | "guestPid" | "collectGarbage" | "forgetModules">;

export interface IdleMemoryInit<R extends Runner> {
  readonly clock: Clock;
  /** Ends an idle runner, for another to take its place. */
  readonly replace: (runner: R) => void;
  /** Default: what the system says. */
  readonly readUse?: ((pid: number) => MemoryUse | undefined) | undefined;
}

/** What is to be done with a runner when it is next idle. */
type Due = "look" | "forget" | "replace";

interface Known {
  due: Due;
  /** What it had of its own when it was last collected. */
  settledBytes: number;
  /** By the monotonic clock. */
  lookedMs: number;
  isCollecting: boolean;
}

export class IdleMemory<R extends Runner> implements Disposable {
  readonly #init: IdleMemoryInit<R>;
  readonly #known = new WeakMap<R, Known>();
  /** Given back, and to be looked at if they are idle still when the timer fires. */
  readonly #later = new Set<R>();
  #timer: Timer | undefined;

  constructor(init: IdleMemoryInit<R>) {
    this.#init = init;
  }

  /** A guest has left the runner, which is idle. */
  givenBack(runner: R): void {
    this.#later.add(runner);
    this.#lookLater();
    this.#look(runner);
  }

  [Symbol.dispose](): void {
    this.#timer?.[Symbol.dispose]();
    this.#later.clear();
  }

  #lookLater(): void {
    this.#timer ??= this.#init.clock.setTimer(IDLE_MEMORY_READ_EVERY_MS, () => {
      this.#timer = undefined;
      for (const runner of this.#later) {
        // One that is busy comes back.
        if (runner.state !== "idle" || this.#look(runner)) this.#later.delete(runner);
      }
      if (this.#later.size > 0) this.#lookLater();
    });
  }

  /** False: it is too early. */
  #look(runner: R): boolean {
    const known = this.#knownOf(runner);
    if (runner.state !== "idle" || known.isCollecting) return true;
    if (known.due === "replace") {
      this.#later.delete(runner);
      this.#init.replace(runner);
      return true;
    }
    if (known.due === "forget") {
      runner.forgetModules();
      void this.#collect(runner, known);
      return true;
    }
    const nowMs = this.#init.clock.monotonicMs();
    if (nowMs - known.lookedMs < IDLE_MEMORY_READ_EVERY_MS) return false;
    known.lookedMs = nowMs;
    const { readUse = readMemoryUse } = this.#init;
    const use = runner.guestPid === undefined ? undefined : readUse(runner.guestPid);
    const hasGrown = use !== undefined && use.privateBytes > known.settledBytes + IDLE_MEMORY_GROWTH_BYTES;
    if (hasGrown) void this.#collect(runner, known);
    return true;
  }

  /** Never rejects. */
  async #collect(runner: R, known: Known): Promise<void> {
    known.isCollecting = true;
    const use = await runner.collectGarbage();
    known.isCollecting = false;
    if (use === undefined) return;
    known.settledBytes = Math.max(RUNNER_FRESH_BYTES, use.privateBytes);
    const isTooMuch = use.privateBytes > RUNNER_IDLE_BYTES_MAX;
    if (!isTooMuch) known.due = "look";
    else known.due = known.due === "look" ? "forget" : "replace";
    // With a guest in it that waits until it is given back.
    if (isTooMuch) this.#look(runner);
  }

  #knownOf(runner: R): Known {
    let known = this.#known.get(runner);
    if (known === undefined) {
      known = { due: "look", settledBytes: RUNNER_FRESH_BYTES, lookedMs: -Infinity, isCollecting: false };
      this.#known.set(runner, known);
    }
    return known;
  }
}
