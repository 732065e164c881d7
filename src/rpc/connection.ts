/**
 * One connection of this vat with another, over a stream of bytes: level 1 of the Cap'n Proto RPC protocol. It is long
 * because every kind of message is handled here, where all four tables are in reach.
 *
 * ## Resources, and who owns them
 *
 * Four tables hold all that the two vats know of each other. Two name things by ids of ours: `questions` (calls we made)
 * and `exports` (what the peer may call). Two by ids of the peer's: `answers` (calls the peer made) and `imports` (what we
 * may call). A fifth, `embargoes`, holds calls back that would overtake earlier ones. An entry is there exactly as long as
 * the protocol lets its id be spoken of; what it stands for is owned by counted reference (hook.ts) and may live longer
 * or end before. Everything the tables own is given up in `#end`, which runs once, whatever ends the connection.
 *
 * A message's bytes belong to the payload made of it: parameters until the handler has settled, results until the caller
 * gives its answer up. Parameters that are only passed on go out as they came in.
 *
 * ## What must never block
 *
 * Handling a message is synchronous and never waits: not for a handler, not for another connection, not for the stream.
 * So one slow call never holds up another, and a Finish or a Return always gets through to the call it is about.
 * The one thing that may stop is reading as a whole, when this process cannot keep up: too many calls unanswered, too
 * many bytes of parameters held, too many bytes of answers that the peer does not take, or too many questions that a
 * peer with a limit of its own (`answersUnfinishedMax`) has not finished. What would bring relief may
 * be behind what is not read (the Return that a handler waits for; or the peer has stopped for the same reason), so it
 * stops for READ_STALL_MS_MAX at most: then everything is read again, and calls beyond the limits are answered
 * `overloaded`. Writing never stops: frames queue in order in the outbox. What bounds that queue is that its sources
 * are: answers, by the calls we read; calls, by QUESTIONS_MAX and SEND_QUEUE_BYTES_MAX, past which they fail as
 * `overloaded`.
 *
 * ## Order
 *
 * Messages are handled in the order they came in, and go out in the order they were made. Handlers are started in the
 * order of their calls. Calls on a promise reach what it resolves to in the order made, before and after the resolution:
 * queued ones are passed on in the act of resolving, and where the way becomes shorter an embargo keeps later calls back.
 * A Disembargo or Release that names a place in an answer, or an import, is written before the Finish or Release that
 * ends the name.
 *
 * ## Ends
 *
 *     open --close()--> goodbye (Abort, type disconnected, code "goodbye"), flushed, stream closed
 *      |---peer's Abort--> over, with its reason
 *      |---illegal bytes, abort()--> Abort with the reason, flushed within CLOSE_FLUSH_MS_MAX, stream closed
 *      |---stream ends without a word--> over, `connection-lost`
 *      +---stream given up, since the peer keeps quiet--> over, `peer-silent`
 *
 * After each of these everything pending has been rejected with `disconnected`, and every later call is. Hostile bytes
 * cost their connection, nothing else. Deliberately not here: three-party handoff (provide, accept, join), which is
 * answered as unimplemented; a capability of one connection passed over another is forwarded through this vat instead.
 *
 * The file is over 400 lines for this essay: below it is one method per kind of message, which read best side by side.
 */
import type { Clock } from "../base/clock.ts";
import { ClusterError, disconnected, failed, overloaded, toClusterError, unimplemented } from "../base/errors.ts";
import {
  ANSWERS_MAX,
  ANSWERS_UNFINISHED_MAX,
  CALL_BYTES_IN_FLIGHT_MAX,
  EXCEPTION_REASON_LENGTH_MAX,
  SEND_BUFFER_BYTES_MAX,
  SEND_QUEUE_BYTES_MAX,
} from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import { Answers } from "./answers.ts";
import { type ByteStream, PEER_SILENT } from "./byte-stream.ts";
import { type Capability, capabilityOf, hookOf } from "./capability.ts";
import { closeStream } from "./close-stream.ts";
import { Content } from "./content.ts";
import { Embargoes } from "./embargoes.ts";
import { Exports } from "./exports.ts";
import type { Frame } from "./framing.ts";
import { BrokenHook, type Hook, innermost, nullCapability, Payload, PendingCall } from "./hook.ts";
import { Imports } from "./imports.ts";
import { Inbox } from "./inbox.ts";
import { DISEMBARGO, MESSAGE, RETURN, SEND_RESULTS_TO } from "./message.ts";
import {
  readCall,
  readDescriptor,
  readException,
  readFinish,
  readMessage,
  readPayload,
  readReturn,
  readTarget,
} from "./message-reader.ts";
import { MessageWriter } from "./message-writer.ts";
import { Outbox } from "./outbox.ts";
import { type Question, Questions } from "./questions.ts";
import { PeerNames } from "./peer-names.ts";
import { RemoteHook } from "./remote-hook.ts";
import { malformed, type StructReader } from "./wire-pointer.ts";

export interface ConnectionInit {
  /** Taken over: the connection starts, closes or aborts it. */
  readonly stream: ByteStream;
  /** What a bootstrap request of the peer gets. Borrowed: the connection holds its own reference. */
  readonly bootstrap?: Capability | undefined;
  /**
   * Questions that the peer may leave unfinished, asked for each: reading stops there for a moment, since what lifts the
   * limit may be under way, and then one more aborts the connection. Default: ANSWERS_UNFINISHED_MAX, and no stopping.
   */
  readonly answersUnfinishedMax?: (() => number) | undefined;
  readonly clock: Clock;
  readonly log: Log;
}

export interface ConnectionStats {
  readonly questions: number;
  readonly answers: number;
  readonly exports: number;
  readonly imports: number;
}

/** The code of the Abort that says goodbye. */
const GOODBYE = "goodbye";

export class Connection implements AsyncDisposable {
  readonly #stream: ByteStream;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #bootstrap: Hook | undefined;
  readonly #inbox: Inbox;
  readonly #outbox: Outbox;
  readonly #writer: MessageWriter;
  readonly #embargoes: Embargoes;
  readonly #questions: Questions;
  readonly #exports: Exports;
  readonly #imports: Imports;
  readonly #answers: Answers;
  readonly #names: PeerNames;
  readonly #ended = new AbortController();
  /** Bytes of parameters that handlers still hold, and how many calls they belong to. */
  #callBytes = 0;
  #callsHeld = 0;
  #closing: Promise<void> | undefined;
  readonly #pausesWhenFull: boolean;

  /** Starts at once. */
  constructor({ stream, bootstrap, answersUnfinishedMax, clock, log }: ConnectionInit) {
    this.#stream = stream;
    this.#clock = clock;
    this.#log = log.child({ peer: stream.label });
    this.#bootstrap = bootstrap && hookOf(bootstrap);
    this.#inbox = new Inbox({
      stream,
      clock,
      isBehind: () => this.#isBehind(),
      handle: (frame) => this.#handle(frame),
      onFault: (thrown) => {
        // What the peer did has no stack of ours worth showing: one line.
        if (thrown instanceof ClusterError) {
          this.#log.warn("the peer broke the protocol", { code: thrown.code, reason: thrown.message });
        } else this.#log.error("a message could not be handled", { error: thrown });
        this.abort(toClusterError(thrown));
      },
    });
    this.#outbox = new Outbox(stream, () => this.#inbox.relieved());
    const writer = new MessageWriter(this.#outbox);
    this.#writer = writer;
    this.#embargoes = new Embargoes(writer);
    this.#questions = new Questions(
      { writer, outbox: this.#outbox, embargoes: this.#embargoes },
      (caller) => new Exports(writer, caller),
    );
    this.#exports = this.#questions.exports;
    this.#imports = new Imports({ writer, caller: this.#questions, embargoes: this.#embargoes });
    this.#pausesWhenFull = answersUnfinishedMax !== undefined;
    this.#answers = new Answers(writer, this.#exports, answersUnfinishedMax ?? (() => ANSWERS_UNFINISHED_MAX));
    this.#names = new PeerNames(this.#exports, this.#imports, this.#answers);
    stream.start({
      onBytes: (bytes) => this.#inbox.push(bytes),
      onEnd: (error) => {
        const code = error?.code === PEER_SILENT ? PEER_SILENT : "connection-lost";
        this.#end(disconnected("the connection was lost", { code, ...(error && { cause: error }) }));
      },
    });
  }

  /** Aborted when the connection is over, with a ClusterError of type `disconnected` whose code says how. */
  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  /** The peer's bootstrap capability, owned by the caller. Usable at once: calls are pipelined. */
  bootstrap(): Capability {
    const pending = this.#questions.bootstrap();
    const hook = pending.pipeline([]);
    pending.release();
    return capabilityOf(hook);
  }

  /**
   * Says goodbye, sends what is queued and ends the stream; everything pending is rejected. Resolves when that is done;
   * the signal, or without one a short time, cuts it off. Idempotent.
   */
  close({ signal }: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    this.#lastWords(disconnected("goodbye", { code: GOODBYE }));
    this.#end(disconnected("the connection was closed", { code: "connection-closed" }));
    return this.#closeStream(signal);
  }

  /** Ends the connection now, telling the peer why if the stream still takes it. Never throws. Idempotent. */
  abort(reason: ClusterError): void {
    this.#lastWords(reason);
    const isDisconnect = reason.type === "disconnected";
    this.#end(isDisconnect ? reason : disconnected(reason.message, { code: reason.code, cause: reason }));
    void this.#closeStream(undefined);
  }

  /** Sizes of the four tables. */
  stats(): ConnectionStats {
    return {
      questions: this.#questions.size,
      answers: this.#answers.size,
      exports: this.#exports.size,
      imports: this.#imports.size,
    };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** More is under way than this process should hold for one peer. */
  #isBehind(): boolean {
    return (
      this.#outbox.queuedAnswerBytes > SEND_BUFFER_BYTES_MAX ||
      this.#callBytes > CALL_BYTES_IN_FLIGHT_MAX ||
      this.#callsHeld >= ANSWERS_MAX ||
      this.#answers.unreturned >= ANSWERS_MAX ||
      (this.#pausesWhenFull && this.#answers.isFull)
    );
  }

  #handle(frame: Frame): void {
    if (this.#outbox.queuedBytes > SEND_QUEUE_BYTES_MAX * 2) {
      throw overloaded("the peer does not take its answers", { code: "send-queue-full" });
    }
    const { which, body } = readMessage(frame);
    switch (which) {
      case MESSAGE.call:
        return this.#handleCall(frame, body);
      case MESSAGE.return:
        return this.#handleReturn(frame, body);
      case MESSAGE.finish: {
        const { questionId, releaseResultCaps } = readFinish(body);
        this.#answers.finish(questionId, { releaseResultCaps });
        return this.#inbox.relieved();
      }
      case MESSAGE.release:
        return this.#exports.release(body.uint32(0), body.uint32(4));
      case MESSAGE.bootstrap:
        return this.#handleBootstrap(body);
      case MESSAGE.resolve:
        return this.#handleResolve(body);
      case MESSAGE.disembargo:
        return this.#handleDisembargo(frame, body);
      case MESSAGE.unimplemented:
        return this.#handleUnimplemented(body);
      case MESSAGE.abort:
        return this.#handleAbort(body);
      default:
        return this.#writer.unimplemented(frame);
    }
  }

  #handleCall(frame: Frame, body: StructReader): void {
    const { questionId, target, interfaceId, methodId, params: received, sendResultsTo } = readCall(body);
    this.#answers.checkFree(questionId);
    if (sendResultsTo !== SEND_RESULTS_TO.caller && sendResultsTo !== SEND_RESULTS_TO.yourself) {
      return this.#writer.unimplemented(frame);
    }
    const params = this.#names.payload(frame, received);
    if (this.#inbox.isShedding) {
      params.dispose();
      const error = overloaded("too many calls are under way", { code: "too-many-calls" });
      return this.#answers.open(questionId, PendingCall.failed(error));
    }
    const { hook, depth } = this.#names.callTarget(target, params);
    this.#callBytes += frame.bytes;
    this.#callsHeld++;
    params.onDisposed = () => {
      this.#callBytes -= frame.bytes;
      this.#callsHeld--;
      this.#inbox.relieved();
    };
    const keepsResults = sendResultsTo === SEND_RESULTS_TO.yourself;
    // Results that stay here for another answer are not to be fetched from the peer itself by yet another.
    const origin = keepsResults ? undefined : this.#questions;
    const pending = hook.call({ interfaceId, methodId, params, origin });
    hook.release();
    this.#answers.open(questionId, pending, { keepsResults, depth });
    if (this.#inbox.isStopped) pending.whenSettled(() => this.#inbox.relieved());
  }

  #handleReturn(frame: Frame, body: StructReader): void {
    const received = readReturn(body);
    const question = this.#questions.find(received.answerId);
    this.#questions.returned(question, received, () => this.#deliver(question, received.which, frame, body));
  }

  #deliver(question: Question, which: number, frame: Frame, body: StructReader): void {
    switch (which) {
      case RETURN.results:
        return question.settle({ results: this.#names.payload(frame, readPayload(body.struct(0))) });
      case RETURN.exception:
        return question.settle({ error: readException(body.struct(0)) });
      case RETURN.canceled:
        return question.settle({ error: failed("the call was cancelled by the peer", { code: "cancelled" }) });
      case RETURN.takeFromOtherQuestion:
        return question.adopt(this.#answers.take(body.uint32(8)));
      default:
        this.#writer.unimplemented(frame);
        return question.settle({ error: unimplemented("the results are with a third party", { code: "third-party" }) });
    }
  }

  #handleBootstrap(body: StructReader): void {
    const questionId = body.uint32(0);
    this.#answers.checkFree(questionId);
    const pending = new PendingCall();
    if (this.#bootstrap) {
      pending.settle({ results: new Payload(Content.capability(), [this.#bootstrap.retain()]) });
    } else {
      pending.settle({ error: unimplemented("this vat has no bootstrap capability", { code: "no-bootstrap" }) });
    }
    this.#answers.open(questionId, pending);
  }

  #handleResolve(body: StructReader): void {
    const promiseId = body.uint32(0);
    const which = body.uint16(4);
    if (which === 0)
      this.#imports.resolve(
        promiseId,
        this.#names.receive(readDescriptor(body.struct(0))) ?? new BrokenHook(nullCapability()),
      );
    else if (which === 1) this.#imports.resolve(promiseId, new BrokenHook(readException(body.struct(0))));
    else throw malformed(`resolution ${which}`);
  }

  /**
   * All calls that came in before have been passed on, in this very turn at the latest, so the echo is behind them. What
   * the embargo is about points back to the peer, or did when it was told so and has moved on since.
   */
  #handleDisembargo(frame: Frame, body: StructReader): void {
    const which = body.uint16(4);
    if (which === DISEMBARGO.receiverLoopback) return this.#embargoes.lift(body.uint32(0));
    if (which !== DISEMBARGO.senderLoopback) return this.#writer.unimplemented(frame);
    const { hook } = this.#names.target(readTarget(body.struct(0)));
    const inner = innermost(hook);
    const isOwn = inner instanceof RemoteHook && inner.caller === this.#questions;
    hook.release();
    this.#writer.disembargo("receiverLoopback", body.uint32(0), isOwn ? inner.address : { kind: "import", id: 0 });
  }

  /** Something of ours came back: for the peer it has not happened. */
  #handleUnimplemented(message: StructReader): void {
    const body = message.struct(0);
    switch (message.uint16(0)) {
      case MESSAGE.call:
      case MESSAGE.bootstrap:
        return this.#questions.notUnderstood(body.uint32(0), unimplemented("the peer does not know this message"));
      case MESSAGE.resolve: {
        if (body.uint16(4) !== 0) return;
        const descriptor = readDescriptor(body.struct(0));
        if (descriptor.kind === "senderHosted" || descriptor.kind === "senderPromise")
          this.#exports.release(descriptor.id, 1);
        return;
      }
      case MESSAGE.disembargo:
        if (body.uint16(4) === DISEMBARGO.senderLoopback) this.#embargoes.lift(body.uint32(0));
    }
    // Of others, releases and finishes say, there is nothing to be undone here.
  }

  #handleAbort(exception: StructReader): void {
    const error = readException(exception);
    const isGoodbye = error.type === "disconnected" && error.code === GOODBYE;
    const reason = isGoodbye
      ? disconnected("the peer closed the connection", { code: "connection-closed" })
      : disconnected(`the peer ended the connection: ${error.message.slice(0, EXCEPTION_REASON_LENGTH_MAX)}`, {
          code: "connection-aborted",
          cause: error,
        });
    if (!isGoodbye) this.#log.warn("the peer aborted the connection", { reason: reason.message });
    this.#outbox.close();
    this.#end(reason);
    void this.#closeStream(undefined);
  }

  /** Queues an Abort behind everything else and hands it all to the stream. */
  #lastWords(reason: ClusterError): void {
    if (this.ended.aborted) return;
    this.#writer.abort(reason);
    this.#outbox.flushNow();
  }

  #end(reason: ClusterError): void {
    if (this.ended.aborted) return;
    this.#inbox.close();
    this.#outbox.close();
    this.#log.debug("connection ended", { code: reason.code });
    this.#ended.abort(reason);
    this.#answers.end(reason);
    this.#questions.end(reason);
    this.#embargoes.end(reason);
    this.#imports.end(reason);
    this.#exports.end();
    this.#bootstrap?.release();
  }

  #closeStream(signal: AbortSignal | undefined): Promise<void> {
    this.#closing ??= closeStream(this.#stream, this.#clock, signal);
    return this.#closing;
  }
}
