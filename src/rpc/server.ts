/**
 * Makes capabilities of plain objects with handlers. Calls are dispatched on interface id and method id together, to
 * the handler that has the method's name in the schema.
 */
import type { Struct } from "capnp-es";
import { assert, type ClusterError, toClusterError, unimplemented } from "../base/errors.ts";
import { buildPayload, type Capability, capabilityOf, hookOf, type Method } from "./capability.ts";
import { type Call, Hook, Payload, PendingCall } from "./hook.ts";

export interface CallContext {
  /** Aborted, with a ClusterError, when the caller no longer wants the results: finished, or disconnected. */
  readonly signal: AbortSignal;
  /**
   * Makes a call whose results, or failure, are this call's: the handler's own `results`, and what it throws after this,
   * count no more. Nothing is copied, and where the object is the caller's own its results do not even leave it. The
   * results must be of the type that this method's are. Borrows the capability. Once only.
   */
  tailCall<P extends Struct, R extends Struct>(
    capability: Capability,
    method: Method<P, R>,
    encode?: (params: P) => void,
  ): void;
}

/** A generated client class, `Foo$Client`: names an interface and its methods. */
export interface InterfaceType<C = object> {
  readonly interfaceId: bigint;
  readonly methods: readonly Method<Struct, Struct>[];
  readonly prototype: C;
}

/** Handles one method: reads `params`, which are borrowed until it settles, and fills `results`, then or before. */
export type Handler<P, R> = (params: P, results: R, context: CallContext) => Promise<void> | void;

/** One handler per method of the generated client `C`, with the types of its params and results. */
export type Handlers<C> = {
  [Name in Exclude<keyof C, "client">]: C[Name] extends (encode?: (params: infer P) => void) => {
    promise(): Promise<infer R>;
  }
    ? Handler<P, R>
    : never;
};

/** The handlers of an interface, or of all in a list. */
export type HandlersOf<T> = Intersection<HandlersOfEach<T extends readonly (infer Each)[] ? Each : T>>;
type HandlersOfEach<T> = T extends InterfaceType<infer C> ? Handlers<C> : never;
type Intersection<U> = (U extends unknown ? (each: U) => void : never) extends (all: infer I) => void ? I : never;

/**
 * A capability to `target`, which handles the methods of `types`, a generated client class. For an interface with parents, or an object
 * with several interfaces, pass a list of their client classes. Handlers are begun in the order of the calls, each in a
 * microtask of its own, and run concurrently from their first await on. What they throw goes to the caller: a
 * ClusterError as it is, anything else as `failed` with its message. When the last reference is gone and no handler is
 * running, `target[Symbol.dispose]` is called, once.
 */
export function serve<const T extends InterfaceType | readonly InterfaceType[]>(
  types: T,
  target: HandlersOf<T> & Partial<Disposable>,
): Capability {
  return capabilityOf(new ServerHook("interfaceId" in types ? [types] : types, target));
}

/** A call that is being handled, as its handler sees it. The signal is made when it is asked for. */
class HandlerContext implements CallContext {
  readonly pending = new PendingCall((reason) => this.cancel(reason));
  readonly #origin: object | undefined;
  hasTailCall = false;
  #controller: AbortController | undefined;
  #reason: ClusterError | undefined;

  constructor(origin: object | undefined) {
    this.#origin = origin;
  }

  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#reason) this.#controller.abort(this.#reason);
    return this.#controller.signal;
  }

  get isCancelled(): boolean {
    return this.#reason !== undefined;
  }

  tailCall<P extends Struct, R extends Struct>(
    capability: Capability,
    { ParamsClass, interfaceId, methodId }: Method<P, R>,
    encode?: (params: P) => void,
  ): void {
    assert(!this.hasTailCall, "a call has one tail");
    const hook = hookOf(capability);
    try {
      const params = buildPayload(ParamsClass, encode);
      this.hasTailCall = true;
      this.pending.adopt(hook.call({ interfaceId, methodId, params, origin: this.#origin, tailOf: this.#origin }));
    } finally {
      hook.release();
    }
  }

  cancel(reason: ClusterError): void {
    this.#reason = reason;
    this.#controller?.abort(reason);
  }
}

/** An object of this process. Lives as long as it has references, each running call being one. */
class ServerHook extends Hook {
  readonly #types: readonly InterfaceType[];
  readonly #target: object;

  constructor(types: readonly InterfaceType[], target: object) {
    super();
    this.#types = types;
    this.#target = target;
  }

  call(call: Call): PendingCall {
    const context = new HandlerContext(call.origin);
    this.retain();
    queueMicrotask(() => {
      if (context.isCancelled) this.#end(call);
      else this.#handle(call, context);
    });
    return context.pending;
  }

  watch(): () => void {
    return () => {};
  }

  protected unreferenced(): void {
    const target: Partial<Disposable> = this.#target;
    try {
      target[Symbol.dispose]?.();
    } catch (error) {
      // Whoever dropped the last reference, a peer perhaps, has no part in this: it is an uncaught error of the target's.
      queueMicrotask(() => {
        throw error;
      });
    }
  }

  #handle(call: Call, context: HandlerContext): void {
    const results = Payload.empty();
    try {
      const method = this.#methodOf(call);
      const handler: unknown = Reflect.get(this.#target, method.methodName ?? "");
      if (typeof handler !== "function") throw notImplemented(call, method);
      const settled: unknown = Reflect.apply(handler, this.#target, [
        call.params.read(method.ParamsClass),
        results.build(method.ResultsClass),
        context,
      ]);
      if (isThenable(settled)) {
        settled.then(
          () => this.#succeed(call, context, results),
          (error: unknown) => this.#fail(call, context, results, error),
        );
      } else this.#succeed(call, context, results);
    } catch (error) {
      this.#fail(call, context, results, error);
    }
  }

  #succeed(call: Call, { pending, hasTailCall }: HandlerContext, results: Payload): void {
    if (hasTailCall) results.dispose();
    else pending.settle({ results });
    this.#end(call);
  }

  #fail(call: Call, { pending, hasTailCall }: HandlerContext, results: Payload, error: unknown): void {
    results.dispose();
    if (!hasTailCall) pending.settle({ error: toClusterError(error) });
    this.#end(call);
  }

  #end(call: Call): void {
    call.params.dispose();
    this.release();
  }

  #methodOf(call: Call): Method<Struct, Struct> {
    const type = this.#types.find((candidate) => candidate.interfaceId === call.interfaceId);
    if (type === undefined) {
      throw unimplemented(`no interface @0x${call.interfaceId.toString(16)}`, { code: "no-such-interface" });
    }
    const indexed = type.methods[call.methodId];
    const method =
      indexed?.methodId === call.methodId ? indexed : type.methods.find((each) => each.methodId === call.methodId);
    if (method === undefined) throw notImplemented(call, undefined);
    return method;
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}

function notImplemented(call: Call, method: Method<Struct, Struct> | undefined): ClusterError {
  const name = method?.methodName ?? `@${call.methodId}`;
  return unimplemented(`no method ${name} of interface @0x${call.interfaceId.toString(16)}`, {
    code: "no-such-method",
  });
}
