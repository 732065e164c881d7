/**
 * The plain RPC endpoint of a gateway, `--rpc`: the bootstrap interface over Cap'n Proto as every library speaks it, for
 * workers and clients in any language. What they may do is decided by `gateway/plain-admission.ts`; here connections are
 * accepted and counted. Whatever a peer does costs its own connection, and one line of the log says why.
 */
import { V7Generator } from "uuidv7";
import type { Clock } from "../base/clock.ts";
import { type ClusterError, disconnected, overloaded } from "../base/errors.ts";
import type { PeerId } from "../base/ids.ts";
import { ANSWERS_UNFINISHED_MAX, RPC_CONNECTIONS_MAX, STRANGER_ANSWERS_UNFINISHED_MAX } from "../base/limits.ts";
import type { ModuleInspector } from "../inspect/inspector.ts";
import type { Tracer } from "../base/tracing.ts";
import type { Log } from "../base/log.ts";
import type { JoinVerifier } from "../gateway/admission.ts";
import type { AuditLog } from "../gateway/audit.ts";
import { ClientSessions } from "../gateway/client-sessions.ts";
import type { Gateway } from "../gateway/gateway.ts";
import { PlainAdmission } from "../gateway/plain-admission.ts";
import type { Tokens } from "../gateway/tokens.ts";
import { formatSocketAddress, listenSocket, parseSocketAddress } from "../net/socket-endpoint.ts";
import type { ByteStream } from "../rpc/byte-stream.ts";
import { Connection, type ConnectionStats } from "../rpc/connection.ts";
import type { BlobStore } from "../store/blobs.ts";
import type { Store } from "../store/store.ts";
import { StrangerStream } from "./stranger-stream.ts";

export interface RpcEndpointInit {
  /** `tcp:host:port` with a loopback host, or `unix:path`. */
  readonly address: string;
  readonly gateway: Gateway;
  readonly gatewayPeerId: PeerId;
  readonly store: Store;
  readonly blobs: BlobStore;
  readonly verifier: JoinVerifier;
  /** Those of the HTTP API. */
  readonly tokens: Tokens;
  readonly audit: AuditLog;
  readonly inspector: ModuleInspector;
  /** Default: nobody traces. */
  readonly tracer?: Tracer | undefined;
  readonly clock: Clock;
  readonly log: Log;
}

/** Disposing it says goodbye to all and leaves nothing behind. To be disposed before the gateway closes. */
export interface RpcEndpoint extends AsyncDisposable {
  /** As it was given, with the port that was taken. */
  readonly address: string;
  /** Connections that are open, logged in or not, and the sizes of their tables. */
  readonly connections: () => readonly ConnectionStats[];
}

/** Rejects with `failed`: code `invalid-address`, `not-loopback`, `address-in-use` or `cannot-listen`. */
export async function openRpcEndpoint(init: RpcEndpointInit): Promise<RpcEndpoint> {
  const { gateway, gatewayPeerId, clock, log } = init;
  const ids = new V7Generator();
  const address = parseSocketAddress(init.address);
  const isOwnUser = address.kind === "unix";
  const clients = new ClientSessions({
    ...init,
    pins: gateway.pins,
    tasks: gateway.tasks,
    events: gateway.events,
    readiness: gateway,
    storeHealth: gateway.storeHealth,
    newId: () => ids.generateOrResetWithTs(Math.trunc(clock.now())).toString(),
  });
  const admission = new PlainAdmission({
    ...init,
    sessions: gateway.sessions,
    clients,
    gateway: gatewayPeerId,
  });
  const connections = new Set<Connection>();
  const accept = (stream: ByteStream): void => {
    if (connections.size >= RPC_CONNECTIONS_MAX) {
      const reason = overloaded("the gateway has too many plain RPC connections", { code: "too-many-connections" });
      log.warn("a plain RPC connection was refused", { address: stream.label, reason: reason.message });
      stream.abort(reason);
      return;
    }
    const connection = open({ admission, isOwnUser, clock, log }, stream);
    connections.add(connection);
    connection.ended.addEventListener("abort", () => connections.delete(connection), { once: true });
  };
  const listener = await listenSocket({ address, clock, log, onStream: accept });
  const listened = formatSocketAddress(listener.address);
  log.info("serving plain Cap'n Proto", { address: listened });
  return {
    address: listened,
    connections: () => [...connections].map((connection) => connection.stats()),
    [Symbol.asyncDispose]: async () => {
      await listener.close();
      await Promise.allSettled([...connections].map((connection) => connection.close()));
      await clients.close();
    },
  };
}

interface OpenInit {
  readonly admission: PlainAdmission;
  readonly isOwnUser: boolean;
  readonly clock: Clock;
  readonly log: Log;
}

function open({ admission, isOwnUser, clock, log }: OpenInit, socket: ByteStream): Connection {
  const stream = new StrangerStream(socket);
  const ended = new AbortController();
  let answersUnfinishedMax = STRANGER_ANSWERS_UNFINISHED_MAX;
  using bootstrap = admission.bootstrap({
    address: stream.label,
    isOwnUser,
    ended: ended.signal,
    abort: (reason: ClusterError) => connection.abort(reason),
    onAdmitted: () => {
      stream.trust();
      answersUnfinishedMax = ANSWERS_UNFINISHED_MAX;
    },
  });
  const connection = new Connection({
    stream,
    bootstrap,
    answersUnfinishedMax: () => answersUnfinishedMax,
    clock,
    log,
  });
  connection.ended.addEventListener(
    "abort",
    () => ended.abort(connection.ended.reason ?? disconnected("the connection has ended")),
    { once: true },
  );
  return connection;
}
