/** This side's implementation of interop.capnp: the twin of interop-server.h. */
import { ClusterError, type ErrorType, failed, overloaded } from "../../src/base/errors.ts";
import { type Capability, getCapability, setCapability } from "../../src/rpc/capability.ts";
import { type HandlersOf, serve } from "../../src/rpc/server.ts";
import { EVERYTHING, readPlain, writePlain } from "./everything.ts";
import { Callback$Client, Counter$Client, Interop$Client, NamedCounter$Client, Source$Client } from "./interop.ts";

const all = Interop$Client.methods;
export const methods = {
  echo: all[0],
  constant: all[1],
  chunk: all[2],
  callBack: all[3],
  gather: all[4],
  self: all[5],
  counter: all[6],
  named: all[7],
  promise: all[8],
  fulfil: all[9],
  own: all[10],
  wait: all[11],
  open: all[12],
  hold: all[13],
  held: all[14],
  fail: all[15],
  forward: all[16],
  forwardWait: all[17],
  forwardFail: all[18],
  events: all[19],
  call: Callback$Client.methods[0],
  add: Counter$Client.methods[0],
  name: NamedCounter$Client.methods[0],
  take: Source$Client.methods[0],
};

const ERROR_TYPES: readonly ErrorType[] = ["failed", "overloaded", "disconnected", "unimplemented"];

/** Calls back that one call may ask for. */
const TIMES_MAX = 1_000;

export class InteropServer {
  readonly #events: string[] = [];
  #gates: (() => void)[] = [];
  /** Capabilities to this object. */
  #selves = 0;
  /** Callbacks and counters that are in use. */
  #made = 0;
  #promised: PromiseWithResolvers<Capability> | undefined;
  #own: Capability | undefined;
  #held: Capability | undefined;

  readonly #isRecording: boolean;

  /** Without recording there are no events, however long it lives. */
  constructor({ isRecording = true } = {}) {
    this.#isRecording = isRecording;
  }

  /** What happened, in order. */
  get events(): readonly string[] {
    return this.#events;
  }

  /** Nobody has this object, or one that it has made. */
  get isUnused(): boolean {
    return this.#selves + this.#made === 0;
  }

  /** The object itself. Gives up what it holds when nobody has it any more. */
  capability(): Capability {
    this.#selves++;
    return serve(Interop$Client, {
      ...this.#calls(),
      ...this.#holding(),
      ...this.#tails(),
      [Symbol.dispose]: () => {
        if (--this.#selves === 0) this.drop();
      },
    });
  }

  /** Lets go of what it holds; which may be itself. */
  drop(): void {
    this.#own?.[Symbol.dispose]();
    this.#held?.[Symbol.dispose]();
    this.#own = undefined;
    this.#held = undefined;
  }

  callback(name: string, plus = 0): Capability {
    this.#made++;
    return serve(Callback$Client, {
      call: ({ value }, results) => {
        this.#record(`${name} ${value}`);
        results.value = value + plus;
      },
      [Symbol.dispose]: () => {
        this.#made--;
        this.#record(`${name} dropped`);
      },
    });
  }

  counter(start: number, name = ""): Capability {
    this.#made++;
    let value = start;
    return serve([NamedCounter$Client, Counter$Client], {
      add: ({ by }, results) => void (results.value = value += by),
      name: (_params, results) => void (results.name = name),
      [Symbol.dispose]: () => {
        this.#made--;
        this.#record(`counter ${value} dropped`);
      },
    });
  }

  #record(event: string): void {
    if (this.#isRecording) this.#events.push(event);
  }

  #calls(): Pick<
    HandlersOf<typeof Interop$Client>,
    "echo" | "constant" | "chunk" | "callBack" | "gather" | "self" | "counter" | "named" | "fail" | "events"
  > {
    return {
      echo: (params, results) => {
        if (params._hasAll()) writePlain(results._initAll(), readPlain(params.all));
      },
      constant: (_params, results) => writePlain(results._initAll(), EVERYTHING),
      chunk: ({ bytes }, results) => results._initBytes(bytes.length).copyBuffer(bytes.toUint8Array()),
      callBack: async (params, results) => {
        using callback = getCapability(params, 0);
        if (params.times > TIMES_MAX) throw overloaded("too many times");
        for (let value = 1; value <= params.times; value++) results.sum += await callWith(callback, value);
      },
      gather: async (params, results) => {
        const boxes = params.boxes.map(({ label, inner }) => ({
          label,
          number: inner.number,
          callback: getCapability(inner, 0),
        }));
        const made = results._initBoxes(boxes.length);
        boxes.forEach(({ label, number }, index) => {
          using callback = this.callback("boxed", number);
          const box = made.get(index);
          box.label = label;
          const inner = box._initInner();
          inner.number = number;
          setCapability(inner, 0, callback);
        });
        try {
          const values = await Promise.all(boxes.map(({ callback, number }) => callWith(callback, number)));
          results.sum = values.reduce((sum, value) => sum + value, 0);
        } finally {
          for (const { callback } of boxes) callback?.[Symbol.dispose]();
        }
      },
      self: (_params, results) => {
        // Another capability to the same state, which is all that a caller can tell.
        using made = this.capability();
        setCapability(results, 0, made);
      },
      counter: ({ start }, results) => {
        using made = this.counter(start);
        setCapability(results, 0, made);
      },
      named: ({ name }, results) => {
        using made = this.counter(0, name);
        setCapability(results, 0, made);
      },
      fail: ({ type, reason }) => {
        throw new ClusterError(ERROR_TYPES[type] ?? "failed", reason);
      },
      events: (_params, results) => {
        const list = results._initEvents(this.#events.length);
        this.#events.forEach((event, index) => list.set(index, event));
      },
    };
  }

  #holding(): Pick<
    HandlersOf<typeof Interop$Client>,
    "promise" | "fulfil" | "own" | "wait" | "open" | "hold" | "held"
  > {
    return {
      promise: (_params, results) => {
        this.#promised = Promise.withResolvers();
        using promised = promiseOf(this.#promised.promise);
        setCapability(results, 0, promised);
      },
      fulfil: (params) => {
        using callback = getCapability(params, 0);
        if (callback) this.#promised?.resolve(callback.dup());
        else this.#promised?.reject(failed("broken"));
        this.#promised = undefined;
      },
      own: (_params, results) => {
        this.#own ??= this.callback("own");
        setCapability(results, 0, this.#own);
      },
      wait: async ({ id }, results, { signal }) => {
        this.#record(`wait ${id}`);
        const gate = Promise.withResolvers<void>();
        this.#gates.push(gate.resolve);
        signal.addEventListener("abort", () => {
          this.#record(`cancelled ${id}`);
          gate.resolve();
        });
        await gate.promise;
        results.id = id;
      },
      open: () => {
        for (const release of this.#gates.splice(0)) release();
      },
      hold: (params) => {
        this.#held?.[Symbol.dispose]();
        this.#held = getCapability(params, 0);
      },
      held: (_params, results) => setCapability(results, 0, this.#held),
    };
  }

  #tails(): Pick<HandlersOf<typeof Interop$Client>, "forward" | "forwardWait" | "forwardFail"> {
    return {
      forward: (params, _results, context) => {
        const { start } = params;
        using to = getCapability(params, 0);
        if (to) context.tailCall(to, methods.counter, (tail) => (tail.start = start));
      },
      forwardWait: (params, _results, context) => {
        const { id } = params;
        using to = getCapability(params, 0);
        if (to) context.tailCall(to, methods.wait, (tail) => (tail.id = id));
      },
      forwardFail: (params, _results, context) => {
        const { type, reason } = params;
        using to = getCapability(params, 0);
        if (!to) return;
        context.tailCall(to, methods.fail, (tail) => {
          tail.type = type;
          tail.reason = reason;
        });
      },
    };
  }
}

async function callWith(callback: Capability | undefined, value: number): Promise<number> {
  if (callback === undefined) return 0;
  using answer = callback.call(methods.call, (params) => (params.value = value));
  return (await answer.result()).value;
}

/** A capability that stands for one to come, which it takes over. */
export function promiseOf(coming: Promise<Capability>): Capability {
  using source = serve(Source$Client, {
    take: async (_params, results) => {
      using callback = await coming;
      setCapability(results, 0, callback);
    },
  });
  using answer = source.call(methods.take);
  return answer.pipeline(0);
}
