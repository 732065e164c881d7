/**
 * The settings of a process, decided once at its start. `loadConfig` is a pure function of the command line, the
 * environment and the two settings files; `config-files.ts` reads the files.
 *
 * Each setting is taken whole from the first source that has it: flag, environment, project file, user file, default.
 * All problems come out in one error, each naming the flag, variable or file key and what would be right.
 */
import { join } from "node:path";
import { failed } from "../base/errors.ts";
import {
  GRACE_MS_DEFAULT,
  LABELS_MAX,
  LEASE_MS,
  QUEUED_TASKS_MAX,
  RETAIN_MODULES_MS_DEFAULT,
  RETAIN_MS_DEFAULT,
} from "../base/limits.ts";
import { BUILT_IN_LABELS, type PickPolicy } from "../model/worker.ts";
import { SettingsReader, type Origin } from "./config-reader.ts";
import type { SettingKey } from "./config-settings.ts";
import type { ConfigSources, HostPort, LogFormat, LogLevel } from "./config-sources.ts";
import {
  parseDial,
  parseGraceMs,
  parseHostName,
  parseHostPort,
  parseLabel,
  parseLeaseMs,
  parseQueue,
  parseListen,
  parseLogFormat,
  parseLogLevel,
  parseNamespace,
  parsePath,
  parsePick,
  parseRetainMs,
  parseRpc,
  parseSecret,
  parseSlots,
  parseStore,
  parseSwitch,
  parseToken,
  parseUrl,
  parseWeight,
} from "./config-values.ts";

export interface Config {
  /** The role that was asked for without a command: `--gateway`. */
  readonly gateway: boolean;
  /** `<peerId>[#secret]`, multiaddr or `host:port`; a fallback list. */
  readonly dial: readonly string[];
  /** Where the gateway's HTTP API listens; port 0 picks a free one. */
  readonly http: HostPort;
  /** libp2p addresses; undefined: the role's default. */
  readonly listen: readonly string[] | undefined;
  /** Plain Cap'n Proto endpoint: `tcp:host:port`, host a loopback one, or `unix:<absolute path>`. */
  readonly rpc?: string | undefined;
  readonly namespace: string;
  readonly mdns: boolean;
  /** Absolute; undefined: the role's default under `dataHome`. */
  readonly data: string | undefined;
  /** `sqlite:<absolute path>`; undefined: `capmesh.db` in the data directory. */
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
  /** Paths of PEM files, absolute. */
  readonly tls?: { readonly cert: string; readonly key: string } | undefined;
  readonly graceMs: number;
  /** How long finished tasks are kept; undefined: for ever. */
  readonly retainMs: number | undefined;
  /** How long modules that came by themselves are held after they were last brought or named; undefined: for ever. */
  readonly retainModulesMs: number | undefined;
  /** How long a gateway holds an attempt to be alive whose worker is silent. */
  readonly leaseMs: number;
  /** Unfinished tasks that a gateway takes. */
  readonly queue: number;
  readonly log: LogLevel;
  readonly logFormat: LogFormat;
  /** Output for programs: the ready line, and what commands print. */
  readonly json: boolean;
  /** The gateway that commands talk to, without a slash at the end. */
  readonly url: string;
  /** Where gateways of this user leave `<namespace>/<peerId>.json`. */
  readonly runtimeFolder: string;
  /** Where default data directories are made. */
  readonly dataHome: string;
}

export interface LoadedConfig {
  readonly config: Config;
  /** Where each setting came from, by key. */
  readonly origins: Readonly<Record<SettingKey, Origin>>;
}

export const DEFAULT_URL = "http://127.0.0.1:8080";

/** @throws ClusterError `failed`, code `usage`, with one line for each problem. */
export function loadConfig(sources: ConfigSources): LoadedConfig {
  const { env, machine } = sources;
  const reader = new SettingsReader(sources);
  const dataHome = join(machine.home, ".local", "share", "capmesh");
  const tlsCert = reader.optional("tls-cert", parsePath);
  const tlsKey = reader.optional("tls-key", parsePath);
  if ((tlsCert === undefined) !== (tlsKey === undefined)) {
    reader.addProblem(`${tlsCert === undefined ? "--tls-cert" : "--tls-key"} is missing: HTTPS takes both of the two`);
  }
  const config: Config = {
    gateway: reader.single("gateway", parseSwitch, false),
    dial: reader.list("dial", parseDial) ?? [],
    http: reader.single("http", parseHostPort, { host: "127.0.0.1", port: 8080 }),
    listen: reader.list("listen", parseListen),
    rpc: reader.optional("rpc", parseRpc),
    namespace: reader.single("ns", parseNamespace, "capmesh"),
    mdns: reader.single("mdns", parseSwitch, true),
    data: reader.optional("data", parsePath),
    store: reader.optional("store", parseStore),
    slots: reader.single("slots", parseSlots, Math.max(1, machine.cores)),
    pick: reader.single("pick", parsePick, "random"),
    labels: readLabels(reader),
    weight: reader.single("weight", parseWeight, 1),
    open: reader.single("open", parseSwitch, false),
    secret: reader.optional("secret", parseSecret),
    token: reader.optional("token", parseToken),
    adminToken: reader.optional("admin-token", parseToken),
    allowHosts: reader.list("allow-host", parseHostName) ?? [],
    tls: tlsCert !== undefined && tlsKey !== undefined ? { cert: tlsCert, key: tlsKey } : undefined,
    graceMs: reader.single("grace", parseGraceMs, GRACE_MS_DEFAULT),
    retainMs: reader.single("retain", parseRetainMs, RETAIN_MS_DEFAULT),
    retainModulesMs: reader.single("retain-modules", parseRetainMs, RETAIN_MODULES_MS_DEFAULT),
    leaseMs: reader.single("lease", parseLeaseMs, LEASE_MS),
    queue: reader.single("queue", parseQueue, QUEUED_TASKS_MAX),
    log: reader.single("log", parseLogLevel, "info"),
    logFormat: reader.single("log-format", parseLogFormat, "pretty"),
    json: reader.single("json", parseSwitch, false),
    url: reader.single("url", parseUrl, DEFAULT_URL),
    runtimeFolder: env["XDG_RUNTIME_DIR"] ? join(env["XDG_RUNTIME_DIR"], "capmesh") : join(dataHome, "run"),
    dataHome,
  };
  if (reader.problems.length > 0) throw failed(reader.problems.join("\n"), { code: "usage" });
  return { config, origins: reader.origins() };
}

/** As many as fit beside those that every worker has: with more, no gateway could read its login. */
function readLabels(reader: SettingsReader): Record<string, string> {
  const labels = Object.fromEntries(reader.list("label", parseLabel) ?? []);
  const count = Object.keys(labels).filter((name) => !BUILT_IN_LABELS.some((builtIn) => builtIn === name)).length;
  const countMax = LABELS_MAX - BUILT_IN_LABELS.length;
  if (count > countMax) {
    const builtIn = BUILT_IN_LABELS.join(", ");
    reader.addProblem(
      `${reader.origins().label.at}: got ${count} labels, expected at most ${countMax} besides ${builtIn}`,
    );
  }
  return labels;
}
