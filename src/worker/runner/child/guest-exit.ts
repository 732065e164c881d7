/**
 * How host code ends a guest from inside one of its calls. A JavaScript exception would do, were it not that a guest
 * with exception handling can catch those and go on; a wasm trap it cannot. So the reason is noted, and a module of our
 * own traps.
 */
import { parseCallable } from "./callable.ts";
import type { GuestEnd } from "../wire.ts";

/** `(module (func (export "t") unreachable))` */
const TRAP_MODULE = Uint8Array.from([
  0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 7, 5, 1, 1, 0x74, 0, 0, 10, 5, 1, 3, 0, 0, 11,
]);

export class GuestExit {
  readonly #trap: () => unknown;
  #end: GuestEnd | undefined;

  constructor() {
    const trap = parseCallable(new WebAssembly.Instance(new WebAssembly.Module(TRAP_MODULE)).exports["t"]);
    this.#trap = () => trap?.call(undefined);
  }

  /** Why the run under way was ended, if it was. */
  get end(): GuestEnd | undefined {
    return this.#end;
  }

  /** Called before each run. */
  reset(): void {
    this.#end = undefined;
  }

  /** Ends the run under way. The first reason stands. */
  leave(end: GuestEnd): never {
    this.#end ??= end;
    this.#trap();
    throw new Error("the trap did not trap");
  }
}
