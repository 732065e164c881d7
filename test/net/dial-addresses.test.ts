import type { NetworkInterfaceInfo } from "node:os";
import { describe, expect, test } from "vitest";
import { dialAddresses } from "../../src/net/dial-addresses.ts";

function ipv4(address: string, internal = false): NetworkInterfaceInfo {
  return {
    address,
    netmask: "255.255.255.0",
    family: "IPv4",
    mac: "00:00:00:00:00:00",
    internal,
    cidr: `${address}/24`,
  };
}

function ipv6(address: string, internal = false): NetworkInterfaceInfo {
  return { address, netmask: "ffff::", family: "IPv6", mac: "00:00:00:00:00:00", internal, cidr: null, scopeid: 0 };
}

const INTERFACES = {
  lo: [ipv4("127.0.0.1", true), ipv6("::1", true)],
  eth0: [ipv6("fe80::1"), ipv6("2001:db8::7"), ipv4("10.0.0.7")],
};

describe("dialAddresses", () => {
  test("puts the interfaces' addresses in place of wildcards: IPv4 first, loopback last, none that needs a zone", () => {
    expect(dialAddresses(["/ip6/::/tcp/4077", "/ip4/0.0.0.0/tcp/4077"], INTERFACES)).toEqual([
      "/ip4/10.0.0.7/tcp/4077",
      "/ip6/2001:db8::7/tcp/4077",
      "/ip4/127.0.0.1/tcp/4077",
      "/ip6/::1/tcp/4077",
    ]);
  });

  test("keeps given addresses as they are, each once", () => {
    const bound = ["/ip4/10.0.0.7/tcp/1", "/ip4/10.0.0.7/tcp/1", "/ip4/0.0.0.0/tcp/1"];
    expect(dialAddresses(bound, INTERFACES)).toEqual(["/ip4/10.0.0.7/tcp/1", "/ip4/127.0.0.1/tcp/1"]);
  });

  test("is empty for who listens nowhere", () => {
    expect(dialAddresses([], INTERFACES)).toEqual([]);
  });
});
