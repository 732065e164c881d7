/**
 * What a component holds of its host's by handle: counted, so that there are never more than `GUEST_RESOURCES_MAX`, and
 * not to be dropped before what was made of it, which the interfaces forbid. A breach of either ends the guest.
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

export abstract class Resource {
  readonly count: ResourceCount;
  readonly #parent: Resource | undefined;
  #children = 0;
  #isDropped = false;

  constructor(count: ResourceCount, parent?: Resource) {
    count.add();
    this.count = count;
    this.#parent = parent;
    if (parent !== undefined) parent.#children++;
  }

  get powers(): GuestPowers {
    return this.count.powers;
  }

  /** Called when the guest drops its handle. */
  [Symbol.dispose](): void {
    if (this.#isDropped) return;
    if (this.#children > 0) throw new Error("the guest drops a stream before the pollables that it made of it");
    this.#isDropped = true;
    this.count.remove();
    if (this.#parent !== undefined) this.#parent.#children--;
    this.release();
  }

  /** What else to let go of; called once. */
  protected release(): void {}
}
