/**
 * Names that carry the cluster's namespace. Two namespaces share no protocol id, no gossip topic and no multicast tag, so
 * that their peers never see each other, whatever network they share.
 */
import { createHash } from "node:crypto";

/** The protocol that Cap'n Proto RPC runs over. */
export function rpcProtocolOf(namespace: string): string {
  return `/capmesh/${encodeURIComponent(namespace)}/rpc/1`;
}

/** Prefix of libp2p's own protocols (identify, ping): a peer of another namespace has none in common with ours. */
export function protocolPrefixOf(namespace: string): string {
  return `capmesh/${encodeURIComponent(namespace)}`;
}

export function membersTopicOf(namespace: string): string {
  return `/capmesh/${encodeURIComponent(namespace)}/members/1`;
}

/** A service name of this program's, whatever its namespace, which is the group. */
export const SERVICE_TAG_PATTERN = /(?:^|\.)_capmesh-([a-z0-9-]{1,40})\._udp\.local$/;

/** The multicast service name. DNS knows no case and 63 bytes a label: other namespaces go by their hash. */
export function serviceTagOf(namespace: string): string {
  const label = /^[a-z0-9-]{1,40}$/.test(namespace)
    ? namespace
    : `x--${createHash("sha256").update(namespace).digest("hex").slice(0, 32)}`;
  return `_capmesh-${label}._udp.local`;
}
