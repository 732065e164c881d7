/** The objects of random graphs: three vats, each connected to each, and the places that live in them. */
import { type Capability, getCapability, setCapability } from "../../src/rpc/capability.ts";
import type { Connection } from "../../src/rpc/connection.ts";
import { type InterfaceType, serve } from "../../src/rpc/server.ts";
import { type MemoryStreamPair, memoryStreamPair } from "../support/memory-byte-stream.ts";
import { Place$Client } from "./schema/vat-test.ts";
import { required } from "./tester.ts";
import { connect, isIdle, until } from "./vats.ts";

const [make, pass, later, slow, forward, mark] = Place$Client.methods;
export const methods = { make, pass, later, slow, forward, mark };

export interface Mark {
  readonly place: number;
  readonly reference: number;
  readonly number: number;
}

/** A capability to a place, and the place's id. */
export interface Root {
  readonly capability: Capability;
  readonly id: number;
}

export class World implements AsyncDisposable {
  /** In the order in which they came. */
  readonly marks: Mark[] = [];
  /** Places that are not disposed. */
  readonly alive = new Set<number>();
  readonly #gates = new Map<number, PromiseWithResolvers<void>>();
  #isOpen = false;
  readonly #streams: MemoryStreamPair[] = [];
  readonly #connections: Connection[] = [];
  readonly #roots: Root[][] = [[], [], []];

  /** `cut` says how bytes are cut on their way. */
  constructor(cut: (available: number) => number) {
    const roots = [0, 1, 2].map((vat) => this.place(vat));
    for (const [a, b] of [
      [0, 1],
      [1, 2],
      [2, 0],
    ] as const) {
      const streams = memoryStreamPair({ cut, highWaterBytes: 200 });
      const one = connect(streams.a, roots[a]);
      const other = connect(streams.b, roots[b]);
      this.#streams.push(streams);
      this.#connections.push(one, other);
      this.#roots[a]?.push({ capability: one.bootstrap(), id: b });
      this.#roots[b]?.push({ capability: other.bootstrap(), id: a });
    }
    roots.forEach((capability, id) => this.#roots[id]?.push({ capability, id }));
  }

  /** What a vat has at the start. Taken over by the caller. */
  roots(vat: number): readonly Root[] {
    return this.#roots[vat] ?? [];
  }

  /** Lets what waits at the gate through. */
  open(gate: number): void {
    this.#gate(gate).resolve();
  }

  /** Of all gates, those of calls that are yet to come too. */
  openAll(): void {
    this.#isOpen = true;
    for (const gate of this.#gates.values()) gate.resolve();
  }

  place(id: number): Capability {
    this.alive.add(id);
    return serve(Place$Client, {
      make: (params, results) => {
        using made = this.place(params.id);
        setCapability(results, 0, made);
      },
      pass: (params, results) => {
        using place = getCapability(params, 0);
        setCapability(results, 0, place);
      },
      later: (params, results) => {
        using place = getCapability(params, 0);
        using promised = this.#promise(params.gate, place);
        setCapability(results, 0, promised);
      },
      slow: async (params, results) => {
        using place = getCapability(params, 0);
        await this.#gate(params.gate).promise;
        setCapability(results, 0, place);
      },
      forward: (params, _results, context) => {
        using to = required(getCapability(params, 0));
        using place = getCapability(params, 1);
        context.tailCall(to, pass, (tail) => setCapability(tail, 0, place));
      },
      mark: ({ reference, number }, results) => {
        this.marks.push({ place: id, reference, number });
        results.id = id;
      },
      [Symbol.dispose]: () => void this.alive.delete(id),
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Each connection holds its bootstrap capability, and nothing else is left.
    try {
      await until(
        () => this.#connections.every(isIdle) && this.alive.size === 3,
        () => `nothing left: ${JSON.stringify([this.#connections.map((each) => each.stats()), [...this.alive]])}`,
      );
    } finally {
      for (const connection of this.#connections) await connection.close();
      for (const streams of this.#streams) await streams[Symbol.asyncDispose]();
    }
  }

  #gate(id: number): PromiseWithResolvers<void> {
    let gate = this.#gates.get(id);
    if (gate === undefined) {
      gate = Promise.withResolvers();
      this.#gates.set(id, gate);
      if (this.#isOpen) gate.resolve();
    }
    return gate;
  }

  /** A promise of the place, which resolves when the gate is open. */
  #promise(gate: number, place: Capability | undefined): Capability {
    const kept = place?.dup();
    using source = serve(PROMISE, {
      slow: async (_params, results) => {
        await this.#gate(gate).promise;
        setCapability(results, 0, kept);
      },
      [Symbol.dispose]: () => kept?.[Symbol.dispose](),
    });
    using answer = source.call(slow);
    return answer.pipeline(0);
  }
}

/** An interface of one method of `Place`'s. */
const PROMISE: InterfaceType<Pick<Place$Client, "slow">> = Place$Client;
