/**
 * The pool's processes: warm ones wait here, and there are always some in reserve. It decides which process a guest
 * gets, when one is made, and which is ended to make room; it runs nothing itself.
 *
 * A process that has had a guest of one submitter never gets one of another: whatever a guest may have left in it, it
 * left to its own. A process that has loaded a component serves that component alone, since it holds its JavaScript.
 *
 * Processes of the `optimized` tier, which nearly all guests take, are kept at `warm` in number, busy ones included, so
 * that one that was killed has a successor already; `spares` of these are nobody's yet, for whoever comes next. Those of
 * the `baseline` tier are made when they are wanted and kept. Where there are too many, idle ones that are somebody's go
 * first, the least recently used before the others.
 */
import type { Clock } from "../../base/clock.ts";
import type { Digest } from "../../base/ids.ts";
import { RUNNER_RESTART_MS, RUNNER_START_MS_MAX } from "../../base/limits.ts";
import type { Log } from "../../base/log.ts";
import type { Cell } from "../../sandbox/cell.ts";
import type { OwnerWatch } from "../../sandbox/owner-watch.ts";
import { RunnerProcess } from "./runner-process.ts";
import type { RunnerTier } from "./runner-cell.ts";

export interface RunnerShelfInit {
  readonly cell: Cell;
  /** Processes of the optimized tier to keep alive. */
  readonly warm: number;
  /** How many of those are to have had no guest yet. */
  readonly spares: number;
  /** Processes in all, past which idle ones that fit nobody are ended. */
  readonly max: number;
  /** Runs of one process, after which it is replaced. */
  readonly runsPerRunner: number;
  readonly watch: OwnerWatch;
  readonly clock: Clock;
  readonly log: Log;
}

export interface RunnerWish {
  /** Whose guest it is for. */
  readonly submitter: string;
  readonly tier: RunnerTier;
  readonly moduleKey: string;
  /** The component it is for; undefined for a core module. */
  readonly component: Digest | undefined;
}

interface Shelved {
  readonly runner: RunnerProcess;
  /** Whose it is, for good, once it has been taken. */
  submitter: string | undefined;
  /** The component whose JavaScript it has loaded. */
  component: Digest | undefined;
  isTaken: boolean;
}

export class RunnerShelf {
  readonly #init: RunnerShelfInit;
  /** Least recently used first. */
  readonly #shelved = new Map<RunnerProcess, Shelved>();
  #isClosed = false;
  #failedStarts = 0;
  #restart: Disposable | undefined;
  #started = 0;

  constructor(init: RunnerShelfInit) {
    this.#init = init;
  }

  /** Processes started since the beginning. */
  get started(): number {
    return this.#started;
  }

  runners(): readonly RunnerProcess[] {
    return [...this.#shelved.keys()];
  }

  /** Brings the warm processes up. Rejects when one does not start. */
  async open(): Promise<void> {
    this.#replenish();
    await Promise.all(this.runners().map((runner) => runner.ready));
  }

  /**
   * A process for that wish, idle and taken, or a promise of one that is starting. The caller gives it back. Rejects when
   * none could be started.
   */
  take(wish: RunnerWish): RunnerProcess | Promise<RunnerProcess> {
    const found = this.#find(wish) ?? this.#start(wish.tier);
    found.isTaken = true;
    found.submitter = wish.submitter;
    found.component = wish.component;
    this.#shelved.delete(found.runner);
    this.#shelved.set(found.runner, found);
    this.#replenish();
    return found.runner.state === "idle" ? found.runner : untilReady(found);
  }

  /** Has a process for that wish started, if none waits and there is room: the wish is about to be made. */
  prepare(wish: RunnerWish): void {
    if (this.#isClosed || this.#shelved.size >= this.#init.max || this.#find(wish) !== undefined) return;
    this.#start(wish.tier);
  }

  /** Takes a process back. One that has ended, or served long enough, is replaced. */
  giveBack(runner: RunnerProcess): void {
    const shelved = this.#shelved.get(runner);
    if (shelved !== undefined) shelved.isTaken = false;
    if (runner.runs >= this.#init.runsPerRunner) this.#discard(runner);
    this.#replenish();
  }

  /** Ends all processes and resolves when they are gone. Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#restart?.[Symbol.dispose]();
    const runners = this.runners();
    for (const runner of runners) runner.kill();
    await Promise.all(runners.map((runner) => runner.ended));
  }

  #find(wish: RunnerWish): Shelved | undefined {
    let best: Shelved | undefined;
    let bestRank = 0;
    for (const shelved of this.#shelved.values()) {
      const rank = rankOf(shelved, wish);
      if (rank > bestRank) {
        best = shelved;
        bestRank = rank;
      }
    }
    return best;
  }

  #start(tier: RunnerTier): Shelved {
    const { cell, watch, clock, log } = this.#init;
    if (this.#shelved.size >= this.#init.max) this.#makeRoom();
    const runner = new RunnerProcess(cell, tier);
    this.#started++;
    const shelved: Shelved = { runner, submitter: undefined, component: undefined, isTaken: false };
    this.#shelved.set(runner, shelved);
    const { pid } = runner;
    if (pid !== undefined) watch.add(pid);
    const timer = clock.setTimer(RUNNER_START_MS_MAX, () => runner.kill());
    runner.ready.then(
      () => {
        timer[Symbol.dispose]();
        this.#failedStarts = 0;
      },
      (error: unknown) => {
        timer[Symbol.dispose]();
        if (this.#isClosed) return;
        this.#failedStarts++;
        log.error("a runner did not start", { error });
      },
    );
    void runner.ended.then(() => {
      if (pid !== undefined) watch.remove(pid);
      this.#shelved.delete(runner);
      this.#replenish();
    });
    return shelved;
  }

  #replenish(): void {
    if (this.#isClosed || this.#restart !== undefined) return;
    if (this.#failedStarts > 0) {
      // It would fail again at once; guests that want one still try.
      this.#restart = this.#init.clock.setTimer(RUNNER_RESTART_MS, () => {
        this.#restart = undefined;
        this.#failedStarts = 0;
        this.#replenish();
      });
      return;
    }
    let warm = 0;
    let fresh = 0;
    for (const { runner, submitter, component } of this.#shelved.values()) {
      if (runner.tier !== "optimized" || component !== undefined || !isAlive(runner)) continue;
      warm++;
      if (submitter === undefined) fresh++;
    }
    for (; warm < this.#init.warm || fresh < this.#init.spares; warm++, fresh++) {
      if (this.#shelved.size >= this.#init.max) {
        const idle = fresh < this.#init.spares ? this.#oldestIdle({ isSomebodys: true }) : undefined;
        if (idle === undefined) return;
        this.#discard(idle);
      }
      this.#start("optimized");
    }
  }

  #makeRoom(): void {
    const idle = this.#oldestIdle({ isSomebodys: true }) ?? this.#oldestIdle({ isSomebodys: false });
    if (idle !== undefined) this.#discard(idle);
  }

  #oldestIdle({ isSomebodys }: { isSomebodys: boolean }): RunnerProcess | undefined {
    for (const { runner, submitter, isTaken } of this.#shelved.values()) {
      if (!isTaken && runner.state === "idle" && (submitter !== undefined) === isSomebodys) return runner;
    }
    return undefined;
  }

  #discard(runner: RunnerProcess): void {
    this.#shelved.delete(runner);
    runner.kill();
  }
}

async function untilReady(shelved: Shelved): Promise<RunnerProcess> {
  try {
    await shelved.runner.ready;
    return shelved.runner;
  } catch (error) {
    shelved.isTaken = false;
    throw error;
  }
}

/** How well a process fits: 0 not at all, more is better. */
function rankOf({ runner, submitter, component, isTaken }: Shelved, wish: RunnerWish): number {
  if (isTaken || runner.tier !== wish.tier || !isAlive(runner)) return 0;
  if (submitter !== undefined && submitter !== wish.submitter) return 0;
  if (component !== undefined && component !== wish.component) return 0;
  if (runner.holds(wish.moduleKey)) return 5;
  if (runner.state !== "idle") return 1;
  // The modules it holds would be lost once it serves a component alone.
  if (wish.component !== undefined && component === undefined) return submitter === undefined ? 3 : 2;
  return submitter === undefined ? 3 : 4;
}

function isAlive(runner: RunnerProcess): boolean {
  return runner.state !== "ending" && runner.state !== "ended";
}
