/**
 * Every setting there is: the one table from which flags, environment names, file keys and `config show` follow. A
 * setting `log-format` is the flag `--log-format`, the variable `CAPMESH_LOG_FORMAT` and the file key `log-format`.
 */

export interface Setting {
  /** What stands after the flag in help texts; undefined: a switch. */
  readonly valueName?: string;
  readonly help: string;
  /** Given several times, with commas between, or as an array. */
  readonly isList?: boolean;
  /** Not shown by `config show`. */
  readonly isSecret?: boolean;
  /** Environment and files only: what should not stand in a process list. */
  readonly hasNoFlag?: boolean;
}

export const SETTINGS = {
  gateway: { help: "run a gateway" },
  dial: {
    valueName: "where",
    isList: true,
    help: "run a worker for this gateway: <peerId>[#secret], a multiaddr, or host:port; several are a fallback list",
  },
  http: { valueName: "host:port", help: "gateway's HTTP API and dashboard; port 0 picks one" },
  listen: { valueName: "multiaddr", isList: true, help: "libp2p address to listen on; repeatable" },
  rpc: { valueName: "address", help: "plain Cap'n Proto endpoint: tcp:host:port (loopback) or unix:path" },
  ns: { valueName: "name", help: "cluster namespace" },
  mdns: { help: "find peers by multicast" },
  data: { valueName: "dir", help: "identity, store, blobs, module cache" },
  store: { valueName: "url", help: "sqlite:<path>" },
  slots: { valueName: "n", help: "runs at once on this worker" },
  pick: { valueName: "policy", help: "random, round-robin, least-loaded, weighted or locality" },
  label: { valueName: "k=v", isList: true, help: "worker label; repeatable" },
  weight: { valueName: "n", help: "worker's weight for the weighted pick policy" },
  open: { help: "admit workers without the join secret" },
  secret: { valueName: "s", isSecret: true, help: "join secret" },
  token: { valueName: "t", isSecret: true, help: "API token for the command line and clients" },
  "admin-token": { valueName: "t", isSecret: true, hasNoFlag: true, help: "admin token a gateway takes" },
  "allow-host": { valueName: "name", isList: true, help: "further host name a tokenless API answers to; repeatable" },
  "tls-cert": { valueName: "file", help: "certificate chain (PEM) for HTTPS" },
  "tls-key": { valueName: "file", help: "private key (PEM) for HTTPS" },
  grace: { valueName: "s", help: "how long a drain may take" },
  log: { valueName: "level", help: "debug, info, warn, error or silent" },
  "log-format": { valueName: "format", help: "pretty or json" },
  json: { help: "output for programs; streams as one JSON value a line" },
  url: { valueName: "url", help: "the gateway's HTTP API, for commands that talk to one" },
} as const satisfies Record<string, Setting>;

export type SettingKey = keyof typeof SETTINGS;

export function isSettingKey(key: string): key is SettingKey {
  return Object.hasOwn(SETTINGS, key);
}

/** Every key, in the table's order. */
export function settingKeys(): readonly SettingKey[] {
  return Object.keys(SETTINGS).filter(isSettingKey);
}

export function settingOf(key: SettingKey): Setting {
  return SETTINGS[key];
}

export function environmentName(key: string): string {
  return `CAPMESH_${key.toUpperCase().replaceAll("-", "_")}`;
}

/** The known name nearest to a mistyped one, if any is near enough to be meant. */
export function nearestName(typed: string, names: readonly string[]): string | undefined {
  let nearest: string | undefined;
  let nearestDistance = Math.max(1, Math.floor(typed.length / 3)) + 1;
  for (const name of names) {
    const distance = editDistance(typed.toLowerCase(), name.toLowerCase());
    if (distance < nearestDistance) [nearest, nearestDistance] = [name, distance];
  }
  return nearest;
}

/** Levenshtein's distance. Meant for short words. */
function editDistance(from: string, to: string): number {
  let previous = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let row = 1; row <= from.length; row++) {
    const current = [row];
    for (let column = 1; column <= to.length; column++) {
      const substitution = (previous[column - 1] ?? 0) + (from[row - 1] === to[column - 1] ? 0 : 1);
      current.push(Math.min(substitution, (previous[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1));
    }
    previous = current;
  }
  return previous[to.length] ?? 0;
}
