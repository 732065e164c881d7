/** Gives every peer that opens a stream a connection and, as its bootstrap, the way to log in. */
import type { Clock } from "../base/clock.ts";
import { type ClusterError, disconnected, overloaded } from "../base/errors.ts";
import { ANSWERS_UNFINISHED_MAX, CONNECTIONS_MAX, STRANGER_ANSWERS_UNFINISHED_MAX } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import type { Gateway } from "../gateway/gateway.ts";
import type { Host, RemotePeer } from "../net/host.ts";
import type { ByteStream } from "../rpc/byte-stream.ts";
import { Connection } from "../rpc/connection.ts";

export interface AcceptInit {
  readonly host: Pick<Host, "onStream">;
  readonly gateway: Gateway;
  readonly clock: Clock;
  readonly log: Log;
}

/** Disposing it accepts no more and says goodbye to all. */
export interface AcceptedWorkers extends AsyncDisposable {
  /** Those that are open. */
  readonly connections: ReadonlySet<Connection>;
}

export async function acceptWorkers(init: AcceptInit): Promise<AcceptedWorkers> {
  const connections = new Set<Connection>();
  let isClosed = false;
  await init.host.onStream((stream, remote) => {
    if (isClosed || connections.size >= CONNECTIONS_MAX) {
      stream.abort(overloaded(isClosed ? "the gateway is closing" : "the gateway has too many connections"));
      return;
    }
    const connection = accept(init, stream, remote);
    connections.add(connection);
    connection.ended.addEventListener("abort", () => connections.delete(connection), { once: true });
  });
  return {
    connections,
    [Symbol.asyncDispose]: async () => {
      isClosed = true;
      await Promise.allSettled([...connections].map((connection) => connection.close()));
    },
  };
}

function accept({ gateway, clock, log }: AcceptInit, stream: ByteStream, remote: RemotePeer): Connection {
  const ended = new AbortController();
  const abort = (reason: ClusterError) => connection.abort(reason);
  const peer = { id: remote.peerId, address: remote.addr };
  let answersUnfinishedMax = STRANGER_ANSWERS_UNFINISHED_MAX;
  const onAdmitted = () => (answersUnfinishedMax = ANSWERS_UNFINISHED_MAX);
  using bootstrap = gateway.admission.bootstrap({ peer, ended: ended.signal, abort, onAdmitted });
  const connection = new Connection({
    stream,
    bootstrap,
    answersUnfinishedMax: () => answersUnfinishedMax,
    clock,
    log: log.child({ peer: remote.peerId }),
  });
  connection.ended.addEventListener(
    "abort",
    () => ended.abort(connection.ended.reason ?? disconnected("the connection has ended")),
    { once: true },
  );
  return connection;
}
