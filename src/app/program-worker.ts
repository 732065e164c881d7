/** A worker in somebody's program: with executors of the program's own, and by what it is told alone, not by settings files. */
import { availableParallelism, homedir } from "node:os";
import { systemClock } from "../base/system-clock.ts";
import type { Entry } from "../model/entry.ts";
import { CustomExecutor, type CustomRun } from "../worker/custom-executor.ts";
import type { RunningApp } from "./app.ts";
import type { FlagValue, LogLevel } from "./config-sources.ts";
import { loadConfig } from "./config.ts";
import type { SettingKey } from "./config-settings.ts";
import { createLog } from "./log.ts";
import { runWorker } from "./worker-app.ts";

export interface ProgramWorkerInit {
  /** As on the command line. */
  readonly flags: Readonly<Partial<Record<SettingKey, FlagValue | undefined>>>;
  readonly log: LogLevel;
  readonly runs: ReadonlyMap<Entry, CustomRun>;
  readonly runsWasm: boolean;
}

/** Resolves when it has begun to dial. Rejects with `failed`, code `usage`, for what is not valid. */
export async function runProgramWorker({ flags, log: level, runs, runsWasm }: ProgramWorkerInit): Promise<RunningApp> {
  const { config } = loadConfig({
    flags,
    // Where gateways of the same user leave their addresses.
    env: { XDG_RUNTIME_DIR: process.env["XDG_RUNTIME_DIR"] },
    files: [],
    machine: { cores: availableParallelism(), home: homedir(), workingFolder: process.cwd() },
  });
  const log = createLog({ level, format: config.logFormat, isColorful: false });
  const powers = { clock: systemClock, random: { next: () => Math.random() }, log, env: {} };
  const own = Array.from(runs, ([entry, run]) => ({
    entries: [entry],
    executor: new CustomExecutor({ run, slots: config.slots, clock: systemClock }),
  }));
  return runWorker(config, powers, { own, runsWasm });
}
