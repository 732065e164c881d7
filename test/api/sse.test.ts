import { describe, expect, test } from "vitest";
import { formatLogPosition, parseLogPosition } from "../../src/api/log-event.ts";
import { SSE_PING, SseParser, formatSse } from "../../src/api/sse.ts";
import { fc } from "../support/properties.ts";

describe("server-sent events", () => {
  test("are read as they were written, wherever the stream is cut", () => {
    const event = fc.record({
      event: fc.stringMatching(/^[a-z]{1,8}$/),
      data: fc.string({ unit: "grapheme" }),
      id: fc.stringMatching(/^[0-9:]{1,8}$/),
    });
    fc.assert(
      fc.property(fc.array(event, { maxLength: 5 }), fc.array(fc.nat(40), { maxLength: 30 }), (events, lengths) => {
        let rest = events.map((each) => formatSse(each)).join(SSE_PING);
        const parser = new SseParser();
        const read = [];
        for (const length of lengths) {
          read.push(...parser.push(rest.slice(0, length)));
          rest = rest.slice(length);
        }
        read.push(...parser.push(rest));
        expect(read).toEqual(events.map((each) => ({ ...each, data: each.data.replace(/\r\n|\r/g, "\n") })));
      }),
    );
  });

  test("understand each kind of line end, also one that is cut", () => {
    const parser = new SseParser();
    expect(parser.push("event: a\r")).toEqual([]);
    expect(parser.push("\ndata: 1\r")).toEqual([]);
    expect(parser.push("\n\r\n")).toEqual([{ event: "a", data: "1", id: "" }]);
    expect(parser.push("data:2\r\r")).toEqual([{ event: "message", data: "2", id: "" }]);
  });

  test("keep the last id for events that have none", () => {
    const parser = new SseParser("7");
    expect(parser.push("data: x\n\n")).toEqual([{ event: "message", data: "x", id: "7" }]);
    parser.push("id: 8\n\n");
    expect(parser.lastId).toBe("8");
  });

  test("that never end are given up", () => {
    const parser = new SseParser();
    expect(() => parser.push("data: ".padEnd(5 * 1024 * 1024, "x"))).toThrow(RangeError);
  });
});

describe("a position in a log", () => {
  test("survives being written and read", () => {
    const held = fc.record({ stream: fc.constantFrom("stdout" as const, "stderr" as const), offset: fc.nat() });
    const position = fc.record({
      run: fc.integer({ min: 1, max: 1_000_000_000 }),
      offset: fc.nat(),
      held: fc.array(held, { maxLength: 2 }),
    });
    fc.assert(
      fc.property(position, (each) => {
        expect(parseLogPosition(formatLogPosition(each))).toEqual(each);
      }),
    );
  });
});
