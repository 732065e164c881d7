/**
 * The answer table: calls that the peer has made, by ids of the peer's.
 *
 *     called --settled: Return sent--> returned, results kept for pipelined calls --Finish--> gone
 *       |
 *       +--Finish--> Return "canceled" sent, gone; the call goes on only if pipelined calls wait on it
 *
 * A call that became a tail call to the peer itself is returned as such, and its entry kept until the Finish.
 *
 * What a handler costs while it runs is counted until it has really ended, cancelled or not.
 */
import { type ClusterError, overloaded, toClusterError } from "../base/errors.ts";
import { PIPELINE_CHAIN_MAX, RESULT_BYTES_KEPT_MAX } from "../base/limits.ts";
import type { Exports } from "./exports.ts";
import { BrokenHook, type Hook, nullCapability, type Outcome, type Payload, PendingCall } from "./hook.ts";
import { RETURN } from "./message.ts";
import type { MessageWriter } from "./message-writer.ts";
import { malformed } from "./wire-pointer.ts";

interface Answer {
  readonly id: number;
  pending: PendingCall;
  /** A reference to `pending` is held here. */
  isOwned: boolean;
  /** The results stay here, for a later Return of the peer to take: `sendResultsTo.yourself`. */
  readonly keepsResults: boolean;
  /** How many unanswered calls this one waits on, through pipelining. */
  readonly depth: number;
  /** Exports that were sent with the results. */
  readonly resultExports: number[];
  /** Of results that are kept for calls on capabilities in them. */
  keptBytes: number;
  /** The results that stay here have been taken: once is all. */
  isTaken: boolean;
  isReturned: boolean;
  isFinished: boolean;
}

export class Answers {
  readonly #writer: MessageWriter;
  readonly #exports: Exports;
  readonly #unfinishedMax: () => number;
  readonly #entries = new Map<number, Answer>();
  #unreturned = 0;
  #keptBytes = 0;

  /** `unfinishedMax`, asked for each question, is how many the peer may leave unfinished. */
  constructor(writer: MessageWriter, exports: Exports, unfinishedMax: () => number) {
    this.#writer = writer;
    this.#exports = exports;
    this.#unfinishedMax = unfinishedMax;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Calls whose Return has not been sent. */
  get unreturned(): number {
    return this.#unreturned;
  }

  /** No more questions should be read: the peer has left as many unfinished as it may. */
  get isFull(): boolean {
    return this.#entries.size >= this.#unfinishedMax();
  }

  /** Throws unless the peer may ask a question with this id. */
  checkFree(id: number): void {
    if (this.#entries.has(id)) throw malformed(`a question id that is in use: ${id}`);
    if (this.isFull || this.#keptBytes > RESULT_BYTES_KEPT_MAX) {
      throw overloaded("the peer does not finish its questions", { code: "too-many-unfinished" });
    }
  }

  /** A call has begun. Takes `pending` over. */
  open(id: number, pending: PendingCall, { keepsResults = false, depth = 0 } = {}): void {
    const answer: Answer = {
      id,
      pending,
      isOwned: true,
      keepsResults,
      depth,
      resultExports: [],
      keptBytes: 0,
      isTaken: false,
      isReturned: false,
      isFinished: false,
    };
    this.#entries.set(id, answer);
    this.#unreturned++;
    pending.whenElsewhere((otherId) => this.#isElsewhere(answer, otherId));
    pending.whenSettled((outcome) => this.#settled(answer, outcome));
  }

  /** The capability at a place of an answer, as a reference of the caller's own, and how deep it is in unanswered calls. */
  pipeline(id: number, path: readonly number[]): { readonly hook: Hook; readonly depth: number } {
    const answer = this.#find(id);
    if (answer.pending.outcome) return { hook: answer.pending.pipeline(path), depth: 0 };
    const depth = answer.depth + 1;
    if (depth > PIPELINE_CHAIN_MAX) {
      return {
        hook: new BrokenHook(overloaded("too long a chain of pipelined calls", { code: "pipeline-too-deep" })),
        depth,
      };
    }
    return { hook: answer.pending.pipeline(path), depth };
  }

  /**
   * The call whose results were kept, as a reference of the caller's own. Until it has ended nobody else wants it: the caller
   * gets the very reference that was held here, so that giving it up cancels the call.
   */
  take(id: number): PendingCall {
    const answer = this.#find(id);
    if (!answer.keepsResults || answer.isTaken) throw malformed(`results that were not kept: ${id}`);
    answer.isTaken = true;
    if (answer.pending.outcome) answer.pending.retain();
    else answer.isOwned = false;
    return answer.pending;
  }

  finish(id: number, { releaseResultCaps }: { releaseResultCaps: boolean }): void {
    const answer = this.#find(id);
    this.#entries.delete(id);
    this.#keptBytes -= answer.keptBytes;
    answer.isFinished = true;
    if (!answer.isReturned) {
      this.#unreturned--;
      this.#writer.returnWithout(id, answer.keepsResults ? RETURN.resultsSentElsewhere : RETURN.canceled);
    }
    if (answer.isOwned) answer.pending.release();
    if (releaseResultCaps) this.#exports.releaseAll(answer.resultExports);
  }

  end(reason: ClusterError): void {
    const answers = [...this.#entries.values()];
    this.#entries.clear();
    this.#unreturned = 0;
    this.#keptBytes = 0;
    for (const answer of answers) answer.isFinished = true;
    for (const answer of answers) {
      answer.pending.cancel(reason);
      if (answer.isOwned) answer.pending.release();
    }
  }

  #find(id: number): Answer {
    const answer = this.#entries.get(id);
    if (answer === undefined) throw malformed(`a question that is not open: ${id}`);
    return answer;
  }

  /** A tail call: the results are the peer's own. What is pipelined to this answer is passed on until it is finished. */
  #isElsewhere(answer: Answer, otherId: number): void {
    if (answer.isFinished || answer.isReturned) return;
    answer.isReturned = true;
    this.#unreturned--;
    this.#writer.returnFrom(answer.id, otherId);
  }

  #settled(answer: Answer, outcome: Outcome): void {
    if (answer.isFinished || answer.isReturned) return;
    answer.isReturned = true;
    this.#unreturned--;
    if (!answer.isOwned) {
      // Calls that are pipelined to it may be on their way still.
      answer.pending.retain();
      answer.isOwned = true;
    }
    if (answer.keepsResults) this.#writer.returnWithout(answer.id, RETURN.resultsSentElsewhere);
    else if ("error" in outcome) this.#writer.returnException(answer.id, outcome.error);
    else this.#returnResults(answer, outcome);
  }

  #returnResults(answer: Answer, { results }: Extract<Outcome, { results: unknown }>): void {
    try {
      const descriptors = this.#exports.describe(results.capabilities, answer.resultExports);
      this.#writer.returnResults(answer.id, results.content, descriptors);
      this.#keep(answer, results);
    } catch (error) {
      this.#exports.releaseAll(answer.resultExports.splice(0));
      this.#writer.returnException(answer.id, toClusterError(error));
    }
  }

  /** Results are kept for calls on the capabilities in them. Where there are none, nothing is kept. */
  #keep(answer: Answer, results: Payload): void {
    if (results.capabilities.length > 0) {
      answer.keptBytes = results.content.bytes;
      this.#keptBytes += answer.keptBytes;
      return;
    }
    const { pending } = answer;
    answer.pending = NO_CAPABILITIES.retain();
    pending.release();
  }
}

/** Stands for results without capabilities. */
const NO_CAPABILITIES = PendingCall.failed(nullCapability());
