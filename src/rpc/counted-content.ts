/**
 * Content and the capabilities that its interface pointers are indexes of: a payload, as far as it does not matter what
 * capabilities are, other than that references to them are counted.
 */
import type { Struct, StructCtor } from "capnp-es";
import { Content } from "./content.ts";

/** Something with counted references. */
export interface Counted {
  retain(): this;
  release(): void;
}

/** Owns a reference to each of its capabilities. */
export class CountedContent<T extends Counted> {
  readonly capabilities: (T | null)[];
  /** Called once, when the payload is disposed. */
  onDisposed: (() => void) | undefined;
  #content: Content;
  #isDisposed = false;
  #isGuarded = false;

  /** Takes the capabilities over. */
  constructor(content: Content, capabilities: (T | null)[]) {
    this.#content = content;
    this.capabilities = capabilities;
    if (capabilities.length > 0) this.#guard();
  }

  get content(): Content {
    return this.#content;
  }

  /** Begins the content. */
  build<S extends Struct>(type: StructCtor<S>): S {
    const { content, root } = Content.build(type, this);
    this.#content = content;
    return root;
  }

  /** The content as a struct, valid until the payload is disposed. */
  read<S extends Struct>(type: StructCtor<S>): S {
    return this.#content.root(type, this);
  }

  /** Takes the capability over. Returns its index. */
  add(capability: T | null): number {
    if (!this.#isGuarded) this.#guard();
    return this.capabilities.push(capability) - 1;
  }

  /** The capability at a path of pointer indexes, borrowed. Throws when the path or the content is malformed. */
  at(path: readonly number[]): T | null | undefined {
    const index = this.#content.capabilityIndex(path);
    return index === undefined ? undefined : this.capabilities[index];
  }

  dispose(): void {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    if (this.#isGuarded) forgotten.unregister(this);
    releaseAll(this.capabilities);
    this.onDisposed?.();
  }

  /** A payload that is dropped and not disposed, as results that nobody looks at, gives its capabilities up all the same. */
  #guard(): void {
    this.#isGuarded = true;
    forgotten.register(this, this.capabilities, this);
  }
}

const forgotten = new FinalizationRegistry<(Counted | null)[]>(releaseAll);

function releaseAll(capabilities: (Counted | null)[]): void {
  for (const capability of capabilities.splice(0)) capability?.release();
}
