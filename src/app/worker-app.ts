/** A process that is a worker: dials a gateway, joins it, serves its session, and dials again when that ends. */
import { join as joinPath } from "node:path";
import { DataDirectory } from "../net/data-directory.ts";
import { Dialer } from "../net/dialer.ts";
import { Discovery } from "../net/discovery.ts";
import { Host } from "../net/host.ts";
import { loadIdentity } from "../net/identity.ts";
import { RunFolder } from "../net/run-file.ts";
import { parseWhere } from "../net/where.ts";
import { announce } from "./announce.ts";
import type { Powers, RunningApp } from "./app.ts";
import type { Config } from "./config.ts";
import { runningApp } from "./running.ts";
import { serveGateway } from "./serve-gateway.ts";
import { withTracing } from "./tracing.ts";
import { VERSION } from "./version.ts";
import { type WorkerPartsInit, openWorkerServer } from "./worker-parts.ts";

/** `brings`: executors of its own, and whether it runs WebAssembly too, which is the default. */
export async function runWorker(
  config: Config,
  given: Powers,
  brings: Pick<WorkerPartsInit, "own" | "runsWasm"> = {},
): Promise<RunningApp> {
  await using stack = new AsyncDisposableStack();
  const powers = await withTracing(given, "capmesh-worker", stack);
  const { clock, random } = powers;
  const log = powers.log.child({ part: "net" });
  const targets = config.dial.map(parseWhere);
  const data = stack.use(await openDataDirectory(config));
  const identity = await loadIdentity(data.path);
  const listen = config.listen ?? [];
  const { namespace, mdns, secret } = config;
  const host = stack.use(await Host.start({ identity, namespace, role: "worker", listen, mdns, clock, random, log }));
  const worker = stack.use(
    await openWorkerServer({ ...brings, config, powers, peerId: identity.peerId, folder: data.path }),
  );
  const runFolder = new RunFolder({ folder: config.runtimeFolder, namespace });
  const discovery = stack.use(new Discovery({ runFolder, multicast: host.multicast, log }));
  stack.use(
    new Dialer({
      host,
      discovery,
      targets,
      onConnected: (peer) => serveGateway({ worker, workerId: identity.peerId, namespace, secret, powers }, peer),
      clock,
      random,
      log,
    }),
  );
  const state = () => {
    const { labels, slots, busy } = worker.state();
    return { role: "worker", version: VERSION, labels, slots, busy } as const;
  };
  stack.use(announce(host.membership, state, powers));
  return runningApp({
    ready: { event: "ready", role: "worker", peerId: identity.peerId, addrs: host.addrs() },
    stack: stack.move(),
    graceMs: config.graceMs,
    drain: (options) => worker.drain(options),
    powers,
  });
}

function openDataDirectory(config: Config): Promise<DataDirectory> {
  if (config.data !== undefined) return DataDirectory.open(config.data);
  return DataDirectory.openFirstFree(joinPath(config.dataHome, "worker"));
}
