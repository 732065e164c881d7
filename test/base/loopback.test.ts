import { expect, test } from "vitest";
import { bareHost, isLoopback } from "../../src/base/loopback.ts";

test.each([
  ["127.0.0.1", true],
  ["127.1.2.3", true],
  ["::ffff:127.0.0.1", true],
  ["localhost", true],
  ["LocalHost.", true],
  ["::1", true],
  ["[::1]", true],
  ["0.0.0.0", false],
  ["::", false],
  ["", false],
  ["127.example", false],
  ["127.0.0.256", false],
  ["127.0.0.1.example", false],
  ["::ffff:10.0.0.1", false],
  ["192.168.1.2", false],
])("%s is loopback: %s", (host, expected) => expect(isLoopback(host)).toBe(expected));

test("a bare host has neither brackets nor a last dot", () => {
  expect(["[::1]", "Gate.Example.", "10.0.0.1"].map(bareHost)).toEqual(["::1", "gate.example", "10.0.0.1"]);
});
