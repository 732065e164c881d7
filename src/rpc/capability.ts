/**
 * Capabilities as the rest of the program sees them: references that can be called, duplicated, dropped and put into
 * messages. Whether the object lives here, behind a connection or behind a revocation makes no difference to its users.
 *
 * Invariants: every `Capability` is one counted reference, disposed on its own; what a message holds is a reference of
 * the message's own. References that are dropped without being disposed are released when they are collected, so that
 * a mistake costs time and not memory for ever.
 */
import { type Method as GeneratedMethod, type Struct, type StructCtor, utils } from "capnp-es";
import { assert, type ClusterError, failed, toClusterError } from "../base/errors.ts";
import { ownerOf } from "./content.ts";
import { BrokenHook, type Hook, Payload, PendingCall } from "./hook.ts";

/** What a call names: an entry of the `methods` of a generated client class. */
export type Method<P extends Struct, R extends Struct> = Readonly<GeneratedMethod<P, R>>;

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

/** One reference to an object, here or elsewhere. Disposing it drops the reference; doing so again does nothing. */
export interface Capability extends Disposable {
  /**
   * Calls. `encode` fills the parameters before this returns. Calls on one capability arrive in the order made.
   * Aborting the signal tells the other side (Finish) and rejects with the signal's reason. Never throws: everything that
   * can go wrong, `encode` included, rejects the answer's result.
   */
  call<P extends Struct, R extends Struct>(
    method: Method<P, R>,
    encode?: (params: P) => void,
    options?: CallOptions,
  ): Answer<R>;
  /** Another reference to the same object; each is disposed on its own. */
  dup(): Capability;
  /** Aborted, with a ClusterError, when the capability can never work again. Of a local object: never, or when revoked. */
  readonly broken: AbortSignal;
}

/** Results, and what gives up the capabilities in them that were not taken out. */
export type Results<R> = R & Disposable;

/** A call under way or done. Disposing it before its end cancels the call, unless pipelined calls wait on it. */
export interface Answer<R> extends Disposable {
  /**
   * The results, valid until the answer, or they themselves, are disposed: that releases the capabilities in them.
   * Rejects with a ClusterError, or with the reason of the call's signal. A result that is never asked for is no
   * unhandled rejection.
   */
  result(): Promise<Results<R>>;
  /**
   * The capability that the results will hold at this path of pointer indexes: usable at once, calls on it travel without
   * waiting. Owned by the caller. With an empty path: the content itself, as bootstrap answers have it.
   */
  pipeline(...path: number[]): Capability;
}

/** Puts a capability into a message that is being filled. The message takes a reference of its own. */
export function setCapability(struct: Struct, pointerIndex: number, capability: Capability | undefined): void {
  const pointer = utils.getPointer(pointerIndex, struct);
  utils.erase(pointer);
  if (capability === undefined) return;
  utils.setInterfacePointer(payloadOf(struct).add(hookOf(capability)), pointer);
}

/** The capability in a field, as a new reference the caller owns; undefined when the field is null. */
export function getCapability(struct: Struct, pointerIndex: number): Capability | undefined {
  const pointer = utils.getPointer(pointerIndex, struct);
  if (utils.isNull(pointer)) return undefined;
  if (pointer.segment.getUint32(pointer.byteOffset) !== CAPABILITY_POINTER) {
    throw failed("a capability was expected in this field", { code: "malformed-message" });
  }
  const hook = payloadOf(struct).capabilities[utils.getCapabilityId(pointer)];
  return hook ? new Reference(hook.retain()) : undefined;
}

/** The lower half of an interface pointer; the upper is the index. */
const CAPABILITY_POINTER = 3;

function payloadOf(struct: Struct): Payload {
  const owner = ownerOf(struct);
  assert(owner instanceof Payload, "the struct is part of a call's params or results");
  return owner;
}

/** A capability of this hook. Takes the hook's reference over. */
export function capabilityOf(hook: Hook): Capability {
  return new Reference(hook);
}

/** The hook of a capability, as a reference of the caller's own. */
export function hookOf(capability: Capability): Hook {
  assert(capability instanceof Reference, "the capability was made by this library");
  return capability.hook.retain();
}

/** Content of type `type`, filled by `encode`. What that throws is thrown, and nothing is left. */
export function buildPayload<T extends Struct>(type: StructCtor<T>, encode?: (root: T) => void): Payload {
  const payload = Payload.empty();
  try {
    const root = payload.build(type);
    encode?.(root);
  } catch (error) {
    payload.dispose();
    throw error;
  }
  return payload;
}

/** What a Reference holds, apart from it, so that its end can be noticed. */
interface Held {
  readonly hook: Hook;
  unwatch: (() => void) | undefined;
}

const forgotten = new FinalizationRegistry<Held>(letGo);

function letGo(held: Held): void {
  held.unwatch?.();
  held.hook.release();
}

class Reference implements Capability {
  #held: Held | undefined;
  #broken: AbortSignal | undefined;

  constructor(hook: Hook) {
    this.#held = { hook, unwatch: undefined };
    forgotten.register(this, this.#held, this);
  }

  get hook(): Hook {
    if (this.#held === undefined) throw failed("the capability has been disposed", { code: "disposed" });
    return this.#held.hook;
  }

  call<P extends Struct, R extends Struct>(
    method: Method<P, R>,
    encode?: (params: P) => void,
    { signal }: CallOptions = {},
  ): Answer<R> {
    return new CallAnswer(this.#start(method, encode, signal), method.ResultsClass, signal);
  }

  dup(): Capability {
    return new Reference(this.hook.retain());
  }

  get broken(): AbortSignal {
    if (this.#broken) return this.#broken;
    const controller = new AbortController();
    this.#broken = controller.signal;
    if (this.#held) this.#held.unwatch = this.#held.hook.watch((reason) => controller.abort(reason));
    return this.#broken;
  }

  [Symbol.dispose](): void {
    const held = this.#held;
    if (held === undefined) return;
    this.#held = undefined;
    forgotten.unregister(this);
    letGo(held);
  }

  #start<P extends Struct, R extends Struct>(
    method: Method<P, R>,
    encode: ((params: P) => void) | undefined,
    signal: AbortSignal | undefined,
  ): PendingCall {
    try {
      signal?.throwIfAborted();
      const { hook } = this;
      const params = buildPayload(method.ParamsClass, encode);
      return hook.call({ interfaceId: method.interfaceId, methodId: method.methodId, params });
    } catch (error) {
      return PendingCall.failed(toClusterError(error));
    }
  }
}

class CallAnswer<R extends Struct> implements Answer<R> {
  readonly #pending: PendingCall;
  readonly #type: StructCtor<R>;
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort: (() => void) | undefined;
  #isDisposed = false;
  #isAborted = false;
  #result: Promise<Results<R>> | undefined;
  #reject: ((reason: unknown) => void) | undefined;

  constructor(pending: PendingCall, type: StructCtor<R>, signal: AbortSignal | undefined) {
    this.#pending = pending;
    this.#type = type;
    this.#signal = signal;
    if (signal === undefined) return;
    if (pending.outcome) {
      this.#isAborted = signal.aborted;
      return;
    }
    const onAbort = (): void => {
      this.#isAborted = true;
      pending.cancel(toClusterError(signal.reason));
    };
    this.#onAbort = onAbort;
    signal.addEventListener("abort", onAbort, { once: true });
    pending.whenSettled(() => signal.removeEventListener("abort", onAbort));
  }

  result(): Promise<Results<R>> {
    this.#result ??= new Promise((resolve, reject) => {
      this.#reject = reject;
      if (this.#isDisposed) {
        reject(disposedAnswer());
        return;
      }
      this.#pending.whenSettled((outcome) => {
        if ("error" in outcome) reject(this.#isAborted ? this.#signal?.reason : outcome.error);
        else if (!this.#isDisposed) {
          try {
            resolve(
              Object.assign(outcome.results.read(this.#type), { [Symbol.dispose]: () => this[Symbol.dispose]() }),
            );
          } catch (error) {
            reject(toClusterError(error));
          }
        }
      });
    });
    return this.#result;
  }

  pipeline(...path: number[]): Capability {
    return new Reference(this.#isDisposed ? new BrokenHook(disposedAnswer()) : this.#pending.pipeline(path));
  }

  [Symbol.dispose](): void {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    if (this.#onAbort) this.#signal?.removeEventListener("abort", this.#onAbort);
    if (this.#pending.outcome === undefined) this.#reject?.(disposedAnswer());
    this.#pending.release();
  }
}

function disposedAnswer(): ClusterError {
  return failed("the answer has been disposed", { code: "cancelled" });
}
