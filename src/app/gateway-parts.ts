/** Opens a gateway on the network: data directory, store, host, HTTP API, and what joins them. */
import { join } from "node:path";
import type { Registry } from "prom-client";
import type { Log } from "../base/log.ts";
import { refuseEmptied } from "./emptied-database.ts";
import { AuditLog } from "../gateway/audit.ts";
import { Gateway } from "../gateway/gateway.ts";
import { HttpServer } from "../gateway/http/http-server.ts";
import { GatewayMetrics } from "../gateway/http/metrics/gateway-metrics.ts";
import { ProcessMetrics } from "../gateway/http/metrics/process-metrics.ts";
import type { PeerId } from "../base/ids.ts";
import type { Inspector } from "../inspect/inspector.ts";
import { DataDirectory } from "../net/data-directory.ts";
import { Host } from "../net/host.ts";
import { type Identity, loadIdentity } from "../net/identity.ts";
import { isJoinProof, joinProof, makeNonce, secretBytes } from "../net/join-proof.ts";
import { JoinSecret } from "../net/join-secret.ts";
import { RunFolder } from "../net/run-file.ts";
import type { JoinSecretRotation } from "../gateway/services.ts";
import type { JoinVerifier } from "../gateway/admission.ts";
import { Tokens } from "../gateway/tokens.ts";
import { FileBlobStore } from "../store/file-blobs.ts";
import { SqliteStore } from "../store/sqlite/sqlite-store.ts";
import { loadAdminToken } from "./admin-token.ts";
import type { Powers } from "./app.ts";
import type { Config } from "./config.ts";
import { acceptWorkers } from "./gateway-connections.ts";
import { type Inspection, openInspection } from "./inspection.ts";
import { lockStore } from "./store-lock.ts";
import { resolveStorePath } from "./store-path.ts";
import { memberViews } from "./member-views.ts";
import { openRpcEndpoint } from "./rpc-endpoint.ts";
import { VERSION } from "./version.ts";
import { readTlsFiles } from "./tls-files.ts";

export interface GatewayParts {
  readonly gateway: Gateway;
  readonly host: Host;
  readonly http: HttpServer;
  readonly identity: Identity;
  readonly inspection: Inspection;
  /** The data directory's path. */
  readonly folder: string;
  /** What a worker elsewhere is given: `<peerId>#<secret>`. */
  readonly dial: string;
  /** Where the plain RPC endpoint listens, with the port that was taken; undefined: there is none. */
  readonly rpc: string | undefined;
}

/** Everything is registered on `stack`, in the order that closing in reverse needs. */
export async function openGateway(config: Config, powers: Powers, stack: AsyncDisposableStack): Promise<GatewayParts> {
  const { clock, random } = powers;
  const log = powers.log.child({ part: "gateway" });
  const data = stack.use(await DataDirectory.open(config.data ?? join(config.dataHome, "gateway")));
  const identity = await loadIdentity(data.path);
  const secret = await JoinSecret.open({ folder: data.path, given: config.secret, clock });
  const storePath = await resolveStorePath(config.store?.replace(/^sqlite:/, "") ?? join(data.path, "capmesh.db"));
  const metrics = new GatewayMetrics();
  stack.use(new ProcessMetrics(metrics.registry));
  const measuring = { meter: metrics.store, clock };
  stack.use(await lockStore(storePath));
  await refuseEmptied(storePath, join(data.path, "blobs"));
  const store = stack.use(await SqliteStore.open({ path: storePath, log, measuring }));
  metrics.showStore(() => store.stats);
  const blobs = await FileBlobStore.open(join(data.path, "blobs"));
  const host = stack.use(
    await Host.start({
      identity,
      namespace: config.namespace,
      role: "gateway",
      listen: config.listen ?? "default",
      portFile: join(data.path, "port"),
      mdns: config.mdns,
      clock,
      random,
      log: powers.log.child({ part: "net" }),
    }),
  );
  const verifier = joinVerifier(identity.peerId, config.namespace, secret);
  const audit = new AuditLog({ store, clock, log });
  stack.defer(() => audit.close());
  const gateway = await Gateway.start({
    store,
    blobs,
    verifier,
    audit,
    isOpen: config.open,
    policy: config.pick,
    leaseMs: config.leaseMs,
    graceMs: config.graceMs,
    retainMs: config.retainMs,
    meter: metrics.runs,
    tracer: powers.tracer,
    queueLimits: { tasks: config.queue },
    retainModulesMs: config.retainModulesMs,
    clock,
    random,
    log,
  });
  stack.defer(() => gateway.close());
  const accepted = stack.use(await acceptWorkers({ host, gateway, clock, log }));
  const rootToken = await loadAdminToken(config, data.path, log);
  const tokens = stack.use(await Tokens.open({ store, audit, rootToken, randomBytes: secretBytes, clock }));
  const gatewayPeerId = identity.peerId;
  const inspection = stack.use(openInspection(data.path, powers, log));
  const { inspector } = inspection;
  const plain = {
    gateway,
    gatewayPeerId,
    store,
    blobs,
    verifier,
    tokens,
    audit,
    inspector,
    tracer: powers.tracer,
    clock,
    log,
  };
  const rpc = config.rpc === undefined ? undefined : await openRpcEndpoint({ ...plain, address: config.rpc });
  if (rpc !== undefined) stack.use(rpc);
  metrics.showRpc({
    libp2p: () => Array.from(accepted.connections, (connection) => connection.stats()),
    plain: () => rpc?.connections() ?? [],
  });
  const { registry } = metrics;
  const runFolder = new RunFolder({ folder: config.runtimeFolder, namespace: config.namespace });
  const writeRunFile = () =>
    runFolder
      .write({ peerId: identity.peerId, addrs: host.addrs(), secret: secret.current })
      .catch((error: unknown) => {
        log.warn("workers of this machine will not find the gateway by its peer id: its run file cannot be written", {
          error,
        });
        return undefined;
      });
  const dialText = () => `${identity.peerId}#${secret.current}`;
  const joinSecret: JoinSecretRotation = {
    rotate: async (options) => {
      const { previousUntil } = await secret.rotate(options);
      // What removes the first file when the gateway stops removes this one.
      await writeRunFile();
      log.info("the join secret was replaced", { previousUntil });
      return { dial: dialText(), previousUntil };
    },
  };
  const http = await openHttp({
    joinSecret,
    registry,
    config,
    powers,
    log,
    tokens,
    audit,
    inspector,
    store,
    blobs,
    gateway,
    host,
  });
  stack.use(http);
  stack.use(await writeRunFile());
  const dial = dialText();
  return { gateway, host, http, identity, inspection, folder: data.path, dial, rpc: rpc?.address };
}

interface HttpParts {
  readonly joinSecret: JoinSecretRotation;
  readonly registry: Registry;
  readonly config: Config;
  readonly powers: Powers;
  readonly log: Log;
  readonly tokens: Tokens;
  readonly audit: AuditLog;
  readonly inspector: Inspector;
  readonly store: SqliteStore;
  readonly blobs: FileBlobStore;
  readonly gateway: Gateway;
  readonly host: Host;
}

async function openHttp(parts: HttpParts): Promise<HttpServer> {
  const { joinSecret, registry, config, powers, log, tokens, audit, inspector, store, blobs, gateway, host } = parts;
  const tls = config.tls && (await readTlsFiles(config.tls));
  return HttpServer.open({
    address: config.http,
    store,
    blobs,
    pins: gateway.pins,
    tasks: gateway.tasks,
    workers: gateway.sessions,
    members: { members: () => memberViews(host.membership) },
    joinSecret,
    events: gateway.events,
    readiness: gateway,
    storeHealth: gateway.storeHealth,
    starts: gateway,
    inspector,
    clock: powers.clock,
    log,
    allowHosts: config.allowHosts,
    tokens,
    audit,
    registry,
    tracer: powers.tracer,
    tls,
    version: VERSION,
  });
}

function joinVerifier(gatewayPeerId: PeerId, namespace: string, secrets: JoinSecret): JoinVerifier {
  return {
    makeNonce,
    verify: ({ role = "worker", worker, gatewayNonce, workerNonce, proof }) => {
      for (const secret of secrets.accepted()) {
        const input = { secret, namespace, gatewayPeerId, workerPeerId: worker, gatewayNonce, workerNonce };
        if (isJoinProof(role, input, proof)) return joinProof("gateway", input);
      }
      return undefined;
    },
  };
}
