/**
 * The walls of this machine, tried once, and the cells behind them. A program has one for each folder in which it keeps
 * cells; it holds nothing that has to be closed.
 */
import { mkdir, stat } from "node:fs/promises";
import { dirname } from "node:path";
import type { Log } from "../base/log.ts";
import { Cell, removeOldCells } from "./cell.ts";
import type { CellPlan } from "./cell.ts";
import { probeWalls } from "./wall-probe.ts";
import type { WallsUp } from "./wall-probe.ts";
import { WALL_NAMES } from "./walls.ts";
import type { WallName, WallReport } from "./walls.ts";

export interface SandboxInit {
  /** This program's alone. Caches only. Made if missing. */
  readonly scratchFolder: string;
  readonly log: Log;
  /** The walls to try; default all. Whatever this is, there are Node's own. */
  readonly walls?: readonly WallName[] | undefined;
}

export class Sandbox {
  readonly scratchFolder: string;
  /** What was found of each wall that was tried. */
  readonly reports: readonly WallReport[];
  readonly #walls: WallsUp;
  readonly #log: Log;

  private constructor(scratchFolder: string, walls: WallsUp, reports: readonly WallReport[], log: Log) {
    this.scratchFolder = scratchFolder;
    this.reports = reports;
    this.#walls = walls;
    this.#log = log;
  }

  static async open({ scratchFolder, log, walls = WALL_NAMES }: SandboxInit): Promise<Sandbox> {
    await mkdir(scratchFolder, { recursive: true });
    const verdict = await probeWalls(scratchFolder, walls);
    const absent = verdict.reports.filter(({ state }) => state === "absent");
    if (absent.length > 0) {
      const reasons = Object.fromEntries(absent.map(({ name, reason }) => [name, reason]));
      log.info("this machine lacks some of the walls around guests; `capmesh doctor` says more", { absent: reasons });
    }
    return new Sandbox(scratchFolder, verdict, verdict.reports, log);
  }

  /** Removes the cells of other versions: all but those of `plans`. */
  removeOldCells(plans: readonly CellPlan[]): Promise<void> {
    return removeOldCells(this.scratchFolder, plans);
  }

  /** The cell for one kind of process. */
  async openCell(plan: CellPlan): Promise<Cell> {
    const walls = await this.#wallsAround(plan.reads ?? []);
    return Cell.open({ ...plan, scratchFolder: this.scratchFolder, walls });
  }

  /**
   * The walls that hold around a process that may read `reads`. They are fewer where root's program lies in a folder
   * that is closed to others, such as /root: who is nobody there cannot walk down to it.
   */
  async #wallsAround(reads: readonly string[]): Promise<WallsUp> {
    const { names } = this.#walls;
    if (!names.has("unprivileged-user") || (await Promise.all(reads.map(isOpenToAll))).every(Boolean))
      return this.#walls;
    const verdict = await probeWalls(this.scratchFolder, [...names], reads);
    const missing = verdict.reports.flatMap(({ name, state }) => (state === "absent" ? [name] : []));
    if (missing.length > 0) {
      this.#log.warn(
        "a process is held by fewer walls: others than root cannot reach what it reads; install it elsewhere",
        {
          reads,
          missing,
        },
      );
    }
    return verdict;
  }
}

/** Whether anybody may walk down to the folder, and read it. */
async function isOpenToAll(folder: string): Promise<boolean> {
  const OTHERS_READ_AND_ENTER = 0o5;
  const OTHERS_ENTER = 0o1;
  let wanted = OTHERS_READ_AND_ENTER;
  for (let at = folder; ; at = dirname(at)) {
    if (((await stat(at)).mode & wanted) !== wanted) return false;
    if (at === dirname(at)) return true;
    wanted = OTHERS_ENTER;
  }
}
