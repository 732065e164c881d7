/**
 * A gateway with a plain RPC endpoint on a real socket, and peers of it that are no libp2p peers. When it closes it makes
 * sure that nothing has been left: no connection, no timer of a clock that the test moves, no bytes that no task uses.
 */
import { once } from "node:events";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { type Socket, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";
import { type RpcEndpoint, openRpcEndpoint } from "../../src/app/rpc-endpoint.ts";
import type { Clock } from "../../src/base/clock.ts";
import { type PeerId, parseRpcName } from "../../src/base/ids.ts";
import { LOGIN_TIMEOUT_MS } from "../../src/base/limits.ts";
import { type Log, type LogFields, silentLog } from "../../src/base/log.ts";
import { systemClock } from "../../src/base/system-clock.ts";
import { BootstrapClient, type Credential } from "../../src/caps/bootstrap.ts";
import type { ClientSessionClient } from "../../src/caps/client-session.ts";
import { serveWorker } from "../../src/caps/worker.ts";
import type { WorkerSessionClient } from "../../src/caps/worker-session.ts";
import type { JoinVerifier } from "../../src/gateway/admission.ts";
import { Gateway } from "../../src/gateway/gateway.ts";
import type { AttemptEnd } from "../../src/model/outcome.ts";
import type { RunSpec } from "../../src/model/run-spec.ts";
import type { WorkerState } from "../../src/model/worker.ts";
import { type JoinRole, isJoinProof, joinProof, makeNonce } from "../../src/net/join-proof.ts";
import { type SocketAddress, connectSocket, parseSocketAddress } from "../../src/net/socket-endpoint.ts";
import { Connection } from "../../src/rpc/connection.ts";
import { FileBlobStore } from "../../src/store/file-blobs.ts";
import { TestAccess } from "./test-access.ts";
import { SqliteStore } from "../../src/store/sqlite/sqlite-store.ts";
import type { Store } from "../../src/store/store.ts";
import { T0, peerId } from "../store/store-samples.ts";
import { ManualClock, settlePromises } from "./manual-clock.ts";
import { SeededRandom } from "./seeded-random.ts";
import { inlineInspector } from "./inline-inspector.ts";

export const PLAIN_GATEWAY = peerId("G");
export const PLAIN_SECRET = "a-secret-of-tests";
export const PLAIN_TOKEN = "a-token-of-tests";
const NAMESPACE = "tests";
/** How long a condition may take to come true before the test is given up; it is looked at all the time. */
const PATIENCE_MS = 30_000;

export interface PlainGatewayInit {
  readonly kind?: "unix" | "tcp";
  readonly token?: string | undefined;
  /** Its clock is the test's to move. */
  readonly isTimeManual?: boolean;
  readonly isOpen?: boolean;
}

/** A line of the log. */
export interface LogLine {
  readonly level: "info" | "warn" | "error";
  readonly message: string;
  readonly fields: LogFields;
}

export class PlainGateway implements AsyncDisposable {
  readonly gateway: Gateway;
  readonly access: TestAccess;
  readonly endpoint: RpcEndpoint;
  readonly store: Store;
  readonly lines: LogLine[];
  readonly clock: Clock;
  readonly #manual: ManualClock | undefined;
  readonly #folder: string;
  readonly #peers: PlainPeer[] = [];
  readonly #sockets: Socket[] = [];

  static async open(init: PlainGatewayInit = {}): Promise<PlainGateway> {
    const folder = await mkdtemp(join(tmpdir(), "capmesh-plain-"));
    const store = await SqliteStore.open({ path: join(folder, "capmesh.db"), log: silentLog });
    const blobs = await FileBlobStore.open(join(folder, "blobs"));
    const manual = init.isTimeManual === true ? new ManualClock({ now: T0 }) : undefined;
    const clock = manual ?? systemClock;
    const lines: LogLine[] = [];
    const log = collectingLog(lines);
    const common = { store, blobs, verifier, clock, log };
    const gateway = await Gateway.start({
      ...common,
      isOpen: init.isOpen ?? false,
      policy: "random",
      random: new SeededRandom(1),
    });
    const access = await TestAccess.open({ store, clock, rootToken: init.token });
    const endpoint = await openRpcEndpoint({
      ...common,
      address: init.kind === "tcp" ? "tcp:127.0.0.1:0" : `unix:${join(folder, "rpc.sock")}`,
      gateway,
      gatewayPeerId: PLAIN_GATEWAY,
      tokens: access.tokens,
      audit: access.audit,
      inspector: inlineInspector,
    });
    return new PlainGateway({ gateway, access, endpoint, store, lines, clock, manual, folder });
  }

  private constructor(parts: {
    gateway: Gateway;
    access: TestAccess;
    endpoint: RpcEndpoint;
    store: Store;
    lines: LogLine[];
    clock: Clock;
    manual: ManualClock | undefined;
    folder: string;
  }) {
    this.gateway = parts.gateway;
    this.access = parts.access;
    this.endpoint = parts.endpoint;
    this.store = parts.store;
    this.lines = parts.lines;
    this.clock = parts.clock;
    this.#manual = parts.manual;
    this.#folder = parts.folder;
  }

  get address(): SocketAddress {
    return parseSocketAddress(this.endpoint.address);
  }

  /** What was logged as something to be seen to, but for the leaps of a clock that is moved by hand. */
  get warnings(): readonly LogLine[] {
    return this.lines.filter(({ level, fields }) => level !== "info" && !("offMs" in fields));
  }

  async connect(): Promise<PlainPeer> {
    const stream = await connectSocket({ address: this.address, clock: systemClock });
    const peer = new PlainPeer(new Connection({ stream, clock: systemClock, log: silentLog }));
    this.#peers.push(peer);
    return peer;
  }

  /** A client that is logged in over a unix socket. */
  async client(name = "client"): Promise<ClientSessionClient> {
    return (await (await this.connect()).bootstrap.loginClient({ kind: "none", name })).session;
  }

  /** A bare socket, connected. */
  async socket(): Promise<Socket> {
    const { address } = this;
    const socket = connect(
      address.kind === "unix" ? { path: address.path } : { host: address.host, port: address.port },
    );
    this.#sockets.push(socket);
    socket.on("error", () => {});
    await once(socket, "connect");
    return socket;
  }

  /** Resolves when `isTrue` is. Looks again each time something may have happened. */
  async until(what: string, isTrue: () => boolean | Promise<boolean>): Promise<void> {
    const startedMs = performance.now();
    while (!(await isTrue())) {
      if (performance.now() - startedMs > PATIENCE_MS) throw new Error(`not within ${PATIENCE_MS} ms: ${what}`);
      await settlePromises();
    }
  }

  /** Lets the time of a login go by. */
  async passLoginTimeout(): Promise<void> {
    for (let left = LOGIN_TIMEOUT_MS + 1_000; left > 0; left -= 500) {
      this.#manual?.advance(500);
      await settlePromises();
    }
  }

  /** Names of finished blobs. */
  async blobs(): Promise<readonly string[]> {
    const found = await readdir(join(this.#folder, "blobs"), { recursive: true, withFileTypes: true });
    return found.filter((entry) => entry.isFile()).map(({ name }) => name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      for (const socket of this.#sockets) socket.destroy();
      await Promise.all(this.#peers.map((peer) => peer[Symbol.asyncDispose]()));
      await this.until("every connection is gone", () => {
        this.#manual?.advance(0);
        return this.endpoint.connections().length === 0;
      });
      await this.endpoint[Symbol.asyncDispose]();
      await this.access[Symbol.asyncDispose]();
      await this.gateway.close();
      for (const blob of await this.blobs()) expect(await this.store.isBlobUsed(decodeDigestName(blob))).toBe(true);
      if (this.#manual !== undefined) {
        // Sockets that linger for the other side to end.
        this.#manual.advance(60_000);
        expect(this.#manual.pendingTimers).toBe(0);
      }
    } finally {
      await this.store.close();
      await rm(this.#folder, { recursive: true, force: true });
    }
  }
}

function decodeDigestName(name: string): Parameters<Store["isBlobUsed"]>[0] {
  return name as Parameters<Store["isBlobUsed"]>[0];
}

/** One connection of a program that is no libp2p peer. */
export class PlainPeer implements AsyncDisposable {
  readonly connection: Connection;
  readonly bootstrap: BootstrapClient;
  /** Held for as long as the peer is there: one that nobody refers to any more is logged out when it is collected. */
  readonly #sessions: WorkerSessionClient[] = [];

  constructor(connection: Connection) {
    this.connection = connection;
    this.bootstrap = new BootstrapClient(connection.bootstrap());
  }

  get isConnected(): boolean {
    return !this.connection.ended.aborted;
  }

  /** A credential that proves `secret` in answer to a challenge, and what the gateway has to prove in return. */
  async proof(
    name: string,
    { role = "worker", secret = PLAIN_SECRET }: { readonly role?: JoinRole; readonly secret?: string } = {},
  ): Promise<{ readonly credential: Credential; readonly answer: Uint8Array }> {
    const { nonce, gateway } = await this.bootstrap.challengeBy();
    const id = parseRpcName(name);
    if (id === undefined || gateway === undefined) throw new Error("no name, or no gateway");
    const workerNonce = makeNonce();
    const input = proofInput(secret, { worker: id, gateway, gatewayNonce: nonce, workerNonce });
    return {
      credential: { kind: "join", name, workerNonce, proof: joinProof(role, input) },
      answer: joinProof("gateway", input),
    };
  }

  /** Logs in as a worker and offers a slot for as long as it lives; its runs add their two arguments. */
  async addAs(name: string, labels: Readonly<Record<string, string>> = {}): Promise<WorkerSessionClient> {
    const state: WorkerState = { slots: 1, busy: 0, weight: 1, labels, version: "test", cachedModules: [] };
    const verdict = await this.bootstrap.login({ kind: "none", name }, state);
    if (verdict.kind !== "admitted") throw new Error(`not admitted: ${verdict.reason}`);
    const { session } = verdict;
    this.#sessions.push(session);
    await session.resume([]);
    const { sender } = await session.offers();
    const offer = async (): Promise<void> => {
      for (;;) {
        const done = Promise.withResolvers<void>();
        using worker = serveWorker({
          run: (spec, module, output) => {
            module[Symbol.dispose]();
            output[Symbol.dispose]();
            return {
              outcome: async () => sumOf(spec),
              cancel: () => {},
              acknowledge: () => done.resolve(),
            };
          },
          [Symbol.dispose]: () => done.resolve(),
        });
        await sender.send(worker, state);
        worker[Symbol.dispose]();
        await done.promise;
      }
    };
    offer().catch(() => sender[Symbol.dispose]());
    return session;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.connection.close();
  }
}

function sumOf({ entry }: RunSpec): AttemptEnd {
  const value = entry.kind === "run" ? String((entry.input + entry.difficulty) >>> 0) : undefined;
  const usage = { wallMs: 1, cpuMs: 1, memoryBytes: 0 };
  return { outcome: { kind: "exited", code: 0 }, value, usage, outputBytes: 0, outputTruncated: false };
}

function proofInput(
  secret: string,
  ids: { worker: PeerId; gateway: PeerId; gatewayNonce: Uint8Array; workerNonce: Uint8Array },
) {
  const { worker: workerPeerId, gateway: gatewayPeerId, gatewayNonce, workerNonce } = ids;
  return { secret, namespace: NAMESPACE, gatewayPeerId, workerPeerId, gatewayNonce, workerNonce };
}

const verifier: JoinVerifier = {
  makeNonce,
  verify: ({ role = "worker", worker, gatewayNonce, workerNonce, proof }) => {
    const input = proofInput(PLAIN_SECRET, { worker, gateway: PLAIN_GATEWAY, gatewayNonce, workerNonce });
    return isJoinProof(role, input, proof) ? joinProof("gateway", input) : undefined;
  },
};

function collectingLog(lines: LogLine[], common: LogFields = {}): Log {
  const write =
    (level: LogLine["level"]) =>
    (message: string, fields: LogFields = {}): void =>
      void lines.push({ level, message, fields: { ...common, ...fields } });
  return {
    debug: () => {},
    info: write("info"),
    warn: write("warn"),
    error: write("error"),
    child: (fields) => collectingLog(lines, { ...common, ...fields }),
  };
}
