/**
 * A store that gets into trouble when a test says so: operations that fail, as on a full disk, or whose answers are late.
 */
import type { Store } from "../../src/store/store.ts";
import { StoreFailure } from "../../src/store/trouble.ts";

export type OperationName = Exclude<keyof Store, symbol>;

export interface TroubledStore {
  readonly store: Store;
  /** Operations that reject and do nothing, until they are taken out. */
  readonly broken: Set<OperationName>;
  /** How often each operation was called. */
  readonly calls: ReadonlyMap<string, number>;
  /** Answers of this operation are kept back from now on; what it does is done. Returns what lets them go. */
  holdAnswers(name: OperationName): () => void;
}

export function troubledStore(inner: Store): TroubledStore {
  const broken = new Set<OperationName>();
  const isBroken = (name: string) => [...broken].some((each) => each === name);
  const calls = new Map<string, number>();
  const gates = new Map<string, Promise<void>>();
  const carryOut = (name: string, operation: () => unknown): unknown => {
    calls.set(name, (calls.get(name) ?? 0) + 1);
    if (isBroken(name)) return Promise.reject(new StoreFailure("disk-full", "the disk is full"));
    const answer = operation();
    const gate = gates.get(name);
    return gate === undefined ? answer : Promise.all([answer, gate]).then(([settled]) => settled);
  };
  const store = new Proxy(inner, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== "function") return value;
      return (...args: readonly unknown[]) => carryOut(String(name), () => Reflect.apply(value, target, args));
    },
  });
  return {
    store,
    broken,
    calls,
    holdAnswers: (name) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      gates.set(name, promise);
      return () => {
        gates.delete(name);
        resolve();
      };
    },
  };
}
