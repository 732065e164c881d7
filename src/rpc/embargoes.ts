/**
 * The embargo table: keeps calls in order when a promise at the peer turns out to be something that is nearer than the
 * peer. Calls already sent to the promise come back through the peer; a call made now would overtake them. So calls
 * wait until a Disembargo, sent after the earlier calls to where they went, has come back behind them.
 */
import { type ClusterError } from "../base/errors.ts";
import { BrokenHook, type Hook, innermost, QueueHook } from "./hook.ts";
import type { MessageWriter } from "./message-writer.ts";
import { RemoteHook } from "./remote-hook.ts";
import { malformed } from "./wire-pointer.ts";

interface Embargo {
  /** Owned, as is the target. */
  readonly queue: QueueHook;
  readonly target: Hook;
}

export class Embargoes {
  readonly #writer: MessageWriter;
  readonly #entries = new Map<number, Embargo>();
  #nextId = 0;

  constructor(writer: MessageWriter) {
    this.#writer = writer;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** What `promise`, which is about to resolve to `target`, may resolve to at once. Takes `target` over. */
  guard(promise: RemoteHook, target: Hook): Hook {
    if (!promise.hasTraffic) return target;
    const inner = innermost(target);
    if (inner instanceof BrokenHook) return target;
    if (inner instanceof RemoteHook && inner.caller === promise.caller) {
      // The same way as before, so nothing is overtaken; but what this resolves to later may be nearer.
      inner.hasTraffic = true;
      return target;
    }
    const id = this.#nextId++;
    const queue = new QueueHook();
    this.#entries.set(id, { queue: queue.retain(), target });
    this.#writer.disembargo("senderLoopback", id, promise.address);
    return queue;
  }

  /** The Disembargo has come back. */
  lift(id: number): void {
    const embargo = this.#entries.get(id);
    if (embargo === undefined) throw malformed(`a disembargo that was not asked for: ${id}`);
    this.#entries.delete(id);
    embargo.queue.resolve(embargo.target);
    embargo.queue.release();
  }

  end(reason: ClusterError): void {
    const embargoes = [...this.#entries.values()];
    this.#entries.clear();
    for (const { queue, target } of embargoes) {
      target.release();
      queue.resolve(new BrokenHook(reason));
      queue.release();
    }
  }
}
