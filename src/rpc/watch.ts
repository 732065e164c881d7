/** Watching a hook for the moment in which it can never work again. */
import type { ClusterError } from "../base/errors.ts";

/** Somebody who wants to know when a hook breaks, told once. */
export class Watch {
  readonly callback: (reason: ClusterError) => void;
  unwatch: (() => void) | undefined;

  constructor(callback: (reason: ClusterError) => void) {
    let isTold = false;
    this.callback = (reason) => {
      if (!isTold) callback(reason);
      isTold = true;
    };
  }
}
