/**
 * Who this process is on the network: an Ed25519 key in the data directory, made once, and the peer id that follows
 * from it. Losing the file makes a stranger of us, so a file that cannot be used is an error, never replaced.
 */
import { join } from "node:path";
import { generateKeyPair, privateKeyFromProtobuf, privateKeyToProtobuf } from "@libp2p/crypto/keys";
import type { PrivateKey } from "@libp2p/interface";
import { peerIdFromPrivateKey } from "@libp2p/peer-id";
import { failed } from "../base/errors.ts";
import { parsePeerId, type PeerId } from "../base/ids.ts";
import { createPrivateFile, readPrivateFile } from "./private-file.ts";

export interface Identity {
  readonly peerId: PeerId;
  readonly privateKey: PrivateKey;
}

/** The key file's name inside the data directory. */
export const IDENTITY_FILE = "identity.key";

/**
 * The identity kept in `folder`, made there if there is none. Rejects with `failed`: `identity-broken`, or
 * `file-not-private` when others may read the key.
 */
export async function loadIdentity(folder: string): Promise<Identity> {
  const path = join(folder, IDENTITY_FILE);
  const bytes = await readPrivateFile(path);
  if (bytes !== undefined) return decodeIdentity(bytes, path);
  const made = await makeIdentity();
  if (await createPrivateFile(path, encodeIdentity(made))) return made;
  // Somebody else made it in between: theirs counts.
  const theirs = await readPrivateFile(path);
  if (theirs === undefined) throw failed(`${path} vanished while it was read`, { code: "identity-broken" });
  return decodeIdentity(theirs, path);
}

/** A new identity that is kept nowhere. */
export async function makeIdentity(): Promise<Identity> {
  return identityOf(await generateKeyPair("Ed25519"));
}

function identityOf(privateKey: PrivateKey): Identity {
  const peerId = parsePeerId(peerIdFromPrivateKey(privateKey).toString());
  if (peerId === undefined) throw failed("the key's peer id has an unknown form", { code: "identity-broken" });
  return { peerId, privateKey };
}

/** The key in libp2p's protobuf form, as base64 with a line end. */
function encodeIdentity(identity: Identity): string {
  return `${Buffer.from(privateKeyToProtobuf(identity.privateKey)).toString("base64")}\n`;
}

function decodeIdentity(bytes: Buffer, path: string): Identity {
  const refuse = (cause?: unknown): never => {
    throw failed(
      `${path} does not hold an Ed25519 key: restore it from a backup, or move it away to start as a new peer`,
      { code: "identity-broken", cause },
    );
  };
  const text = bytes.toString("latin1").trim();
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text)) return refuse();
  try {
    const privateKey = privateKeyFromProtobuf(Buffer.from(text, "base64"));
    return privateKey.type === "Ed25519" ? identityOf(privateKey) : refuse();
  } catch (error) {
    return refuse(error);
  }
}
