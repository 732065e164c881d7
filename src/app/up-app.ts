/** A process that is both a gateway and a worker: the worker's session is opened without a network in between. */
import { disconnected } from "../base/errors.ts";
import { adminTokenFile } from "./admin-token.ts";
import { announce } from "./announce.ts";
import type { Powers, RunningApp } from "./app.ts";
import type { Config } from "./config.ts";
import { openGateway } from "./gateway-parts.ts";
import { serveOwnWorker } from "./own-worker.ts";
import { runningApp } from "./running.ts";
import { withTracing } from "./tracing.ts";
import { VERSION } from "./version.ts";
import { openWorkerServer } from "./worker-parts.ts";

export async function runUp(config: Config, given: Powers): Promise<RunningApp> {
  await using stack = new AsyncDisposableStack();
  const powers = await withTracing(given, "capmesh", stack);
  const { gateway, host, http, identity, inspection, dial, rpc, folder } = await openGateway(config, powers, stack);
  const { peerId } = identity;
  const worker = stack.use(await openWorkerServer({ config, powers, peerId, folder, inspection }));
  const stopped = new AbortController();
  void serveOwnWorker({ ...powers, sessions: gateway.sessions, worker, peerId }, stopped.signal);
  stack.defer(() => stopped.abort(disconnected("the process is stopping")));
  const state = () => {
    const { labels, slots, busy } = worker.state();
    return { role: "both", version: VERSION, labels, slots, busy } as const;
  };
  stack.use(announce(host.membership, state, powers));
  return runningApp({
    ready: {
      event: "ready",
      role: "up",
      peerId,
      http: http.url,
      tokenFile: adminTokenFile(config, folder),
      dial,
      rpc,
      addrs: host.addrs(),
    },
    stack: stack.move(),
    graceMs: config.graceMs,
    drain: async (options) => {
      const served = gateway.drain(options).then(() => http.closeWithin(options.handBackMs));
      await Promise.all([served, worker.drain(options)]);
    },
    powers,
  });
}
