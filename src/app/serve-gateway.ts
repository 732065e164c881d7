/** What a worker does with one connection to a gateway: joins, serves the session until it ends, and says goodbye. */
import type { PeerId } from "../base/ids.ts";
import type { DialedPeer } from "../net/dialer.ts";
import { Connection } from "../rpc/connection.ts";
import type { WorkerServer } from "../worker/worker-server.ts";
import type { Powers } from "./app.ts";
import { join } from "./join.ts";

export interface ServeGatewayInit {
  readonly worker: WorkerServer;
  readonly workerId: PeerId;
  readonly namespace: string;
  /** Of the worker's own settings. What was given with the target counts more, what lies about on the machine less. */
  readonly secret: string | undefined;
  readonly powers: Powers;
}

/** Resolves when a session that was good has ended; rejects, as `join` and the worker do, when there was none. */
export async function serveGateway(init: ServeGatewayInit, peer: DialedPeer): Promise<void> {
  const { worker, powers } = init;
  const { clock } = powers;
  const gateway = peer.remotePeerId;
  const log = powers.log.child({ gateway });
  await using connection = new Connection({ stream: peer.stream, clock, log });
  const session = await join(
    {
      connection,
      gateway,
      worker: init.workerId,
      namespace: init.namespace,
      secret: peer.where.secret ?? init.secret ?? peer.secret,
      state: () => worker.state(),
      powers,
    },
    { signal: peer.signal },
  );
  log.info("joined the gateway");
  await worker.serve(session, { gateway, signal: AbortSignal.any([peer.signal, connection.ended]) });
  log.info("the session has ended");
}
