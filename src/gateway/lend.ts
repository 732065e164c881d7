/** Capabilities that are given out on a grant, and end with it. */
import { toClusterError } from "../base/errors.ts";
import type { Capability } from "../rpc/capability.ts";
import { revocable } from "../rpc/revoke.ts";
import type { Grant } from "./grant.ts";

/**
 * A capability that is taken back as soon as the grant ends. `make` gets what to call when nobody holds the capability
 * any more. Throws what the grant has ended with; then nothing was made.
 */
export function lend(grant: Grant, make: (onDropped: () => void) => Capability): Capability {
  if (grant.token === undefined) return make(() => {});
  grant.ended.throwIfAborted();
  const onEnded = (): void => lent.revoke(toClusterError(grant.ended.reason));
  using own = make(() => grant.ended.removeEventListener("abort", onEnded));
  const lent = revocable(own);
  grant.ended.addEventListener("abort", onEnded, { once: true });
  return lent.capability;
}
