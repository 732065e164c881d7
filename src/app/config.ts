/**
 * The settings of a process, decided once at its start. `loadConfig` is a pure function of the command line, the
 * environment and the two settings files; `config-files.ts` reads the files.
 */
import type { PickPolicy } from "../model/worker.ts";

export type LogLevel = "debug" | "info" | "warn" | "error" | "silent";

export interface Config {
  /** Where the gateway's HTTP API listens; port 0 picks a free one. */
  readonly http: HostPort;
  /** libp2p addresses; undefined: the role's default. Empty: none. */
  readonly listen: readonly string[] | undefined;
  /** Plain Cap'n Proto endpoint: `tcp:host:port`, host a loopback one, or `unix:path`. */
  readonly rpc?: string | undefined;
  readonly namespace: string;
  readonly mdns: boolean;
  /** Undefined: the role's default under `dataHome`. */
  readonly data: string | undefined;
  /** `sqlite:<path>`; undefined: `capmesh.db` in the data directory. */
  readonly store: string | undefined;
  readonly slots: number;
  readonly pick: PickPolicy;
  readonly labels: Readonly<Record<string, string>>;
  readonly weight: number;
  readonly open: boolean;
  readonly secret?: string | undefined;
  readonly token?: string | undefined;
  readonly adminToken?: string | undefined;
  readonly allowHosts: readonly string[];
  /** Paths of PEM files. */
  readonly tls?: { readonly cert: string; readonly key: string } | undefined;
  readonly graceMs: number;
  readonly log: LogLevel;
  readonly logFormat: "pretty" | "json";
  /** Output for programs: the ready line, and what commands print. */
  readonly json: boolean;
  /** `<peerId>[#secret]`, multiaddr or `host:port`; a fallback list. */
  readonly dial: readonly string[];
  /** Where gateways of this user leave `<namespace>/<peerId>.json`. */
  readonly runtimeFolder: string;
  /** Where default data directories are made. */
  readonly dataHome: string;
}

export interface HostPort {
  readonly host: string;
  /** 0 to 65535. */
  readonly port: number;
}
