/**
 * Where a gateway listens when it was not told: port 4077 on all interfaces, or, when that is taken, a free port that is
 * kept in the data directory, so that a restart is found at the same place.
 */
import { createServer } from "node:net";
import { failed } from "../base/errors.ts";
import { readPrivateFile, writePrivateFile } from "./private-file.ts";

export const GATEWAY_PORT_DEFAULT = 4077;
/** A port that is free for IPv4 may be taken for IPv6, so a few are tried. */
const FREE_PORT_TRIES_MAX = 20;

export interface ListenChoice {
  readonly addresses: readonly string[];
  readonly port: number;
}

export interface ChooseListenInit {
  /** The file that keeps the port; undefined: nothing is kept. */
  readonly portFile: string | undefined;
  /** Tried when none is kept. */
  readonly preferredPort?: number | undefined;
}

/**
 * Picks the port and the addresses: the kept one if it is still free, else the preferred one, else any. IPv6 is left
 * out on a machine that has none. The ports are only probed: another process may still be faster.
 */
export async function chooseListen(init: ChooseListenInit): Promise<ListenChoice> {
  const preferred = init.preferredPort ?? GATEWAY_PORT_DEFAULT;
  const kept = init.portFile === undefined ? undefined : await readKeptPort(init.portFile);
  for (const port of kept === undefined || kept === preferred ? [preferred] : [kept, preferred]) {
    const families = await freeFamilies(port);
    if (families !== undefined) return choose(port, families);
  }
  for (let tries = 0; tries < FREE_PORT_TRIES_MAX; tries++) {
    const port = await anyFreePort();
    const families = await freeFamilies(port);
    if (families !== undefined) return choose(port, families);
  }
  throw failed("no free TCP port was found to listen on", { code: "address-in-use" });
}

/** Keeps the port for the next start. The default needs no keeping, but replaces another that was kept. */
export async function keepPort(portFile: string, port: number): Promise<void> {
  if ((await readKeptPort(portFile)) !== port) await writePrivateFile(portFile, `${port}\n`);
}

interface Families {
  readonly hasIPv6: boolean;
}

function choose(port: number, families: Families): ListenChoice {
  const ip4 = `/ip4/0.0.0.0/tcp/${port}`;
  return { port, addresses: families.hasIPv6 ? [ip4, `/ip6/::/tcp/${port}`] : [ip4] };
}

/** A port that is not there or makes no sense is none: the file only saves a search. */
async function readKeptPort(portFile: string): Promise<number | undefined> {
  const bytes = await readPrivateFile(portFile).catch(() => undefined);
  const port = Number(bytes?.toString("latin1").trim());
  return Number.isInteger(port) && port >= 1 && port <= 65_535 ? port : undefined;
}

/** Which families can be bound to the port; undefined when a family that the machine has cannot. */
async function freeFamilies(port: number): Promise<Families | undefined> {
  if ((await probe("0.0.0.0", port)) !== "free") return undefined;
  const ipv6 = await probe("::", port);
  if (ipv6 === "taken") return undefined;
  return { hasIPv6: ipv6 === "free" };
}

function probe(host: string, port: number): Promise<"free" | "taken" | "unsupported"> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) =>
      resolve(error.code === "EADDRINUSE" || error.code === "EACCES" ? "taken" : "unsupported"),
    );
    server.listen({ host, port, ipv6Only: true }, () => server.close(() => resolve("free")));
  });
}

function anyFreePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen({ host: "0.0.0.0", port: 0 }, () => {
      const address = server.address();
      const port = typeof address === "object" && address !== null ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}
