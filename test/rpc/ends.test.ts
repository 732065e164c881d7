import { describe, expect, test } from "vitest";
import { disconnected, failed } from "../../src/base/errors.ts";
import { FRAME_MS_MAX } from "../../src/base/limits.ts";
import { setCapability } from "../../src/rpc/capability.ts";
import { Connection } from "../../src/rpc/connection.ts";
import { silentLog } from "../../src/base/log.ts";
import { memoryStreamPair } from "../support/memory-byte-stream.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { callbackOf, methods, Tester } from "./tester.ts";
import { connect, isIdle, settle, until } from "./vats.ts";

type Ending = (vats: Vats) => void;
type Vats = ReturnType<typeof open>;

function open() {
  const tester = new Tester();
  const streams = memoryStreamPair();
  const main = tester.capability();
  const server = connect(streams.a, main);
  const client = connect(streams.b);
  main[Symbol.dispose]();
  return { tester, streams, server, client };
}

const endings: readonly [string, Ending, string, string][] = [
  ["the client closes", ({ client }) => void client.close(), "connection-closed", "connection-closed"],
  ["the server closes", ({ server }) => void server.close(), "connection-closed", "connection-closed"],
  ["the client aborts", ({ client }) => client.abort(failed("why not", { code: "x-y" })), "x-y", "connection-aborted"],
  [
    "the stream breaks",
    ({ streams }) => streams.b.abort(disconnected("cable cut", { code: "cut" })),
    "connection-lost",
    "connection-lost",
  ],
  [
    "the peer's process dies, which looks like a clean end",
    ({ streams }) => {
      void streams.a.close();
      void streams.b.close();
    },
    "connection-lost",
    "connection-lost",
  ],
];

describe.each(endings)("when %s", (_name, end, clientCode, serverCode) => {
  test("all that is pending and all that comes later is disconnected, at both ends", async () => {
    const vats = open();
    const { tester, client, server } = vats;
    using main = client.bootstrap();
    using callback = callbackOf((value) => value);
    using holding = main.call(methods.hold, (params) => setCapability(params, 0, callback));
    await holding.result();
    using waiting = main.call(methods.wait, (params) => (params.id = 1));
    const waited = waiting.result();
    using question = main.call(methods.promised);
    using promised = question.pipeline(0);
    using pipelined = promised.call(methods.echo);
    const pipelinedResult = pipelined.result();
    await until(() => tester.events.length === 2);

    end(vats);
    const isDisconnected = expect.objectContaining({ type: "disconnected" });
    await expect(waited).rejects.toEqual(isDisconnected);
    await expect(pipelinedResult).rejects.toEqual(isDisconnected);
    await until(() => client.ended.aborted && server.ended.aborted);
    expect(client.ended.reason).toMatchObject({ type: "disconnected", code: clientCode });
    expect(server.ended.reason).toMatchObject({ type: "disconnected", code: serverCode });
    await until(() => tester.events.some((event) => event.startsWith("abort 1")));
    expect(main.broken.aborted && promised.broken.aborted).toBe(true);

    using later = main.call(methods.echo);
    await expect(later.result()).rejects.toEqual(isDisconnected);
    using laterBootstrap = client.bootstrap();
    using last = laterBootstrap.call(methods.echo);
    await expect(last.result()).rejects.toEqual(isDisconnected);

    tester.gate(0).resolve();
    tester.gate(1).resolve();
    tester.dropHeld();
    await until(() => tester.alive === 0);
    expect(isIdle(client) && isIdle(server)).toBe(true);
  });
});

describe("a connection", () => {
  test("closes more than once, from both sides at once, without harm", async () => {
    const { client, server } = open();
    await Promise.all([client.close(), server.close(), client.close()]);
    client.abort(failed("again"));
    await client[Symbol.asyncDispose]();
    expect(client.ended.reason).toMatchObject({ code: "connection-closed" });
  });

  test("sends what was said before its goodbye", async () => {
    const { tester, client, server } = open();
    using main = client.bootstrap();
    using _answer = main.call(methods.echo, (params) => (params.number = 1));
    await client.close();
    await until(() => server.ended.aborted);
    expect(tester.events).toEqual([]);
    // The call was read and its handler cancelled by the goodbye behind it.
    expect(server.ended.reason).toMatchObject({ code: "connection-closed" });
  });

  test("that the peer takes nothing from is cut off after a short time", async () => {
    const streams = memoryStreamPair();
    streams.a.pause();
    const clock = new ManualClock();
    const client = new Connection({ stream: streams.b, clock, log: silentLog });
    streams.a.start({ onBytes: () => undefined, onEnd: () => undefined });
    const closed = client.close();
    await settle();
    clock.advance(10_000);
    await closed;
    expect(client.ended.aborted).toBe(true);
  });

  test("that gets half a message and no more ends, and not before its time", async () => {
    const streams = memoryStreamPair();
    const clock = new ManualClock();
    const vat = new Connection({ stream: streams.b, clock, log: silentLog });
    streams.a.start({ onBytes: () => undefined, onEnd: () => undefined });
    // One segment of two words, and only the first of them.
    streams.a.write(new Uint8Array([0, 0, 0, 0, 2, 0, 0, 0, ...new Uint8Array(8)]));
    await settle();
    clock.advance(FRAME_MS_MAX - 1);
    expect(vat.ended.aborted).toBe(false);
    clock.advance(1);
    expect(vat.ended.reason).toMatchObject({ type: "disconnected", code: "message-unfinished" });
    await vat.close();
    expect(clock.pendingTimers).toBe(0);
  });

  test("rejects with the reason it ended for, in the words of the peer", async () => {
    const { client, server } = open();
    server.abort(failed("out of order", { code: "broken-down" }));
    await until(() => client.ended.aborted);
    expect(client.ended.reason).toMatchObject({
      type: "disconnected",
      code: "connection-aborted",
      cause: { type: "failed", code: "broken-down", message: "out of order" },
    });
  });
});
