/** What the conformance suite needs of an implementation of the store. */
import type { Store } from "../../src/store/store.ts";

/** A store with nothing in it, which is the test's alone. Disposing the harness closes it and leaves nothing behind. */
export interface StoreHarness extends AsyncDisposable {
  readonly store: Store;
  /**
   * Closes the store and opens it again on what it has kept; `store` is then the new one. Left out by a store that
   * keeps nothing.
   */
  readonly reopen?: () => Promise<void>;
}

export type OpenStore = () => Promise<StoreHarness>;
