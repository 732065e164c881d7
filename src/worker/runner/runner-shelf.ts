/**
 * The pool's processes: warm ones wait here, and there are always some in reserve. It decides which process a guest
 * gets, when one is made, and which is ended to make room; it runs nothing itself.
 *
 * A process that has had a guest of one submitter never gets one of another: whatever a guest may have left in it, it
 * left to its own. A process that has loaded a component serves that component alone, since it holds its JavaScript.
 *
 * Processes of the `optimized` tier, which nearly all guests take, are kept at `warm` in number, busy ones included, so
 * that one that was killed has a successor already; `spares` of these are nobody's yet, for whoever comes next. Of the
 * `baseline` tier `baselineSpares` wait that are nobody's yet, once the others are up; more are made when they are wanted,
 * and kept. Where there are too many, idle ones that are somebody's go first, the least recently used before the others.
 */
import type { Clock } from "../../base/clock.ts";
import type { Digest } from "../../base/ids.ts";
import { RUNNER_REPLENISH_MS, RUNNER_RESTART_MS, RUNNER_START_MS_MAX } from "../../base/limits.ts";
import type { Log } from "../../base/log.ts";
import type { Cell } from "../../sandbox/cell.ts";
import type { OwnerWatch } from "../../sandbox/owner-watch.ts";
import { IdleMemory } from "./idle-memory.ts";
import { RunnerProcess } from "./runner-process.ts";
import type { RunnerTier } from "./runner-cell.ts";

export interface RunnerShelfInit {
  readonly cell: Cell;
  /** Processes of the optimized tier to keep alive. */
  readonly warm: number;
  /** How many of those are to have had no guest yet. */
  readonly spares: number;
  /** Processes of the baseline tier that are to wait with no guest yet. */
  readonly baselineSpares: number;
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
  /** Discarded, and not yet gone. */
  readonly #dying = new Set<RunnerProcess>();
  readonly #idleMemory: IdleMemory<RunnerProcess>;
  #isOpen = false;
  #isClosed = false;
  #failedStarts = 0;
  #replenishing: Disposable | undefined;
  #started = 0;

  constructor(init: RunnerShelfInit) {
    this.#init = init;
    const { clock } = init;
    this.#idleMemory = new IdleMemory({ clock, replace: (runner) => this.#replace(runner) });
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
    while (this.#startMissing());
    await Promise.all(this.runners().map((runner) => runner.ready));
    this.#isOpen = true;
    if (this.#init.baselineSpares > 0) this.#replenishLater();
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
    this.#replenishLater();
    return found.runner.state === "idle" ? found.runner : untilReady(found);
  }

  /** Has a process for that wish started, if none waits and there is room: the wish is about to be made. */
  prepare(wish: RunnerWish): void {
    if (this.#isClosed || this.#shelved.size >= this.#init.max || this.#find(wish) !== undefined) return;
    this.#tryStart(() => this.#startWhere(() => false, wish.tier));
  }

  /** Takes a process back. One that has ended, served long enough, or is `isSpent` is replaced. */
  giveBack(runner: RunnerProcess, { isSpent = false }: { readonly isSpent?: boolean } = {}): void {
    const shelved = this.#shelved.get(runner);
    if (shelved !== undefined) shelved.isTaken = false;
    if (isSpent || runner.runs >= this.#init.runsPerRunner) this.#discard(runner);
    else this.#idleMemory.givenBack(runner);
    this.#replenishLater();
  }

  /** Ends all processes and resolves when they are gone. Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#replenishing?.[Symbol.dispose]();
    this.#idleMemory[Symbol.dispose]();
    const runners = [...this.runners(), ...this.#dying];
    for (const runner of runners) runner.kill();
    await Promise.all(runners.map((runner) => runner.ended));
  }

  /** Of those that fit equally well the one that ran last: most of what it needs is still in the processor's caches. */
  #find(wish: RunnerWish): Shelved | undefined {
    let best: Shelved | undefined;
    let bestRank = 1;
    for (const shelved of this.#shelved.values()) {
      const rank = rankOf(shelved, wish);
      if (rank >= bestRank) {
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
      this.#dying.delete(runner);
      this.#replenishLater();
    });
    return shelved;
  }

  /**
   * Not at once: starting a process keeps this one from all else for some ten milliseconds, and whoever has just taken a
   * process, or waits to hear how its guest ended, goes first. One at a time, for the same reason.
   */
  #replenishLater(): void {
    if (this.#isClosed || this.#replenishing !== undefined) return;
    // After one that failed, others would fail at once; guests that want one still try.
    const isRetry = this.#failedStarts > 0;
    this.#replenishing = this.#init.clock.setTimer(isRetry ? RUNNER_RESTART_MS : RUNNER_REPLENISH_MS, () => {
      this.#replenishing = undefined;
      const hasFailedSince = this.#failedStarts > 0 && !isRetry;
      if (!hasFailedSince) this.#failedStarts = 0;
      if (hasFailedSince || this.#tryStart(() => this.#startMissing())) this.#replenishLater();
    });
  }

  /** Starts one of the processes that are to wait here. False: none is missing, or there is no room. */
  #startMissing(): boolean {
    let warm = 0;
    let fresh = 0;
    let baseline = 0;
    for (const { runner, submitter, component } of this.#shelved.values()) {
      if (!isAlive(runner)) continue;
      if (runner.tier === "optimized" && component === undefined) warm++;
      if (submitter !== undefined) continue;
      if (runner.tier === "optimized") fresh++;
      else baseline++;
    }
    const { spares, baselineSpares } = this.#init;
    if (fresh < spares) return this.#startWhere(() => this.#evict(), "optimized");
    if (warm < this.#init.warm) return this.#startWhere(() => false, "optimized");
    if (this.#isOpen && baseline < baselineSpares) return this.#startWhere(() => this.#evict(), "baseline");
    return false;
  }

  #startWhere(makeRoom: () => boolean, tier: RunnerTier): boolean {
    if (this.#shelved.size >= this.#init.max && !makeRoom()) return false;
    this.#start(tier);
    return true;
  }

  /** Where nobody waits for a process: that one cannot even be begun is told, and tried again later. */
  #tryStart(start: () => boolean): boolean {
    try {
      return start();
    } catch (error) {
      this.#failedStarts++;
      this.#init.log.error("a runner did not start", { error });
      return true;
    }
  }

  /** Ends a process that waits and is somebody's. False: there is none. */
  #evict(): boolean {
    const idle = this.#oldestIdle({ isSomebodys: true });
    if (idle !== undefined) this.#discard(idle);
    return idle !== undefined;
  }

  #makeRoom(): void {
    if (this.#evict()) return;
    const idle = this.#oldestIdle({ isSomebodys: false });
    if (idle !== undefined) this.#discard(idle);
  }

  #oldestIdle({ isSomebodys }: { isSomebodys: boolean }): RunnerProcess | undefined {
    for (const { runner, submitter, isTaken } of this.#shelved.values()) {
      if (!isTaken && runner.state === "idle" && (submitter !== undefined) === isSomebodys) return runner;
    }
    return undefined;
  }

  #replace(runner: RunnerProcess): void {
    if (this.#shelved.get(runner)?.isTaken === false) this.#discard(runner);
    this.#replenishLater();
  }

  #discard(runner: RunnerProcess): void {
    this.#shelved.delete(runner);
    if (runner.state === "ended") return;
    this.#dying.add(runner);
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
