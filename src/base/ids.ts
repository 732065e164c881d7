/** Branded identifiers. They are parsed once, at the boundary, and trusted from there on. */

declare const brand: unique symbol;
type Branded<Name extends string> = string & { readonly [brand]: Name };

/** A task's name: 1 to 128 of `[A-Za-z0-9._-]`, the first a letter or digit. */
export type TaskId = Branded<"TaskId">;
/** A libp2p peer id in base58 text form; or, of a peer of the plain RPC endpoint, `rpc:` and the name it gave itself. */
export type PeerId = Branded<"PeerId">;
/** A SHA-256 as 64 lower-case hex digits. */
export type Digest = Branded<"Digest">;

export const TASK_ID_PATTERN = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
const PEER_ID = /^[1-9A-HJ-NP-Za-km-z]{40,70}$/;
const RPC_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
/** No base58 text has a colon, so that no peer can be taken for one that was authenticated. */
const RPC_PREFIX = "rpc:";
const DIGEST = /^[0-9a-f]{64}$/;

export function parseTaskId(text: string): TaskId | undefined {
  return TASK_ID_PATTERN.test(text) ? (text as TaskId) : undefined;
}

/** The id of the peer of the plain RPC endpoint that calls itself `name`: 1 to 64 of `[A-Za-z0-9._-]`, the first a letter or digit. */
export function parseRpcName(name: string): PeerId | undefined {
  return RPC_NAME.test(name) ? (`${RPC_PREFIX}${name}` as PeerId) : undefined;
}

/** The id of any worker, be it a libp2p peer or one of the plain RPC endpoint. */
export function parseWorkerId(text: string): PeerId | undefined {
  return text.startsWith(RPC_PREFIX) ? parseRpcName(text.slice(RPC_PREFIX.length)) : parsePeerId(text);
}

/** A libp2p peer's id only: what can be dialled, and what a transport authenticates. */
export function parsePeerId(text: string): PeerId | undefined {
  return PEER_ID.test(text) ? (text as PeerId) : undefined;
}

export function parseDigest(text: string): Digest | undefined {
  return DIGEST.test(text) ? (text as Digest) : undefined;
}
