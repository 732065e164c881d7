/** Capabilities that can be taken back. */
import type { ClusterError } from "../base/errors.ts";
import { type Capability, capabilityOf, hookOf } from "./capability.ts";
import { BrokenHook, type Call, Hook, PendingCall } from "./hook.ts";

/** Stands before another capability. Since it never resolves to it, nobody gets around it. */
class RevocableHook extends Hook {
  #target: Hook;
  #revoked: ClusterError | undefined;
  #isDropped = false;
  readonly #pending = new Set<PendingCall>();
  readonly #watches = new Set<(reason: ClusterError) => void>();

  constructor(target: Hook) {
    super();
    this.#target = target;
  }

  call(call: Call): PendingCall {
    if (this.#revoked) return this.#target.call(call);
    const pending = new PendingCall();
    // The results come through here, so that what is pending can be revoked.
    pending.adopt(this.#target.call({ ...call, origin: undefined, tailOf: undefined }));
    if (pending.outcome) return pending;
    this.#pending.add(pending);
    pending.whenSettled(() => this.#pending.delete(pending));
    return pending;
  }

  watch(callback: (reason: ClusterError) => void): () => void {
    if (this.#revoked) {
      callback(this.#revoked);
      return () => {};
    }
    const watch = (reason: ClusterError): void => callback(reason);
    this.#watches.add(watch);
    const unwatchTarget = this.#target.watch(watch);
    return () => {
      this.#watches.delete(watch);
      unwatchTarget();
    };
  }

  revoke(reason: ClusterError): void {
    if (this.#revoked || this.#isDropped) return;
    this.#revoked = reason;
    const target = this.#target;
    this.#target = new BrokenHook(reason);
    for (const pending of this.#pending) pending.cancel(reason);
    for (const watch of this.#watches) watch(reason);
    this.#watches.clear();
    target.release();
  }

  protected unreferenced(): void {
    this.#isDropped = true;
    this.#target.release();
  }
}

/** A capability and the power to take it back. */
export interface Revocable {
  /** Owned by the caller. */
  readonly capability: Capability;
  /** Fails all calls through the capability, its dups and whatever it was passed on to, pending ones included. */
  readonly revoke: (reason: ClusterError) => void;
}

/**
 * A capability that forwards to `target` until it is revoked. Borrows `target`. What calls through it have already
 * returned is not taken back. Revoking again does nothing.
 */
export function revocable(target: Capability): Revocable {
  const hook = new RevocableHook(hookOf(target));
  return { capability: capabilityOf(hook), revoke: (reason) => hook.revoke(reason) };
}
