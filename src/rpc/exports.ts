/**
 * The export table: what the peer may call, by ids of ours. An entry lives until the peer has released it as often as it
 * was sent. A promise of ours is exported as such, and its resolution is sent after it.
 *
 * Everything that leaves in a message goes through `describe`, which also finds the shortest name: what came from this
 * very peer goes back by the peer's own id.
 */
import { type ClusterError, overloaded, toClusterError } from "../base/errors.ts";
import { EXPORTS_MAX } from "../base/limits.ts";
import { BrokenHook, type Hook, innermost, PromiseHook } from "./hook.ts";
import type { CapDescriptor } from "./message.ts";
import type { MessageWriter } from "./message-writer.ts";
import { type Caller, RemoteHook } from "./remote-hook.ts";
import { malformed } from "./wire-pointer.ts";

interface Export {
  readonly id: number;
  /** Owned. */
  readonly hook: Hook;
  readonly isPromise: boolean;
  /** How often it was sent and not yet released. */
  references: number;
}

export class Exports {
  readonly #writer: MessageWriter;
  readonly #caller: Caller;
  readonly #entries = new Map<number, Export>();
  readonly #byHook = new Map<Hook, Export>();
  readonly #freeIds: number[] = [];
  #nextId = 0;

  /** `caller` is this connection's own: what it addresses is at the peer already. */
  constructor(writer: MessageWriter, caller: Caller) {
    this.#writer = writer;
    this.#caller = caller;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** What the peer means by an id of ours. Borrowed. */
  find(id: number): Hook | undefined {
    return this.#entries.get(id)?.hook;
  }

  /**
   * How capabilities travel in a message that is about to be sent. The ids that count as sent with it are added to
   * `exported`. When the table is full it throws, and nothing counts as sent.
   */
  describe(hooks: readonly (Hook | null)[], exported: number[]): CapDescriptor[] {
    const before = exported.length;
    try {
      return hooks.map((hook) => this.#describe(hook, exported));
    } catch (error) {
      this.releaseAll(exported.splice(before));
      throw error;
    }
  }

  /** The peer releases `count` references. Throws when it never had them. */
  release(id: number, count: number): void {
    const entry = this.#entries.get(id);
    if (entry === undefined || count > entry.references) throw malformed(`a release of what was not exported: ${id}`);
    entry.references -= count;
    if (entry.references > 0) return;
    this.#entries.delete(id);
    this.#freeIds.push(id);
    if (this.#byHook.get(entry.hook) === entry) this.#byHook.delete(entry.hook);
    entry.hook.release();
  }

  /** Releases one reference of each: they were sent in a message that is void. */
  releaseAll(ids: readonly number[]): void {
    for (const id of ids) this.release(id, 1);
  }

  end(): void {
    const entries = [...this.#entries.values()];
    this.#entries.clear();
    this.#byHook.clear();
    for (const entry of entries) entry.hook.release();
  }

  #describe(hook: Hook | null, exported: number[]): CapDescriptor {
    if (hook === null) return { kind: "none" };
    const inner = innermost(hook);
    if (inner instanceof RemoteHook && inner.caller === this.#caller) {
      inner.hasTraffic = true;
      const { address } = inner;
      return address.kind === "import"
        ? { kind: "receiverHosted", id: address.id }
        : { ...address, kind: "receiverAnswer" };
    }
    const entry = this.#byHook.get(inner) ?? this.#add(inner);
    entry.references++;
    exported.push(entry.id);
    return { kind: entry.isPromise ? "senderPromise" : "senderHosted", id: entry.id };
  }

  #add(hook: Hook): Export {
    if (this.#entries.size >= EXPORTS_MAX)
      throw overloaded("too many capabilities are exported", { code: "too-many-exports" });
    const id = this.#freeIds.pop() ?? this.#nextId++;
    const isPromise = hook instanceof PromiseHook && hook.isPromise;
    const entry: Export = { id, hook: hook.retain(), isPromise, references: 0 };
    this.#entries.set(id, entry);
    this.#byHook.set(hook, entry);
    // Told after the message that exports it, even if it resolves before that is written: resolution is never synchronous here.
    if (isPromise) hook.onResolved(() => this.#sendResolution(entry));
    return entry;
  }

  #sendResolution(entry: Export): void {
    if (this.#entries.get(entry.id) !== entry) return;
    this.#byHook.delete(entry.hook);
    const target = innermost(entry.hook);
    if (target instanceof BrokenHook) {
      this.#writer.resolveException(entry.id, target.reason);
      return;
    }
    try {
      const [descriptor] = this.describe([target], []);
      if (descriptor) this.#writer.resolve(entry.id, descriptor);
    } catch (error) {
      const reason: ClusterError = toClusterError(error);
      this.#writer.resolveException(entry.id, reason);
    }
  }
}
