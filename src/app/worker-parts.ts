/** Opens a worker: runner pool, module cache and worker server, on a data directory that is the caller's. */
import { arch, hostname, platform } from "node:os";
import { join } from "node:path";
import type { PeerId } from "../base/ids.ts";
import { openWorker } from "../worker/open-worker.ts";
import { RunnerPool } from "../worker/runner/runner-pool.ts";
import type { WorkerServer } from "../worker/worker-server.ts";
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
  return openWorker({
    folder,
    openExecutor: () => RunnerPool.open({ slots: config.slots, scratchFolder: join(folder, "transpiled"), clock, log }),
    slots: config.slots,
    weight: config.weight,
    labels: { peer: peerId, host: hostname(), os: platform(), arch: arch(), ...config.labels },
    version: VERSION,
    clock,
    random,
    log,
  });
}
