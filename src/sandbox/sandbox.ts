/**
 * The walls of this machine, tried once, and the cells behind them. A program has one for each folder in which it keeps
 * cells; it holds nothing that has to be closed.
 */
import { mkdir } from "node:fs/promises";
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

  private constructor(scratchFolder: string, walls: WallsUp, reports: readonly WallReport[]) {
    this.scratchFolder = scratchFolder;
    this.reports = reports;
    this.#walls = walls;
  }

  static async open({ scratchFolder, log, walls = WALL_NAMES }: SandboxInit): Promise<Sandbox> {
    await mkdir(scratchFolder, { recursive: true });
    const verdict = await probeWalls(scratchFolder, walls);
    const absent = verdict.reports.filter(({ state }) => state === "absent");
    if (absent.length > 0) {
      const reasons = Object.fromEntries(absent.map(({ name, reason }) => [name, reason]));
      log.info("this machine lacks some of the walls around guests; `capmesh doctor` says more", { absent: reasons });
    }
    return new Sandbox(scratchFolder, verdict, verdict.reports);
  }

  /** Removes the cells of other versions: all but those of `plans`. */
  removeOldCells(plans: readonly CellPlan[]): Promise<void> {
    return removeOldCells(this.scratchFolder, plans);
  }

  /** The cell for one kind of process. */
  openCell(plan: CellPlan): Promise<Cell> {
    return Cell.open({ ...plan, scratchFolder: this.scratchFolder, walls: this.#walls });
  }
}
