/** The objects that tests of the vat call: implementations of vat-test.capnp that record what happens to them. */
import { ClusterError, type ErrorType, toClusterError } from "../../src/base/errors.ts";
import { type Capability, getCapability, type Method, setCapability } from "../../src/rpc/capability.ts";
import { serve } from "../../src/rpc/server.ts";
import { Callback$Client, Counter$Client, Tester$Client } from "./schema/vat-test.ts";

const [echo, wait, fail, counter, box, callBack, pass, hold, held, self, promised, count] = Tester$Client.methods;
const [add, clone] = Counter$Client.methods;
const [call] = Callback$Client.methods;
export const methods = {
  echo,
  wait,
  fail,
  counter,
  box,
  callBack,
  pass,
  hold,
  held,
  self,
  promised,
  count,
  add,
  clone,
  call,
};

export class Tester {
  /** What happened, in order. */
  readonly events: string[] = [];
  readonly #gates = new Map<number, PromiseWithResolvers<void>>();
  #held: Capability | undefined;
  /** Counters and testers that are not disposed. */
  alive = 0;

  capability(): Capability {
    this.alive++;
    return serve(Tester$Client, {
      echo: (params, results) => {
        results.number = params.number;
        const bytes = params.bytes.toUint8Array();
        results._initBytes(bytes.byteLength).copyBuffer(bytes);
        this.events.push(`echo ${params.number}`);
      },
      wait: async (params, results, { signal }) => {
        const { id } = params;
        this.events.push(`wait ${id}`);
        signal.addEventListener("abort", () => this.events.push(`abort ${id}: ${toClusterError(signal.reason).code}`));
        await this.gate(id).promise;
        results.id = id;
      },
      fail: (params) => {
        throw decodeThrown(params.kind, params.message);
      },
      counter: (params, results) => {
        using made = this.counter(params.start);
        setCapability(results, 0, made);
      },
      box: (params, results) => {
        using made = this.counter(params.start);
        const boxed = results._initBox();
        boxed.label = "a box";
        setCapability(boxed._initInner(), 0, made);
      },
      callBack: async (params, results) => {
        using callback = required(getCapability(params, 0));
        let sum = 0;
        for (let i = 1; i <= params.times; i++) {
          using answer = callback.call(methods.call, (args) => (args.value = i));
          sum += (await answer.result()).value;
        }
        results.sum = sum;
      },
      pass: (params, results) => {
        using callback = getCapability(params, 0);
        setCapability(results, 0, callback);
      },
      hold: (params) => {
        this.dropHeld();
        this.#held = getCapability(params, 0);
      },
      held: (_params, results) => setCapability(results, 0, this.#held),
      self: (_params, results) => {
        using made = this.capability();
        setCapability(results, 0, made);
      },
      promised: async (_params, results) => {
        this.events.push("promised");
        await this.gate(0).promise;
        using made = this.capability();
        setCapability(results, 0, made);
      },
      count: (params, results) => {
        const texts = params.texts.map((text) => text.length);
        const labels = params.boxes.map((boxed) => boxed.label.length);
        results.count = texts.length + labels.length;
      },
      [Symbol.dispose]: () => {
        this.alive--;
      },
    });
  }

  counter(start: number): Capability {
    let value = start;
    this.alive++;
    return serve(Counter$Client, {
      add: (params, results) => {
        value += params.by;
        results.value = value;
        this.events.push(`add ${params.by}`);
      },
      clone: (_params, results) => {
        using copy = this.counter(value);
        setCapability(results, 0, copy);
      },
      [Symbol.dispose]: () => {
        this.alive--;
      },
    });
  }

  /** What `wait` with this id waits for. */
  gate(id: number): PromiseWithResolvers<void> {
    let gate = this.#gates.get(id);
    if (gate === undefined) {
      gate = Promise.withResolvers();
      this.#gates.set(id, gate);
    }
    return gate;
  }

  dropHeld(): void {
    this.#held?.[Symbol.dispose]();
    this.#held = undefined;
  }
}

/** A callback that answers with `answer(value)` and records its calls. */
export function callbackOf(answer: (value: number) => number | Promise<number>, calls: number[] = []): Capability {
  return serve(Callback$Client, {
    call: async (params, results) => {
      calls.push(params.value);
      results.value = await answer(params.value);
    },
  });
}

/** Calls a method for its results' sake: gives back what `read` makes of them and disposes the rest. */
export async function ask<P extends Parameters<Capability["call"]>[0], T>(
  capability: Capability,
  method: P,
  encode: (params: InstanceType<P["ParamsClass"]>) => void,
  read: (results: InstanceType<P["ResultsClass"]>) => T,
): Promise<T>;
export async function ask(
  capability: Capability,
  method: Method<never, never>,
  encode: (params: never) => void,
  read: (results: never) => unknown,
): Promise<unknown> {
  using answer = capability.call(method, encode);
  return read(await answer.result());
}

export function required<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("a capability was expected");
  return value;
}

function decodeThrown(kind: string, message: string): Error {
  if (kind === "Error") return new TypeError(message);
  const types: readonly ErrorType[] = ["failed", "overloaded", "disconnected", "unimplemented"];
  const type = types.find((each) => each === kind);
  return new ClusterError(type ?? "failed", message, { code: "test-code" });
}
