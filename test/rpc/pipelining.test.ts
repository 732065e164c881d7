import { describe, expect, test } from "vitest";
import { getCapability, setCapability } from "../../src/rpc/capability.ts";
import { ask, callbackOf, methods, required, Tester } from "./tester.ts";
import { settle, until, VatPair } from "./vats.ts";

describe("pipelining", () => {
  test("reaches three answers deep before any has come back", async () => {
    const tester = new Tester();
    await using pair = new VatPair(tester.capability());
    await settle();
    const writesBefore = pair.streams.b.writes;
    using one = pair.main.call(methods.self);
    using first = one.pipeline(0);
    using two = first.call(methods.self);
    using second = two.pipeline(0);
    using three = second.call(methods.box, (params) => (params.start = 40));
    using counter = three.pipeline(0, 1, 0);
    using answer = counter.call(methods.add, (params) => (params.by = 2));
    // All of it leaves in one write.
    await until(() => pair.streams.b.writes > writesBefore);
    expect(pair.streams.b.writes).toBe(writesBefore + 1);
    expect((await answer.result()).value).toBe(42);
  });

  test("calls an unanswered question at any depth, in order, once it is answered", async () => {
    const tester = new Tester();
    await using pair = new VatPair(tester.capability());
    using one = pair.main.call(methods.promised);
    using promised = one.pipeline(0);
    using two = promised.call(methods.counter, (params) => (params.start = 0));
    using counter = two.pipeline(0);
    const answers = [1, 2, 3, 4].map((by) => counter.call(methods.add, (params) => (params.by = by)));
    await until(() => tester.events.includes("promised"));
    await settle();
    expect(tester.events).toEqual(["promised"]);
    tester.gate(0).resolve();
    const sums = await Promise.all(answers.map(async (answer) => (await answer.result()).value));
    expect(sums).toEqual([1, 3, 6, 10]);
    for (const answer of answers) answer[Symbol.dispose]();
  });

  test("keeps calls before and after the answer in order", async () => {
    const tester = new Tester();
    await using pair = new VatPair(tester.capability());
    using question = pair.main.call(methods.counter);
    using counter = question.pipeline(0);
    const sums: Promise<number>[] = [];
    const add = (by: number): void => {
      sums.push(
        ask(
          counter,
          methods.add,
          (params) => (params.by = by),
          (results) => results.value,
        ),
      );
    };
    add(1);
    await question.result();
    add(2);
    using taken = required(getCapability(await question.result(), 0));
    sums.push(
      ask(
        taken,
        methods.add,
        (params) => (params.by = 3),
        (results) => results.value,
      ),
    );
    add(4);
    expect(await Promise.all(sums)).toEqual([1, 3, 6, 10]);
    expect(tester.events).toEqual(["add 1", "add 2", "add 3", "add 4"]);
  });

  test("keeps calls in order when the answer is a capability of the caller's own", async () => {
    const tester = new Tester();
    await using pair = new VatPair(tester.capability());
    const calls: number[] = [];
    using callback = callbackOf((value) => value, calls);
    using question = pair.main.call(methods.pass, (params) => setCapability(params, 0, callback));
    using back = question.pipeline(0);
    const answers = [1, 2, 3].map((value) => back.call(methods.call, (params) => (params.value = value)));
    await question.result();
    // From here on the way is short; the calls made before are still out there.
    answers.push(...[4, 5, 6].map((value) => back.call(methods.call, (params) => (params.value = value))));
    await Promise.all(answers.map((answer) => answer.result()));
    expect(calls).toEqual([1, 2, 3, 4, 5, 6]);
    for (const answer of answers) answer[Symbol.dispose]();
  });

  test("passes a capability of an unanswered question on as a parameter", async () => {
    const tester = new Tester();
    await using pair = new VatPair(tester.capability());
    using callback = callbackOf((value) => value);
    using passing = pair.main.call(methods.pass, (params) => setCapability(params, 0, callback));
    using promised = passing.pipeline(0);
    using answer = pair.main.call(methods.callBack, (params) => {
      setCapability(params, 0, promised);
      params.times = 3;
    });
    expect((await answer.result()).sum).toBe(6);
  });

  test("fails with the question's own error, at any depth", async () => {
    const tester = new Tester();
    await using pair = new VatPair(tester.capability());
    using question = pair.main.call(methods.promised);
    using promised = question.pipeline(0);
    using two = promised.call(methods.counter);
    using counter = two.pipeline(0);
    using answer = counter.call(methods.add);
    await until(() => tester.events.length === 1);
    tester.gate(0).reject(new Error("never mind"));
    await expect(answer.result()).rejects.toMatchObject({ type: "failed", message: "never mind" });
    await expect(question.result()).rejects.toMatchObject({ message: "never mind" });
    expect(counter.broken.aborted).toBe(true);
  });

  test("works within a process", async () => {
    const tester = new Tester();
    using main = tester.capability();
    using question = main.call(methods.promised);
    using promised = question.pipeline(0);
    using two = promised.call(methods.box, (params) => (params.start = 1));
    using counter = two.pipeline(0, 1, 0);
    const sums = [1, 2].map((by) =>
      ask(
        counter,
        methods.add,
        (params) => (params.by = by),
        (results) => results.value,
      ),
    );
    tester.gate(0).resolve();
    expect(await Promise.all(sums)).toEqual([2, 4]);
  });

  test("resolves a promise that was passed on to where it leads", async () => {
    const tester = new Tester();
    const calls: number[] = [];
    const callback = callbackOf((value) => value, calls);
    await using pair = new VatPair(tester.capability(), {}, callback);
    // The client's own local promise, exported as one.
    const local = new Tester();
    using main = local.capability();
    using question = main.call(methods.promised);
    using promised = question.pipeline(0);
    using holding = pair.main.call(methods.hold, (params) => setCapability(params, 0, promised));
    await holding.result();
    using asking = pair.main.call(methods.held);
    using held = asking.pipeline(0);
    using echo = held.call(methods.echo, (params) => (params.number = 9));
    await settle();
    local.gate(0).resolve();
    expect((await echo.result()).number).toBe(9);
    expect(local.events).toContain("echo 9");
    tester.dropHeld();
  });
});
