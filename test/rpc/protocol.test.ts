/** The vat, message by message: what it answers to each kind, and that what is illegal costs the connection alone. */
import * as rpc from "capnp-es/capnp/rpc";
import { utils } from "capnp-es";
import { describe, expect, test } from "vitest";
import { EXCEPTION_REASON_LENGTH_MAX, PIPELINE_CHAIN_MAX } from "../../src/base/limits.ts";
import { type Capability, setCapability } from "../../src/rpc/capability.ts";
import { callbackOf, methods, Tester } from "./tester.ts";
import { ScriptedPeer } from "./scripted-peer.ts";
import { settle, until } from "./vats.ts";

const { Message, Return, CapDescriptor, MessageTarget } = rpc;

describe("bootstrap", () => {
  test("is answered with the one capability, as the content itself", async () => {
    await using peer = new ScriptedPeer(new Tester().capability());
    peer.send((message) => (message._initBootstrap().questionId = 5));
    const answer = await peer.return();
    expect(answer.answerId).toBe(5);
    expect(answer.which()).toBe(Return.RESULTS);
    expect(answer.releaseParamCaps).toBe(false);
    expect(answer.results.capTable.length).toBe(1);
    const descriptor = answer.results.capTable.at(0);
    expect(descriptor.which()).toBe(CapDescriptor.SENDER_HOSTED);
    expect(utils.getCapabilityId(answer.results.content)).toBe(0);
    peer.finish(5, true);
  });

  test("of a vat without one is unimplemented", async () => {
    await using peer = new ScriptedPeer();
    peer.send((message) => (message._initBootstrap().questionId = 1));
    const answer = await peer.return();
    expect(answer.which()).toBe(Return.EXCEPTION);
    expect(answer.exception.type).toBe(rpc.Exception_Type.UNIMPLEMENTED);
    peer.finish(1);
  });

  test("is asked for, called before it is answered, and finished when it is", async () => {
    await using peer = new ScriptedPeer();
    const main = peer.vat.bootstrap();
    const answer = main.call(methods.echo, (params) => (params.number = 8));
    const question = (await peer.next()).bootstrap;
    const { call } = await peer.next();
    expect(call.target.which()).toBe(MessageTarget.PROMISED_ANSWER);
    expect(call.target.promisedAnswer.questionId).toBe(question.questionId);
    expect(call.target.promisedAnswer.transform.length).toBe(0);
    expect(call.interfaceId).toBe(methods.echo.interfaceId);
    expect(call.methodId).toBe(methods.echo.methodId);
    expect(
      utils.getAs(methods.echo.ParamsClass, utils.getStruct(0, methods.echo.ParamsClass, call.params)).number,
    ).toBe(8);
    returnCapability(peer, question.questionId, 77);
    const { finish } = await peer.next();
    expect(finish.questionId).toBe(question.questionId);
    expect(finish.releaseResultCaps).toBe(false);
    peer.send((message) => {
      const sent = message._initReturn();
      sent.answerId = call.questionId;
      sent.releaseParamCaps = false;
      sent._initResults();
    });
    expect((await answer.result()).number).toBe(0);
    expect((await peer.next()).finish.questionId).toBe(call.questionId);
    main[Symbol.dispose]();
    const { release } = await peer.next();
    expect([release.id, release.referenceCount]).toEqual([77, 1]);
    answer[Symbol.dispose]();
  });
});

describe("a call of the peer", () => {
  test("is answered, and its results are kept until Finish", async () => {
    const tester = new Tester();
    await using peer = new ScriptedPeer(tester.capability());
    const main = await peer.bootstrap();
    peer.call(1, main, methods.counter);
    const answer = await peer.return();
    const counter = answer.results.capTable.at(0).senderHosted;
    expect(peer.vat.stats().answers).toBe(1);
    pipelinedCall(peer, 2, 1, [0], methods.add);
    expect((await peer.return()).which()).toBe(Return.RESULTS);
    peer.finish(2);
    peer.finish(1);
    peer.release(counter);
    await until(() => tester.alive === 1);
    peer.release(main);
  });

  test("whose results are released with Finish lets go of them", async () => {
    const tester = new Tester();
    await using peer = new ScriptedPeer(tester.capability());
    const main = await peer.bootstrap();
    peer.call(1, main, methods.counter);
    await peer.return();
    peer.finish(1, true);
    await until(() => tester.alive === 1);
    peer.release(main);
  });

  test("that is finished before its end is cancelled, and answered so", async () => {
    const tester = new Tester();
    await using peer = new ScriptedPeer(tester.capability());
    const main = await peer.bootstrap();
    peer.call(9, main, methods.wait);
    await until(() => tester.events.length === 1);
    peer.finish(9, true);
    const answer = await peer.return();
    expect(answer.answerId).toBe(9);
    expect(answer.which()).toBe(Return.CANCELED);
    expect(tester.events[1]).toBe("abort 0: cancelled");
    tester.gate(0).resolve();
    expect(await peer.rest()).toEqual([]);
    peer.release(main);
  });

  test("whose results go to the peer itself is answered without them, and they are taken from there", async () => {
    const tester = new Tester();
    await using peer = new ScriptedPeer(tester.capability());
    const main = await peer.bootstrap();
    const theirs = peer.vat.bootstrap();
    const tail = theirs.call(methods.echo, (params) => (params.number = 1));
    const question = (await peer.next()).bootstrap.questionId;
    const { questionId } = (await peer.next()).call;
    returnCapability(peer, question, 0);
    expect((await peer.next()).which()).toBe(Message.FINISH);
    // The peer makes a tail call of the vat's call back to the vat.
    peer.send((message) => {
      const call = message._initCall();
      call.questionId = 4;
      call._initTarget().importedCap = main;
      call.interfaceId = methods.echo.interfaceId;
      call.methodId = methods.echo.methodId;
      call._initSendResultsTo().yourself = true;
      utils.initStructAt(0, methods.echo.ParamsClass, call._initParams()).number = 66;
    });
    peer.send((message) => {
      const answer = message._initReturn();
      answer.answerId = questionId;
      answer.takeFromOtherQuestion = 4;
    });
    const kinds = [await peer.next(), await peer.next()];
    expect(kinds.find((message) => message.which() === Message.FINISH)?.finish.questionId).toBe(questionId);
    const elsewhere = kinds.find((message) => message.which() === Message.RETURN)?.return;
    expect(elsewhere?.which()).toBe(Return.RESULTS_SENT_ELSEWHERE);
    expect(elsewhere?.answerId).toBe(4);
    peer.finish(4, true);
    expect((await tail.result()).number).toBe(66);
    tail[Symbol.dispose]();
    theirs[Symbol.dispose]();
    expect((await peer.next()).release.id).toBe(0);
    peer.release(main);
  });

  test("whose handler throws is answered with the message, cut, and nothing of the stack", async () => {
    const tester = new Tester();
    await using peer = new ScriptedPeer(tester.capability());
    const main = await peer.bootstrap();
    peer.send((message) => {
      const call = message._initCall();
      call.questionId = 1;
      call._initTarget().importedCap = main;
      call.interfaceId = methods.fail.interfaceId;
      call.methodId = methods.fail.methodId;
      const params = utils.initStructAt(0, methods.fail.ParamsClass, call._initParams());
      params.kind = "Error";
      params.message = "x".repeat(EXCEPTION_REASON_LENGTH_MAX * 2);
    });
    const { exception } = await peer.return();
    expect(exception.reason).toBe("x".repeat(EXCEPTION_REASON_LENGTH_MAX));
    expect(exception.trace).toBe("");
    peer.finish(1);
    peer.release(main);
  });

  test("with capabilities that are not there passes broken ones on, and lives", async () => {
    const tester = new Tester();
    await using peer = new ScriptedPeer(tester.capability());
    const main = await peer.bootstrap();
    peer.send((message) => {
      const call = message._initCall();
      call.questionId = 1;
      call._initTarget().importedCap = main;
      call.interfaceId = methods.callBack.interfaceId;
      call.methodId = methods.callBack.methodId;
      const params = call._initParams();
      const content = utils.initStructAt(0, methods.callBack.ParamsClass, params);
      content.times = 1;
      utils.setInterfacePointer(0, utils.getPointer(0, content));
      params._initCapTable(1).get(0).receiverHosted = 999;
    });
    expect((await peer.return()).exception.reason).toContain("no such export: 999");
    peer.finish(1);
    peer.release(main);
  });

  test("with a null interface field reads as null, though the message has a capability 0", async () => {
    const tester = new Tester();
    await using peer = new ScriptedPeer(tester.capability());
    const main = await peer.bootstrap();
    peer.call(1, main, methods.pass, (_params, payload) => (payload._initCapTable(1).get(0).senderHosted = 5));
    const answer = await peer.return();
    expect(utils.isNull(utils.getPointer(0, utils.getStruct(0, methods.pass.ResultsClass, answer.results)))).toBe(true);
    expect(answer.results.capTable.length).toBe(0);
    expect((await peer.next()).release.id).toBe(5);
    peer.finish(1);
    peer.release(main);
  });

  test("with an interface pointer beyond its capabilities reads as null", async () => {
    const tester = new Tester();
    await using peer = new ScriptedPeer(tester.capability());
    const main = await peer.bootstrap();
    peer.send((message) => {
      const call = message._initCall();
      call.questionId = 1;
      call._initTarget().importedCap = main;
      call.interfaceId = methods.pass.interfaceId;
      call.methodId = methods.pass.methodId;
      const content = utils.initStructAt(0, methods.pass.ParamsClass, call._initParams());
      utils.setInterfacePointer(4_000_000_000, utils.getPointer(0, content));
    });
    const answer = await peer.return();
    expect(answer.which()).toBe(Return.RESULTS);
    expect(answer.results.capTable.length).toBe(0);
    peer.finish(1);
    peer.release(main);
  });

  test("at the end of too long a chain of unanswered ones is overloaded", async () => {
    const tester = new Tester();
    await using peer = new ScriptedPeer(tester.capability());
    const main = await peer.bootstrap();
    peer.call(0, main, methods.promised);
    for (let id = 1; id <= PIPELINE_CHAIN_MAX + 1; id++) pipelinedCall(peer, id, id - 1, [0], methods.self);
    const answer = await peer.return();
    expect(answer.answerId).toBe(PIPELINE_CHAIN_MAX + 1);
    expect(answer.exception.type).toBe(rpc.Exception_Type.OVERLOADED);
    tester.gate(0).resolve();
    for (let id = 0; id <= PIPELINE_CHAIN_MAX; id++) expect((await peer.return()).which()).toBe(Return.RESULTS);
    for (let id = 0; id <= PIPELINE_CHAIN_MAX + 1; id++) peer.finish(id, true);
    peer.release(main);
    await until(() => tester.alive === 1);
  });
});

describe("a call to the peer", () => {
  test("names capabilities by the shortest way", async () => {
    await using peer = new ScriptedPeer();
    const theirs = await theirCapability(peer, 3);
    using own = callbackOf((value) => value);
    using question = theirs.call(methods.self);
    using place = question.pipeline(0);
    const asked = (await peer.next()).call.questionId;
    using one = theirs.call(methods.hold, (params) => setCapability(params, 0, own));
    using two = theirs.call(methods.hold, (params) => setCapability(params, 0, theirs));
    using three = theirs.call(methods.hold, (params) => setCapability(params, 0, place));
    const calls = [(await peer.next()).call, (await peer.next()).call, (await peer.next()).call];
    const descriptors = calls.map((call) => call.params.capTable.at(0));
    expect(descriptors.map((descriptor) => descriptor.which())).toEqual([
      CapDescriptor.SENDER_HOSTED,
      CapDescriptor.RECEIVER_HOSTED,
      CapDescriptor.RECEIVER_ANSWER,
    ]);
    expect(descriptors[1]?.receiverHosted).toBe(3);
    expect(descriptors[2]?.receiverAnswer.questionId).toBe(asked);
    expect(descriptors[2]?.receiverAnswer.transform.at(0).getPointerField).toBe(0);
    for (const { questionId } of calls) returnNothing(peer, questionId);
    returnNothing(peer, asked);
    await Promise.all([one.result(), two.result(), three.result(), question.result()]);
    peer.release(descriptors[0]?.senderHosted ?? -1);
    theirs[Symbol.dispose]();
  });

  test("whose Return releases its parameters lets go of them", async () => {
    await using peer = new ScriptedPeer();
    const theirs = await theirCapability(peer, 3);
    using own = callbackOf((value) => value);
    using answer = theirs.call(methods.hold, (params) => setCapability(params, 0, own));
    const { questionId } = (await peer.next()).call;
    expect(peer.vat.stats().exports).toBe(1);
    returnNothing(peer, questionId, true);
    await answer.result();
    expect(peer.vat.stats().exports).toBe(0);
    theirs[Symbol.dispose]();
  });

  test("that was given up ignores what comes back late", async () => {
    await using peer = new ScriptedPeer();
    const theirs = await theirCapability(peer, 3);
    const answer = theirs.call(methods.counter);
    const { questionId } = (await peer.next()).call;
    answer[Symbol.dispose]();
    const { finish } = await peer.next();
    expect(finish.releaseResultCaps).toBe(true);
    expect(peer.vat.stats().questions).toBe(1);
    returnCapability(peer, questionId, 50);
    await until(() => peer.vat.stats().questions === 0);
    expect(peer.vat.stats().imports).toBe(1);
    expect(await peer.rest()).toEqual([]);
    theirs[Symbol.dispose]();
  });

  test("that comes back as not understood fails as unimplemented, without a Finish", async () => {
    await using peer = new ScriptedPeer();
    const theirs = await theirCapability(peer, 3);
    using answer = theirs.call(methods.echo);
    const { questionId } = (await peer.next()).call;
    peer.send((message) => (message._initUnimplemented()._initCall().questionId = questionId));
    await expect(answer.result()).rejects.toMatchObject({ type: "unimplemented" });
    expect(await peer.rest()).toEqual([]);
    theirs[Symbol.dispose]();
  });

  test("that is answered cancelled, or by a third party, fails", async () => {
    await using peer = new ScriptedPeer();
    const theirs = await theirCapability(peer, 3);
    using one = theirs.call(methods.echo);
    using two = theirs.call(methods.echo);
    const ids = [(await peer.next()).call.questionId, (await peer.next()).call.questionId];
    peer.send((message) => {
      const answer = message._initReturn();
      answer.answerId = ids[0] ?? 0;
      answer.canceled = true;
    });
    peer.send((message) => {
      const answer = message._initReturn();
      answer.answerId = ids[1] ?? 0;
      utils.setUint16(6, Return.ACCEPT_FROM_THIRD_PARTY, answer);
    });
    await expect(one.result()).rejects.toMatchObject({ code: "cancelled" });
    await expect(two.result()).rejects.toMatchObject({ type: "unimplemented" });
    theirs[Symbol.dispose]();
  });
});

describe("promises", () => {
  test("of the peer are called until they resolve, and what they resolve to from then on", async () => {
    await using peer = new ScriptedPeer();
    const theirs = await theirCapability(peer, 3, "senderPromise");
    using one = theirs.call(methods.echo);
    expect((await peer.next()).call.target.importedCap).toBe(3);
    resolve(peer, 3, (descriptor) => (descriptor.senderHosted = 4));
    expect((await peer.next()).release.id).toBe(3);
    using two = theirs.call(methods.echo);
    const { call } = await peer.next();
    expect(call.target.importedCap).toBe(4);
    one[Symbol.dispose]();
    two[Symbol.dispose]();
    expect((await peer.next()).which()).toBe(Message.FINISH);
    expect((await peer.next()).which()).toBe(Message.FINISH);
    returnNothing(peer, 0);
    returnNothing(peer, call.questionId);
    theirs[Symbol.dispose]();
    expect((await peer.next()).release.id).toBe(4);
  });

  test("of the peer that break, break", async () => {
    await using peer = new ScriptedPeer();
    const theirs = await theirCapability(peer, 3, "senderPromise");
    const { broken } = theirs;
    peer.send((message) => {
      const sent = message._initResolve();
      sent.promiseId = 3;
      const exception = sent._initException();
      exception.reason = "it is gone";
      exception.type = rpc.Exception_Type.DISCONNECTED;
    });
    await until(() => broken.aborted);
    expect(broken.reason).toMatchObject({ type: "disconnected", message: "it is gone" });
    theirs[Symbol.dispose]();
  });

  test("of the peer that come home are embargoed until the Disembargo has come back", async () => {
    const calls: number[] = [];
    await using peer = new ScriptedPeer(callbackOf((value) => value, calls));
    const home = await peer.bootstrap();
    const theirs = await theirCapability(peer, 3, "senderPromise");
    using one = theirs.call(methods.call, (params) => (params.value = 1));
    const { questionId } = (await peer.next()).call;
    resolve(peer, 3, (descriptor) => (descriptor.receiverHosted = home));
    const { disembargo } = await peer.next();
    expect(disembargo.context.which()).toBe(rpc.Disembargo_Context.SENDER_LOOPBACK);
    expect(disembargo.target.importedCap).toBe(3);
    using two = theirs.call(methods.call, (params) => (params.value = 2));
    await settle();
    expect(calls).toEqual([]);
    // The peer reflects the first call, then the disembargo behind it.
    peer.send((message) => {
      const call = message._initCall();
      call.questionId = 20;
      call._initTarget().importedCap = home;
      call.interfaceId = methods.call.interfaceId;
      call.methodId = methods.call.methodId;
      utils.initStructAt(0, methods.call.ParamsClass, call._initParams()).value = 1;
    });
    peer.send((message) => {
      const sent = message._initDisembargo();
      sent._initTarget().importedCap = home;
      sent._initContext().receiverLoopback = disembargo.context.senderLoopback;
    });
    await two.result();
    expect(calls).toEqual([1, 2]);
    peer.finish(20);
    returnNothing(peer, questionId);
    await one.result();
    theirs[Symbol.dispose]();
    peer.release(home);
  });

  test("that nobody holds any more may resolve all the same: what came with it is released", async () => {
    await using peer = new ScriptedPeer();
    const theirs = await theirCapability(peer, 3, "senderPromise");
    theirs[Symbol.dispose]();
    expect((await peer.next()).release.id).toBe(3);
    resolve(peer, 3, (descriptor) => (descriptor.senderHosted = 4));
    expect((await peer.next()).release.id).toBe(4);
  });

  test("of promises of themselves are broken", async () => {
    await using peer = new ScriptedPeer();
    const theirs = await theirCapability(peer, 3, "senderPromise");
    resolve(peer, 3, (descriptor) => (descriptor.senderPromise = 3));
    expect((await peer.next()).release.referenceCount).toBe(2);
    using answer = theirs.call(methods.echo);
    await expect(answer.result()).rejects.toMatchObject({ type: "failed" });
    theirs[Symbol.dispose]();
  });

  test("of the peer that resolve to promises without end leave only the last of them", async () => {
    await using peer = new ScriptedPeer();
    const theirs = await theirCapability(peer, 0, "senderPromise");
    const { broken } = theirs;
    const length = 20_000;
    for (let id = 0; id < length; id++) resolve(peer, id, (descriptor) => (descriptor.senderPromise = id + 1));
    await until(() => peer.receivedCount === length);
    await peer.rest();
    expect(peer.vat.stats().imports).toBe(1);
    using answer = theirs.call(methods.echo);
    expect((await peer.next()).call.target.importedCap).toBe(length);
    answer[Symbol.dispose]();
    peer.send((message) => {
      const sent = message._initResolve();
      sent.promiseId = length;
      sent._initException().reason = "at last";
    });
    await until(() => broken.aborted);
    returnNothing(peer, (await peer.next()).finish.questionId);
    theirs[Symbol.dispose]();
  });

  test("of ours are sent as such, and their resolution after them", async () => {
    await using peer = new ScriptedPeer();
    const theirs = await theirCapability(peer, 3);
    const tester = new Tester();
    using main = tester.capability();
    using question = main.call(methods.promised);
    using promise = question.pipeline(0);
    using answer = theirs.call(methods.hold, (params) => setCapability(params, 0, promise));
    const { call } = await peer.next();
    const descriptor = call.params.capTable.at(0);
    expect(descriptor.which()).toBe(CapDescriptor.SENDER_PROMISE);
    // Called while unresolved: queued.
    peer.call(30, descriptor.senderPromise, methods.echo);
    await settle();
    tester.gate(0).resolve();
    const resolved = (await peer.next()).resolve;
    expect(resolved.promiseId).toBe(descriptor.senderPromise);
    expect(resolved.cap.which()).toBe(CapDescriptor.SENDER_HOSTED);
    expect((await peer.return()).answerId).toBe(30);
    peer.finish(30);
    // Not understood: as if the resolution had not been sent, so that what came with it is released.
    peer.send((message) => {
      const sent = message._initUnimplemented()._initResolve();
      sent.promiseId = descriptor.senderPromise;
      sent._initCap().senderHosted = resolved.cap.senderHosted;
    });
    peer.release(descriptor.senderPromise);
    returnNothing(peer, call.questionId);
    await answer.result();
    theirs[Symbol.dispose]();
  });

  test("of ours that resolve to the peer's own are echoed a Disembargo", async () => {
    await using peer = new ScriptedPeer(new Tester().capability());
    const theirs = await theirCapability(peer, 3);
    const main = await peer.bootstrap(8);
    // The peer passes its own capability and gets it back as a place in the answer.
    peer.send((message) => {
      const call = message._initCall();
      call.questionId = 9;
      call._initTarget().importedCap = main;
      call.interfaceId = methods.pass.interfaceId;
      call.methodId = methods.pass.methodId;
      const params = call._initParams();
      utils.setInterfacePointer(0, utils.getPointer(0, utils.initStructAt(0, methods.pass.ParamsClass, params)));
      params._initCapTable(1).get(0).senderHosted = 3;
    });
    const answer = await peer.return();
    expect(answer.results.capTable.at(0).receiverHosted).toBe(3);
    peer.send((message) => {
      const sent = message._initDisembargo();
      const place = sent._initTarget()._initPromisedAnswer();
      place.questionId = 9;
      place._initTransform(1).get(0).getPointerField = 0;
      sent._initContext().senderLoopback = 123;
    });
    const { disembargo } = await peer.next();
    expect(disembargo.context.receiverLoopback).toBe(123);
    expect(disembargo.target.importedCap).toBe(3);
    peer.finish(9, true);
    theirs[Symbol.dispose]();
    expect((await peer.next()).release.referenceCount).toBe(2);
    peer.release(main);
  });
});

describe("messages of other levels", () => {
  test.each([
    ["provide", (message: rpc.Message): number => (message._initProvide().questionId = 7), Message.PROVIDE],
    ["accept", (message: rpc.Message): number => (message._initAccept().questionId = 7), Message.ACCEPT],
    ["join", (message: rpc.Message): number => (message._initJoin().questionId = 7), Message.JOIN],
  ])("are sent back: %s", async (_name, fill, which) => {
    await using peer = new ScriptedPeer();
    peer.send((message) => void fill(message));
    const echo = await peer.next();
    expect(echo.which()).toBe(Message.UNIMPLEMENTED);
    expect(echo.unimplemented.which()).toBe(which);
    expect(utils.getUint32(0, utils.getStruct(0, rpc.Finish, echo.unimplemented))).toBe(7);
  });

  test("are sent back when nobody has heard of them, and their own echo is let be", async () => {
    await using peer = new ScriptedPeer();
    peer.send((message) => utils.setUint16(0, 4711, message));
    expect((await peer.next()).unimplemented.which()).toBe(4711);
    peer.send((message) => utils.setUint16(0, 4711, message._initUnimplemented()));
    expect(await peer.rest()).toEqual([]);
  });

  test("asking for results to go to a third party are sent back", async () => {
    await using peer = new ScriptedPeer(new Tester().capability());
    const main = await peer.bootstrap();
    peer.send((message) => {
      const call = message._initCall();
      call.questionId = 1;
      call._initTarget().importedCap = main;
      utils.setUint16(6, rpc.Call_SendResultsTo.THIRD_PARTY, call);
    });
    expect((await peer.next()).unimplemented.call.questionId).toBe(1);
    peer.release(main);
  });
});

describe("what is illegal ends the connection, with the reason:", () => {
  const illegal: readonly [string, (peer: ScriptedPeer, main: number) => void, string][] = [
    ["a call to no export", (peer) => peer.call(1, 4_000, methods.echo), "not exported"],
    ["a call to no answer", (peer) => pipelinedCall(peer, 1, 33, [0], methods.echo), "not open"],
    [
      "a question id in use",
      (peer, main) => {
        peer.call(1, main, methods.wait);
        peer.call(1, main, methods.wait);
      },
      "in use",
    ],
    ["a Finish for no question", (peer) => peer.finish(12), "not open"],
    ["a Return for no question", (peer) => returnNothing(peer, 12), "no question"],
    ["a Release of no export", (peer) => peer.release(4_000), "not exported"],
    ["a Release of more than was sent", (peer, main) => peer.release(main, 2), "not exported"],
    [
      "a Disembargo nobody asked for",
      (peer) =>
        peer.send((message) => {
          const sent = message._initDisembargo();
          sent._initTarget().importedCap = 0;
          sent._initContext().receiverLoopback = 3;
        }),
      "not asked for",
    ],
    ["a frame of many segments", (peer) => peer.sendBytes(new Uint8Array(8).fill(255)), "segments"],
    ["a frame that is too large", (peer) => peer.sendBytes(Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 1)), "bytes"],
    ["a frame without a root", (peer) => peer.sendBytes(new Uint8Array(8)), "out of bounds"],
    [
      "a root that points nowhere",
      (peer) => peer.sendBytes(Uint8Array.of(0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 1, 0, 1, 0)),
      "out of bounds",
    ],
  ];
  test.each(illegal)("%s", async (_name, misbehave, sentence) => {
    const tester = new Tester();
    await using peer = new ScriptedPeer(tester.capability());
    const main = await peer.bootstrap();
    misbehave(peer, main);
    const { reason, type } = await peer.aborted();
    expect(reason).toContain(sentence);
    expect(type).toBe(rpc.Exception_Type.FAILED);
    expect(peer.vat.ended.reason).toMatchObject({ type: "disconnected", code: "malformed-message" });
    expect(peer.vat.stats()).toEqual({ questions: 0, answers: 0, exports: 0, imports: 0 });
    await until(() => peer.hasEnded);
    tester.gate(0).resolve();
    await until(() => tester.alive === 0);
  });
});

function pipelinedCall(
  peer: ScriptedPeer,
  questionId: number,
  on: number,
  path: readonly number[],
  method: { interfaceId: bigint; methodId: number },
): void {
  peer.send((message) => {
    const call = message._initCall();
    call.questionId = questionId;
    const place = call._initTarget()._initPromisedAnswer();
    place.questionId = on;
    const transform = place._initTransform(path.length);
    path.forEach((index, i) => (transform.get(i).getPointerField = index));
    call.interfaceId = method.interfaceId;
    call.methodId = method.methodId;
  });
}

function returnNothing(peer: ScriptedPeer, answerId: number, releaseParamCaps = false): void {
  peer.send((message) => {
    const answer = message._initReturn();
    answer.answerId = answerId;
    answer.releaseParamCaps = releaseParamCaps;
    answer._initResults();
  });
}

/** Answers with a capability, both as the content itself and as the first pointer of a struct would not be. */
function returnCapability(
  peer: ScriptedPeer,
  answerId: number,
  exportId: number,
  kind: "senderHosted" | "senderPromise" = "senderHosted",
): void {
  peer.send((message) => {
    const answer = message._initReturn();
    answer.answerId = answerId;
    answer.releaseParamCaps = false;
    const results = answer._initResults();
    utils.setInterfacePointer(0, results.content);
    results._initCapTable(1).get(0)[kind] = exportId;
  });
}

function resolve(peer: ScriptedPeer, promiseId: number, fill: (descriptor: rpc.CapDescriptor) => void): void {
  peer.send((message) => {
    const sent = message._initResolve();
    sent.promiseId = promiseId;
    fill(sent._initCap());
  });
}

/** The peer's bootstrap capability, which the peer exports by this id. All messages about it have been read. */
async function theirCapability(
  peer: ScriptedPeer,
  exportId: number,
  kind: "senderHosted" | "senderPromise" = "senderHosted",
): Promise<Capability> {
  const capability = peer.vat.bootstrap();
  const { questionId } = (await peer.next()).bootstrap;
  returnCapability(peer, questionId, exportId, kind);
  expect((await peer.next()).which()).toBe(Message.FINISH);
  return capability;
}
