/**
 * The worker of a process that is a gateway too: it serves one session of that gateway after the other, without a network
 * in between, for as long as the process lives. A store that fails for a while ends one; an operator who bars it keeps it
 * out until it is admitted again, as any other worker.
 */
import { Backoff } from "../base/backoff.ts";
import { type Clock, sleep } from "../base/clock.ts";
import { disconnected } from "../base/errors.ts";
import type { PeerId } from "../base/ids.ts";
import { REDIAL_FIRST_MS, REDIAL_MAX_MS } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import type { Random } from "../base/random.ts";
import { WorkerSessionClient } from "../caps/worker-session.ts";
import type { WorkerSessions } from "../gateway/worker-sessions.ts";
import type { WorkerServer } from "../worker/worker-server.ts";

export interface OwnWorkerInit {
  readonly sessions: Pick<WorkerSessions, "open" | "isBarred">;
  readonly worker: Pick<WorkerServer, "state" | "serve">;
  readonly peerId: PeerId;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Resolves when `stopped` is aborted. Never rejects. */
export async function serveOwnWorker(init: OwnWorkerInit, stopped: AbortSignal): Promise<void> {
  const { clock, random, log } = init;
  const backoff = new Backoff({ firstMs: REDIAL_FIRST_MS, maxMs: REDIAL_MAX_MS, random });
  let isToldBarred = false;
  while (!stopped.aborted) {
    const startedMs = clock.monotonicMs();
    try {
      if (await init.sessions.isBarred(init.peerId)) {
        if (!isToldBarred) log.warn(barredMessage(init.peerId));
        isToldBarred = true;
      } else {
        isToldBarred = false;
        await serveOnce(init, stopped);
      }
    } catch (error) {
      if (!stopped.aborted) log.error("the session of this process's worker has ended; opening another", { error });
    }
    // What has lasted was no failed try.
    if (clock.monotonicMs() - startedMs >= REDIAL_MAX_MS) backoff.reset();
    await sleep(clock, backoff.nextMs(), { signal: stopped }).catch(() => {});
  }
}

async function serveOnce({ sessions, worker, peerId }: OwnWorkerInit, stopped: AbortSignal): Promise<void> {
  const ended = new AbortController();
  const signal = AbortSignal.any([stopped, ended.signal]);
  const end = () => ended.abort(disconnected("the session has ended"));
  try {
    const peer = { id: peerId, address: "this process" };
    // There is no connection whose end would say that the gateway has ended the session.
    const session = sessions.open(peer, worker.state(), signal, { onEnded: end });
    await worker.serve(new WorkerSessionClient(session), { gateway: peerId, signal });
  } finally {
    end();
  }
}

function barredMessage(id: PeerId): string {
  return `this process's worker is barred and takes no runs; \`capmesh worker admit ${id}\` lets it in again`;
}
