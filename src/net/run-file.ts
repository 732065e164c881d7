/**
 * Where a worker finds a gateway of the same user on the same machine, without multicast and without typing a secret:
 * `<folder>/<ns>/<peerId>.json`, mode 0600, holding `{peerId, addrs, secret}`. The gateway writes it and removes it when
 * it stops.
 *
 * A file left behind by a gateway that was killed is harmless: its addresses do not answer as that peer, and the secret
 * is known to this user anyway. A file that others could have written is refused.
 */
import { unlink } from "node:fs/promises";
import { join } from "node:path";
import { failed } from "../base/errors.ts";
import { parsePeerId, type PeerId } from "../base/ids.ts";
import { PEER_ADDRESSES_MAX } from "../base/limits.ts";
import { isSecret } from "./join-proof.ts";
import { ensurePrivateFolder, readPrivateFile, writePrivateFile } from "./private-file.ts";
import { parseDialAddress } from "./where.ts";

export interface RunFileContent {
  readonly peerId: PeerId;
  /** Multiaddrs, the likeliest first. */
  readonly addrs: readonly string[];
  /** Undefined for an open gateway that wants none. */
  readonly secret: string | undefined;
}

export interface RunFolderInit {
  /** `$XDG_RUNTIME_DIR/capmesh`, or `~/.local/share/capmesh/run` where that is not set. */
  readonly folder: string;
  readonly namespace: string;
}

export class RunFolder {
  readonly #folder: string;

  constructor(init: RunFolderInit) {
    // A namespace is not a path: whatever it holds becomes one folder's name.
    const name = encodeURIComponent(init.namespace);
    this.#folder = join(init.folder, /^\.*$/.test(name) ? `%${name}` : name);
  }

  /** Writes this gateway's file, in one step. Disposing the result removes it. */
  async write(content: RunFileContent): Promise<AsyncDisposable> {
    await ensurePrivateFolder(this.#folder);
    const path = this.#pathOf(content.peerId);
    await writePrivateFile(path, `${JSON.stringify(content)}\n`);
    return {
      [Symbol.asyncDispose]: async () => {
        await unlink(path).catch(() => undefined);
      },
    };
  }

  /**
   * What the gateway `peerId` wrote; undefined if there is no file. Rejects with `failed`: `file-not-private`, or
   * `run-file-broken`.
   */
  async read(peerId: PeerId): Promise<RunFileContent | undefined> {
    const path = this.#pathOf(peerId);
    const bytes = await readPrivateFile(path);
    if (bytes === undefined) return undefined;
    const content = parseRunFile(bytes.toString("utf8"));
    if (content === undefined || content.peerId !== peerId) {
      throw failed(`${path} is not a gateway's run file: remove it`, { code: "run-file-broken" });
    }
    return content;
  }

  #pathOf(peerId: PeerId): string {
    return join(this.#folder, `${peerId}.json`);
  }
}

function parseRunFile(text: string): RunFileContent | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { peerId: peerIdText, addrs, secret } = value as Readonly<Record<string, unknown>>;
  const peerId = typeof peerIdText === "string" ? parsePeerId(peerIdText) : undefined;
  if (peerId === undefined || !Array.isArray(addrs)) return undefined;
  if (secret !== undefined && (typeof secret !== "string" || !isSecret(secret))) return undefined;
  const usable = addrs
    .slice(0, PEER_ADDRESSES_MAX)
    .filter((address): address is string => typeof address === "string" && parseDialAddress(address) !== undefined);
  return { peerId, addrs: usable, secret };
}
