/**
 * Imported before anything else: takes the garbage collector out of the simulation. It comes when it likes, so what it
 * would dispose of behind somebody's back must not happen in one run of a seed and not in another. What was left to it
 * then stays, and is found as a leak.
 */
class NoFinalizers<T> implements FinalizationRegistry<T> {
  readonly [Symbol.toStringTag] = "FinalizationRegistry";

  register(): void {}

  unregister(): boolean {
    return false;
  }
}

globalThis.FinalizationRegistry = NoFinalizers;
