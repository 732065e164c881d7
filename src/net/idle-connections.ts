/**
 * Closes connections that came in and are used for nothing: whoever connects to a gateway and opens no RPC stream, or has
 * none any more, would otherwise hold a connection for as long as it likes. Who comes back simply connects again.
 */
import type { Connection } from "@libp2p/interface";
import type { Clock, Timer } from "../base/clock.ts";
import { LOGIN_TIMEOUT_MS } from "../base/limits.ts";

export interface IdleConnectionsInit {
  readonly connections: () => readonly Connection[];
  /** A connection with a stream of this protocol is in use. */
  readonly protocol: string;
  readonly clock: Clock;
}

/** Looks for them until disposed. */
export function closeIdleConnections(init: IdleConnectionsInit): Disposable {
  const { clock } = init;
  /** Since when a connection was seen without use. */
  let idleSinceMs = new Map<Connection, number>();
  let timer: Timer;
  const look = (): void => {
    const nowMs = clock.monotonicMs();
    const stillIdle = new Map<Connection, number>();
    for (const connection of init.connections()) {
      if (connection.direction !== "inbound" || connection.status !== "open") continue;
      if (connection.streams.some((stream) => stream.protocol === init.protocol)) continue;
      const sinceMs = idleSinceMs.get(connection) ?? nowMs;
      if (nowMs - sinceMs >= LOGIN_TIMEOUT_MS) connection.abort(new Error("the connection is not used"));
      else stillIdle.set(connection, sinceMs);
    }
    idleSinceMs = stillIdle;
    schedule();
  };
  const schedule = (): void => {
    timer = clock.setTimer(LOGIN_TIMEOUT_MS / 4, look);
  };
  schedule();
  return { [Symbol.dispose]: () => timer[Symbol.dispose]() };
}
