/** Ids of peers: what a transport authenticated can never be what a peer says of itself. */
import { expect, test } from "vitest";
import { parsePeerId, parseRpcName, parseWorkerId } from "../../src/base/ids.ts";
import { fc } from "../support/properties.ts";

const LIBP2P = "12D3KooWBmAwcd4PJNJvfV89HwE48nwkRmAgo8Vy3uQEyNNHBox2";

test("no name makes a peer of the plain RPC endpoint a libp2p peer", () => {
  const names = fc.oneof(fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/), fc.constant(LIBP2P));
  fc.assert(
    fc.property(names, (name) => {
      const id = parseRpcName(name);
      expect(id).toBe(`rpc:${name}`);
      expect(parsePeerId(String(id))).toBeUndefined();
      expect(parseWorkerId(String(id))).toBe(id);
    }),
  );
});

test("a worker may be a libp2p peer", () => {
  expect(parseWorkerId(LIBP2P)).toBe(LIBP2P);
});

test.each(["", "-a", ".a", "a b", "a/b", "a\nb", "rpc:a", "x".repeat(65)])("%j is no name", (name) => {
  expect(parseRpcName(name)).toBeUndefined();
  expect(parseWorkerId(`rpc:${name}`)).toBeUndefined();
});
