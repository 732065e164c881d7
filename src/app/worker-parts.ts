/** Opens a worker: runner pool, module cache and worker server, on a data directory that is the caller's. */
import { mkdir, rm } from "node:fs/promises";
import { arch, hostname, platform } from "node:os";
import { join } from "node:path";
import type { PeerId } from "../base/ids.ts";
import { KeptOutcomes } from "../worker/kept-outcomes.ts";
import { ModuleCache } from "../worker/module-cache.ts";
import { RunnerPool } from "../worker/runner/runner-pool.ts";
import { WorkerServer } from "../worker/worker-server.ts";
import type { Powers } from "./app.ts";
import type { Config } from "./config.ts";
import { VERSION } from "./version.ts";

export interface WorkerPartsInit {
  readonly config: Config;
  readonly powers: Powers;
  readonly peerId: PeerId;
  /** The data directory. */
  readonly folder: string;
}

/** The worker server; closing it closes the pool too. Whoever calls owns it. */
export async function openWorkerServer({ config, powers, peerId, folder }: WorkerPartsInit): Promise<WorkerServer> {
  const { clock, random } = powers;
  const log = powers.log.child({ part: "worker" });
  const spoolFolder = join(folder, "spool");
  // Guests do not outlive their worker's process, and so neither does what they wrote; outcomes do.
  await rm(spoolFolder, { recursive: true, force: true });
  await mkdir(spoolFolder, { recursive: true, mode: 0o700 });
  const outcomes = await KeptOutcomes.open({ folder: join(folder, "outcomes"), clock, log });
  const modules = await ModuleCache.open(join(folder, "modules"));
  const executor = await RunnerPool.open({
    slots: config.slots,
    scratchFolder: join(folder, "transpiled"),
    clock,
    log,
  });
  return new WorkerServer({
    executor,
    modules,
    slots: config.slots,
    weight: config.weight,
    labels: { peer: peerId, host: hostname(), os: platform(), arch: arch(), ...config.labels },
    version: VERSION,
    spoolFolder,
    outcomes,
    clock,
    random,
    log,
  });
}
