/** The members that gossip shows, as the API shows them. */
import type { Member as ApiMember } from "../model/worker.ts";
import type { Membership } from "../net/membership.ts";

export function memberViews(membership: Membership): readonly ApiMember[] {
  return membership.members().map((member) => ({
    id: member.peerId,
    role: member.role,
    version: member.version,
    slots: member.slots,
    busy: member.busy,
    labels: member.labels,
    addresses: member.addrs,
    startedAt: member.startedAt,
    lastSeenAt: member.lastSeen,
  }));
}
