/** The token of an API that others than this machine can reach. */
import { join } from "node:path";
import { failed } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { isLoopback } from "../base/loopback.ts";
import { isSecret, makeSecret } from "../net/join-proof.ts";
import { createPrivateFile, readPrivateFile } from "../net/private-file.ts";
import type { Config } from "./config.ts";

/** The file of a token that is the gateway's own making; undefined: it asks for none, or was given one. */
export function adminTokenFile(config: Config, folder: string): string | undefined {
  return config.adminToken !== undefined || isLoopback(config.http.host) ? undefined : join(folder, "admin-token");
}

/** Undefined: the API is for this machine alone and asks for none. Made once, and kept in the data directory. */
export async function loadAdminToken(config: Config, folder: string, log: Log): Promise<string | undefined> {
  const path = adminTokenFile(config, folder);
  if (path === undefined) return config.adminToken;
  if (await createPrivateFile(path, `${makeSecret()}\n`)) {
    log.info("the API is open to other machines: its admin token was made", { file: path });
  }
  const token = (await readPrivateFile(path))?.toString("utf8").trim();
  if (token === undefined || !isSecret(token)) {
    throw failed(`${path} does not hold a token: remove it to have a new one`, { code: "token-broken" });
  }
  return token;
}
