/**
 * The vat and the C++ implementation, each as client of the other, over TCP and unix sockets. What the C++ client checks is
 * in client.c++; the tests here that call the C++ server are its twins.
 */
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { disconnected } from "../../src/base/errors.ts";
import { silentLog } from "../../src/base/log.ts";
import { systemClock } from "../../src/base/system-clock.ts";
import {
  formatSocketAddress,
  listenSocket,
  parseSocketAddress,
  type SocketListener,
} from "../../src/net/socket-endpoint.ts";
import type { ByteStream } from "../../src/rpc/byte-stream.ts";
import { type Capability, getCapability, setCapability } from "../../src/rpc/capability.ts";
import { Connection } from "../../src/rpc/connection.ts";
import { ask, required } from "../rpc/tester.ts";
import { isIdle } from "../rpc/vats.ts";
import { addOf, callOf, CppServer, echoOf, eventually, freshAddress, KINDS } from "./cpp-server.ts";
import { EVERYTHING, NOTHING, readPlain } from "./everything.ts";
import { InteropServer, methods } from "./interop-server.ts";
import { buildPrograms, missing, Program, type Programs } from "./programs.ts";

if (missing !== undefined) console.warn(`interop with C++ is skipped: ${missing}`);

const MIB = 1024 * 1024;
/** Both ends are of this machine, which may be busy. */
const TIMEOUT = { timeout: 180_000 };
let programs: Programs;

beforeAll(async () => {
  if (missing === undefined) programs = await buildPrograms(["server.c++", "client.c++"]);
}, 300_000);
afterAll(() => programs?.[Symbol.asyncDispose]());

/** Calls before, while and after a promise of the server's resolves to `target`; gives back their answers. */
async function resolveTo(main: Capability, target: Capability): Promise<number[]> {
  using answer = main.call(methods.promise);
  using promised = required(getCapability(await answer.result(), 0));
  const values = [1, 2, 3].map((value) => callOf(promised, value));
  using fulfilling = main.call(methods.fulfil, (params) => setCapability(params, 0, target));
  values.push(...[4, 5, 6].map((value) => callOf(promised, value)));
  await fulfilling.result();
  values.push(...[7, 8, 9].map((value) => callOf(promised, value)));
  await Promise.all(values);
  values.push(...[10, 11, 12].map((value) => callOf(promised, value)));
  return await Promise.all(values);
}

const TWELVE = Array.from({ length: 12 }, (_, index) => index + 1);

describe.skipIf(missing !== undefined).each(KINDS)("our vat as client of a C++ server over %s", TIMEOUT, (kind) => {
  test("echoes every type", async () => {
    await using server = await CppServer.start(programs, kind);
    const constant = await ask(
      server.main,
      methods.constant,
      () => undefined,
      (results) => readPlain(results.all),
    );
    expect(constant).toEqual(EVERYTHING);
    expect(await echoOf(server.main, EVERYTHING)).toEqual(EVERYTHING);
  });

  test("echoes null pointers as null", async () => {
    await using server = await CppServer.start(programs, kind);
    expect(await echoOf(server.main, NOTHING)).toEqual(NOTHING);
    using answer = server.main.call(methods.echo);
    expect(readPlain((await answer.result()).all)).toEqual(NOTHING);
  });

  test("echoes a message of many segments", async () => {
    await using server = await CppServer.start(programs, kind);
    const structs = Array.from({ length: 2_000 }, (_, index) => ({ ...EVERYTHING, int32: index }));
    const large = { ...NOTHING, structs };
    expect(await echoOf(server.main, large)).toEqual(large);
  });

  test("sends and takes 64 MB as chunks", async () => {
    await using server = await CppServer.start(programs, kind);
    let next = 0;
    const lane = async () => {
      while (next < 64) {
        const seed = next++;
        const bytes = new Uint8Array(MIB);
        for (let at = 0; at < MIB; at += 509) bytes[at] = seed + at;
        using answer = server.main.call(methods.chunk, (params) => params._initBytes(MIB).copyBuffer(bytes));
        const echoed = (await answer.result()).bytes.toUint8Array();
        expect(Buffer.compare(echoed, bytes)).toBe(0);
      }
    };
    await Promise.all(Array.from({ length: 8 }, lane));
  });

  test("is called back, and sees its callback dropped", async () => {
    await using server = await CppServer.start(programs, kind);
    const local = new InteropServer();
    {
      using callback = local.callback("called", 1);
      using answer = server.main.call(methods.callBack, (params) => {
        setCapability(params, 0, callback);
        params.times = 3;
      });
      expect((await answer.result()).sum).toBe(9);
    }
    await eventually(
      () => local.events.length === 4,
      () => local.events.join(),
    );
    expect(local.events).toEqual(["called 1", "called 2", "called 3", "called dropped"]);
  });

  test("passes capabilities nested in structs and lists, both ways", async () => {
    await using server = await CppServer.start(programs, kind);
    const local = new InteropServer();
    using answer = server.main.call(methods.gather, (params) => {
      const boxes = params._initBoxes(3);
      for (let index = 0; index < 3; index++) {
        using callback = local.callback("called", 10);
        boxes.get(index).label = `box ${index}`;
        const inner = boxes.get(index)._initInner();
        inner.number = index;
        setCapability(inner, 0, callback);
      }
    });
    const results = await answer.result();
    expect(results.sum).toBe(33);
    expect(results.boxes.map(({ label }) => label)).toEqual(["box 0", "box 1", "box 2"]);
    const values = results.boxes.map(async ({ inner }) => {
      using callback = required(getCapability(inner, 0));
      return await callOf(callback, 5);
    });
    expect(await Promise.all(values)).toEqual([5, 6, 7]);
  });

  test("pipelines three deep", async () => {
    await using server = await CppServer.start(programs, kind);
    using one = server.main.call(methods.self);
    using first = one.pipeline(0);
    using two = first.call(methods.self);
    using second = two.pipeline(0);
    using three = second.call(methods.counter, (params) => (params.start = 40));
    using counter = three.pipeline(0);
    expect(await addOf(counter, 2)).toBe(42);
  });

  test("keeps the order of calls when a promise resolves to something here", async () => {
    await using server = await CppServer.start(programs, kind);
    const local = new InteropServer();
    {
      using callback = local.callback("called");
      expect(await resolveTo(server.main, callback)).toEqual(TWELVE);
    }
    await eventually(
      () => local.events.length === 13,
      () => local.events.join(),
    );
    expect(local.events).toEqual([...TWELVE.map((value) => `called ${value}`), "called dropped"]);
  });

  test("keeps the order of calls when a promise resolves to something at the server", async () => {
    await using server = await CppServer.start(programs, kind);
    using answer = server.main.call(methods.own);
    using own = answer.pipeline(0);
    expect(await resolveTo(server.main, own)).toEqual(TWELVE);
    expect(await server.events()).toEqual(TWELVE.map((value) => `own ${value}`));
  });

  test("fails the calls on a promise that breaks", async () => {
    await using server = await CppServer.start(programs, kind);
    using answer = server.main.call(methods.promise);
    using promised = required(getCapability(await answer.result(), 0));
    const before = callOf(promised, 1);
    const expected = before.catch((error: unknown) => error);
    using breaking = server.main.call(methods.fulfil);
    await breaking.result();
    expect(await expected).toMatchObject({
      type: "failed",
      message: expect.stringMatching(/broken$/),
    });
    await expect(callOf(promised, 2)).rejects.toThrow(/broken$/);
  });

  test.each([false, true])(
    "hands out a promise of ours that resolves later (to the server's own: %s)",
    async (toOwn) => {
      await using server = await CppServer.start(programs, kind);
      const local = new InteropServer();
      using bridge = local.capability();
      using promising = bridge.call(methods.promise);
      using promised = required(getCapability(await promising.result(), 0));
      using holding = server.main.call(methods.hold, (params) => setCapability(params, 0, promised));
      await holding.result();
      using helding = server.main.call(methods.held);
      using back = helding.pipeline(0);
      const values = [1, 2].map((value) => callOf(back, value));
      await helding.result();
      using ownAnswer = server.main.call(methods.own);
      using target = toOwn ? ownAnswer.pipeline(0) : local.callback("called");
      using fulfilling = bridge.call(methods.fulfil, (params) => setCapability(params, 0, target));
      await fulfilling.result();
      values.push(...[3, 4].map((value) => callOf(back, value)));
      expect(await Promise.all(values)).toEqual([1, 2, 3, 4]);
      const name = toOwn ? "own" : "called";
      expect(toOwn ? await server.events() : local.events).toEqual([1, 2, 3, 4].map((value) => `${name} ${value}`));
      using dropping = server.main.call(methods.hold);
      await dropping.result();
    },
  );

  test("cancels a call, which the server sees", async () => {
    await using server = await CppServer.start(programs, kind);
    const controller = new AbortController();
    using answer = server.main.call(methods.wait, (params) => (params.id = 7), { signal: controller.signal });
    const rejected = answer.result().catch((error: unknown) => error);
    await server.expectEvent("wait 7");
    controller.abort(new Error("enough"));
    expect(await rejected).toMatchObject({ message: "enough" });
    await server.expectEvent("cancelled 7");
  });

  test("drops a reference, which the server sees", async () => {
    await using server = await CppServer.start(programs, kind);
    {
      using answer = server.main.call(methods.counter, (params) => (params.start = 5));
      using counter = required(getCapability(await answer.result(), 0));
      expect(await addOf(counter, 0)).toBe(5);
    }
    await server.expectEvent("counter 5 dropped");
  });

  test.each([
    [0, "failed"],
    [1, "overloaded"],
    [2, "disconnected"],
    [3, "unimplemented"],
  ])("takes an exception of type %i as %s", async (type, name) => {
    await using server = await CppServer.start(programs, kind);
    using answer = server.main.call(methods.fail, (params) => {
      params.type = type;
      params.reason = "a reason";
    });
    await expect(answer.result()).rejects.toMatchObject({ type: name, message: expect.stringMatching(/a reason$/) });
    expect(await server.events()).toEqual([]);
  });

  test("has 10,000 calls outstanding", async () => {
    await using server = await CppServer.start(programs, kind);
    const answers = Array.from({ length: 10_000 }, (_, id) =>
      ask(
        server.main,
        methods.wait,
        (params) => (params.id = id),
        (results) => results.id,
      ),
    );
    using opening = server.main.call(methods.open);
    await opening.result();
    expect(await Promise.all(answers)).toEqual(Array.from({ length: 10_000 }, (_, id) => id));
  });

  test.each([false, true])("is answered by tail calls of the server (to us: %s)", async (isOurs) => {
    await using server = await CppServer.start(programs, kind);
    const local = new InteropServer();
    using to = isOurs ? local.capability() : server.main.dup();
    {
      using forwarding = server.main.call(methods.forward, (params) => {
        setCapability(params, 0, to);
        params.start = 10;
      });
      using pipelined = forwarding.pipeline(0);
      const early = addOf(pipelined, 1);
      await forwarding.result();
      expect(await addOf(pipelined, 2)).toBe(13);
      expect(await early).toBe(11);
    }
    using failing = server.main.call(methods.forwardFail, (params) => {
      setCapability(params, 0, to);
      params.type = 1;
      params.reason = "a reason";
    });
    await expect(failing.result()).rejects.toMatchObject({ type: "overloaded" });
    using waiting = server.main.call(methods.forwardWait, (params) => {
      setCapability(params, 0, to);
      params.id = 8;
    });
    if (isOurs) {
      await eventually(
        () => local.events.includes("wait 8"),
        () => local.events.join(),
      );
    } else await server.expectEvent("wait 8");
    using opening = to.call(methods.open);
    await opening.result();
    expect((await waiting.result()).id).toBe(8);
  });

  test("cancels through a tail call of the server", async () => {
    await using server = await CppServer.start(programs, kind);
    const local = new InteropServer();
    using to = local.capability();
    const waiting = server.main.call(methods.forwardWait, (params) => {
      setCapability(params, 0, to);
      params.id = 8;
    });
    await eventually(
      () => local.events.includes("wait 8"),
      () => local.events.join(),
    );
    waiting[Symbol.dispose]();
    await eventually(
      () => local.events.includes("cancelled 8"),
      () => local.events.join(),
    );
  });

  test("calls inherited methods", async () => {
    await using server = await CppServer.start(programs, kind);
    using naming = server.main.call(methods.named, (params) => (params.name = "a name"));
    using counter = naming.pipeline(0);
    expect(await addOf(counter, 3)).toBe(3);
    using answer = counter.call(methods.name);
    expect((await answer.result()).name).toBe("a name");
  });

  test("is told that a method or an interface is unknown", async () => {
    await using server = await CppServer.start(programs, kind);
    const { echo, add } = methods;
    const { interfaceId } = add;
    for (const unknown of [{ methodId: 99 }, { interfaceId }, { interfaceId: 0n }]) {
      using answer = server.main.call({ ...echo, ...unknown });
      await expect(answer.result()).rejects.toMatchObject({ type: "unimplemented" });
    }
  });

  test("takes and sends null capabilities", async () => {
    await using server = await CppServer.start(programs, kind);
    using answer = server.main.call(methods.held);
    expect(getCapability(await answer.result(), 0)).toBeUndefined();
    using pipelined = answer.pipeline(0);
    await expect(callOf(pipelined, 1)).rejects.toMatchObject({ type: "failed" });
  });

  test("rejects everything as disconnected when the server is killed", async () => {
    await using server = await CppServer.start(programs, kind);
    const local = new InteropServer();
    using callback = local.callback("held");
    using holding = server.main.call(methods.hold, (params) => setCapability(params, 0, callback));
    await holding.result();
    callback[Symbol.dispose]();
    using waiting = server.main.call(methods.wait, (params) => (params.id = 9));
    const rejected = waiting.result().catch((error: unknown) => error);
    await server.expectEvent("wait 9");
    await server.process.kill();
    expect(await rejected).toMatchObject({ type: "disconnected" });
    await expect(addOf(server.main, 1)).rejects.toMatchObject({ type: "disconnected" });
    expect(local.events).toEqual(["held dropped"]);
    expect(isIdle(server.connection)).toBe(true);
  });
});

/** Our vat, listening: a server of its own for each connection. */
class OurServer implements AsyncDisposable {
  readonly servers: InteropServer[] = [];
  readonly connections: Connection[] = [];
  readonly #listener: SocketListener;

  private constructor(listener: SocketListener) {
    this.#listener = listener;
  }

  static async start(address: string): Promise<OurServer> {
    const { promise, resolve } = Promise.withResolvers<OurServer>();
    const listener = await listenSocket({
      address: parseSocketAddress(address),
      clock: systemClock,
      log: silentLog,
      onStream: (stream) => void promise.then((our) => our.#accept(stream)),
    });
    resolve(new OurServer(listener));
    return await promise;
  }

  get address(): string {
    return formatSocketAddress(this.#listener.address);
  }

  /** Waits until a client has gone, and fails if anything is left of it. */
  async expectNothingLeft(): Promise<void> {
    await eventually(
      () => this.connections.every((connection) => connection.ended.aborted && isIdle(connection)),
      () => JSON.stringify(this.connections.map((connection) => connection.stats())),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const connection of this.connections) connection.abort(disconnected("the test is over"));
    await this.#listener.close();
  }

  #accept(stream: ByteStream): void {
    const server = new InteropServer();
    using bootstrap = server.capability();
    this.servers.push(server);
    this.connections.push(new Connection({ stream, bootstrap, clock: systemClock, log: silentLog }));
  }
}

const SCENARIOS = [
  "echo",
  "echo-null",
  "chunks",
  "callbacks",
  "nested",
  "pipelining",
  "resolve-local",
  "resolve-remote",
  "resolve-broken",
  "promise-param",
  "cancel",
  "drop",
  "exceptions",
  "outstanding",
  "tail-calls",
  "cancel-tail",
  "inheritance",
  "unknown-method",
  "null-capability",
];

describe.skipIf(missing !== undefined).each(KINDS)("a C++ client of our vat over %s", TIMEOUT, (kind) => {
  test.each(SCENARIOS)("finds as it should be: %s", async (scenario) => {
    await using server = await OurServer.start(freshAddress(programs, kind));
    await using client = new Program(programs.path("client"), [addressForCpp(server.address), scenario]);
    expect(await client.exited()).toBe("");
    await server.expectNothingLeft();
    expect(server.connections.length).toBe(1);
  });

  test("that is killed leaves nothing, and its calls are cancelled", async () => {
    await using server = await OurServer.start(freshAddress(programs, kind));
    await using client = new Program(programs.path("client"), [addressForCpp(server.address), "stay"]);
    expect(await client.firstLine()).toBe("waiting");
    await client.kill();
    await server.expectNothingLeft();
    await eventually(
      () => server.servers[0]?.events.length === 3,
      () => String(server.servers[0]?.events),
    );
    expect(server.servers[0]?.events.toSorted()).toEqual(["cancelled 9", "counter 0 dropped", "wait 9"]);
  });

  test("sees a vat of ours that is killed", async () => {
    const script = fileURLToPath(new URL("./serve-process.ts", import.meta.url));
    await using server = new Program(process.execPath, [script, freshAddress(programs, kind)]);
    const address = await server.firstLine();
    await using client = new Program(programs.path("client"), [addressForCpp(address), "stay"]);
    expect(await client.firstLine()).toBe("waiting");
    await server.kill();
    expect(await client.exited()).toBe("");
  });
});

/** As the C++ library writes addresses. */
function addressForCpp(address: string): string {
  return address.replace(/^tcp:/, "");
}
