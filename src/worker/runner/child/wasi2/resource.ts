/**
 * What a component holds of its host's by handle: counted, so that there are never more than `GUEST_RESOURCES_MAX`, and
 * not to be dropped before what was made of it, which the interfaces forbid. A breach of either ends the guest. And what
 * transpiled code sees of it: its interface, whatever name it looks for.
 */
import { GUEST_RESOURCES_MAX } from "../../../../base/limits.ts";
import type { GuestPowers } from "../files/powers.ts";

/** The resources of one run, and what they are made from. */
export class ResourceCount {
  readonly powers: GuestPowers;
  #live = 0;

  constructor(powers: GuestPowers) {
    this.powers = powers;
  }

  add(): void {
    if (this.#live >= GUEST_RESOURCES_MAX) throw new Error(`the guest holds ${this.#live} resources and asks for more`);
    this.#live++;
  }

  remove(): void {
    this.#live--;
  }
}

/** One resource's place in the count. Its owner keeps it to itself, in a private field. */
export class ResourceHold {
  readonly count: ResourceCount;
  readonly #parent: ResourceHold | undefined;
  readonly #release: () => void;
  #children = 0;
  #isDropped = false;

  /** `of`: what it was made of, if that must not be dropped before it. `release`: what else to let go of; called once. */
  constructor(count: ResourceCount, { of, release }: { of?: ResourceHold | undefined; release?: () => void } = {}) {
    count.add();
    this.count = count;
    this.#parent = of;
    this.#release = release ?? (() => {});
    if (of !== undefined) of.#children++;
  }

  get powers(): GuestPowers {
    return this.count.powers;
  }

  /** When the guest drops its handle. */
  drop(): void {
    if (this.#isDropped) return;
    if (this.#children > 0) throw new Error("the guest drops a stream before the pollables that it made of it");
    this.#isDropped = true;
    this.count.remove();
    if (this.#parent !== undefined) this.#parent.#children--;
    this.#release();
  }
}

/**
 * What transpiled code gets in place of a class: it can tell the class's objects and nothing more. It looks up what a guest
 * imports by name; so neither this nor the objects have a property but the interface's methods, no inherited one either.
 * The class's prototype is closed for good.
 */
export function exposeResource({ prototype }: { readonly prototype: object }): unknown {
  Reflect.deleteProperty(prototype, "constructor");
  Object.setPrototypeOf(prototype, null);
  Object.freeze(prototype);
  const exposed = function (): never {
    throw new Error("no guest makes a resource of its host's");
  };
  exposed.prototype = prototype;
  for (const name of ["name", "length"]) Reflect.deleteProperty(exposed, name);
  Object.setPrototypeOf(exposed, null);
  return Object.freeze(exposed);
}

/** An interface's functions and nothing else under any name, as no object is that inherits. */
export function exposeInterface<T extends object>(functions: T): Readonly<T> {
  const exposed = { ...functions };
  Object.setPrototypeOf(exposed, null);
  return Object.freeze(exposed);
}
