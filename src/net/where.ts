/**
 * Where to dial: what a user writes after `--dial`, read once.
 *
 *     12D3KooW…               a peer id: found through the run file on this machine, or by multicast
 *     12D3KooW…#secret        the same, with the join secret: the line that a gateway prints
 *     /ip4/10.0.0.7/tcp/4077  a multiaddr, with or without /p2p/<peer id>
 *     gate.example:4077       a host and port; [2001:db8::1]:4077 for IPv6
 *
 * A multiaddr and a host may carry `#secret` too.
 */
import { isIPv4, isIPv6 } from "node:net";
import { CODE_P2P, multiaddr, type Multiaddr } from "@multiformats/multiaddr";
import { failed, messageOf, type ClusterError } from "../base/errors.ts";
import { parsePeerId, type PeerId } from "../base/ids.ts";
import { isSecret } from "./join-proof.ts";

export type Where =
  | { readonly kind: "peer"; readonly peerId: PeerId; readonly secret: string | undefined }
  | {
      readonly kind: "multiaddr";
      /** Without the peer id, which is apart. */
      readonly address: string;
      readonly peerId: PeerId | undefined;
      readonly secret: string | undefined;
    }
  | { readonly kind: "host"; readonly host: string; readonly port: number; readonly secret: string | undefined };

const WHERE_LENGTH_MAX = 1_024;
const HOST_NAME = /^(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*\.?$/;

/** Reads one `--dial` value. Throws `failed`, code `invalid-address`, and nothing else. */
export function parseWhere(text: string): Where {
  const trimmed = text.trim();
  if (trimmed === "") throw refusal(text, "it is empty");
  if (trimmed.length > WHERE_LENGTH_MAX) throw refusal(`${trimmed.slice(0, 40)}…`, "it is too long");
  const hash = trimmed.indexOf("#");
  const address = hash === -1 ? trimmed : trimmed.slice(0, hash);
  const secret = hash === -1 ? undefined : trimmed.slice(hash + 1);
  // The secret is not repeated in the message: those end up in logs.
  if (secret !== undefined && !isSecret(secret)) {
    throw refusal(address, "after # comes the join secret, 8 to 256 printable characters without spaces or commas");
  }
  if (address.startsWith("/")) return parseMultiaddrWhere(address, secret);
  const peerId = parsePeerId(address);
  if (peerId !== undefined && isPeerId(address)) return { kind: "peer", peerId, secret };
  return parseHostWhere(address, secret);
}

/** The text form, without the secret: for logs. */
export function formatWhere(where: Where): string {
  switch (where.kind) {
    case "peer":
      return where.peerId;
    case "multiaddr":
      return where.peerId === undefined ? where.address : `${where.address}/p2p/${where.peerId}`;
    case "host":
      return `${where.host.includes(":") ? `[${where.host}]` : where.host}:${where.port}`;
  }
}

/** The address as a multiaddr to dial, its peer id, if it names one, apart. Undefined when it is none we can dial. */
export function parseDialAddress(text: string): { address: string; peerId: PeerId | undefined } | undefined {
  const parsed = parseMultiaddr(text);
  if (parsed instanceof Error) return undefined;
  const where = decomposeMultiaddr(parsed);
  return typeof where === "string" ? undefined : where;
}

function parseMultiaddrWhere(text: string, secret: string | undefined): Where {
  const parsed = parseMultiaddr(text);
  if (parsed instanceof Error) throw refusal(text, messageOf(parsed));
  const parts = decomposeMultiaddr(parsed);
  if (typeof parts === "string") throw refusal(text, parts);
  if (parts.address === "") {
    if (parts.peerId === undefined) throw refusal(text, "it names neither an address nor a peer");
    return { kind: "peer", peerId: parts.peerId, secret };
  }
  return { kind: "multiaddr", ...parts, secret };
}

function parseMultiaddr(text: string): Multiaddr | Error {
  try {
    return multiaddr(text);
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

/** What a TCP multiaddr names, or why it is none. */
function decomposeMultiaddr(parsed: Multiaddr): { address: string; peerId: PeerId | undefined } | string {
  const components = parsed.getComponents();
  const names = components.filter((component) => component.code !== CODE_P2P).map((component) => component.name);
  const last = components.at(-1);
  const peers = components.filter((component) => component.code === CODE_P2P);
  if (peers.length > 1 || (peers.length === 1 && last?.code !== CODE_P2P)) return "only the last part may be a peer id";
  const peerId = last?.code === CODE_P2P ? parsePeerId(last.value ?? "") : undefined;
  if (peers.length === 1 && peerId === undefined) return "its peer id has an unknown form";
  const shape = names.join("/");
  if (shape === "" && peerId !== undefined) return { address: "", peerId };
  if (!/^(ip4|ip6|ip6zone\/ip6|dns|dns4|dns6)\/tcp$/.test(shape)) {
    return "only TCP is spoken: /ip4/…/tcp/…, /ip6/…/tcp/…, /dns/…/tcp/… or dns4, dns6";
  }
  if (components.some((component) => component.name === "tcp" && component.value === "0")) return "its port is 0";
  return { address: parsed.decapsulateCode(CODE_P2P).toString(), peerId };
}

function parseHostWhere(text: string, secret: string | undefined): Where {
  const match = /^(?:\[([^\]]*)\]|([^:]*)):(\d{1,5})$/.exec(text);
  if (match === null) throw refusal(text, explainBadHost(text));
  const [, ipv6, name, portText] = match;
  const port = Number(portText);
  if (port < 1 || port > 65_535) throw refusal(text, "a port is between 1 and 65535");
  if (ipv6 !== undefined) {
    if (!isIPv6(ipv6.replace(/%.+$/, ""))) throw refusal(text, `${ipv6} is not an IPv6 address`);
    return { kind: "host", host: ipv6, port, secret };
  }
  const host = name ?? "";
  // Four numbers that are no IPv4 address would be a name that can never resolve.
  if (/^[\d.]+$/.test(host) ? !isIPv4(host) : !HOST_NAME.test(host)) {
    throw refusal(text, `${host === "" ? "nothing" : host} is not a host name or address`);
  }
  return { kind: "host", host, port, secret };
}

function explainBadHost(text: string): string {
  if (isIPv6(text)) return `an IPv6 address needs brackets and a port: [${text}]:4077`;
  if (/^(12D3Koo|Qm|16Uiu2|1A)/.test(text)) return "it looks like a peer id, but is not a whole one";
  if (!text.includes(":")) return `a host needs its port, as in ${text}:4077`;
  return "write <peerId>[#secret], a multiaddr, host:port or [ipv6]:port";
}

/** Whether the text is a peer id to libp2p too, not only by its looks. */
function isPeerId(text: string): boolean {
  return !(parseMultiaddr(`/p2p/${text}`) instanceof Error);
}

function refusal(text: string, why: string): ClusterError {
  return failed(`"${text}" is not something to dial: ${why}`, { code: "invalid-address" });
}
