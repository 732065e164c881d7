/** Opens a worker: executors, module cache and worker server, on a data directory that is the caller's. */
import { arch, hostname, platform } from "node:os";
import { join } from "node:path";
import type { PeerId } from "../base/ids.ts";
import { WASM_ENTRIES } from "../model/entry.ts";
import { Executors, type Registration } from "../worker/executors.ts";
import { openWorker } from "../worker/open-worker.ts";
import { RunnerPool } from "../worker/runner/runner-pool.ts";
import type { WorkerServer } from "../worker/worker-server.ts";
import type { Powers } from "./app.ts";
import type { Config } from "./config.ts";
import type { Inspection } from "./inspection.ts";
import { VERSION } from "./version.ts";

export interface WorkerPartsInit {
  readonly config: Config;
  readonly powers: Powers;
  readonly peerId: PeerId;
  /** The data directory. */
  readonly folder: string;
  /** Shared with the gateway in the same process; default: one of the worker's own. */
  readonly inspection?: Inspection | undefined;
  /** Executors that the worker brings itself. Taken over. */
  readonly own?: readonly Registration[] | undefined;
  /** Default: it does. */
  readonly runsWasm?: boolean | undefined;
}

/** The worker server; closing it closes the pool too. Whoever calls owns it. */
export async function openWorkerServer(init: WorkerPartsInit): Promise<WorkerServer> {
  const { config, powers, peerId, folder, inspection, own = [], runsWasm = true } = init;
  const { clock, random } = powers;
  const log = powers.log.child({ part: "worker" });
  return openWorker({
    folder,
    openExecutors: async () => {
      if (!runsWasm) return new Executors(own);
      const pool = await RunnerPool.open({
        slots: config.slots,
        scratchFolder: join(folder, "transpiled"),
        sandbox: await inspection?.openSandbox(),
        inspector: inspection?.inspector,
        clock,
        log,
      });
      return new Executors([{ entries: WASM_ENTRIES, executor: pool }, ...own]);
    },
    slots: config.slots,
    weight: config.weight,
    labels: { peer: peerId, host: hostname(), os: platform(), arch: arch(), ...config.labels },
    version: VERSION,
    tracer: powers.tracer,
    clock,
    random,
    log,
  });
}
