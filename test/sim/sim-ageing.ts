/**
 * What becomes of a simulated cluster's tasks with age, once nothing goes wrong any more: tasks without end go on for as
 * long as it takes until their old runs must be forgotten, and are ended then; what has ended is forgotten in its turn.
 */
import { totalRuns } from "../../src/model/task.ts";
import type { MemoryBlobs } from "../support/memory-blobs.ts";
import type { MemoryDisk } from "../support/memory-store.ts";
import { type TaskRow, isOpen } from "../support/memory-store-state.ts";
import type { DecisionClock } from "./decision-clock.ts";
import type { EventLoop } from "./event-loop.ts";
import type { StoreLook } from "./history.ts";
import type { Scenario } from "./scenario.ts";
import type { SimClient } from "./sim-client.ts";
import { EPOCH_MS, type WallClock } from "./sim-process.ts";

export interface SimAgeingInit extends Pick<Scenario, "retention" | "lastWord"> {
  readonly loop: EventLoop;
  /** Of the gateway's machine. */
  readonly wall: WallClock;
  readonly decisions: DecisionClock;
  readonly disk: MemoryDisk;
  readonly blobs: MemoryBlobs;
  readonly client: SimClient;
}

const STEP_MS = 500;
/** From the moment at which something is to be forgotten until it is, besides the sweeps: batches and their pauses. */
const FORGOTTEN_LATE_MS_MAX = 3_000;
/** In which what is asked for is in the store. */
const ENDED_MS_MAX = 60_000;

export class SimAgeing {
  readonly looks: StoreLook[] = [];
  /** What should have been forgotten. */
  readonly leaks: string[] = [];
  readonly #init: SimAgeingInit;

  constructor(init: SimAgeingInit) {
    this.#init = init;
  }

  /** Tasks without end are watched for a while, and ended. */
  async endEndless(): Promise<void> {
    const { loop, client, lastWord, retention } = this.#init;
    if (this.#endless().length === 0) return;
    if (retention !== undefined) {
      await loop.run(this.#forgottenAfterMs());
      this.leaks.push(...this.#endless().flatMap((task) => this.#tooOld(task)));
    }
    await this.#look();
    const endMs = loop.nowMs + ENDED_MS_MAX;
    for (let left = this.#endless(); left.length > 0 && loop.nowMs < endMs; left = this.#endless()) {
      for (const { spec } of left) client[lastWord](spec.id);
      await loop.run(STEP_MS);
    }
  }

  /** What has ended is forgotten at its age, if it is to be. */
  async untilForgotten(): Promise<void> {
    const { loop, disk, retention } = this.#init;
    if (retention === undefined) return;
    await this.#look();
    const now = EPOCH_MS + loop.nowMs;
    // What ended by a clock that was ahead is kept for longer.
    const ended = [...disk.state.tasks.values()].filter(({ finishedAt = Infinity }) => finishedAt <= now);
    await loop.run(this.#forgottenAfterMs());
    const left = ended.filter(({ spec, serial }) => disk.state.tasks.get(spec.id)?.serial === serial);
    if (left.length > 0) this.leaks.push(`tasks that are too old: ${left.map(({ spec }) => spec.id).join(", ")}`);
  }

  async #look(): Promise<void> {
    const { disk, blobs } = this.#init;
    this.looks.push({ tasks: [...disk.state.tasks.values()], blobs: new Set(await Array.fromAsync(blobs.list())) });
  }

  #endless(): readonly TaskRow[] {
    const tasks = [...this.#init.disk.state.tasks.values()];
    return tasks.filter(({ spec, finishedAt }) => totalRuns(spec) === Infinity && finishedAt === undefined);
  }

  /** How long it takes until what is over now is forgotten: the clock has to be believed for that. */
  #forgottenAfterMs(): number {
    const { retention, decisions } = this.#init;
    if (retention === undefined) return Infinity;
    const { retainMs, sweepEveryMs, clockTrustMs, clockTrustedAfterMs } = retention;
    const doubtMs = decisions.wasSet ? Math.max(clockTrustMs, clockTrustedAfterMs) : clockTrustedAfterMs;
    return retainMs + doubtMs + 2 * sweepEveryMs + FORGOTTEN_LATE_MS_MAX;
  }

  /** The first run that is known should be known no more. */
  #tooOld({ spec, runs, firstRun, retrying, latestRun = 0, resultRun = 0 }: TaskRow): readonly string[] {
    const { retention, loop, wall } = this.#init;
    const run = runs[firstRun - 1];
    if (retention === undefined || run === undefined || retrying !== undefined || isOpen(run)) return [];
    if (run.index >= Math.min(latestRun, resultRun)) return [];
    const { retainMs, sweepEveryMs } = retention;
    const forgottenAtMs =
      Math.max(run.dueAt, ...run.attempts.map(({ finishedAt = Infinity }) => finishedAt)) + retainMs;
    const now = EPOCH_MS + loop.nowMs + wall.offsetMs;
    const isLate = forgottenAtMs + 2 * sweepEveryMs + FORGOTTEN_LATE_MS_MAX < now;
    return isLate ? [`${spec.id} run ${run.index}, which is too old`] : [];
  }
}
