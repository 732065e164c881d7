/**
 * The question table: calls we have made and the peer has not answered, by ids of ours.
 *
 *     asked --Return--> answered, Finish sent at once: the entry is gone
 *       |
 *       +--nobody wants it, or its signal is aborted: Finish sent--> given up --Return, ignored--> gone
 *
 * A tail call leaves its results with the peer, for an answer of ours to be taken from; its entry lives as long as that
 * answer, so that calls pipelined to it find their way:
 *
 *     asked --Return, "results sent elsewhere"--> elsewhere --answer given up: Finish sent--> gone
 *
 * Results are copied out of the Return, and capabilities in them are imports from then on, so that Finish need not wait
 * for the caller to be done with them. An id is used again only after both Return and Finish.
 */
import { type ClusterError, overloaded, toClusterError } from "../base/errors.ts";
import { QUESTIONS_MAX, SEND_QUEUE_BYTES_MAX } from "../base/limits.ts";
import type { Embargoes } from "./embargoes.ts";
import type { Exports } from "./exports.ts";
import { type Call, type Hook, PendingCall, type PromiseHook } from "./hook.ts";
import { type MessageTarget, RETURN } from "./message.ts";
import type { ReceivedReturn } from "./message-reader.ts";
import type { MessageWriter } from "./message-writer.ts";
import type { Outbox } from "./outbox.ts";
import { type Caller, RemoteHook } from "./remote-hook.ts";
import { malformed } from "./wire-pointer.ts";

export interface QuestionsInit {
  readonly writer: MessageWriter;
  readonly outbox: Outbox;
  readonly embargoes: Embargoes;
}

export class Questions implements Caller {
  readonly #init: QuestionsInit;
  readonly #exports: Exports;
  readonly #entries = new Map<number, Question>();
  readonly #freeIds: number[] = [];
  #nextId = 0;
  #endReason: ClusterError | undefined;

  /** The export table addresses this very object, so it is made here, by the given function. */
  constructor(init: QuestionsInit, makeExports: (caller: Caller) => Exports) {
    this.#init = init;
    this.#exports = makeExports(this);
  }

  get size(): number {
    return this.#entries.size;
  }

  get exports(): Exports {
    return this.#exports;
  }

  /** Asks for the peer's bootstrap capability, which is the content of the answer itself. */
  bootstrap(): PendingCall {
    const refusal = this.#refusal();
    if (refusal) return PendingCall.failed(refusal);
    const question = this.#open();
    this.#init.writer.bootstrap(question.id);
    return question;
  }

  call(target: MessageTarget, { interfaceId, methodId, params, tailOf }: Call): PendingCall {
    const refusal = this.#refusal();
    if (refusal) {
      params.dispose();
      return PendingCall.failed(refusal);
    }
    const isTail = tailOf === this;
    const question = this.#open(isTail);
    try {
      const descriptors = this.#exports.describe(params.capabilities, question.paramExports);
      const sendResultsTo = isTail ? "yourself" : "caller";
      const header = { questionId: question.id, target, interfaceId, methodId, sendResultsTo } as const;
      this.#init.writer.call(header, params.content, descriptors);
    } catch (error) {
      this.#exports.releaseAll(question.paramExports);
      this.#close(question);
      question.settle({ error: toClusterError(error) });
    } finally {
      params.dispose();
    }
    return question;
  }

  /** The question that a Return is for. */
  find(id: number): Question {
    const question = this.#entries.get(id);
    if (question === undefined) throw malformed(`an answer to no question: ${id}`);
    return question;
  }

  /**
   * The Return for `question` has come. `deliver` gives it its outcome, unless it was given up. Whatever has to be said
   * about places in the answer is said before the Finish, after which there are none.
   */
  returned(question: Question, { which, releaseParamCaps }: ReceivedReturn, deliver: () => void): void {
    if (releaseParamCaps) this.#exports.releaseAll(question.paramExports);
    if (question.isElsewhere) throw malformed(`a second answer to a question: ${question.id}`);
    if (which === RETURN.resultsSentElsewhere) {
      if (!question.isTail) throw malformed("results sent elsewhere, which was not asked for");
      question.isElsewhere = true;
      if (!question.isGivenUp) return;
    }
    if (!question.isGivenUp) {
      deliver();
      this.#init.writer.finish(question.id, false);
    }
    this.#close(question);
  }

  /** The peer did not understand the question: for it there is none, so no Finish. */
  notUnderstood(id: number, error: ClusterError): void {
    const question = this.#entries.get(id);
    if (question === undefined) return;
    this.#exports.releaseAll(question.paramExports);
    this.#close(question);
    question.settle({ error });
  }

  end(reason: ClusterError): void {
    this.#endReason = reason;
    const questions = [...this.#entries.values()];
    this.#entries.clear();
    for (const question of questions) question.settle({ error: reason });
  }

  #refusal(): ClusterError | undefined {
    if (this.#endReason) return this.#endReason;
    if (this.#entries.size >= QUESTIONS_MAX)
      return overloaded("too many calls are unanswered", { code: "too-many-calls" });
    if (this.#init.outbox.queuedBytes > SEND_QUEUE_BYTES_MAX) {
      return overloaded("the peer does not read", { code: "send-queue-full" });
    }
    return undefined;
  }

  #open(isTail = false): Question {
    const id = this.#freeIds.pop() ?? this.#nextId++;
    const question = new Question(id, isTail, this, this.#init.embargoes, () => this.#giveUp(question));
    this.#entries.set(id, question);
    return question;
  }

  #giveUp(question: Question): void {
    if (this.#entries.get(question.id) !== question) return;
    question.isGivenUp = true;
    this.#init.writer.finish(question.id, true);
    if (question.isElsewhere) this.#close(question);
  }

  #close(question: Question): void {
    if (this.#entries.get(question.id) !== question) return;
    this.#entries.delete(question.id);
    this.#freeIds.push(question.id);
  }
}

export class Question extends PendingCall {
  readonly id: number;
  /** Exports that were sent with the parameters: a peer may say in its Return that it has released them. */
  readonly paramExports: number[] = [];
  /** The Finish has been sent. Capabilities in the results are then released by the peer itself. */
  isGivenUp = false;
  /** The results stay with the peer. */
  readonly isTail: boolean;
  /** The peer has said so. */
  isElsewhere = false;
  readonly #caller: Caller;
  readonly #embargoes: Embargoes;

  constructor(id: number, isTail: boolean, caller: Caller, embargoes: Embargoes, onUnwanted: () => void) {
    super(onUnwanted);
    this.id = id;
    this.isTail = isTail;
    if (isTail) this.leaveElsewhere(id);
    this.#caller = caller;
    this.#embargoes = embargoes;
  }

  protected override createPipeline(path: readonly number[], onDone: () => void): PromiseHook {
    return new PipelineHook(this.#caller, { kind: "answer", questionId: this.id, path }, onDone);
  }

  protected override resolvePipeline(hook: PromiseHook, path: readonly number[], target: Hook): void {
    const isRemote = hook instanceof RemoteHook && !this.isGivenUp;
    super.resolvePipeline(hook, path, isRemote ? this.#embargoes.guard(hook, target) : target);
  }
}

/** A capability in an answer to come. Calls go to where it will be. */
class PipelineHook extends RemoteHook {
  readonly address: MessageTarget;
  readonly #onDone: () => void;

  constructor(caller: Caller, address: MessageTarget, onDone: () => void) {
    super(caller);
    this.address = address;
    this.#onDone = onDone;
  }

  protected resolved(): void {
    this.#onDone();
  }

  protected droppedUnresolved(): void {
    this.#onDone();
  }
}
