import { describe, expect, test } from "vitest";
import {
  ANSWERS_MAX,
  ANSWERS_UNFINISHED_MAX,
  CALL_BYTES_IN_FLIGHT_MAX,
  QUESTIONS_MAX,
  READ_STALL_MS_MAX,
  SEND_QUEUE_BYTES_MAX,
} from "../../src/base/limits.ts";
import { toClusterError } from "../../src/base/errors.ts";
import { type Capability, setCapability } from "../../src/rpc/capability.ts";
import { ask, callbackOf, methods, Tester } from "./tester.ts";
import { ScriptedPeer } from "./scripted-peer.ts";
import { settle, until, VatPair } from "./vats.ts";

const MIB = 1024 * 1024;

function echoBytes(main: Capability, byteLength: number): Promise<number> {
  return ask(
    main,
    methods.echo,
    (params) => params._initBytes(byteLength),
    (results) => results.bytes.toUint8Array().byteLength,
  );
}

/** All outcomes; the clock is moved on whenever everything has come to rest. */
async function allWith<T>(pair: VatPair, outcomes: readonly Promise<T>[]): Promise<readonly T[]> {
  let isDone = false;
  const all = Promise.all(outcomes).finally(() => (isDone = true));
  while (!isDone) {
    await settle(200);
    pair.clock.advance(READ_STALL_MS_MAX);
  }
  return await all;
}

describe("under load", () => {
  test("10,000 calls are outstanding at once and all are answered", async () => {
    const tester = new Tester();
    await using pair = new VatPair(tester.capability());
    const answers = Array.from({ length: 10_000 }, (_, id) =>
      pair.main.call(methods.wait, (params) => (params.id = id)),
    );
    await until(() => tester.events.length === 10_000);
    expect(pair.server.stats().answers).toBe(10_001);
    // The last first: none waits for another.
    for (let id = 9_999; id >= 0; id--) tester.gate(id).resolve();
    const ids = await Promise.all(answers.map(async (answer) => (await answer.result()).id));
    expect(ids).toEqual(Array.from({ length: 10_000 }, (_, id) => id));
    for (const answer of answers) answer[Symbol.dispose]();
  });

  test("calls beyond the limit are overloaded, and those within go on", async () => {
    const tester = new Tester();
    await using pair = new VatPair(tester.capability());
    await echoBytes(pair.main, 0);
    const answers = Array.from({ length: QUESTIONS_MAX }, (_, id) =>
      pair.main.call(methods.wait, (params) => (params.id = id)),
    );
    await expect(echoBytes(pair.main, 1)).rejects.toMatchObject({ type: "overloaded", code: "too-many-calls" });
    await until(() => tester.events.length > QUESTIONS_MAX);
    for (let id = 0; id < QUESTIONS_MAX; id++) tester.gate(id).resolve();
    await Promise.all(answers.map((answer) => answer.result()));
    for (const answer of answers) answer[Symbol.dispose]();
    expect(await echoBytes(pair.main, 1)).toBe(1);
  });

  test("a stream that takes little at a time loses nothing and keeps the order", async () => {
    const tester = new Tester();
    await using pair = new VatPair(tester.capability(), { cut: () => 50_000, highWaterBytes: 100_000 });
    const lengths = await Promise.all(Array.from({ length: 200 }, (_, i) => echoBytes(pair.main, i * 500)));
    expect(lengths).toEqual(Array.from({ length: 200 }, (_, i) => i * 500));
  });

  test("calls to a peer that does not read fail as overloaded before they fill the memory", async () => {
    const tester = new Tester();
    await using pair = new VatPair(tester.capability(), { highWaterBytes: MIB });
    await echoBytes(pair.main, 0);
    pair.streams.a.pause();
    const calls: Promise<number>[] = [];
    const refused: unknown[] = [];
    for (let i = 0; i < SEND_QUEUE_BYTES_MAX / MIB + 20; i++) {
      calls.push(echoBytes(pair.main, MIB).catch((error: unknown) => refused.push(error) && -1));
      await settle(1);
    }
    await until(() => refused.length > 0);
    expect(refused[0]).toMatchObject({ type: "overloaded", code: "send-queue-full" });
    pair.streams.a.resume();
    const lengths = await Promise.all(calls);
    expect(lengths.filter((length) => length === MIB).length).toBe(calls.length - refused.length);
  });

  test("reading stops while the parameters of calls that run fill their limit", async () => {
    const tester = new Tester();
    await using pair = new VatPair(tester.capability());
    await echoBytes(pair.main, 0);
    const bytesEach = MIB;
    const count = CALL_BYTES_IN_FLIGHT_MAX / bytesEach + 10;
    const answers = Array.from({ length: count }, (_, id) =>
      pair.main.call({ ...methods.wait, ParamsClass: methods.echo.ParamsClass }, (params) => {
        params.number = id;
        params._initBytes(bytesEach);
      }),
    );
    const started = (): number => tester.events.filter((event) => event.startsWith("wait")).length;
    await until(() => started() >= CALL_BYTES_IN_FLIGHT_MAX / bytesEach - 1);
    await settle(50);
    expect(started()).toBeLessThan(count);
    for (let id = 0; id < count; id++) tester.gate(id).resolve();
    await Promise.all(answers.map((answer) => answer.result()));
    for (const answer of answers) answer[Symbol.dispose]();
  });

  test("reading stops at the limit of calls, and goes on as they are answered", async () => {
    const tester = new Tester();
    await using peer = new ScriptedPeer(tester.capability());
    const main = await peer.bootstrap();
    for (let id = 0; id < ANSWERS_MAX + 5; id++) peer.call(id, main, methods.wait);
    await until(() => tester.events.length === ANSWERS_MAX);
    await settle();
    expect(tester.events.length).toBe(ANSWERS_MAX);
    expect(peer.vat.stats().answers).toBe(ANSWERS_MAX);
    tester.gate(0).resolve();
    await until(() => tester.events.length === ANSWERS_MAX + 5);
    await until(() => peer.receivedCount === ANSWERS_MAX + 5);
    for (let id = 0; id < ANSWERS_MAX + 5; id++) peer.finish(id);
    peer.release(main);
  });

  test("a peer that does not take its answers is not read from any more", async () => {
    const tester = new Tester();
    await using peer = new ScriptedPeer(tester.capability());
    const main = await peer.bootstrap();
    peer.streams.b.pause();
    const calls = 64;
    for (let id = 0; id < calls; id++) {
      peer.call(id, main, methods.echo, (params) => params._initBytes(MIB));
    }
    await until(() => tester.events.length > 0);
    await settle(200);
    expect(tester.events.length).toBeLessThan(calls);
    peer.streams.b.resume();
    await until(() => tester.events.length === calls && peer.receivedCount === calls);
    for (let id = 0; id < calls; id++) peer.finish(id);
    peer.release(main);
  });

  test("two vats that flood each other with large answers do not wait for each other for ever", async () => {
    const [one, other] = [new Tester(), new Tester()];
    await using pair = new VatPair(one.capability(), { highWaterBytes: 64 * 1024 }, other.capability());
    const outcomes = [pair.main, pair.mainOfClient].flatMap((main) =>
      Array.from({ length: 24 }, () => echoBytes(main, MIB).catch((error: unknown) => toClusterError(error).type)),
    );
    const kinds = new Set(await allWith(pair, outcomes));
    kinds.delete("overloaded");
    expect([...kinds]).toEqual([MIB]);
    expect(await echoBytes(pair.main, 5)).toBe(5);
  });

  test("handlers that wait for the peer get their answers though their parameters fill the limit", async () => {
    const tester = new Tester();
    await using pair = new VatPair(tester.capability());
    using callback = callbackOf((value) => value);
    const count = CALL_BYTES_IN_FLIGHT_MAX / MIB + 20;
    const outcomes = Array.from({ length: count }, () =>
      ask(
        pair.main,
        methods.callBack,
        (params) => {
          setCapability(params, 0, callback);
          params.times = 3;
          // Room that is filled with nothing, as a large parameter would.
          params.segment.allocate(MIB);
        },
        (results) => results.sum,
      ).catch((error: unknown) => toClusterError(error).type),
    );
    const kinds = new Set(await allWith(pair, outcomes));
    kinds.delete("overloaded");
    expect([...kinds]).toEqual([6]);
  });

  test("a peer that never finishes its questions is cut off", async () => {
    const tester = new Tester();
    await using peer = new ScriptedPeer(tester.capability());
    const main = await peer.bootstrap();
    for (let id = 0; id <= ANSWERS_UNFINISHED_MAX; id++) {
      peer.call(id, main, methods.echo);
      if (id % 1_000 === 0) await settle(5);
    }
    peer.isMessy = true;
    await until(() => peer.vat.ended.aborted);
    expect(peer.vat.ended.reason).toMatchObject({ code: "too-many-unfinished" });
  });
});
