/** Opens a worker server on a folder of its own: what an earlier process has left there is taken up, or cleared away. */
import { join } from "node:path";
import { type Files, systemFiles } from "./files.ts";
import type { Executors } from "./executors.ts";
import { KeptOutcomes } from "./kept-outcomes.ts";
import { ModuleCache } from "./module-cache.ts";
import { WorkerServer, type WorkerServerInit } from "./worker-server.ts";

export interface OpenWorkerInit extends Omit<
  WorkerServerInit,
  "executors" | "modules" | "spoolFolder" | "outcomes" | "files"
> {
  readonly folder: string;
  /** Default: the machine's. */
  readonly files?: Files | undefined;
  /** Called last; what it gives is taken over. */
  readonly openExecutors: () => Promise<Executors>;
}

/** Whoever calls owns it. */
export async function openWorker({ openExecutors, ...init }: OpenWorkerInit): Promise<WorkerServer> {
  const { folder, files = systemFiles, clock, log } = init;
  const spoolFolder = join(folder, "spool");
  // Guests do not outlive their worker's process, and so neither does what they wrote; outcomes do.
  await files.rm(spoolFolder, { recursive: true, force: true });
  await files.mkdir(spoolFolder, { recursive: true, mode: 0o700 });
  const outcomes = await KeptOutcomes.open({ folder: join(folder, "outcomes"), files, clock, log });
  const modules = await ModuleCache.open(join(folder, "modules"), { clock, files });
  return new WorkerServer({ ...init, executors: await openExecutors(), modules, spoolFolder, outcomes, files });
}
