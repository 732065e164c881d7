/** Keeps the cluster's members told of what this process is, in the rhythm of the heartbeats. */
import type { Timer } from "../base/clock.ts";
import { HEARTBEAT_EVERY_MS } from "../base/limits.ts";
import type { MemberState } from "../net/member-table.ts";
import type { Membership } from "../net/membership.ts";
import type { Powers } from "./app.ts";

/** Announces `state()` now and from then on, until disposed. */
export function announce(
  membership: Membership,
  state: () => MemberState,
  { clock }: Pick<Powers, "clock">,
): Disposable {
  let timer: Timer;
  const tell = () => {
    membership.announce(state());
    timer = clock.setTimer(HEARTBEAT_EVERY_MS, tell);
  };
  tell();
  return { [Symbol.dispose]: () => timer[Symbol.dispose]() };
}
