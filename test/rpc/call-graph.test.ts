/**
 * Random graphs of calls between three vats, held against a model: who calls what, what is passed to whom, and when promises
 * resolve is random; which place a reference stands for is known from the start. To repeat: fast-check's seed and path.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { expect, test } from "vitest";
import { type Answer, type Capability, setCapability } from "../../src/rpc/capability.ts";
import type { Struct } from "capnp-es";
import { methods, World } from "./places.ts";
import { fc } from "../support/properties.ts";

const RUNS = Number(process.env["RPC_GRAPH_RUNS"] ?? 2_000);

/** Numbers choose among what is there, modulo how much it is. */
const pick = fc.nat(1_000);
const step = fc.oneof(
  fc.record({ kind: fc.constantFrom("make" as const, "drop" as const), vat: fc.nat(2), by: pick }),
  fc.record({
    kind: fc.constantFrom("pass" as const, "forward" as const),
    vat: fc.nat(2),
    by: pick,
    what: pick,
    to: pick,
  }),
  fc.record({
    kind: fc.constantFrom("later" as const, "slow" as const),
    vat: fc.nat(2),
    by: pick,
    what: pick,
    gate: fc.nat(5),
  }),
  fc.record({ kind: fc.constant("mark" as const), vat: fc.nat(2), by: pick }),
  fc.record({ kind: fc.constant("mark" as const), vat: fc.nat(2), by: pick }),
  fc.record({ kind: fc.constant("open" as const), gate: fc.nat(5) }),
  fc.record({ kind: fc.constant("turns" as const), count: fc.nat(6) }),
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** One capability in the hands of a vat, and the place that it must lead to. */
interface Reference {
  readonly number: number;
  readonly capability: Capability;
  readonly place: number;
  marks: number;
}

class Graph {
  readonly #world: World;
  readonly #held: Reference[][];
  readonly #answers: Promise<void>[] = [];
  readonly #expected = new Map<number, { readonly place: number; readonly reference: Reference }>();
  #nextReference = 0;
  #nextPlace = 3;

  constructor(world: World) {
    this.#world = world;
    this.#held = [0, 1, 2].map((vat) => world.roots(vat).map(({ capability, id }) => this.#reference(capability, id)));
  }

  async run(steps: readonly Step[]): Promise<void> {
    for (const each of steps) {
      if (each.kind === "turns") for (let i = 0; i < each.count; i++) await nextTurn();
      else if (each.kind === "open") this.#world.open(each.gate);
      else this.#act(each);
    }
  }

  /** Lets everything come to its end, and drops what is held. */
  async end(): Promise<void> {
    this.#world.openAll();
    await Promise.all(this.#answers);
    for (const { capability } of this.#held.flat()) capability[Symbol.dispose]();
    for (const { reference, place } of this.#expected.values()) {
      const marks = this.#world.marks.filter((mark) => mark.reference === reference.number);
      expect(marks).toEqual(
        Array.from({ length: reference.marks }, (_, number) => ({ place, reference: reference.number, number })),
      );
    }
  }

  #act(each: Exclude<Step, { kind: "turns" | "open" }>): void {
    const held = this.#held[each.vat];
    const by = held?.[each.by % held.length];
    if (held === undefined || by === undefined) return;
    switch (each.kind) {
      case "make": {
        const id = this.#nextPlace++;
        this.#keep(
          held,
          id,
          by.capability.call(methods.make, (params) => (params.id = id)),
        );
        return;
      }
      case "drop":
        held.splice(held.indexOf(by), 1);
        by.capability[Symbol.dispose]();
        return;
      case "mark":
        this.#mark(by);
        return;
      default: {
        const what = held[each.what % held.length] ?? by;
        const to = "to" in each ? (held[each.to % held.length] ?? by) : by;
        this.#keep(held, what.place, this.#pass(each, by, what, to));
      }
    }
  }

  #pass(
    each: Extract<Step, { kind: "pass" | "forward" | "later" | "slow" }>,
    by: Reference,
    what: Reference,
    to: Reference,
  ): Answer<Struct> {
    switch (each.kind) {
      case "pass":
        return by.capability.call(methods.pass, (params) => setCapability(params, 0, what.capability));
      case "forward":
        return by.capability.call(methods.forward, (params) => {
          setCapability(params, 0, to.capability);
          setCapability(params, 1, what.capability);
        });
      default:
        return by.capability.call(methods[each.kind], (params) => {
          params.gate = each.gate;
          setCapability(params, 0, what.capability);
        });
    }
  }

  /** Keeps the capability that the answer will hold, and nothing else of it. */
  #keep(held: Reference[], place: number, answer: Answer<Struct>): void {
    using owned = answer;
    held.push(this.#reference(owned.pipeline(0), place));
  }

  #mark(reference: Reference): void {
    this.#expected.set(reference.number, { place: reference.place, reference });
    const number = reference.marks++;
    const answer = reference.capability.call(methods.mark, (params) => {
      params.reference = reference.number;
      params.number = number;
    });
    this.#answers.push(
      (async () => {
        using owned = answer;
        expect((await owned.result()).id).toBe(reference.place);
      })(),
    );
  }

  #reference(capability: Capability, place: number): Reference {
    return { number: this.#nextReference++, capability, place, marks: 0 };
  }
}

test("every reference leads where it should, its calls arrive once and in order, and nothing is left", async () => {
  const cuts = fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 60 }), cuts, async (steps, sizes) => {
      let cutCount = 0;
      await using world = new World(() => sizes[cutCount++ % sizes.length] ?? 1);
      const graph = new Graph(world);
      await graph.run(steps);
      await graph.end();
    }),
    { numRuns: RUNS },
  );
}, 300_000);
