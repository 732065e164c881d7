/**
 * The inside of capabilities and calls: what `capability.ts` wraps for users, and what the tables of a connection are
 * made of. References are counted by hand here, since the end of an object is a message on the wire.
 *
 * - A `Hook` is an object, or a promise of one, that can be called. It starts with one reference, its maker's.
 * - A `PromiseHook` resolves, once, to another hook. Calls made before go to where its kind sends them, calls made after
 *   to what it resolved to; the order of calls holds across the resolution.
 * - A `Payload` is content with its capabilities, which it owns.
 * - A `PendingCall` is a call seen from its caller: an outcome to come, and capabilities in it that can be called already.
 *   Its references are the caller and every unresolved capability taken from it. The last to go cancels the call, or
 *   gives up its results; so a caller that finishes early does not cancel what its pipelined calls wait for.
 *
 * These name each other all round, which is why they are one file.
 *
 * Nothing here waits, and callbacks run synchronously: an order of events is the order of the calls to these methods.
 */
import { assert, type ClusterError, failed } from "../base/errors.ts";
import { Content } from "./content.ts";
import { CountedContent } from "./counted-content.ts";
import { Watch } from "./watch.ts";

export abstract class Hook {
  #references = 1;

  /** Takes another reference; returns the hook itself. */
  retain(): this {
    this.#references++;
    return this;
  }

  release(): void {
    this.#references--;
    assert(this.#references >= 0, "a hook is released as often as it was retained");
    if (this.#references === 0) this.unreferenced();
  }

  /** Calls. Takes the parameters over, whatever happens. The caller owns one reference to what is returned. */
  abstract call(call: Call): PendingCall;
  /** Calls back, once, when the hook can never work again: at once if so already. Returns what takes the watch back. */
  abstract watch(callback: (reason: ClusterError) => void): () => void;
  protected abstract unreferenced(): void;
}

export interface Call {
  readonly interfaceId: bigint;
  readonly methodId: number;
  readonly params: Payload;
  /**
   * The connection that the call came in on, for tail calls: one that goes out on the same connection may leave its
   * results with the peer. Whoever passes a call on and wants to see its outcome leaves this out.
   */
  readonly origin?: object | undefined;
  /** As `origin`, of the call that this one is the tail of. */
  readonly tailOf?: object | undefined;
}

export type Outcome = { readonly results: Payload } | { readonly error: ClusterError };

/** Content with its capabilities. */
export class Payload extends CountedContent<Hook> {
  /** An empty payload, to be built. */
  static empty(): Payload {
    return new Payload(EMPTY_CONTENT, []);
  }

  /**
   * The capability at a path of pointer indexes, as a reference of the caller's own. What is not there is a broken
   * capability: the path came from a peer, or the content did.
   */
  capabilityAt(path: readonly number[]): Hook {
    try {
      return this.at(path)?.retain() ?? new BrokenHook(nullCapability());
    } catch (error) {
      return new BrokenHook(failed("no capability at this place of the results", { cause: error }));
    }
  }
}

const EMPTY_CONTENT = Content.empty();

export function nullCapability(): ClusterError {
  return failed("a null capability", { code: "null-capability" });
}

/** A capability that never works. */
export class BrokenHook extends Hook {
  readonly reason: ClusterError;

  constructor(reason: ClusterError) {
    super();
    this.reason = reason;
  }

  call({ params }: Call): PendingCall {
    params.dispose();
    return PendingCall.failed(this.reason);
  }

  watch(callback: (reason: ClusterError) => void): () => void {
    callback(this.reason);
    return () => {};
  }

  protected unreferenced(): void {}
}

/** A promise of a hook. Its kinds say what happens to calls before it resolves. */
export abstract class PromiseHook extends Hook {
  /** False of an object that is known and that may still break: an import that is no promise. */
  readonly isPromise: boolean = true;
  #resolution: Hook | undefined;
  #isDropped = false;
  readonly #watches = new Set<Watch>();
  readonly #listeners = new Set<() => void>();
  /** Stops waiting for the resolution of what this has resolved to. */
  #unfollow: (() => void) | undefined;

  get resolution(): Hook | undefined {
    return this.#resolution;
  }

  /** Resolves, taking `target` over. Calls made before are passed on first, then who waits is told. Once. */
  resolve(target: Hook): void {
    assert(this.#resolution === undefined, "a promise resolves once");
    let resolution = innermost(target).retain();
    target.release();
    if (resolution === this) {
      this.release();
      resolution = new BrokenHook(failed("a capability that is a promise of itself"));
    }
    if (this.#isDropped) {
      resolution.release();
      return;
    }
    this.retain();
    this.#resolution = resolution;
    this.resolved(resolution);
    for (const watch of this.#watches) watch.unwatch = resolution.watch(watch.callback);
    this.#follow();
    const listeners = [...this.#listeners];
    this.#listeners.clear();
    for (const listener of listeners) listener();
    this.release();
  }

  /** Calls back once, after the promise has resolved; never if it is dropped before. Returns what takes that back. */
  onResolved(listener: () => void): () => void {
    if (this.#resolution) listener();
    else this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  call(call: Call): PendingCall {
    return this.#resolution ? innermost(this.#resolution).call(call) : this.callUnresolved(call);
  }

  watch(callback: (reason: ClusterError) => void): () => void {
    const watch = new Watch(callback);
    if (this.#resolution) watch.unwatch = this.#resolution.watch(watch.callback);
    this.#watches.add(watch);
    return () => {
      this.#watches.delete(watch);
      watch.unwatch?.();
    };
  }

  protected unreferenced(): void {
    this.#isDropped = true;
    this.#listeners.clear();
    this.#unfollow?.();
    if (this.#resolution) this.#resolution.release();
    else this.droppedUnresolved();
  }

  /** Keeps to the end of a chain of promises as it grows, so that nobody holds what is between. */
  #follow(): void {
    const resolution = this.#resolution;
    if (!(resolution instanceof PromiseHook) || !resolution.isPromise) return;
    this.#unfollow = resolution.onResolved(() => {
      const end = innermost(resolution).retain();
      this.#resolution = end;
      for (const watch of this.#watches) {
        watch.unwatch?.();
        watch.unwatch = end.watch(watch.callback);
      }
      resolution.release();
      this.#follow();
    });
  }

  protected abstract callUnresolved(call: Call): PendingCall;
  /** The moment of resolution, before anyone is told: passes on what was kept. */
  protected abstract resolved(target: Hook): void;
  protected abstract droppedUnresolved(): void;
}

/** Follows promises that have resolved to what they stand for now. */
export function innermost(hook: Hook): Hook {
  let current = hook;
  while (current instanceof PromiseHook && current.resolution) current = current.resolution;
  return current;
}

/** A promise whose calls wait here until it resolves. */
export class QueueHook extends PromiseHook {
  readonly #queue = new Set<{ readonly call: Call; readonly pending: PendingCall }>();
  readonly #onDone: (() => void) | undefined;

  /** `onDone` is called once, when the promise has resolved or is dropped. */
  constructor(onDone?: () => void) {
    super();
    this.#onDone = onDone;
  }

  protected callUnresolved(call: Call): PendingCall {
    const pending = new PendingCall(() => {
      if (!this.#queue.delete(entry)) return;
      call.params.dispose();
      this.release();
    });
    const entry = { call, pending };
    this.#queue.add(entry);
    this.retain();
    return pending;
  }

  protected resolved(target: Hook): void {
    for (const entry of this.#queue) {
      this.#queue.delete(entry);
      entry.pending.adopt(target.call(entry.call));
      this.release();
    }
    this.#onDone?.();
  }

  protected droppedUnresolved(): void {
    this.#onDone?.();
  }
}

export class PendingCall {
  #references = 1;
  #outcome: Outcome | undefined;
  #listeners: ((outcome: Outcome) => void)[] = [];
  #pipelines: Map<string, { readonly hook: PromiseHook; readonly path: readonly number[] }> | undefined;
  /** The call that this one has become. Owned. */
  #inner: PendingCall | undefined;
  #onUnwanted: ((reason: ClusterError) => void) | undefined;
  #elsewhere: number | undefined;
  #onElsewhere: ((questionId: number) => void) | undefined;

  /** `onUnwanted` is called at most once, and only before the outcome: nobody wants it any more. */
  constructor(onUnwanted?: (reason: ClusterError) => void) {
    this.#onUnwanted = onUnwanted;
  }

  static failed(error: ClusterError): PendingCall {
    const pending = new PendingCall();
    pending.settle({ error });
    return pending;
  }

  get outcome(): Outcome | undefined {
    return this.#outcome;
  }

  retain(): this {
    this.#references++;
    return this;
  }

  /** Gives one reference up. The results, and capabilities in them, are borrowed from who holds one. */
  release(): void {
    this.#references--;
    assert(this.#references >= 0, "a call is released as often as it was retained");
    if (this.#references > 0) return;
    const inner = this.#inner;
    // What this has become may be wanted by others: by what is pipelined to it.
    this.#inner = undefined;
    if (this.#outcome === undefined) this.cancel(failed("the call was cancelled", { code: "cancelled" }));
    if (inner) inner.release();
    else if (this.#outcome && "results" in this.#outcome) this.#outcome.results.dispose();
  }

  /** Calls back once with the outcome: at once if it is there. */
  whenSettled(listener: (outcome: Outcome) => void): void {
    if (this.#outcome) listener(this.#outcome);
    else this.#listeners.push(listener);
  }

  /**
   * Calls back when the call has become a question of the connection that it came in on, whose results stay with the peer:
   * at once if it has. Then there will be no outcome here but an error, though pipelining goes on. For one listener.
   */
  whenElsewhere(listener: (questionId: number) => void): void {
    if (this.#elsewhere === undefined) this.#onElsewhere = listener;
    else listener(this.#elsewhere);
  }

  /** The capability that will be at this path of the results, as a reference of the caller's own. */
  pipeline(path: readonly number[]): Hook {
    if (this.#outcome)
      return "results" in this.#outcome
        ? this.#outcome.results.capabilityAt(path)
        : new BrokenHook(this.#outcome.error);
    if (this.#inner) return this.#inner.pipeline(path);
    const key = path.join();
    const known = this.#pipelines?.get(key);
    if (known) return known.hook.retain();
    const hook = this.createPipeline(path, () => {
      this.#pipelines?.delete(key);
      this.release();
    });
    this.retain();
    this.#pipelines ??= new Map();
    this.#pipelines.set(key, { hook, path });
    return hook;
  }

  /** The outcome. Takes results over; they are dropped when the call was cancelled before. */
  settle(outcome: Outcome): void {
    if (this.#outcome) {
      if ("results" in outcome) outcome.results.dispose();
      return;
    }
    this.retain();
    this.#outcome = outcome;
    this.#onUnwanted = undefined;
    this.#resolvePipelines((path) =>
      "results" in outcome ? outcome.results.capabilityAt(path) : new BrokenHook(outcome.error),
    );
    const listeners = this.#listeners;
    this.#listeners = [];
    for (const listener of listeners) listener(outcome);
    this.release();
  }

  /** Becomes the other call: its outcome is this one's, what was pipelined here goes there. Takes the reference over. */
  adopt(inner: PendingCall): void {
    if (this.#outcome || this.#inner) {
      inner.release();
      return;
    }
    this.retain();
    this.#onUnwanted = undefined;
    this.#inner = inner;
    this.#resolvePipelines((path) => inner.pipeline(path));
    // The results stay the other call's, which is held until this one is given up.
    inner.whenSettled((outcome) => {
      if (!this.#outcome) this.settle(outcome);
    });
    inner.whenElsewhere((questionId) => this.leaveElsewhere(questionId));
    this.release();
  }

  /** The results will be with the peer, under this question. */
  protected leaveElsewhere(questionId: number): void {
    if (this.#outcome) return;
    this.#elsewhere = questionId;
    this.#onElsewhere?.(questionId);
  }

  /** Ends the call with this reason if it has no outcome yet; who carries it out is told. */
  cancel(reason: ClusterError): void {
    if (this.#outcome) return;
    this.retain();
    const onUnwanted = this.#onUnwanted;
    const inner = this.#inner;
    this.settle({ error: reason });
    onUnwanted?.(reason);
    inner?.cancel(reason);
    this.release();
  }

  /** Makes the promise for a path. `onDone` is called when it has resolved or is dropped. */
  protected createPipeline(_path: readonly number[], onDone: () => void): PromiseHook {
    return new QueueHook(onDone);
  }

  /** Lets a connection put an embargo between. Takes `target` over. */
  protected resolvePipeline(hook: PromiseHook, _path: readonly number[], target: Hook): void {
    hook.resolve(target);
  }

  #resolvePipelines(targetAt: (path: readonly number[]) => Hook): void {
    const pipelines = this.#pipelines;
    this.#pipelines = undefined;
    if (pipelines) for (const { hook, path } of pipelines.values()) this.resolvePipeline(hook, path, targetAt(path));
  }
}
