/**
 * The plain Cap'n Proto endpoint: where any program with a Cap'n Proto library may connect. Nothing here authenticates
 * or encrypts; so TCP is bound to loopback only, and a unix socket can be opened by its owner alone.
 */
import { chmod, lstat, unlink } from "node:fs/promises";
import { connect, createServer, isIP, type Server, type Socket } from "node:net";
import type { Clock } from "../base/clock.ts";
import { disconnected, failed, messageOf, type ClusterError } from "../base/errors.ts";
import { CONNECTIONS_MAX } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import type { ByteStream } from "../rpc/byte-stream.ts";
import { SocketByteStream } from "./socket-byte-stream.ts";

export type SocketAddress =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

/** The longest path a unix socket may have on every system we run on; longer ones are cut by the kernel or refused. */
const UNIX_PATH_BYTES_MAX = 103;

/** Reads `tcp:host:port`, `tcp:[ipv6]:port` or `unix:path`. Throws `failed`, code `invalid-address`. */
export function parseSocketAddress(text: string): SocketAddress {
  const refuse = (why: string): ClusterError =>
    failed(`"${text}" is not an address to listen on: ${why}`, { code: "invalid-address" });
  if (text.startsWith("unix:")) {
    const path = text.slice("unix:".length);
    if (path === "" || path.includes("\0")) throw refuse("a path follows unix:");
    if (Buffer.byteLength(path) > UNIX_PATH_BYTES_MAX) {
      throw refuse(`the path of a unix socket has at most ${UNIX_PATH_BYTES_MAX} bytes`);
    }
    return { kind: "unix", path };
  }
  const match = /^tcp:(?:\[([0-9A-Fa-f:.]+)\]|([^[\]:/\s]+)):(\d{1,5})$/.exec(text);
  if (match === null) throw refuse("write tcp:host:port or unix:path");
  const [, ipv6, name, portText] = match;
  const port = Number(portText);
  if (port > 65_535) throw refuse("a port is at most 65535");
  if (ipv6 !== undefined && isIP(ipv6) !== 6) throw refuse(`${ipv6} is not an IPv6 address`);
  return { kind: "tcp", host: ipv6 ?? name ?? "", port };
}

export function formatSocketAddress(address: SocketAddress): string {
  if (address.kind === "unix") return `unix:${address.path}`;
  return `tcp:${address.host.includes(":") ? `[${address.host}]` : address.host}:${address.port}`;
}

export interface SocketListener extends AsyncDisposable {
  /** Where it listens, with the port it got when 0 was asked for. */
  readonly address: SocketAddress;
  /** Takes no more connections and removes a unix socket's file; open connections stay. Idempotent. */
  close(): Promise<void>;
}

export interface ListenSocketInit {
  readonly address: SocketAddress;
  readonly clock: Clock;
  readonly log: Log;
  /** Owns the stream. */
  readonly onStream: (stream: ByteStream) => void;
}

/** Listens. Rejects with `failed`: code `not-loopback` for another host, `address-in-use`, or `cannot-listen`. */
export async function listenSocket(init: ListenSocketInit): Promise<SocketListener> {
  const { address } = init;
  if (address.kind === "tcp") requireLoopback(address);
  else await removeStaleSocket(address.path);
  let count = 0;
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, (socket) => {
    count++;
    const label = address.kind === "tcp" ? `tcp:${socket.remoteAddress}:${socket.remotePort}` : `unix#${count}`;
    init.onStream(new SocketByteStream({ socket, label, clock: init.clock }));
  });
  server.maxConnections = CONNECTIONS_MAX;
  await listen(server, address);
  server.on("error", (error) => init.log.error("the plain RPC endpoint failed", { error }));
  if (address.kind === "unix") await chmod(address.path, 0o600);
  const bound = server.address();
  const actual: SocketAddress =
    address.kind === "tcp" && bound !== null && typeof bound === "object" ? { ...address, port: bound.port } : address;
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> => {
    // The callback would wait for open connections, which are not ours to end. Closing a pipe server unlinks its file.
    closed ??= new Promise((resolve) => {
      server.close();
      setImmediate(resolve);
    });
    return closed;
  };
  return { address: actual, close, [Symbol.asyncDispose]: close };
}

export interface ConnectSocketInit {
  readonly address: SocketAddress;
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
}

/** Connects. The caller owns the stream. Rejects with `disconnected`, code `unreachable`, or the signal's reason. */
export function connectSocket({ address, clock, signal }: ConnectSocketInit): Promise<ByteStream> {
  const label = formatSocketAddress(address);
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const socket: Socket = connect(
      address.kind === "unix"
        ? { path: address.path, allowHalfOpen: true }
        : { host: address.host, port: address.port, allowHalfOpen: true, noDelay: true },
    );
    const settle = (): void => {
      signal?.removeEventListener("abort", onAbort);
      socket.off("error", onError);
      socket.off("connect", onConnect);
    };
    const onAbort = (): void => {
      settle();
      socket.on("error", () => {});
      socket.destroy();
      reject(signal?.reason);
    };
    const onError = (error: Error): void => {
      settle();
      reject(disconnected(`cannot connect to ${label}: ${messageOf(error)}`, { code: "unreachable", cause: error }));
    };
    const onConnect = (): void => {
      settle();
      resolve(new SocketByteStream({ socket, label, clock }));
    };
    signal?.addEventListener("abort", onAbort, { once: true });
    socket.on("error", onError);
    socket.on("connect", onConnect);
  });
}

function requireLoopback(address: SocketAddress & { kind: "tcp" }): void {
  const { host } = address;
  if (host === "localhost" || host === "::1" || (isIP(host) === 4 && host.startsWith("127."))) return;
  throw failed(
    `plain RPC is not encrypted and listens on loopback only, not on ${host}: use tcp:127.0.0.1:${address.port}, ` +
      `unix:path, or a tunnel`,
    { code: "not-loopback" },
  );
}

function listen(server: Server, address: SocketAddress): Promise<void> {
  const label = formatSocketAddress(address);
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException): void => {
      const code = error.code === "EADDRINUSE" ? "address-in-use" : "cannot-listen";
      reject(failed(`cannot listen on ${label}: ${messageOf(error)}`, { code, cause: error }));
    };
    server.once("error", onError);
    const onListening = (): void => {
      server.off("error", onError);
      resolve();
    };
    if (address.kind === "tcp") {
      server.listen({ host: address.host, port: address.port }, onListening);
      return;
    }
    // The file must never be there for others, not even before `chmod`: the mask is the process's, but only for now.
    const mask = process.umask(0o177);
    try {
      server.listen({ path: address.path }, onListening);
    } finally {
      process.umask(mask);
    }
  });
}

/** A socket file whose process is gone would make `listen` fail for ever. One that is alive stays, and `listen` says so. */
async function removeStaleSocket(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined || !found.isSocket()) return;
  const isAlive = await new Promise<boolean>((resolve) => {
    const probe = connect({ path });
    probe.once("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", () => resolve(false));
  });
  if (!isAlive) await unlink(path).catch(() => undefined);
}
