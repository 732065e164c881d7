import { describe, expect, test } from "vitest";
import { parsePeerId, type PeerId } from "../../src/base/ids.ts";
import { HEARTBEAT_TTL_MS, MEMBERS_MAX } from "../../src/base/limits.ts";
import { decodeHeartbeat, encodeHeartbeat, MemberTable, type Heartbeat } from "../../src/net/member-table.ts";
import { fc } from "../support/properties.ts";

function peer(name: string): PeerId {
  const peerId = parsePeerId(`12D3KooW${name.padEnd(44, "x")}`);
  if (peerId === undefined) throw new Error("not a peer id");
  return peerId;
}

const A = peer("A");

function beatOf(fields: Partial<Heartbeat> = {}): Heartbeat {
  return {
    role: "worker",
    version: "1",
    labels: {},
    slots: 1,
    busy: 0,
    startedAt: 1_000,
    beat: 1,
    addrs: [],
    isLeaving: false,
    ...fields,
  };
}

function at(monotonicMs: number) {
  return { wallMs: 1_000_000 + monotonicMs, monotonicMs };
}

function names(table: MemberTable): PeerId[] {
  return table.members(() => true).map(({ peerId }) => peerId);
}

describe("MemberTable", () => {
  test("shows a member from its first beat until it is silent for too long", () => {
    const table = new MemberTable();
    expect(table.onHeartbeat(A, beatOf(), at(0))).toBe("joined");
    expect(table.onHeartbeat(A, beatOf({ beat: 2 }), at(5_000))).toBe("updated");
    expect(table.expire(5_000 + HEARTBEAT_TTL_MS)).toEqual([]);
    expect(table.expire(5_001 + HEARTBEAT_TTL_MS)).toEqual([A]);
    expect(names(table)).toEqual([]);
  });

  test("does not take an old or repeated beat for a sign of life", () => {
    const table = new MemberTable();
    table.onHeartbeat(A, beatOf({ beat: 5, busy: 1 }), at(0));
    expect(table.onHeartbeat(A, beatOf({ beat: 5 }), at(9_000))).toBe("none");
    expect(table.onHeartbeat(A, beatOf({ beat: 4 }), at(9_000))).toBe("none");
    expect(table.onHeartbeat(A, beatOf({ startedAt: 999, beat: 9 }), at(9_000))).toBe("none");
    expect(table.expire(HEARTBEAT_TTL_MS + 1)).toEqual([A]);
  });

  test("takes a restarted member's first beat for a new one", () => {
    const table = new MemberTable();
    table.onHeartbeat(A, beatOf({ beat: 500 }), at(0));
    expect(table.onHeartbeat(A, beatOf({ startedAt: 2_000, beat: 1, busy: 1 }), at(1))).toBe("updated");
    expect(table.members(() => false)[0]).toMatchObject({ busy: 1, isConnected: false, lastSeen: 1_000_001 });
  });

  test("forgets a member that says goodbye or is disconnected, and beats that come after it by a detour", () => {
    for (const leave of [
      (table: MemberTable) => table.onHeartbeat(A, beatOf({ beat: 3, isLeaving: true }), at(1)),
      (table: MemberTable) => table.onDisconnected(A, 1),
    ]) {
      const table = new MemberTable();
      table.onHeartbeat(A, beatOf({ beat: 2 }), at(0));
      expect(leave(table)).toBe("left");
      expect(table.onHeartbeat(A, beatOf({ beat: 2 }), at(2))).toBe("none");
      expect(table.onHeartbeat(A, beatOf({ beat: 3 }), at(2))).toBe("none");
      expect(names(table)).toEqual([]);
      // It is alive after all, behind somebody else.
      expect(table.onHeartbeat(A, beatOf({ beat: 5 }), at(3))).toBe("joined");
    }
  });

  test("is not filled beyond its limit, by members or by departures", () => {
    const table = new MemberTable();
    for (let index = 0; index < MEMBERS_MAX + 10; index++) {
      table.onHeartbeat(peer(`n${"abcdefghij"[index % 10]}${index}`.replaceAll("0", "z")), beatOf(), at(0));
    }
    expect(names(table)).toHaveLength(MEMBERS_MAX);
    for (let index = 0; index < MEMBERS_MAX * 2; index++) {
      table.onHeartbeat(peer(`m${index}`.replaceAll("0", "z")), beatOf({ isLeaving: true }), at(0));
    }
    expect(names(table)).toHaveLength(MEMBERS_MAX);
  });

  test("shows members in the order of their ids", () => {
    const table = new MemberTable();
    for (const name of ["c", "A", "b"]) table.onHeartbeat(peer(name), beatOf(), at(0));
    expect(names(table)).toEqual([peer("A"), peer("b"), peer("c")]);
  });
});

describe("decodeHeartbeat", () => {
  test("reads what was written", () => {
    const text = fc.string({ maxLength: 50 });
    const beat: fc.Arbitrary<Heartbeat> = fc.record({
      role: fc.constantFrom("gateway", "worker", "both"),
      version: text,
      labels: fc.dictionary(text, text, { maxKeys: 10 }),
      slots: fc.nat(),
      busy: fc.nat(),
      startedAt: fc.maxSafeNat(),
      beat: fc.maxSafeNat(),
      addrs: fc.array(text, { maxLength: 5 }),
      isLeaving: fc.boolean(),
    });
    fc.assert(
      fc.property(beat, (value) => {
        expect(decodeHeartbeat(encodeHeartbeat(value))).toEqual({ ...value, labels: { ...value.labels } });
      }),
    );
  });

  test("is undefined, and never throws, for anything else", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array({ maxLength: 200 }),
          fc.json().map((json) => Buffer.from(json)),
        ),
        (bytes) => {
          expect(decodeHeartbeat(bytes)).toBeUndefined();
        },
      ),
    );
  });

  test.each([
    { role: "king" },
    { slots: -1 },
    { slots: 1.5 },
    { beat: "1" },
    { version: "x".repeat(300) },
    { labels: { key: 1 } },
    { labels: null },
    { labels: Object.fromEntries(Array.from({ length: 65 }, (_, index) => [`k${index}`, "v"])) },
    { addrs: ["a", 2] },
    { addrs: Array.from({ length: 40 }, () => "/ip4/1.2.3.4/tcp/1") },
    { isLeaving: 1 },
    { startedAt: null },
  ])("refuses a beat with %j", (wrong) => {
    expect(decodeHeartbeat(Buffer.from(JSON.stringify({ ...beatOf(), ...wrong })))).toBeUndefined();
  });

  test("keeps a label called __proto__ a label", () => {
    const bytes = Buffer.from(JSON.stringify(beatOf()).replace('"labels":{}', '"labels":{"__proto__":"x"}'));
    const decoded = decodeHeartbeat(bytes);
    expect(Object.entries(decoded?.labels ?? {})).toEqual([["__proto__", "x"]]);
    expect(Object.getPrototypeOf(decoded?.labels)).toBe(Object.prototype);
  });
});
