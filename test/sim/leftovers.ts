/** What is left of a cluster in which nothing is under way: where nothing should be, something is a leak. */
import type { PeerId } from "../../src/base/ids.ts";
import type { SimGateway } from "./sim-gateway.ts";
import type { SimWorker } from "./sim-worker.ts";

export function leftovers(gateway: SimGateway, workers: readonly SimWorker[]): readonly string[] {
  const found: string[] = [];
  const slots = new Map(workers.map((worker) => [worker.peer, worker.slots]));
  for (const view of gateway.gateway?.sessions.list() ?? []) {
    if (view.offers !== slots.get(view.id)) found.push(`${view.offers} offers of worker ${nameOf(view.id)}`);
  }
  const connections = [...gateway.connections];
  if (connections.length !== workers.length) found.push(`${connections.length} connections`);
  const tables = connections.map((connection) => JSON.stringify(connection.stats())).toSorted();
  const idle = workers.map((worker) => JSON.stringify(idleStats(worker.slots))).toSorted();
  if (tables.join() !== idle.join()) found.push(`tables of connections: ${tables.join(" ")}`);
  const files = workers.flatMap((worker) => worker.disk.files());
  const left = files.filter((path) => !/^\/modules\/[0-9a-f]{64}(\.file)?$/.test(path));
  if (left.length > 0) found.push(`files: ${left.join(" ")}`);
  return found;
}

/** Of a connection on which a worker waits with all its slots on offer. */
function idleStats(slots: number) {
  return { questions: 0, answers: slots, exports: 2, imports: slots };
}

export function nameOf(peer: PeerId): string {
  return peer.slice(8, 9);
}
