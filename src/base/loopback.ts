/** Names and addresses of hosts, as they stand in settings, URLs and headers. Nothing is resolved. */

/** Lower-case, without the brackets of an IPv6 address and the dot that ends a full name. */
export function bareHost(host: string): string {
  return host
    .toLowerCase()
    .replace(/^\[(.*)\]$/, "$1")
    .replace(/\.$/, "");
}

const LOOPBACK_IPV4 = /^127(?:\.(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3}$/;

/** Whether only this machine reaches what listens there. */
export function isLoopback(host: string): boolean {
  const bare = bareHost(host);
  if (bare === "localhost" || bare === "::1") return true;
  return LOOPBACK_IPV4.test(bare.replace(/^::ffff:/, ""));
}
