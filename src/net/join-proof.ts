/**
 * Proofs of the join secret, as `schema/bootstrap.capnp` defines them: HMAC-SHA256 over both peer ids and both nonces,
 * so that a proof is good for one login on one connection between these two, and the secret itself never travels.
 */
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { join } from "node:path";
import { failed } from "../base/errors.ts";
import type { PeerId } from "../base/ids.ts";
import { createPrivateFile, readPrivateFile } from "./private-file.ts";

export const NONCE_BYTES = 32;
export const PROOF_BYTES = 32;
/** The secret's file inside the gateway's data directory. */
export const SECRET_FILE = "join-secret";

/** Who proves: each side's proof has a context of its own, so that one cannot be sent back as the other. */
export type JoinRole = "worker" | "client" | "gateway";

export interface JoinProofInput {
  readonly secret: string;
  readonly namespace: string;
  /** As the transport authenticated them, or over plain RPC as `schema/bootstrap.capnp` says. */
  readonly gatewayPeerId: PeerId;
  /** Of a client, its own. */
  readonly workerPeerId: PeerId;
  readonly gatewayNonce: Uint8Array;
  readonly workerNonce: Uint8Array;
}

const CONTEXT: Readonly<Record<JoinRole, string>> = {
  worker: "capmesh/join/1/worker",
  client: "capmesh/join/1/client",
  gateway: "capmesh/join/1/gateway",
};

/** Bytes that nobody can guess. */
export function secretBytes(length: number): Uint8Array {
  return randomBytes(length);
}

export function makeNonce(): Uint8Array {
  return randomBytes(NONCE_BYTES);
}

export function joinProof(role: JoinRole, input: JoinProofInput): Uint8Array {
  const mac = createHmac("sha256", input.secret);
  const parts: readonly (string | Uint8Array)[] = [
    CONTEXT[role],
    input.namespace,
    input.gatewayPeerId,
    input.workerPeerId,
    input.gatewayNonce,
    input.workerNonce,
  ];
  for (const part of parts) {
    const bytes = typeof part === "string" ? Buffer.from(part, "utf8") : part;
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.byteLength);
    mac.update(length).update(bytes);
  }
  return mac.digest();
}

/** Whether `proof` is the one of `role`. Takes the same time wherever it differs; a wrong length, nonces too, is a no. */
export function isJoinProof(role: JoinRole, input: JoinProofInput, proof: Uint8Array): boolean {
  if (proof.byteLength !== PROOF_BYTES) return false;
  if (input.gatewayNonce.byteLength !== NONCE_BYTES || input.workerNonce.byteLength !== NONCE_BYTES) return false;
  return timingSafeEqual(joinProof(role, input), proof);
}

/** A new secret: 160 random bits in letters and digits that survive shells, URLs and reading aloud. */
export function makeSecret(): string {
  const alphabet = "abcdefghijkmnpqrstuvwxyz23456789";
  return Array.from(randomBytes(32), (byte) => alphabet[byte % alphabet.length]).join("");
}

/**
 * The secret kept in `folder`, made there once. Rejects with `failed`: `secret-broken`, or `file-not-private` when others
 * may read it.
 */
export async function loadSecret(folder: string): Promise<string> {
  const path = join(folder, SECRET_FILE);
  const kept = await readPrivateFile(path);
  if (kept !== undefined) return parseSecretFile(kept, path);
  const secret = makeSecret();
  if (await createPrivateFile(path, `${secret}\n`)) return secret;
  const theirs = await readPrivateFile(path);
  if (theirs === undefined) throw failed(`${path} vanished while it was read`, { code: "secret-broken" });
  return parseSecretFile(theirs, path);
}

function parseSecretFile(bytes: Buffer, path: string): string {
  const secret = bytes.toString("utf8").trim();
  if (!isSecret(secret)) {
    throw failed(`${path} does not hold a join secret (8 to 256 printable characters): remove it to have a new one`, {
      code: "secret-broken",
    });
  }
  return secret;
}

/** What may be a secret: 8 to 256 printable ASCII characters, without spaces, and without commas: lists are cut there. */
export function isSecret(text: string): boolean {
  return /^[!-+\--~]{8,256}$/.test(text);
}
