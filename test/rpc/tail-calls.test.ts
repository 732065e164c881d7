/** Tail calls, as callers see them and as the peer does, message by message. */
import { utils } from "capnp-es";
import { Call_SendResultsTo, Message, Return } from "capnp-es/capnp/rpc";
import { describe, expect, test } from "vitest";
import { overloaded } from "../../src/base/errors.ts";
import { type Answer, type Capability, getCapability, setCapability } from "../../src/rpc/capability.ts";
import { revocable } from "../../src/rpc/revoke.ts";
import { InteropServer, methods, promiseOf } from "../interop/interop-server.ts";
import type { Made, Waited } from "../interop/interop.ts";
import { ScriptedPeer } from "./scripted-peer.ts";
import { ask, required } from "./tester.ts";
import { settle, until, VatPair } from "./vats.ts";

function forward(main: Capability, to: Capability, start = 10): Answer<Made> {
  return main.call(methods.forward, (params) => {
    setCapability(params, 0, to);
    params.start = start;
  });
}

function forwardWait(main: Capability, to: Capability, id: number): Answer<Waited> {
  return main.call(methods.forwardWait, (params) => {
    setCapability(params, 0, to);
    params.id = id;
  });
}

function add(counter: Capability, by: number): Promise<number> {
  return ask(
    counter,
    methods.add,
    (params) => (params.by = by),
    (results) => results.value,
  );
}

describe("a tail call", () => {
  test.each(["the caller's", "the server's"])("to an object of %s gives its results", async (whose) => {
    const [local, remote] = [new InteropServer(), new InteropServer()];
    await using pair = new VatPair(remote.capability());
    using to = whose === "the caller's" ? local.capability() : pair.main.dup();
    using forwarding = forward(pair.main, to);
    using pipelined = forwarding.pipeline(0);
    const sums = [1, 2].map((by) => add(pipelined, by));
    using counter = required(getCapability(await forwarding.result(), 0));
    sums.push(...[3, 4].map((by) => add(pipelined, by)));
    expect(await Promise.all(sums)).toEqual([11, 13, 16, 20]);
    expect(await add(counter, 0)).toBe(20);
  });

  test("to a promise that becomes an object of the caller's gives its results", async () => {
    const local = new InteropServer();
    await using pair = new VatPair(new InteropServer().capability());
    const coming = Promise.withResolvers<Capability>();
    using to = promiseOf(coming.promise);
    using forwarding = forward(pair.main, to);
    using pipelined = forwarding.pipeline(0);
    const sum = add(pipelined, 1);
    await settle();
    coming.resolve(local.capability());
    expect(await sum).toBe(11);
  });

  test("within a process gives its results", async () => {
    const [local, other] = [new InteropServer(), new InteropServer()];
    using main = local.capability();
    using to = other.capability();
    using forwarding = forward(main, to);
    using counter = required(getCapability(await forwarding.result(), 0));
    expect(await add(counter, 1)).toBe(11);
  });

  test("that fails fails its caller", async () => {
    const local = new InteropServer();
    await using pair = new VatPair(new InteropServer().capability());
    using to = local.capability();
    using failing = pair.main.call(methods.forwardFail, (params) => {
      setCapability(params, 0, to);
      params.type = 1;
      params.reason = "a reason";
    });
    await expect(failing.result()).rejects.toMatchObject({ type: "overloaded", message: "a reason" });
  });

  test("is cancelled when its caller gives the answer up", async () => {
    const local = new InteropServer();
    await using pair = new VatPair(new InteropServer().capability());
    using to = local.capability();
    const waiting = forwardWait(pair.main, to, 4);
    await until(() => local.events.includes("wait 4"));
    waiting[Symbol.dispose]();
    await until(() => local.events.includes("cancelled 4"));
  });

  test("is over when the connection is", async () => {
    const local = new InteropServer();
    await using pair = new VatPair(new InteropServer().capability());
    using to = local.capability();
    using waiting = forwardWait(pair.main, to, 4);
    await until(() => local.events.includes("wait 4"));
    pair.server.abort(overloaded("enough"));
    await expect(waiting.result()).rejects.toMatchObject({ type: "disconnected" });
  });

  test("of an object that can be revoked is revoked with it", async () => {
    const [local, remote] = [new InteropServer(), new InteropServer()];
    using target = remote.capability();
    const { capability, revoke } = revocable(target);
    await using pair = new VatPair(capability);
    using to = local.capability();
    using forwarding = forward(pair.main, to);
    using counter = required(getCapability(await forwarding.result(), 0));
    expect(await add(counter, 1)).toBe(11);
    using waiting = forwardWait(pair.main, to, 4);
    const rejected = waiting.result().catch((error: unknown) => error);
    await until(() => local.events.includes("wait 4"));
    revoke(overloaded("no more", { code: "revoked" }));
    expect(await rejected).toMatchObject({ code: "revoked" });
    await until(() => local.events.includes("cancelled 4"));
  });

  test("to an object that does not know the method fails, and gives the object up", async () => {
    const local = new InteropServer();
    await using pair = new VatPair(new InteropServer().capability());
    {
      using callback = local.callback("called");
      using forwarding = forward(pair.main, callback);
      await expect(forwarding.result()).rejects.toMatchObject({ type: "unimplemented" });
    }
    await until(() => local.events.includes("called dropped"));
  });
});

describe("a tail call to the peer that called", () => {
  /** The peer calls `forward` with an object of its own, and has been told what there is to tell. */
  async function forwarded(peer: ScriptedPeer): Promise<{ main: number; tail: number }> {
    const main = await peer.bootstrap();
    peer.call(1, main, methods.forward, (params, payload) => {
      payload._initCapTable(1).get(0).senderHosted = 5;
      utils.setInterfacePointer(0, utils.getPointer(0, params));
    });
    const { call } = await peer.next();
    expect(call.target.importedCap).toBe(5);
    expect(call.methodId).toBe(methods.counter.methodId);
    expect(call.sendResultsTo.which()).toBe(Call_SendResultsTo.YOURSELF);
    const answer = await peer.return();
    expect(answer.answerId).toBe(1);
    expect(answer.which()).toBe(Return.TAKE_FROM_OTHER_QUESTION);
    expect(answer.takeFromOtherQuestion).toBe(call.questionId);
    return { main, tail: call.questionId };
  }

  test("leaves the results there, and passes on what is pipelined to them", async () => {
    await using peer = new ScriptedPeer(new InteropServer().capability());
    const { main, tail } = await forwarded(peer);
    expect((await peer.next()).which()).toBe(Message.RELEASE);
    sendElsewhere(peer, tail);
    peer.send((message) => {
      const call = message._initCall();
      call.questionId = 2;
      const answer = call._initTarget()._initPromisedAnswer();
      answer.questionId = 1;
      answer._initTransform(1).get(0).getPointerField = 0;
      call.interfaceId = methods.add.interfaceId;
      call.methodId = methods.add.methodId;
    });
    const { call } = await peer.next();
    expect(call.target.promisedAnswer.questionId).toBe(tail);
    expect(call.sendResultsTo.which()).toBe(Call_SendResultsTo.CALLER);
    peer.finish(1);
    peer.finish(2);
    peer.release(main);
    const rest = await peer.rest();
    expect(rest.map((message) => message.which())).toEqual([Message.FINISH, Message.RETURN, Message.FINISH]);
    // The pipelined question is cancelled, and not answered yet.
    returnCanceled(peer, call.questionId);
  });

  test("may end in an exception, which is the peer's own", async () => {
    await using peer = new ScriptedPeer(new InteropServer().capability());
    const { main, tail } = await forwarded(peer);
    peer.send((message) => {
      const answer = message._initReturn();
      answer.answerId = tail;
      answer._initException().reason = "no";
    });
    peer.finish(1);
    peer.release(main);
    const rest = await peer.rest();
    expect(rest.map((message) => message.which()).toSorted((a, b) => a - b)).toEqual([Message.FINISH, Message.RELEASE]);
  });

  test("may end after its caller is done with it", async () => {
    await using peer = new ScriptedPeer(new InteropServer().capability());
    const { main, tail } = await forwarded(peer);
    peer.finish(1);
    const rest = await peer.rest();
    expect(rest.map((message) => message.which()).toSorted((a, b) => a - b)).toEqual([Message.FINISH, Message.RELEASE]);
    expect(peer.vat.stats().questions).toBe(1);
    sendElsewhere(peer, tail);
    peer.release(main);
  });

  test("that is answered twice ends the connection", async () => {
    await using peer = new ScriptedPeer(new InteropServer().capability());
    const { tail } = await forwarded(peer);
    await peer.rest();
    sendElsewhere(peer, tail);
    sendElsewhere(peer, tail);
    expect((await peer.aborted()).reason).toContain("second answer");
  });
});

function sendElsewhere(peer: ScriptedPeer, questionId: number): void {
  peer.send((message) => {
    const answer = message._initReturn();
    answer.answerId = questionId;
    answer.resultsSentElsewhere = true;
  });
}

function returnCanceled(peer: ScriptedPeer, questionId: number): void {
  peer.send((message) => {
    const answer = message._initReturn();
    answer.answerId = questionId;
    answer.canceled = true;
  });
}
