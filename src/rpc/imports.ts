/**
 * The import table: what the peer lets us call, by ids of the peer's. There is one hook for an id, however often it was
 * received. When the hook's last reference goes, or its promise has resolved to something else, all that was received is
 * released in one message.
 */
import type { ClusterError } from "../base/errors.ts";
import { overloaded } from "../base/errors.ts";
import { IMPORTS_MAX } from "../base/limits.ts";
import type { Embargoes } from "./embargoes.ts";
import { BrokenHook, type Hook } from "./hook.ts";
import type { MessageTarget } from "./message.ts";
import type { MessageWriter } from "./message-writer.ts";
import { type Caller, RemoteHook } from "./remote-hook.ts";
import { malformed } from "./wire-pointer.ts";

export interface ImportsInit {
  readonly writer: MessageWriter;
  readonly caller: Caller;
  readonly embargoes: Embargoes;
}

export class Imports {
  readonly #init: ImportsInit;
  readonly #entries = new Map<number, ImportHook>();
  #isEnded = false;

  constructor(init: ImportsInit) {
    this.#init = init;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** The id came in a message. Returns a reference of the caller's own. */
  receive(id: number, isPromise: boolean): Hook {
    const known = this.#entries.get(id);
    if (known) {
      known.received++;
      return known.retain();
    }
    if (this.#entries.size >= IMPORTS_MAX) {
      this.#init.writer.release(id, 1);
      return new BrokenHook(overloaded("too many capabilities are imported", { code: "too-many-imports" }));
    }
    const hook = new ImportHook(this.#init.caller, id, isPromise, (done) => this.#drop(done));
    this.#entries.set(id, hook);
    return hook;
  }

  /** The peer says what a promise has become. Takes `target` over. A promise nobody holds any more is no error. */
  resolve(id: number, target: Hook): void {
    const promise = this.#entries.get(id);
    if (promise && !promise.isPromise) {
      target.release();
      throw malformed(`a resolution of what is no promise: ${id}`);
    }
    if (promise) promise.resolve(this.#init.embargoes.guard(promise, target));
    else target.release();
  }

  end(reason: ClusterError): void {
    this.#isEnded = true;
    const hooks = [...this.#entries.values()];
    for (const hook of hooks) hook.retain();
    this.#entries.clear();
    for (const hook of hooks) {
      if (hook.resolution === undefined) hook.resolve(new BrokenHook(reason));
      hook.release();
    }
  }

  #drop(hook: ImportHook): void {
    if (this.#isEnded) return;
    this.#entries.delete(hook.id);
    this.#init.writer.release(hook.id, hook.received);
  }
}

class ImportHook extends RemoteHook {
  override readonly isPromise: boolean;
  readonly id: number;
  readonly address: MessageTarget;
  /** How often the peer has sent it. */
  received = 1;
  readonly #onDone: (hook: ImportHook) => void;

  constructor(caller: Caller, id: number, isPromise: boolean, onDone: (hook: ImportHook) => void) {
    super(caller);
    this.id = id;
    this.isPromise = isPromise;
    this.address = { kind: "import", id };
    this.#onDone = onDone;
  }

  protected resolved(): void {
    this.#onDone(this);
  }

  protected droppedUnresolved(): void {
    this.#onDone(this);
  }
}
