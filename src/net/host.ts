/**
 * This process on the cluster's network: one libp2p peer with one identity in one namespace. It takes and opens the
 * byte streams that RPC runs over, and sees who else is there.
 *
 * A stream's other end is authenticated by its peer id, and that is all: whether that peer may do anything is decided
 * above. One stream is opened per connection and lives as long as it is used; each further one costs a negotiation.
 */
import { networkInterfaces } from "node:os";
import type { Connection, Libp2p } from "@libp2p/interface";
import { peerIdFromString } from "@libp2p/peer-id";
import { multiaddr } from "@multiformats/multiaddr";
import type { Clock } from "../base/clock.ts";
import { ClusterError, disconnected, failed, messageOf } from "../base/errors.ts";
import { parsePeerId, type PeerId } from "../base/ids.ts";
import { HANDSHAKE_TIMEOUT_MS } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import type { Random } from "../base/random.ts";
import type { ByteStream } from "../rpc/byte-stream.ts";
import { dialAddresses } from "./dial-addresses.ts";
import { dialFirst, probeTcp } from "./dial-first.ts";
import { closeIdleConnections } from "./idle-connections.ts";
import type { Identity } from "./identity.ts";
import { Libp2pByteStream } from "./libp2p-byte-stream.ts";
import { startLibp2p, type Libp2pStack } from "./libp2p-stack.ts";
import { chooseListen, keepPort } from "./listen-addresses.ts";
import { Membership } from "./membership.ts";
import type { Multicast } from "./multicast.ts";
import { rpcProtocolOf } from "./namespace.ts";
import { timeoutSignal } from "./timeout-signal.ts";

export interface HostInit {
  readonly identity: Identity;
  readonly namespace: string;
  /** A gateway answers multicast questions; a worker only asks them. */
  readonly role: "gateway" | "worker";
  /** Multiaddrs to listen on; `default`: where gateways listen; empty: nowhere. */
  readonly listen: readonly string[] | "default";
  /** With `default`: the file that keeps the port. */
  readonly portFile?: string | undefined;
  /** With `default`: tried when no port is kept. 4077 if not given. */
  readonly preferredPort?: number | undefined;
  /** Whether multicast is used. */
  readonly mdns: boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

export interface RemotePeer {
  readonly peerId: PeerId;
  /** The multiaddr at the other end of the connection, for logs. */
  readonly addr: string;
}

export type StreamHandler = (stream: ByteStream, remote: RemotePeer) => void;

export interface OpenStreamTarget {
  /** Who must answer. Undefined: whoever does. */
  readonly peerId?: PeerId | undefined;
  /** Multiaddrs without a peer id, the likeliest first. May be empty when we are connected to the peer already. */
  readonly addresses: readonly string[];
}

export interface OpenedStream {
  /** The caller owns it. */
  readonly stream: ByteStream;
  readonly remotePeerId: PeerId;
  /** Where the peer was reached. */
  readonly address: string;
}

/** How long connections may take to end when the host stops. */
const STOP_TIMEOUT_MS = 5_000;
/** Streams of one peer on one connection; more than one exists only while it opens a new one in place of a broken one. */
const STREAMS_PER_CONNECTION_MAX = 8;
/** A port that is taken between probing and listening is looked for again. */
const LISTEN_TRIES_MAX = 3;

export class Host implements AsyncDisposable {
  readonly peerId: PeerId;
  readonly namespace: string;
  readonly membership: Membership;
  /** Undefined when multicast is off. */
  readonly multicast: Multicast | undefined;
  readonly #init: HostInit;
  readonly #libp2p: Libp2p;
  readonly #protocol: string;
  readonly #goneListeners = new Set<(peerId: PeerId) => void>();
  readonly #idle: Disposable | undefined;
  #stopped: Promise<void> | undefined;

  private constructor(init: HostInit, stack: Libp2pStack) {
    this.#init = init;
    this.#libp2p = stack.libp2p;
    this.#protocol = rpcProtocolOf(init.namespace);
    this.peerId = init.identity.peerId;
    this.namespace = init.namespace;
    this.multicast = stack.multicast;
    this.membership = new Membership({ ...init, ...stack, peerId: this.peerId, addrs: () => this.addrs() });
    if (init.role === "gateway") {
      const connections = (): Connection[] => this.#libp2p.getConnections();
      this.#idle = closeIdleConnections({ connections, protocol: this.#protocol, clock: init.clock });
    }
    this.#libp2p.addEventListener("peer:disconnect", ({ detail }) => {
      const peerId = parsePeerId(detail.toString());
      if (peerId === undefined) return;
      for (const listener of this.#goneListeners) listener(peerId);
    });
  }

  /** Starts listening. Rejects with `failed`: `address-in-use`, or `cannot-listen`. */
  static async start(init: HostInit): Promise<Host> {
    const multicast = !init.mdns ? "off" : init.role === "gateway" ? "answer" : "ask";
    for (let tries = 1; ; tries++) {
      const choice = init.listen === "default" ? await chooseListen({ ...init, portFile: init.portFile }) : undefined;
      const listen = choice?.addresses ?? (init.listen === "default" ? [] : init.listen);
      try {
        const stack = await startLibp2p({ ...init, listen, multicast });
        if (choice !== undefined && init.portFile !== undefined) await keepPort(init.portFile, choice.port);
        return new Host(init, stack);
      } catch (error) {
        const isTaken = messageOf(error).includes("EADDRINUSE");
        if (isTaken && choice !== undefined && tries < LISTEN_TRIES_MAX) continue;
        throw failed(`cannot listen on ${listen.join(", ")}: ${messageOf(error)}`, {
          code: isTaken ? "address-in-use" : "cannot-listen",
          cause: error,
        });
      }
    }
  }

  /** The addresses under which others may dial this host, peer id included, the likeliest first, loopback last. */
  addrs(): string[] {
    const components = this.#libp2p.getMultiaddrs();
    const bound = components.map((address) => address.decapsulate(`/p2p/${this.peerId}`).toString());
    return dialAddresses(bound, networkInterfaces()).map((address) => `${address}/p2p/${this.peerId}`);
  }

  /** Takes the streams that peers of the namespace open. Until this is called, they are refused and try again. */
  async onStream(handler: StreamHandler): Promise<void> {
    await this.#libp2p.handle(
      this.#protocol,
      (stream, connection) => {
        const remote = remoteOf(connection);
        if (remote === undefined) {
          stream.abort(new Error("unknown form of peer id"));
          return;
        }
        handler(new Libp2pByteStream({ stream, label: remote.peerId }), remote);
      },
      { maxInboundStreams: STREAMS_PER_CONNECTION_MAX },
    );
  }

  /**
   * Opens a stream to a peer, over the connection there is or a new one. That it opens does not mean that the peer wants
   * us: only its first answer does. Rejects with `disconnected`: `unreachable`, `wrong-peer`, `wrong-namespace`; or with
   * the signal's reason.
   */
  async openStream(
    target: OpenStreamTarget,
    { signal }: { signal?: AbortSignal | undefined } = {},
  ): Promise<OpenedStream> {
    if (target.peerId === this.peerId) throw failed("this is our own peer id", { code: "dialed-self" });
    const open = target.peerId === undefined ? undefined : this.#connectionsTo(target.peerId)[0];
    if (open !== undefined) {
      try {
        return await this.#openStreamOn(open, signal);
      } catch (error) {
        signal?.throwIfAborted();
        // A connection that opens no stream is dead, though nobody has noticed; unless the peer wants none.
        if (error instanceof ClusterError && error.code === "wrong-namespace") throw error;
        open.abort(new Error("the connection opens no stream"));
        if (target.addresses.length === 0) throw error;
      }
    }
    const dialled = await dialFirst({
      addresses: target.addresses,
      probe: probeTcp,
      dial: (address, options) => this.#dial(address, target.peerId, options.signal),
      clock: this.#init.clock,
      signal,
    });
    return await this.#openStreamOn(dialled, signal);
  }

  /** Called with a peer's id when the last connection to it has closed, until disposed. */
  onPeerGone(listener: (peerId: PeerId) => void): Disposable {
    this.#goneListeners.add(listener);
    return { [Symbol.dispose]: () => this.#goneListeners.delete(listener) };
  }

  isConnected(peerId: PeerId): boolean {
    return this.#connectionsTo(peerId).length > 0;
  }

  /** Closes all connections to the peer, streams included. It may come again. Never rejects. */
  disconnect(peerId: PeerId, reason: ClusterError): void {
    for (const connection of this.#connectionsTo(peerId)) connection.abort(reason);
  }

  /** Says goodbye to the members and closes everything. Idempotent. Never rejects. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #stop(): Promise<void> {
    this.#idle?.[Symbol.dispose]();
    await this.membership.stop();
    this.#goneListeners.clear();
    let timer: Disposable | undefined;
    const late = new Promise<void>((resolve) => {
      timer = this.#init.clock.setTimer(STOP_TIMEOUT_MS, () => resolve());
    });
    const stopping = Promise.resolve(this.#libp2p.stop()).catch((error: unknown) => {
      this.#init.log.debug("stopping libp2p failed", { error });
    });
    await Promise.race([stopping, late]);
    timer?.[Symbol.dispose]();
  }

  #connectionsTo(peerId: PeerId): Connection[] {
    return this.#libp2p.getConnections(peerIdFromString(peerId)).filter((connection) => connection.status === "open");
  }

  async #openStreamOn(connection: Connection, signal: AbortSignal | undefined): Promise<OpenedStream> {
    const remote = remoteOf(connection);
    if (remote === undefined || remote.peerId === this.peerId) {
      connection.abort(new Error("not a peer to talk to"));
      throw remote === undefined
        ? failed("the peer's id has an unknown form", { code: "unreachable" })
        : failed(`${remote.addr} is this process itself`, { code: "dialed-self" });
    }
    using timeout = timeoutSignal(this.#init.clock, HANDSHAKE_TIMEOUT_MS, signal);
    try {
      const stream = await connection.newStream(this.#protocol, {
        signal: timeout.signal,
        maxOutboundStreams: STREAMS_PER_CONNECTION_MAX,
      });
      const label = remote.peerId;
      return { stream: new Libp2pByteStream({ stream, label }), remotePeerId: remote.peerId, address: remote.addr };
    } catch (error) {
      signal?.throwIfAborted();
      throw this.#explainNoStream(error, remote);
    }
  }

  /** One try at one address. Who answers is checked here, so that the error can say who it was. */
  async #dial(address: string, peerId: PeerId | undefined, signal: AbortSignal): Promise<Connection> {
    const connection = await this.#libp2p.dial(multiaddr(address), { signal });
    const answered = parsePeerId(connection.remotePeer.toString());
    if (peerId === undefined || answered === peerId) return connection;
    connection.abort(new Error("another peer was meant"));
    throw disconnected(`${address} answers as ${answered ?? "an unknown peer"}, not as ${peerId}`, {
      code: "wrong-peer",
    });
  }

  #explainNoStream(thrown: unknown, remote: RemotePeer): ClusterError {
    // libp2p also throws the event of a stream that closed.
    const cause = thrown instanceof Error ? thrown : new Error("the connection closed");
    const where = `${remote.peerId} at ${remote.addr}`;
    if (cause.name !== "UnsupportedProtocolError") {
      return disconnected(`${where} opened no stream: ${cause.message}`, { code: "unreachable", cause });
    }
    const hint = `does not serve namespace "${this.namespace}" (another --ns, or not ready yet)`;
    return disconnected(`${where} ${hint}`, { code: "wrong-namespace", cause });
  }
}

function remoteOf(connection: Connection): RemotePeer | undefined {
  const peerId = parsePeerId(connection.remotePeer.toString());
  return peerId === undefined ? undefined : { peerId, addr: connection.remoteAddr.toString() };
}
