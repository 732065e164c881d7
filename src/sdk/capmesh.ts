/** What `import "capmesh"` gives in Node: clusters over HTTP, and over Cap'n Proto with capabilities. */
export {
  ApiError,
  type BatchFields,
  CapmeshClient,
  Cluster,
  ClusterError,
  ClusterTask,
  type ConnectInit,
  type EventJson,
  type LogChunk,
  type LogOptions,
  type RunJson,
  type SubmitFields,
  type SubmitOptions,
  type TaskJson,
} from "./browser.ts";
import { type ConnectInit, connect as connectHttp } from "./browser.ts";
import type { Cluster } from "./cluster.ts";
import { type RpcCluster, type RpcConnectInit, connectRpc } from "./rpc-cluster.ts";

export {
  RpcCluster,
  type RpcConnectInit,
  type RpcLogOptions,
  type RpcSubmission,
  RpcTask,
  connectRpc,
} from "./rpc-cluster.ts";
export type { ClientEvent } from "../caps/event-codec.ts";
export type { LogPiece } from "../caps/log-codec.ts";
export type { TaskStatus } from "../caps/client-codec.ts";

/**
 * A cluster: by the URL of a gateway (`http://…`), or by the address of its plain RPC endpoint (`tcp:host:port`,
 * `unix:path`), which is connected to and logged in to. Throws, or rejects, with a ClusterError. The types take an
 * address that they cannot see into for a URL: one that may be an endpoint's goes to `connectRpc`.
 */
export function connect(address: `tcp:${string}` | `unix:${string}`, init?: RpcConnectInit): Promise<RpcCluster>;
export function connect(url: string | URL, init?: ConnectInit): Cluster;
export function connect(where: string | URL, init: ConnectInit & RpcConnectInit = {}): Cluster | Promise<RpcCluster> {
  const text = String(where);
  return /^(?:tcp|unix):/.test(text) ? connectRpc(text, init) : connectHttp(text, init);
}
