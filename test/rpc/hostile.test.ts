/** Bytes that no honest peer sends. Whatever they are, they end in an exception or cost their connection, and no more. */
import { describe, expect, test } from "vitest";
import { toClusterError } from "../../src/base/errors.ts";
import { FRAME_SEGMENTS_MAX, MESSAGE_CAPABILITIES_MAX } from "../../src/base/limits.ts";
import { setCapability } from "../../src/rpc/capability.ts";
import { memoryStreamPair } from "../support/memory-byte-stream.ts";
import { callbackOf, methods, Tester } from "./tester.ts";
import { ScriptedPeer } from "./scripted-peer.ts";
import { connect, isIdle, settle, until } from "./vats.ts";
import { fc } from "../support/properties.ts";

const STRUCT = 0;
const LIST = 1;

/** A frame of one segment of these words, each a pair of its lower and upper half. */
function frameOf(words: readonly (readonly [number, number])[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(8 + words.length * 8));
  view.setUint32(4, words.length, true);
  words.forEach(([low, high], index) => {
    view.setUint32(8 + index * 8, low, true);
    view.setUint32(12 + index * 8, high, true);
  });
  return new Uint8Array(view.buffer);
}

function pointer(kind: number, offsetWords: number, high: number): readonly [number, number] {
  return [((offsetWords << 2) | kind) >>> 0, high >>> 0];
}

/** A call of `Tester.count` on export `main`, whose params are the words given, behind the pointer to them. */
function countCall(main: number, params: readonly (readonly [number, number])[]): Uint8Array {
  const { interfaceId, methodId } = methods.count;
  return frameOf([
    pointer(STRUCT, 0, 1 | (1 << 16)),
    [2, 0],
    pointer(STRUCT, 0, 3 | (3 << 16)),
    [1, methodId],
    [Number(interfaceId & 0xffffffffn), Number(interfaceId >> 32n)],
    [0, 0],
    pointer(STRUCT, 2, 1 | (1 << 16)),
    pointer(STRUCT, 3, 2 << 16),
    [0, 0],
    [main, 0],
    [0, 0],
    pointer(STRUCT, 1, 2 << 16),
    [0, 0],
    ...params,
  ]);
}

/** Where the params of `countCall` begin. */
const PARAMS_WORD = 13;
const TEXTS = 2;
const POINTERS = 6;
const STRUCTS = 7;
const contents: readonly [string, readonly (readonly [number, number])[]][] = [
  ["a list of half a billion texts", [pointer(LIST, 1, POINTERS | (0x1fffffff << 3)), [0, 0]]],
  ["a list of half a billion nothings", [pointer(LIST, 1, 0 | (0x1fffffff << 3)), [0, 0]]],
  ["a struct in the place of a list", [pointer(STRUCT, -1, 0), [0, 0]]],
  ["a text in the place of a list", [pointer(LIST, 1, TEXTS | (5 << 3)), [0, 0], [0, 0]]],
  ["a text without an end", [pointer(LIST, 1, POINTERS | (1 << 3)), [0, 0], pointer(LIST, 0, TEXTS | (90 << 3))]],
  ["half a billion structs of no size", [[0, 0], pointer(LIST, 0, STRUCTS), pointer(STRUCT, 0x1fffffff, 0)]],
  [
    "more structs than there is room for",
    [[0, 0], pointer(LIST, 0, STRUCTS | (1 << 3)), pointer(STRUCT, 9, 1), [0, 0]],
  ],
  ["a list that is no list of structs", [[0, 0], pointer(LIST, 0, POINTERS | (1 << 3)), [0, 0]]],
  [
    "pointers that go round in a circle",
    [pointer(LIST, 1, POINTERS | (1 << 3)), [0, 0], pointer(LIST, -1, POINTERS | (1 << 3))],
  ],
  [
    "one text a thousand times",
    [
      pointer(LIST, 1, POINTERS | (1_200 << 3)),
      [0, 0],
      ...Array.from({ length: 1_200 }, (_, index) => pointer(LIST, 1_199 - index, TEXTS | (80 << 3))),
      ...Array.from({ length: 10 }, (): readonly [number, number] => [0, 0]),
    ],
  ],
  [
    "a far pointer to nowhere",
    [
      [2, 77],
      [0, 0],
    ],
  ],
  [
    "a far pointer to itself",
    [
      [(PARAMS_WORD << 3) | 2, 0],
      [0, 0],
    ],
  ],
  [
    "a double far pointer to itself",
    [
      [(PARAMS_WORD << 3) | 6, 0],
      [0, 0],
    ],
  ],
  [
    "a capability in the place of a list",
    [
      [3, 0],
      [0, 0],
    ],
  ],
];

describe("content of a peer", () => {
  test.each(contents)("that is %s ends in an exception", async (_name, params) => {
    const tester = new Tester();
    await using peer = new ScriptedPeer(tester.capability());
    const main = await peer.bootstrap();
    peer.sendBytes(countCall(main, params));
    const { exception } = await peer.return();
    expect(exception.reason).toMatch(/malformed-message|CAPNP-TS/);
    peer.finish(1);
    peer.release(main);
  });

  test("that is right is gone through", async () => {
    const tester = new Tester();
    await using peer = new ScriptedPeer(tester.capability());
    const main = await peer.bootstrap();
    peer.call(1, main, methods.count, (params) => {
      params._initTexts(3).set(1, "a text");
      params._initBoxes(2).get(1).label = "a label";
    });
    const answer = await peer.return();
    expect(answer.results.content.segment.getUint32(16)).toBe(5);
    peer.finish(1);
    peer.release(main);
  });

  test("with more capabilities than a message may have ends the connection", async () => {
    const tester = new Tester();
    await using peer = new ScriptedPeer(tester.capability());
    const main = await peer.bootstrap();
    peer.call(1, main, methods.count, (_params, payload) => payload._initCapTable(MESSAGE_CAPABILITIES_MAX + 1));
    expect((await peer.aborted()).reason).toContain("elements");
  });
});

describe("a message of as many segments as there may be", () => {
  /** Each segment is one word, made of its index. */
  function segmentsOf(count: number, word: (index: number) => readonly [number, number]): Uint8Array {
    const headerBytes = (4 + count * 4 + 7) & ~7;
    const view = new DataView(new ArrayBuffer(headerBytes + count * 8));
    view.setUint32(0, count - 1, true);
    for (let index = 0; index < count; index++) {
      const [low, high] = word(index);
      view.setUint32(4 + index * 4, 1, true);
      view.setUint32(headerBytes + index * 8, low, true);
      view.setUint32(headerBytes + index * 8 + 4, high, true);
    }
    return new Uint8Array(view.buffer);
  }

  test.each([
    ["far pointers from each to the next", (index: number) => [2, (index + 1) % FRAME_SEGMENTS_MAX] as const],
    ["far pointers of each to itself", (index: number) => [2, index] as const],
    ["double far pointers in a circle", (index: number) => [6, (index + 1) % FRAME_SEGMENTS_MAX] as const],
    ["nothing at all", () => [0, 0] as const],
  ])("with %s costs its connection at most", async (_name, word) => {
    const tester = new Tester();
    await using peer = new ScriptedPeer(tester.capability());
    peer.sendBytes(segmentsOf(FRAME_SEGMENTS_MAX, word));
    await peer.rest();
    peer.isMessy = true;
    const { reason } = peer.vat.ended;
    expect(reason === undefined || toClusterError(reason).code === "malformed-message").toBe(true);
    expect(isIdle(peer.vat)).toBe(true);
  });
});

describe("a conversation", () => {
  test("with bytes of it changed leaves nothing behind", async () => {
    const sent = await recordConversation();
    const change = fc.record({ at: fc.nat(sent.byteLength - 1), value: fc.nat(255) });
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 6 }), async (changes) => {
        const bytes = Uint8Array.from(sent);
        for (const { at, value } of changes) bytes[at] = value;
        const tester = new Tester();
        for (let id = 0; id < 4; id++) tester.gate(id).resolve();
        const streams = memoryStreamPair();
        const main = tester.capability();
        const vat = connect(streams.a, main);
        main[Symbol.dispose]();
        streams.b.start({ onBytes: () => undefined, onEnd: () => undefined });
        streams.b.write(bytes);
        await settle(12);
        await vat.close();
        tester.dropHeld();
        await until(
          () => tester.alive === 0 && isIdle(vat),
          () => `nothing left: ${tester.alive} ${JSON.stringify(vat.stats())}`,
        );
      }),
      { numRuns: 400 },
    );
  });
});

/** All that a client says in a conversation of many kinds of messages. */
async function recordConversation(): Promise<Uint8Array> {
  const tester = new Tester();
  for (let id = 0; id < 4; id++) tester.gate(id).resolve();
  const streams = memoryStreamPair();
  const written: Uint8Array[] = [];
  const write = streams.b.write.bind(streams.b);
  streams.b.write = (bytes) => {
    written.push(Uint8Array.from(bytes));
    return write(bytes);
  };
  const bootstrap = tester.capability();
  const server = connect(streams.a, bootstrap);
  const client = connect(streams.b);
  bootstrap[Symbol.dispose]();
  {
    using main = client.bootstrap();
    using callback = callbackOf((value) => value);
    using boxing = main.call(methods.box);
    using counter = boxing.pipeline(0, 1, 0);
    using adding = counter.call(methods.add, (params) => (params.by = 3));
    using passing = main.call(methods.pass, (params) => setCapability(params, 0, callback));
    using back = passing.pipeline(0);
    using calling = back.call(methods.call, (params) => (params.value = 1));
    using promising = main.call(methods.promised);
    using promised = promising.pipeline(0);
    using holding = promised.call(methods.hold, (params) => setCapability(params, 0, back));
    using counting = main.call(methods.count, (params) => {
      params._initTexts(2).set(0, "text");
      params._initBoxes(2).get(0).label = "label";
    });
    using failing = main.call(methods.fail, (params) => (params.message = "no"));
    await Promise.all([adding.result(), calling.result(), holding.result(), counting.result()]);
    await expect(failing.result()).rejects.toThrow("no");
  }
  await settle();
  await client.close();
  await server.close();
  tester.dropHeld();
  return Buffer.concat(written);
}
