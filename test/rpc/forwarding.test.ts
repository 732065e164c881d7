import { ListElementSize, utils } from "capnp-es";
import { describe, expect, test } from "vitest";
import { disconnected } from "../../src/base/errors.ts";
import { type Capability, getCapability, setCapability } from "../../src/rpc/capability.ts";
import { revocable } from "../../src/rpc/revoke.ts";
import { ask, callbackOf, methods, required, Tester } from "./tester.ts";
import { settle, until, VatPair } from "./vats.ts";

/** a -> b -> c: what b serves to a is what it gets from c. */
class Chain implements AsyncDisposable {
  readonly tester = new Tester();
  readonly far = new VatPair(this.tester.capability());
  readonly near = new VatPair(this.far.main.dup());

  get main(): Capability {
    return this.near.main;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // The near end's bootstrap capability is held by its server: it goes with that connection.
    this.near.main[Symbol.dispose]();
    await this.near.server.close();
    await this.near.client.close();
    await this.far[Symbol.asyncDispose]();
  }
}

describe("a capability of one connection, passed over another", () => {
  test("is called through the vat between, with bytes of any size", async () => {
    await using chain = new Chain();
    const bytes = Uint8Array.from({ length: 300_000 }, (_, index) => index * 7);
    using answer = chain.main.call(methods.echo, (params) => {
      params.number = 12;
      params._initBytes(bytes.byteLength).copyBuffer(bytes);
    });
    const results = await answer.result();
    expect(results.number).toBe(12);
    expect(Buffer.compare(results.bytes.toUint8Array(), bytes)).toBe(0);
  });

  test("is passed the bytes as they are: pointers to the same things do not become copies of them", async () => {
    await using chain = new Chain();
    const written: number[] = [];
    const write = chain.far.streams.b.write.bind(chain.far.streams.b);
    chain.far.streams.b.write = (bytes) => {
      written.push(bytes.byteLength);
      return write(bytes);
    };
    using answer = chain.main.call(methods.count, (params) => {
      const texts = params._initTexts(1_000);
      texts.set(0, "x".repeat(1_000));
      const first = utils.getContent(texts);
      const text = utils.followFars(utils.add(0, first));
      const target = text.byteOffset + 8 + utils.getOffsetWords(text) * 8;
      for (let i = 1; i < 1_000; i++) {
        const slot = first.byteOffset + i * 8;
        utils.setListPointer((target - slot - 8) / 8, ListElementSize.BYTE, 1_001, utils.add(i * 8, first));
      }
    });
    // 1,000 pointers to one text of 1,000 bytes: a million bytes to whoever copies them, and refused by who reads them.
    await expect(answer.result()).rejects.toMatchObject({ code: "malformed-message" });
    expect(Math.max(...written)).toBeLessThan(10_000);
  });

  test("carries capabilities on, both ways, and lets go of them", async () => {
    await using chain = new Chain();
    const calls: number[] = [];
    using callback = callbackOf((value) => value * 2, calls);
    using answer = chain.main.call(methods.callBack, (params) => {
      setCapability(params, 0, callback);
      params.times = 3;
    });
    expect((await answer.result()).sum).toBe(12);
    using boxing = chain.main.call(methods.box, (params) => (params.start = 1));
    using counter = required(getCapability((await boxing.result()).box.inner, 0));
    expect(
      await ask(
        counter,
        methods.add,
        (params) => (params.by = 1),
        (results) => results.value,
      ),
    ).toBe(2);
    boxing[Symbol.dispose]();
    answer[Symbol.dispose]();
    counter[Symbol.dispose]();
    await until(() => chain.tester.alive === 1);
    await until(() => chain.near.client.stats().exports === 0);
  });

  test("is pipelined to through the vat between", async () => {
    await using chain = new Chain();
    using question = chain.main.call(methods.promised);
    using promised = question.pipeline(0);
    using two = promised.call(methods.box, (params) => (params.start = 5));
    using counter = two.pipeline(0, 1, 0);
    const sums = [1, 2, 3].map((by) =>
      ask(
        counter,
        methods.add,
        (params) => (params.by = by),
        (results) => results.value,
      ),
    );
    await until(() => chain.tester.events.includes("promised"));
    chain.tester.gate(0).resolve();
    expect(await Promise.all(sums)).toEqual([6, 8, 11]);
  });

  test("comes home over two connections and keeps calls in order", async () => {
    await using chain = new Chain();
    const calls: number[] = [];
    using callback = callbackOf((value) => value, calls);
    using passing = chain.main.call(methods.pass, (params) => setCapability(params, 0, callback));
    using back = passing.pipeline(0);
    const answers = [1, 2, 3].map((value) => back.call(methods.call, (params) => (params.value = value)));
    await passing.result();
    answers.push(...[4, 5].map((value) => back.call(methods.call, (params) => (params.value = value))));
    await Promise.all(answers.map((answer) => answer.result()));
    expect(calls).toEqual([1, 2, 3, 4, 5]);
    for (const answer of answers) answer[Symbol.dispose]();
  });

  test("carries exceptions and cancellation on", async () => {
    await using chain = new Chain();
    using failing = chain.main.call(methods.fail, (params) => {
      params.kind = "overloaded";
      params.message = "far away";
    });
    await expect(failing.result()).rejects.toMatchObject({
      type: "overloaded",
      code: "test-code",
      message: "far away",
    });
    const waiting = chain.main.call(methods.wait, (params) => (params.id = 4));
    await until(() => chain.tester.events.includes("wait 4"));
    waiting[Symbol.dispose]();
    await until(() => chain.tester.events.includes("abort 4: cancelled"));
    chain.tester.gate(4).resolve();
  });

  test("fails as disconnected when its own connection ends, and the other connection lives on", async () => {
    const far = new VatPair(new Tester().capability());
    const tester = new Tester();
    await using near = new VatPair(tester.capability());
    using holding = near.main.call(methods.hold, (params) => setCapability(params, 0, far.main));
    await holding.result();
    using asking = near.main.call(methods.held);
    using held = asking.pipeline(0);
    expect(
      await ask(
        held,
        methods.echo,
        (params) => (params.number = 1),
        (results) => results.number,
      ),
    ).toBe(1);
    await far.server.close();
    using answer = held.call(methods.echo);
    await expect(answer.result()).rejects.toMatchObject({ type: "disconnected" });
    expect(near.client.ended.aborted).toBe(false);
    tester.dropHeld();
    await far.client.close();
  });
});

describe("a revoked capability", () => {
  test("fails at once everywhere, pending calls, dups and what was passed on included", async () => {
    const tester = new Tester();
    using main = tester.capability();
    const { capability, revoke } = revocable(main);
    using dup = capability.dup();
    const holder = new Tester();
    await using pair = new VatPair(holder.capability());
    using holding = pair.main.call(methods.hold, (params) => setCapability(params, 0, dup));
    await holding.result();
    using asking = pair.main.call(methods.held);
    using held = asking.pipeline(0);
    using waiting = held.call(methods.wait, (params) => (params.id = 1));
    const waited = waiting.result();
    await until(() => tester.events.length === 1);
    const { broken } = dup;
    expect(broken.aborted).toBe(false);

    const reason = disconnected("taken back", { code: "revoked" });
    revoke(reason);
    expect(broken.reason).toBe(reason);
    await expect(waited).rejects.toMatchObject({ type: "disconnected", code: "revoked" });
    await until(() => tester.events.includes("abort 1: revoked"));
    for (const each of [capability, dup, held]) {
      using answer = each.call(methods.echo);
      await expect(answer.result()).rejects.toMatchObject({ type: "disconnected", code: "revoked" });
    }
    revoke(reason);
    expect(
      await ask(
        main,
        methods.echo,
        (params) => (params.number = 1),
        (results) => results.number,
      ),
    ).toBe(1);
    capability[Symbol.dispose]();
    holder.dropHeld();
    tester.gate(1).resolve();
    await settle();
  });
});
