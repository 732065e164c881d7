import { describe, expect, test } from "vitest";
import { ClusterError } from "../../src/base/errors.ts";
import { CHUNK_BYTES_MAX, FRAME_BYTES_MAX } from "../../src/base/limits.ts";
import { type Capability, getCapability, setCapability } from "../../src/rpc/capability.ts";
import { serve } from "../../src/rpc/server.ts";
import { Counter$Client, NamedCounter$Client, Tester$Client } from "./schema/vat-test.ts";
import { ask, callbackOf, methods, required, Tester } from "./tester.ts";
import { settle, until, VatPair } from "./vats.ts";

/** The same calls made over a connection and made directly: nobody should be able to tell. */
interface Site extends AsyncDisposable {
  readonly tester: Tester;
  readonly main: Capability;
}

function remote(): Site {
  const tester = new Tester();
  const pair = new VatPair(tester.capability());
  return { tester, main: pair.main, [Symbol.asyncDispose]: () => pair[Symbol.asyncDispose]() };
}

function chopped(): Site {
  const tester = new Tester();
  let turn = 0;
  const pair = new VatPair(tester.capability(), { cut: () => 1 + ((turn += 7) % 23), highWaterBytes: 64 });
  return { tester, main: pair.main, [Symbol.asyncDispose]: () => pair[Symbol.asyncDispose]() };
}

function local(): Site {
  const tester = new Tester();
  const main = tester.capability();
  return {
    tester,
    main,
    [Symbol.asyncDispose]: async () => {
      main[Symbol.dispose]();
      await until(
        () => tester.alive === 0,
        () => `all objects disposed: ${tester.alive} left`,
      );
    },
  };
}

describe.each([
  ["over a connection", remote],
  ["over a connection that cuts bytes anyhow", chopped],
  ["within a process", local],
])("calls %s", (_name, open) => {
  test("carry parameters there and results back", async () => {
    await using site = open();
    const bytes = Uint8Array.from({ length: 1000 }, (_, index) => index);
    using answer = site.main.call(methods.echo, (params) => {
      params.number = 4_000_000_000;
      params._initBytes(bytes.byteLength).copyBuffer(bytes);
    });
    const results = await answer.result();
    expect(results.number).toBe(4_000_000_000);
    expect([...results.bytes.toUint8Array()]).toEqual([...bytes]);
  });

  test("carry a chunk of the largest size", async () => {
    await using site = open();
    if (open === chopped) return;
    const bytes = new Uint8Array(CHUNK_BYTES_MAX).fill(7);
    const length = await ask(
      site.main,
      methods.echo,
      (params) => params._initBytes(bytes.byteLength).copyBuffer(bytes),
      (results) => results.bytes.toUint8Array().byteLength,
    );
    expect(length).toBe(CHUNK_BYTES_MAX);
  });

  test("arrive in the order made", async () => {
    await using site = open();
    const answers = Array.from({ length: 50 }, (_, number) =>
      site.main.call(methods.echo, (params) => (params.number = number)),
    );
    const numbers = await Promise.all(answers.map(async (answer) => (await answer.result()).number));
    expect(numbers).toEqual(Array.from({ length: 50 }, (_, number) => number));
    expect(site.tester.events).toEqual(numbers.map((number) => `echo ${number}`));
    for (const answer of answers) answer[Symbol.dispose]();
  });

  test("never run their handler before they have returned", async () => {
    await using site = open();
    using answer = site.main.call(methods.echo);
    expect(site.tester.events).toEqual([]);
    await answer.result();
    expect(site.tester.events).toEqual(["echo 0"]);
  });

  test("do not hold each other up", async () => {
    await using site = open();
    using slow = site.main.call(methods.wait, (params) => (params.id = 1));
    expect(
      await ask(
        site.main,
        methods.echo,
        (params) => (params.number = 2),
        (results) => results.number,
      ),
    ).toBe(2);
    site.tester.gate(1).resolve();
    expect((await slow.result()).id).toBe(1);
  });

  test.each(["failed", "overloaded", "disconnected", "unimplemented"])("throw %s as it is", async (kind) => {
    await using site = open();
    using answer = site.main.call(methods.fail, (params) => {
      params.kind = kind;
      params.message = "a sentence";
    });
    await expect(answer.result()).rejects.toMatchObject({ type: kind, code: "test-code", message: "a sentence" });
  });

  test("throw what is no ClusterError as failed, with its message", async () => {
    await using site = open();
    using answer = site.main.call(methods.fail, (params) => {
      params.kind = "Error";
      params.message = "went wrong";
    });
    const error: unknown = await answer.result().catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ClusterError);
    expect(error).toMatchObject({ type: "failed", code: "failed", message: "went wrong" });
  });

  test("reject, and do not throw, when their parameters cannot be encoded", async () => {
    await using site = open();
    using answer = site.main.call(methods.echo, () => {
      throw new Error("not today");
    });
    await expect(answer.result()).rejects.toThrow("not today");
  });

  test("of messages beyond the limit fail alone", async () => {
    await using site = open();
    using answer = site.main.call(methods.echo, (params) => params._initBytes(FRAME_BYTES_MAX - 100));
    await expect(answer.result()).rejects.toMatchObject({ type: "failed", code: "message-too-large" });
    expect(
      await ask(
        site.main,
        methods.echo,
        (params) => (params.number = 1),
        (results) => results.number,
      ),
    ).toBe(1);
  });

  test("to a disposed capability reject", async () => {
    await using site = open();
    const copy = site.main.dup();
    copy[Symbol.dispose]();
    using answer = copy.call(methods.echo);
    await expect(answer.result()).rejects.toMatchObject({ type: "failed", code: "disposed" });
  });

  test("of another interface with the same method number are unimplemented", async () => {
    await using site = open();
    using answer = site.main.call(methods.add, (params) => (params.by = 1));
    await expect(answer.result()).rejects.toMatchObject({ type: "unimplemented", code: "no-such-interface" });
    expect(site.tester.events).toEqual([]);
  });

  test("of a method that the interface does not have are unimplemented", async () => {
    await using site = open();
    using answer = site.main.call({ ...methods.echo, methodId: 99 });
    await expect(answer.result()).rejects.toMatchObject({ type: "unimplemented", code: "no-such-method" });
  });

  test("carry capabilities both ways", async () => {
    await using site = open();
    const calls: number[] = [];
    using callback = callbackOf((value) => value * 10, calls);
    using answer = site.main.call(methods.callBack, (params) => {
      setCapability(params, 0, callback);
      params.times = 4;
    });
    expect((await answer.result()).sum).toBe(100);
    expect(calls).toEqual([1, 2, 3, 4]);
  });

  test("bring a capability home as what it was", async () => {
    await using site = open();
    using callback = callbackOf((value) => value + 1);
    using answer = site.main.call(methods.pass, (params) => setCapability(params, 0, callback));
    using back = required(getCapability(await answer.result(), 0));
    expect(
      await ask(
        back,
        methods.call,
        (params) => (params.value = 1),
        (results) => results.value,
      ),
    ).toBe(2);
  });

  test("carry capabilities in nested structs", async () => {
    await using site = open();
    using answer = site.main.call(methods.box, (params) => (params.start = 5));
    const results = await answer.result();
    expect(results.box.label).toBe("a box");
    using counter = required(getCapability(results.box.inner, 0));
    expect(
      await ask(
        counter,
        methods.add,
        (params) => (params.by = 2),
        (sum) => sum.value,
      ),
    ).toBe(7);
  });

  test("read a null capability as none, also beside others", async () => {
    await using site = open();
    using held = callbackOf((value) => value);
    using holding = site.main.call(methods.hold, (params) => setCapability(params, 0, held));
    await holding.result();
    using passing = site.main.call(methods.pass);
    expect(getCapability(await passing.result(), 0)).toBeUndefined();
    using dropping = site.main.call(methods.hold, (params) => setCapability(params, 0, undefined));
    await dropping.result();
    using asking = site.main.call(methods.held);
    expect(getCapability(await asking.result(), 0)).toBeUndefined();
  });

  test("on a null capability in results reject", async () => {
    await using site = open();
    using passing = site.main.call(methods.pass);
    using nothing = passing.pipeline(0);
    using answer = nothing.call(methods.call);
    await expect(answer.result()).rejects.toMatchObject({ type: "failed" });
  });

  test("cannot put a capability into a message by the generated setter", async () => {
    await using site = open();
    using answer = site.main.call(methods.hold, (params) => {
      params.callback = Object.create(null);
    });
    await expect(answer.result()).rejects.toThrow();
  });

  test("give results up with the answer, and capabilities taken out live on", async () => {
    await using site = open();
    let counter: Capability;
    {
      using answer = site.main.call(methods.counter, (params) => (params.start = 1));
      counter = required(getCapability(await answer.result(), 0));
    }
    expect(
      await ask(
        counter,
        methods.add,
        (params) => (params.by = 1),
        (results) => results.value,
      ),
    ).toBe(2);
    expect(site.tester.alive).toBe(2);
    counter[Symbol.dispose]();
    await until(() => site.tester.alive === 1);
  });

  test("give results up with the results themselves", async () => {
    await using site = open();
    {
      using results = await site.main.call(methods.counter).result();
      expect(site.tester.alive).toBe(2);
      expect(getCapability(results, 0)?.[Symbol.dispose]()).toBeUndefined();
    }
    await until(() => site.tester.alive === 1);
  });

  test("keep an object alive until all its references are dropped", async () => {
    await using site = open();
    using answer = site.main.call(methods.counter);
    const one = required(getCapability(await answer.result(), 0));
    const other = one.dup();
    answer[Symbol.dispose]();
    one[Symbol.dispose]();
    one[Symbol.dispose]();
    await settle();
    expect(
      await ask(
        other,
        methods.add,
        (params) => (params.by = 3),
        (results) => results.value,
      ),
    ).toBe(3);
    other[Symbol.dispose]();
    await until(() => site.tester.alive === 1);
  });
});

describe("a served object", () => {
  test("answers the methods of all interfaces it is served with", async () => {
    using counter = serve([Counter$Client, NamedCounter$Client], {
      add: (params, results) => {
        results.value = params.by;
      },
      clone: () => undefined,
      name: (_params, results) => {
        results.name = "both";
      },
    });
    const [name] = NamedCounter$Client.methods;
    expect(
      await ask(
        counter,
        methods.add,
        (params) => (params.by = 1),
        (results) => results.value,
      ),
    ).toBe(1);
    expect(
      await ask(
        counter,
        name,
        () => undefined,
        (results) => results.name,
      ),
    ).toBe("both");
  });

  test("is disposed only after the handlers that run have ended", async () => {
    const tester = new Tester();
    const main = tester.capability();
    const answer = main.call(methods.wait, (params) => (params.id = 1));
    const result = answer.result();
    main[Symbol.dispose]();
    await until(() => tester.events.length === 1);
    expect(tester.alive).toBe(1);
    tester.gate(1).resolve();
    await result;
    await until(() => tester.alive === 0);
    answer[Symbol.dispose]();
  });

  test("keeps a parameter only by taking a reference of its own", async () => {
    const tester = new Tester();
    let isDisposed = false;
    await using pair = new VatPair(tester.capability());
    const { main } = pair;
    {
      using callback = serve(Tester$Client, {
        ...Object.fromEntries(Tester$Client.methods.map(({ methodName }) => [methodName, () => undefined])),
        [Symbol.dispose]: () => (isDisposed = true),
      } as never);
      using passing = main.call(methods.hold, (params) => setCapability(params, 0, callback));
      await passing.result();
    }
    await settle();
    expect(isDisposed).toBe(false);
    using dropping = main.call(methods.hold);
    await dropping.result();
    await until(() => isDisposed);
  });
});
