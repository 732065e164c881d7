/**
 * The gateway's HTTP server: the API of CONTRACT's HTTP part, the status page, health and metrics.
 *
 * It owns its sockets and live streams, and nothing else: store, blobs and services are the caller's, who closes the
 * server before them.
 */
import { type IncomingMessage, type RequestListener, type Server, type ServerResponse, createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { Registry } from "prom-client";
import { V7Generator } from "uuidv7";
import type { Clock } from "../../base/clock.ts";
import { failed, messageOf } from "../../base/errors.ts";
import {
  HTTP_CONNECTIONS_MAX,
  HTTP_DISPOSE_GRACE_MS,
  HTTP_HEAD_MS_MAX,
  HTTP_KEEP_ALIVE_MS,
  MODULE_BYTES_MAX,
  REQUEST_MS_MAX,
  UPLOADS_BYTES_HELD_MAX,
} from "../../base/limits.ts";
import type { ModuleInspector } from "../../inspect/inspector.ts";
import { NO_TRACER, type Span, type Tracer } from "../../base/tracing.ts";
import type { Log } from "../../base/log.ts";
import { isLoopback } from "../../base/loopback.ts";
import type { BlobStore } from "../../store/blobs.ts";
import type { Store } from "../../store/store.ts";
import type { AuditLog } from "../audit.ts";
import type { EventHub } from "../events.ts";
import type { Grant } from "../grant.ts";
import { BlobPins } from "../blob-pins.ts";
import type {
  JoinSecretRotation,
  MemberSource,
  Readiness,
  RunStarts,
  StoreReadiness,
  TaskService,
  WorkerDirectory,
} from "../services.ts";
import type { Tokens } from "../tokens.ts";
import { ByteBudget } from "./byte-budget.ts";
import { EventHistory } from "./event-history.ts";
import { httpApp } from "./http-app.ts";
import type { HttpContext } from "./http-context.ts";
import { HttpMetrics } from "./metrics/http-metrics.ts";
import { LogEvents } from "./log-events.ts";
import { pageRouter } from "./page.ts";
import { SharedLogs } from "./shared-log.ts";
import { SseStreams } from "./sse-stream.ts";
import { UploadSlots } from "./upload-slots.ts";
import { answerWireFaults } from "./wire-faults.ts";

export interface HttpServerInit {
  /** Port 0 picks a free one. */
  readonly address: { readonly host: string; readonly port: number };
  readonly store: Store;
  readonly blobs: BlobStore;
  /** Shared with whoever deletes modules. Default: one of its own. */
  readonly pins?: BlobPins | undefined;
  readonly tasks: TaskService;
  readonly workers: WorkerDirectory;
  readonly members: MemberSource;
  readonly joinSecret: JoinSecretRotation;
  readonly events: EventHub;
  readonly readiness: Readiness;
  readonly storeHealth: StoreReadiness;
  /** Default: nothing is passed over. */
  readonly starts?: RunStarts | undefined;
  readonly inspector: ModuleInspector;
  readonly clock: Clock;
  readonly log: Log;
  /** The program's, as shown. */
  readonly version: string;
  /** Names besides the loopback ones that a tokenless API answers to. */
  readonly allowHosts?: readonly string[] | undefined;
  /** One with a token of the gateway's own is needed for an address that is not loopback; then every request needs one. */
  readonly tokens: Tokens;
  readonly audit: AuditLog;
  /** Default: nobody traces. */
  readonly tracer?: Tracer | undefined;
  /** What `/metrics` shows, to which the server adds what it sees. Default: one of its own. */
  readonly registry?: Registry | undefined;
  /** PEM. */
  readonly tls?: { readonly cert: string; readonly key: string } | undefined;
  readonly moduleBytesMax?: number | undefined;
  /** What the forms that come in may hold in memory together. */
  readonly uploadsBytesHeldMax?: number | undefined;
}

export class HttpServer implements AsyncDisposable {
  /** `http://127.0.0.1:8080`, with the port that was taken. */
  readonly url: string;
  readonly #server: Server;
  readonly #sockets: ReadonlySet<Socket>;
  readonly #streams: SseStreams;
  readonly #closing: AbortController;
  readonly #clock: Clock;
  readonly #owned: DisposableStack;
  #closed: Promise<void> | undefined;

  /** Resolves when connections are accepted. Rejects with `failed`: code `token-needed`, or `cannot-listen`. */
  static async open(init: HttpServerInit): Promise<HttpServer> {
    const { host } = init.address;
    if (!init.tokens.hasRoot && !isLoopback(host)) {
      throw failed(`the API would be open to everyone who reaches ${host}: give it a token, or bind 127.0.0.1`, {
        code: "token-needed",
      });
    }
    const closing = new AbortController();
    const context = httpContext(init, closing.signal);
    const { streams } = context;
    using owned = new DisposableStack();
    const history = owned.use(new EventHistory(init.events, context.newId()));
    const metrics = owned.use(new HttpMetrics(context, init.registry ?? new Registry()));
    const app = httpApp({
      context,
      access: {
        tokens: init.tokens,
        audit: init.audit,
        allowHosts: init.allowHosts ?? [],
        host,
        grants: context.grants,
      },
      history,
      metrics,
      page: await pageRouter(),
    });
    const server = createHttpServer(init, app, context);
    const sockets = openSockets(server);
    closeWhenIdle(server, closing.signal);
    const address = await listen(server, init.address);
    const url = `${init.tls === undefined ? "http" : "https"}://${hostOf(host)}:${address.port}`;
    server.on("error", (error) => init.log.error("the HTTP server failed", { error }));
    return new HttpServer({ url, server, sockets, streams, closing, clock: init.clock, owned: owned.move() });
  }

  private constructor(parts: {
    url: string;
    server: Server;
    sockets: ReadonlySet<Socket>;
    streams: SseStreams;
    closing: AbortController;
    clock: Clock;
    owned: DisposableStack;
  }) {
    this.url = parts.url;
    this.#server = parts.server;
    this.#sockets = parts.sockets;
    this.#streams = parts.streams;
    this.#closing = parts.closing;
    this.#clock = parts.clock;
    this.#owned = parts.owned;
  }

  /**
   * Stops accepting, ends live streams, and resolves when the requests that were under way are answered, or when the
   * signal is aborted, which cuts them off. Idempotent.
   */
  async close({ signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    this.#closed ??= this.#drain();
    const onAbort = (): void => this.abort();
    if (signal?.aborted === true) onAbort();
    else signal?.addEventListener("abort", onAbort, { once: true });
    await this.#closed;
    signal?.removeEventListener("abort", onAbort);
  }

  /** Cuts every connection. Never throws. */
  abort(): void {
    this.#closed ??= this.#drain();
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Closes, and cuts off what has not been answered after `graceMs`. */
  async closeWithin(graceMs: number): Promise<void> {
    const grace = new AbortController();
    using _ = this.#clock.setTimer(graceMs, () => grace.abort());
    await this.close({ signal: grace.signal });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.closeWithin(HTTP_DISPOSE_GRACE_MS);
  }

  async #drain(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#server.close(() => resolve());
    this.#closing.abort();
    this.#streams.close();
    this.#server.closeIdleConnections();
    await promise;
    this.#owned.dispose();
  }
}

function httpContext(init: HttpServerInit, closing: AbortSignal): HttpContext {
  const ids = new V7Generator();
  const grants = new WeakMap<IncomingMessage, Grant>();
  const { store, blobs, tasks, workers, members, events, readiness, storeHealth, inspector, clock, log, version } =
    init;
  return {
    store,
    blobs,
    pins: init.pins ?? new BlobPins(init),
    tasks,
    workers,
    members,
    joinSecret: init.joinSecret,
    events,
    readiness,
    storeHealth,
    starts: init.starts,
    inspector,
    clock,
    log,
    version,
    moduleBytesMax: init.moduleBytesMax ?? MODULE_BYTES_MAX,
    uploadMemory: new ByteBudget(init.uploadsBytesHeldMax ?? UPLOADS_BYTES_HELD_MAX),
    uploadSlots: new UploadSlots(),
    streams: new SseStreams(clock, grants),
    logs: new SharedLogs(init),
    logEvents: new LogEvents(),
    closing,
    newId: () => ids.generateOrResetWithTs(Math.trunc(clock.now())).toString(),
    tracer: init.tracer ?? NO_TRACER,
    spans: new WeakMap<IncomingMessage, Span>(),
    grants,
    tokens: init.tokens,
    audit: init.audit,
    heldBack: new WeakSet<IncomingMessage>(),
  };
}

function createHttpServer(init: HttpServerInit, app: RequestListener, context: HttpContext): Server {
  const options = {
    keepAliveTimeout: HTTP_KEEP_ALIVE_MS,
    headersTimeout: HTTP_HEAD_MS_MAX,
    requestTimeout: REQUEST_MS_MAX,
    noDelay: true,
    // The API itself refuses a request that has no Host, with a problem document as for any other refusal.
    requireHostHeader: false,
  };
  const server =
    init.tls === undefined ? createServer(options, app) : createTlsServer({ ...options, ...init.tls }, app);
  server.maxConnections = HTTP_CONNECTIONS_MAX;
  // A client that asks first is answered by whoever reads the body, so that a refusal spares it the sending.
  server.on("checkContinue", (request: IncomingMessage, response) => {
    context.heldBack.add(request);
    app(request, response);
  });
  server.on("checkExpectation", app);
  answerWireFaults(server, context);
  return server;
}

/** All that are open: the server's own `closeAllConnections` passes over those whose TLS has not been agreed on. */
function openSockets(server: Server): ReadonlySet<Socket> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  return sockets;
}

/** Once the server closes, each connection goes as soon as what it was asked is answered. */
function closeWhenIdle(server: Server, closing: AbortSignal): void {
  server.on("request", (_request: IncomingMessage, response: ServerResponse) => {
    response.once("finish", () => {
      // Only after this turn does the server count the connection as idle.
      if (closing.aborted) setImmediate(() => server.closeIdleConnections());
    });
  });
}

async function listen(server: Server, address: { readonly host: string; readonly port: number }): Promise<AddressInfo> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const host = address.host.replace(/^\[(.*)\]$/, "$1");
  const onError = (error: Error): void => {
    const where = `${hostOf(address.host)}:${address.port}`;
    const isTaken = error instanceof Error && "code" in error && error.code === "EADDRINUSE";
    const why = isTaken
      ? "something listens there, a gateway perhaps: give another --http; port 0 takes any that is free"
      : `${messageOf(error)} (--http)`;
    reject(failed(`cannot listen on ${where}: ${why}`, { code: "cannot-listen", cause: error }));
  };
  server.once("error", onError);
  server.listen({ host, port: address.port }, () => resolve());
  await promise;
  server.off("error", onError);
  const bound = server.address();
  if (bound === null || typeof bound === "string") throw failed("the HTTP server has no address");
  return bound;
}

/** As it stands in a URL. */
function hostOf(host: string): string {
  return host.includes(":") && !host.startsWith("[") ? `[${host}]` : host;
}
