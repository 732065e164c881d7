/** Discovery packets on this machine's network, for whoever wants to see them. */
import { systemClock } from "../base/system-clock.ts";
import { type DiscoveryWatchInit, watchDiscovery } from "../net/discovery-watch.ts";

export type WatchInit = Omit<DiscoveryWatchInit, "clock">;
export type ShownPacket = Parameters<WatchInit["onPacket"]>[0];

/** Listens until disposed. Rejects with `failed`, code `no-multicast`. */
export function watchNetwork(init: WatchInit): Promise<Disposable> {
  return watchDiscovery({ ...init, clock: systemClock });
}
