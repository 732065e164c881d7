/** The addresses under which others may dial this host, from what it listens on and the machine's interfaces. Pure. */
import type { NetworkInterfaceInfo } from "node:os";
import { isIPv4, isIPv6 } from "node:net";

export type Interfaces = Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>;

const LISTEN = /^\/(ip4|ip6)\/([^/]+)\/tcp\/(\d+)$/;

/**
 * Usable addresses for the bound multiaddrs `bound`: wildcards become the interfaces' addresses; what needs a zone
 * (IPv6 link-local) is left out. Likeliest first: IPv4 before IPv6, loopback last. Without duplicates.
 */
export function dialAddresses(bound: readonly string[], interfaces: Interfaces): string[] {
  const found = new Set<string>();
  for (const address of bound) {
    const match = LISTEN.exec(address);
    const [, family, ip, port] = match ?? [];
    if (family === undefined || ip === undefined || port === undefined) {
      found.add(address);
      continue;
    }
    const ips = ip === "0.0.0.0" || ip === "::" ? interfaceAddresses(family, interfaces) : [ip];
    for (const one of ips) if (!isLinkLocal6(one)) found.add(`/${family}/${one}/tcp/${port}`);
  }
  return [...found].sort((a, b) => rank(a) - rank(b));
}

export function isLoopbackAddress(address: string): boolean {
  return /^\/(ip4\/127\.|ip6\/::1\/)/.test(address);
}

function interfaceAddresses(family: string, interfaces: Interfaces): string[] {
  const all = Object.values(interfaces).flatMap((addresses) => addresses ?? []);
  const isOfFamily = family === "ip4" ? isIPv4 : isIPv6;
  return all.map((one) => one.address).filter((ip) => isOfFamily(ip));
}

function isLinkLocal6(ip: string): boolean {
  return /^fe[89ab][0-9a-f]:/i.test(ip);
}

function rank(address: string): number {
  return (isLoopbackAddress(address) ? 2 : 0) + (address.startsWith("/ip4/") ? 0 : 1);
}
