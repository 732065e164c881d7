/** How many of one kind the clients of each connection hold, up to a limit. */
import { overloaded } from "../base/errors.ts";
import type { Visit } from "./strangers.ts";

export interface HeldCountInit {
  /** For people, in the plural. */
  readonly what: string;
  readonly max: number;
  /** Of the error of those that are one too many. */
  readonly code: string;
}

export class HeldCount {
  readonly #init: HeldCountInit;
  readonly #counts = new WeakMap<Visit, number>();

  constructor(init: HeldCountInit) {
    this.#init = init;
  }

  /** Counts one more; call what it returns, once or more, when it is held no longer. Throws `overloaded`. */
  hold(visit: Visit): () => void {
    const { what, max, code } = this.#init;
    const count = this.#counts.get(visit) ?? 0;
    if (count >= max) throw overloaded(`${count} ${what} are held on this connection: drop one`, { code });
    this.#counts.set(visit, count + 1);
    let isHeld = true;
    return () => {
      if (isHeld) this.#counts.set(visit, (this.#counts.get(visit) ?? 1) - 1);
      isHeld = false;
    };
  }
}
