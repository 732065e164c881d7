/** A process that is both a gateway and a worker: the worker's session is opened without a network in between. */
import { Backoff } from "../base/backoff.ts";
import { sleep } from "../base/clock.ts";
import { disconnected } from "../base/errors.ts";
import type { PeerId } from "../base/ids.ts";
import { REDIAL_FIRST_MS, REDIAL_MAX_MS, WORKER_HAND_BACK_MS } from "../base/limits.ts";
import { WorkerSessionClient } from "../caps/worker-session.ts";
import type { Gateway } from "../gateway/gateway.ts";
import type { WorkerServer } from "../worker/worker-server.ts";
import { announce } from "./announce.ts";
import type { Powers, RunningApp } from "./app.ts";
import type { Config } from "./config.ts";
import { openGateway } from "./gateway-parts.ts";
import { runningApp } from "./running.ts";
import { VERSION } from "./version.ts";
import { openWorkerServer } from "./worker-parts.ts";

export async function runUp(config: Config, powers: Powers): Promise<RunningApp> {
  await using stack = new AsyncDisposableStack();
  const { gateway, host, http, identity, dial, rpc, folder } = await openGateway(config, powers, stack);
  const { peerId } = identity;
  const worker = stack.use(await openWorkerServer({ config, powers, peerId, folder }));
  const stopped = new AbortController();
  void serveHere(gateway, worker, peerId, powers, stopped.signal);
  stack.defer(() => stopped.abort(disconnected("the process is stopping")));
  const state = () => {
    const { labels, slots, busy } = worker.state();
    return { role: "both", version: VERSION, labels, slots, busy } as const;
  };
  stack.use(announce(host.membership, state, powers));
  return runningApp({
    ready: { event: "ready", role: "up", peerId, http: http.url, dial, rpc, addrs: host.addrs() },
    stack: stack.move(),
    graceMs: config.graceMs,
    drain: async (options) => {
      await Promise.all([gateway.drain(options), worker.drain({ ...options, handBackMs: WORKER_HAND_BACK_MS })]);
    },
    powers,
  });
}

/** One session after the other, for as long as the process lives: a store that fails for a while ends one. */
async function serveHere(
  gateway: Gateway,
  worker: WorkerServer,
  peerId: PeerId,
  { clock, random, log }: Powers,
  stopped: AbortSignal,
): Promise<void> {
  const backoff = new Backoff({ firstMs: REDIAL_FIRST_MS, maxMs: REDIAL_MAX_MS, random });
  while (!stopped.aborted) {
    const ended = new AbortController();
    try {
      const peer = { id: peerId, address: "this process" };
      const session = gateway.sessions.open(peer, worker.state(), AbortSignal.any([stopped, ended.signal]));
      await worker.serve(new WorkerSessionClient(session), { signal: stopped });
    } catch (error) {
      if (!stopped.aborted) log.error("the session of this process's worker has ended; opening another", { error });
    } finally {
      ended.abort(disconnected("the session has ended"));
    }
    await sleep(clock, backoff.nextMs(), { signal: stopped }).catch(() => {});
  }
}
