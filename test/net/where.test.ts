import { describe, expect, test } from "vitest";
import { ClusterError } from "../../src/base/errors.ts";
import { formatWhere, parseDialAddress, parseWhere } from "../../src/net/where.ts";
import { containing, notContaining } from "../support/matchers.ts";
import { fc } from "../support/properties.ts";

const PEER = "12D3KooWA16y9zqZ1Xh8ZqYqcMwMiBrsVQyuVM3EKVzGcoGzrXsN";

describe("parseWhere", () => {
  test.each([
    [PEER, { kind: "peer", peerId: PEER, secret: undefined }],
    [` ${PEER}\n`, { kind: "peer", peerId: PEER, secret: undefined }],
    [`${PEER}#secret-secret`, { kind: "peer", peerId: PEER, secret: "secret-secret" }],
    [`${PEER}#se#cret#cret`, { kind: "peer", peerId: PEER, secret: "se#cret#cret" }],
    [`/p2p/${PEER}`, { kind: "peer", peerId: PEER, secret: undefined }],
    ["/ip4/10.0.0.7/tcp/4077", { kind: "multiaddr", address: "/ip4/10.0.0.7/tcp/4077", peerId: undefined }],
    [`/ip4/10.0.0.7/tcp/4077/p2p/${PEER}`, { kind: "multiaddr", address: "/ip4/10.0.0.7/tcp/4077", peerId: PEER }],
    [
      `/ip6/::1/tcp/4077/p2p/${PEER}#secret-secret`,
      { kind: "multiaddr", address: "/ip6/::1/tcp/4077", peerId: PEER, secret: "secret-secret" },
    ],
    ["/dns4/gate.example/tcp/4077", { kind: "multiaddr", address: "/dns4/gate.example/tcp/4077" }],
    ["gate.example:4077", { kind: "host", host: "gate.example", port: 4077, secret: undefined }],
    ["gate:4077", { kind: "host", host: "gate", port: 4077 }],
    ["10.0.0.7:4077#secret-secret", { kind: "host", host: "10.0.0.7", port: 4077, secret: "secret-secret" }],
    ["[2001:db8::1]:4077", { kind: "host", host: "2001:db8::1", port: 4077 }],
    ["[fe80::1%eth0]:4077", { kind: "host", host: "fe80::1%eth0", port: 4077 }],
  ])("reads %j", (text, expected) => {
    expect(parseWhere(text)).toMatchObject(expected);
  });

  test.each([
    ["", "empty"],
    ["gate.example", "port"],
    ["gate.example:0", "port"],
    ["gate.example:65536", "port"],
    ["2001:db8::1", "brackets"],
    ["[2001:db8::1]", "host:port"],
    ["[gate]:4077", "IPv6"],
    ["300.1.1.1:4077", "host name"],
    ["under score:4077", "host name"],
    [PEER.slice(0, 30), "peer id"],
    [`${PEER}#short`, "secret"],
    [`${PEER}#`, "secret"],
    ["/ip4/10.0.0.7", "TCP"],
    ["/ip4/10.0.0.7/udp/4077/quic-v1", "TCP"],
    ["/ip4/10.0.0.7/tcp/0", "port"],
    ["/ip4/999.0.0.7/tcp/1", "dial"],
    ["/unix/%2Ftmp%2Fx", "TCP"],
    [`/ip4/1.2.3.4/tcp/1/p2p/${PEER}/p2p-circuit`, "last part"],
    ["/", "dial"],
    ["x".repeat(5_000), "too long"],
  ])("refuses %j and says why", (text, why) => {
    expect(() => parseWhere(text)).toThrow(
      expect.objectContaining({ code: "invalid-address", message: containing(why) }),
    );
  });

  test("does not repeat a secret in its message", () => {
    expect(() => parseWhere("nonsense#top secret!")).toThrow(
      expect.objectContaining({ message: notContaining("top") }),
    );
  });

  test("never throws anything but a refusal, whatever it is given", () => {
    const pieces = fc.constantFrom(
      "/",
      "ip4",
      "ip6",
      "tcp",
      "dns",
      "p2p",
      PEER,
      "#",
      ":",
      "[",
      "]",
      "::1",
      "1",
      "4077",
      "%",
      "a.b",
      "\0",
      "ü",
    );
    const text = fc.oneof(
      fc.string({ unit: "binary", maxLength: 80 }),
      fc.array(pieces, { maxLength: 12 }).map((parts) => parts.join("")),
      fc.array(pieces, { maxLength: 8 }).map((parts) => `/${parts.join("/")}`),
    );
    fc.assert(
      fc.property(text, (value) => {
        try {
          parseWhere(value);
        } catch (error) {
          expect(error).toBeInstanceOf(ClusterError);
          expect(error).toMatchObject({ type: "failed", code: "invalid-address" });
        }
      }),
      { numRuns: 2_000 },
    );
  });

  test("reads again what it has written", () => {
    const host = fc.domain().map((name) => `${name}:4077`);
    const ipv6 = fc.ipV6().map((ip) => `[${ip}]:4077`);
    const address = fc.ipV4().map((ip) => `/ip4/${ip}/tcp/4077/p2p/${PEER}`);
    fc.assert(
      fc.property(fc.oneof(host, ipv6, address, fc.constant(PEER)), (text) => {
        const where = parseWhere(text);
        expect(parseWhere(formatWhere(where))).toEqual(where);
      }),
    );
  });
});

describe("parseDialAddress", () => {
  test("takes the peer id apart", () => {
    expect(parseDialAddress(`/ip4/1.2.3.4/tcp/1/p2p/${PEER}`)).toEqual({ address: "/ip4/1.2.3.4/tcp/1", peerId: PEER });
  });

  test.each(["", "nonsense", "/ip4/1.2.3.4", "/tcp/1"])("is undefined for %j", (text) => {
    expect(parseDialAddress(text)).toBeUndefined();
  });
});
