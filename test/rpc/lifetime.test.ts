import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, test } from "vitest";
import { type Answer, type Capability, getCapability, setCapability } from "../../src/rpc/capability.ts";
import { callbackOf, methods, required, Tester } from "./tester.ts";
import { isIdle, settle, until, VatPair } from "./vats.ts";

describe("a call", () => {
  test("that is aborted rejects with the signal's reason and aborts its handler", async () => {
    const tester = new Tester();
    await using pair = new VatPair(tester.capability());
    const controller = new AbortController();
    using answer = pair.main.call(methods.wait, (params) => (params.id = 1), { signal: controller.signal });
    const result = answer.result();
    await until(() => tester.events.length === 1);
    const reason = new Error("enough");
    controller.abort(reason);
    await expect(result).rejects.toBe(reason);
    await until(() => tester.events.includes("abort 1: cancelled"));
    tester.gate(1).resolve();
  });

  test("whose signal was aborted before is not made", async () => {
    const tester = new Tester();
    await using pair = new VatPair(tester.capability());
    const signal = AbortSignal.abort(new Error("too late"));
    using answer = pair.main.call(methods.wait, (params) => (params.id = 1), { signal });
    await expect(answer.result()).rejects.toBe(signal.reason);
    await settle();
    expect(tester.events).toEqual([]);
  });

  test("whose answer is disposed aborts its handler", async () => {
    const tester = new Tester();
    await using pair = new VatPair(tester.capability());
    const answer = pair.main.call(methods.wait, (params) => (params.id = 1));
    const result = answer.result();
    await until(() => tester.events.length === 1);
    answer[Symbol.dispose]();
    await expect(result).rejects.toMatchObject({ code: "cancelled" });
    await until(() => tester.events.includes("abort 1: cancelled"));
    tester.gate(1).resolve();
  });

  test("that pipelined calls wait on goes on when its own answer is disposed", async () => {
    const tester = new Tester();
    await using pair = new VatPair(tester.capability());
    const question = pair.main.call(methods.promised);
    using promised = question.pipeline(0);
    using answer = promised.call(methods.echo, (params) => (params.number = 3));
    question[Symbol.dispose]();
    await until(() => tester.events.includes("promised"));
    await settle();
    tester.gate(0).resolve();
    expect((await answer.result()).number).toBe(3);
  });

  test("that only pipelined calls want goes on when it has waited in a queue", async () => {
    const tester = new Tester();
    using main = tester.capability();
    using question = main.call(methods.promised);
    using promised = question.pipeline(0);
    // Queued, and then made: what it becomes is wanted by what is pipelined to it, and by nobody else.
    const queued = promised.call(methods.self);
    using self = queued.pipeline(0);
    queued[Symbol.dispose]();
    await settle();
    tester.gate(0).resolve();
    using answer = self.call(methods.echo, (params) => (params.number = 3));
    expect((await answer.result()).number).toBe(3);
  });

  test("that is aborted within a process aborts its handler", async () => {
    const tester = new Tester();
    using main = tester.capability();
    const controller = new AbortController();
    using answer = main.call(methods.wait, (params) => (params.id = 1), { signal: controller.signal });
    const result = answer.result();
    await until(() => tester.events.length === 1);
    controller.abort(new Error("enough"));
    await expect(result).rejects.toThrow("enough");
    expect(tester.events).toContain("abort 1: failed");
    tester.gate(1).resolve();
  });

  test("that is cancelled while it waits in a queue never reaches its object", async () => {
    const tester = new Tester();
    await using pair = new VatPair(tester.capability());
    using question = pair.main.call(methods.promised);
    using promised = question.pipeline(0);
    const answer = promised.call(methods.echo, (params) => (params.number = 3));
    await until(() => tester.events.includes("promised"));
    answer[Symbol.dispose]();
    await settle();
    tester.gate(0).resolve();
    await question.result();
    await settle();
    expect(tester.events).toEqual(["promised"]);
  });

  test("that nobody awaits and that fails is no unhandled rejection", async () => {
    const tester = new Tester();
    await using pair = new VatPair(tester.capability());
    using _answer = pair.main.call(methods.fail, (params) => (params.message = "unheard"));
    await settle();
  });

  test("gives up what comes with an answer that came too late", async () => {
    const tester = new Tester();
    await using pair = new VatPair(tester.capability());
    await settle();
    const answer = pair.main.call(methods.counter);
    // The answer is on its way, and so is the Finish: both vats must agree on what became of the counter.
    await until(() => pair.server.stats().exports === 2);
    answer[Symbol.dispose]();
    await until(() => tester.alive === 1);
  });
});

describe("a capability", () => {
  test("reaches its object's end when its last reference on the other side goes", async () => {
    const tester = new Tester();
    await using pair = new VatPair(tester.capability());
    using answer = pair.main.call(methods.counter);
    const counter = required(getCapability(await answer.result(), 0));
    const other = counter.dup();
    answer[Symbol.dispose]();
    counter[Symbol.dispose]();
    await settle();
    expect(tester.alive).toBe(2);
    other[Symbol.dispose]();
    await until(() => tester.alive === 1);
  });

  test("that was sent many times is one import, and released as often as it was sent", async () => {
    const tester = new Tester();
    await using pair = new VatPair(tester.capability());
    using callback = callbackOf((value) => value);
    using first = pair.main.call(methods.hold, (params) => setCapability(params, 0, callback));
    await first.result();
    const answers: Answer<unknown>[] = [];
    for (let i = 0; i < 20; i++) {
      answers.push(pair.main.call(methods.pass, (params) => setCapability(params, 0, callback)));
    }
    await Promise.all(answers.map((answer) => answer.result()));
    expect(pair.client.stats().exports).toBe(1);
    expect(pair.server.stats().imports).toBe(1);
    for (const answer of answers) answer[Symbol.dispose]();
    tester.dropHeld();
    await until(() => pair.client.stats().exports === 0);
  });

  test("is released with the parameters when the handler throws", async () => {
    const tester = new Tester();
    await using pair = new VatPair(tester.capability());
    using callback = callbackOf(() => {
      throw new Error("no");
    });
    using answer = pair.main.call(methods.callBack, (params) => {
      setCapability(params, 0, callback);
      params.times = 1;
    });
    await expect(answer.result()).rejects.toThrow("no");
    await until(() => pair.client.stats().exports === 0);
  });

  test("is released with parameters that could not be encoded", async () => {
    const tester = new Tester();
    let isDisposed = false;
    await using pair = new VatPair(tester.capability());
    {
      using callback = tester.counter(1);
      using answer = pair.main.call(methods.hold, (params) => {
        setCapability(params, 0, callback);
        isDisposed = true;
        throw new Error("half way");
      });
      await expect(answer.result()).rejects.toThrow("half way");
    }
    expect(isDisposed).toBe(true);
    expect(tester.alive).toBe(1);
  });

  test("that is forgotten is released when it is collected", async () => {
    const tester = new Tester();
    await using pair = new VatPair(tester.capability());
    await forget(pair.main);
    setFlagsFromString("--expose-gc");
    const collect: () => void = runInNewContext("gc");
    await until(() => {
      collect();
      return tester.alive === 1;
    });
    expect(isIdle(pair.server)).toBe(false);
  });
});

/** Takes a counter out of an answer, and results that nobody takes, and drops all on the floor. */
async function forget(main: Capability): Promise<void> {
  const results = await main.call(methods.counter).result();
  getCapability(results, 0)?.dup();
  main.call(methods.counter);
  await settle();
}
