/** What `import "capmesh"` gives in a browser: the HTTP side alone. */
import type { ClientInit } from "../client/client.ts";
import { Cluster } from "./cluster.ts";

export { ApiError } from "../client/api-error.ts";
export { ClusterError } from "../base/errors.ts";
export type { EventJson } from "../api/event-json.ts";
export type { RunJson } from "../api/run-json.ts";
export type { TaskJson } from "../api/task-json.ts";
export type { LogChunk, LogOptions } from "../client/log-reader.ts";
export type { SubmitFields } from "../client/submit-form.ts";
export type { BatchFields } from "../client/batch-lines.ts";
export { CapmeshClient, type SubmitOptions } from "../client/client.ts";
export { Cluster, ClusterTask } from "./cluster.ts";

export type ConnectInit = Omit<ClientInit, "clock" | "url">;

/** A cluster by the URL of a gateway: `connect("http://127.0.0.1:8080")`. Throws `failed`, code `invalid-url`. */
export function connect(url: string | URL, init: ConnectInit = {}): Cluster {
  return new Cluster({ ...init, url: String(url) });
}
