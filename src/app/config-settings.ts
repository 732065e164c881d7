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
  /** Never shown. */
  readonly isSecret?: boolean;
  /** Never shown from this character on. */
  readonly secretFrom?: string;
  /** Environment and files only: what should not stand in a process list. */
  readonly hasNoFlag?: boolean;
}

export const SETTINGS = {
  gateway: { help: "run a gateway" },
  dial: {
    valueName: "where",
    secretFrom: "#",
    isList: true,
    help: "run a worker for this gateway: <peerId>[#secret], a multiaddr, or host:port; several are a fallback list",
  },
  http: { valueName: "host:port", help: "gateway's HTTP API and dashboard; port 0 picks one" },
  listen: { valueName: "multiaddr", isList: true, help: "libp2p address to listen on; repeatable" },
  rpc: { valueName: "address", help: "plain Cap'n Proto endpoint: tcp:host:port (loopback) or unix:path" },
  ns: { valueName: "name", help: "cluster namespace" },
  mdns: { help: "find peers by multicast" },
  data: {
    valueName: "dir",
    help:
      "identity, store, blobs, module cache (default: gateway, also for up, or the first free of worker, worker-2, … " +
      "in ~/.local/share/capmesh)",
  },
  store: { valueName: "url", help: "sqlite:<path>" },
  slots: { valueName: "n", help: "runs at once on this worker" },
  pick: { valueName: "policy", help: "random, round-robin, least-loaded, weighted or locality" },
  label: { valueName: "k=v", isList: true, help: "worker label; repeatable" },
  weight: {
    valueName: "n",
    help: "worker's weight for the weighted pick policy, a whole number; 0: only when nobody else can",
  },
  open: { help: "admit workers without the join secret" },
  secret: { valueName: "s", isSecret: true, help: "join secret, 8 to 256 characters without spaces" },
  token: { valueName: "t", isSecret: true, help: "API token for the command line and clients" },
  "admin-token": { valueName: "t", isSecret: true, hasNoFlag: true, help: "admin token a gateway takes" },
  "allow-host": { valueName: "name", isList: true, help: "further host name a tokenless API answers to; repeatable" },
  "tls-cert": { valueName: "file", help: "certificate chain (PEM) for HTTPS" },
  "tls-key": { valueName: "file", help: "private key (PEM) for HTTPS" },
  grace: {
    valueName: "s",
    help: "how long a process that is told to stop may take to end, guests that are under way and all",
  },
  lease: { valueName: "s", help: "how long a worker may be silent before a gateway has its runs tried elsewhere" },
  queue: { valueName: "n", help: "unfinished tasks that a gateway takes before it answers 429" },
  retain: {
    valueName: "duration",
    help: "how long a gateway keeps finished tasks and runs, their output and files (default: 30d); 0 or off: for ever",
  },
  "retain-modules": {
    valueName: "duration",
    help: "how long a gateway keeps modules that no task uses, from `module push` (default: 7d); 0 or off: for ever",
  },
  log: { valueName: "level", help: "debug, info, warn, error or silent" },
  "log-format": {
    valueName: "format",
    help: "pretty (default: coloured on a terminal, the same as plain text elsewhere) or json",
  },
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

/** The value as it may be shown. */
export function withoutSecret(key: SettingKey, text: string): string {
  const { isSecret, secretFrom } = settingOf(key);
  if (isSecret) return "(hidden)";
  const at = secretFrom === undefined ? -1 : text.indexOf(secretFrom);
  return at < 0 ? text : `${text.slice(0, at + 1)}(hidden)`;
}

export function environmentName(key: string): string {
  return `CAPMESH_${key.toUpperCase().replaceAll("-", "_")}`;
}
