/**
 * Who is in the cluster, as heartbeats show it. Pure: told of beats, disconnections and the time, it answers who is
 * there. It is for looking at; nothing is decided by it.
 *
 * A member goes when it says goodbye, when our own connection to it closes, or after HEARTBEAT_TTL_MS of silence. Beats
 * are numbered within one start of a process, so that a beat that took a detour does not bring back who has gone.
 */
import type { PeerId } from "../base/ids.ts";
import { HEARTBEAT_TTL_MS, MEMBERS_MAX, PEER_ADDRESSES_MAX } from "../base/limits.ts";

export type MemberRole = "gateway" | "worker" | "both";

/** What a process tells about itself. */
export interface MemberState {
  readonly role: MemberRole;
  readonly version: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly slots: number;
  readonly busy: number;
}

export interface Heartbeat extends MemberState {
  /** When the process started, in milliseconds since the Unix epoch by its own clock. */
  readonly startedAt: number;
  /** Counts the beats since then. */
  readonly beat: number;
  /** Where it can be dialled; empty for most workers. */
  readonly addrs: readonly string[];
  /** The last beat: it stops. */
  readonly isLeaving: boolean;
}

export interface Member extends MemberState {
  readonly peerId: PeerId;
  readonly startedAt: number;
  readonly addrs: readonly string[];
  /** When its last beat came, in milliseconds since the Unix epoch by our clock. Now, for ourselves. */
  readonly lastSeen: number;
  /** Whether we have a connection to it. True for ourselves. */
  readonly isConnected: boolean;
}

interface Entry {
  readonly beat: Heartbeat;
  readonly seenAt: number;
  /** By the monotonic clock. */
  readonly seenMs: number;
}

/** What remains of a member that has gone: its beats up to this one, or in flight with it, do not count any more. */
interface Departure {
  readonly startedAt: number;
  readonly beat: number;
  readonly goneMs: number;
}

export type MemberChange = "joined" | "updated" | "left" | "none";

/** Beats that may be on their way by a detour when a connection closes. */
const BEATS_IN_FLIGHT = 1;

export class MemberTable {
  readonly #entries = new Map<PeerId, Entry>();
  readonly #departures = new Map<PeerId, Departure>();

  /** A beat came. Old ones, repeated ones, and new members past MEMBERS_MAX change nothing. */
  onHeartbeat(
    peerId: PeerId,
    beat: Heartbeat,
    now: { readonly wallMs: number; readonly monotonicMs: number },
  ): MemberChange {
    const known = this.#entries.get(peerId);
    if (known !== undefined && !isNewer(beat, known.beat, 0)) return "none";
    if (beat.isLeaving) return this.#depart(peerId, beat, now.monotonicMs);
    const departure = this.#departures.get(peerId);
    if (departure !== undefined && !isNewer(beat, departure, BEATS_IN_FLIGHT)) return "none";
    if (known === undefined && this.#entries.size >= MEMBERS_MAX) return "none";
    this.#departures.delete(peerId);
    this.#entries.set(peerId, { beat, seenAt: now.wallMs, seenMs: now.monotonicMs });
    return known === undefined ? "joined" : "updated";
  }

  /** The last connection to it closed: it is gone until it shows again. */
  onDisconnected(peerId: PeerId, monotonicMs: number): MemberChange {
    const known = this.#entries.get(peerId);
    return known === undefined ? "none" : this.#depart(peerId, known.beat, monotonicMs);
  }

  /** Removes who was silent for too long, and returns them. */
  expire(monotonicMs: number): PeerId[] {
    const expired: PeerId[] = [];
    for (const [peerId, entry] of this.#entries) {
      if (monotonicMs - entry.seenMs <= HEARTBEAT_TTL_MS) continue;
      this.#entries.delete(peerId);
      expired.push(peerId);
    }
    for (const [peerId, departure] of this.#departures) {
      if (monotonicMs - departure.goneMs > HEARTBEAT_TTL_MS) this.#departures.delete(peerId);
    }
    return expired;
  }

  /** All members, in the order of their peer ids. Call `expire` first. */
  members(isConnected: (peerId: PeerId) => boolean): Member[] {
    const members = [...this.#entries].map(([peerId, { beat, seenAt }]) => ({
      peerId,
      role: beat.role,
      version: beat.version,
      labels: beat.labels,
      slots: beat.slots,
      busy: beat.busy,
      startedAt: beat.startedAt,
      addrs: beat.addrs,
      lastSeen: seenAt,
      isConnected: isConnected(peerId),
    }));
    return members.sort((a, b) => (a.peerId < b.peerId ? -1 : 1));
  }

  #depart(peerId: PeerId, last: Pick<Heartbeat, "startedAt" | "beat">, goneMs: number): MemberChange {
    if (this.#departures.size < MEMBERS_MAX) {
      this.#departures.set(peerId, { startedAt: last.startedAt, beat: last.beat, goneMs });
    }
    return this.#entries.delete(peerId) ? "left" : "none";
  }
}

function isNewer(
  beat: Heartbeat,
  than: { readonly startedAt: number; readonly beat: number },
  margin: number,
): boolean {
  if (beat.startedAt !== than.startedAt) return beat.startedAt > than.startedAt;
  return beat.beat > than.beat + margin;
}

export function encodeHeartbeat(beat: Heartbeat): Uint8Array {
  return Buffer.from(JSON.stringify(beat), "utf8");
}

const LABELS_MAX = 64;
const TEXT_LENGTH_MAX = 256;

/** A heartbeat from the wire; undefined when it is not one in every part. Its length was checked before. */
export function decodeHeartbeat(bytes: Uint8Array): Heartbeat | undefined {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { role, version, labels, slots, busy, startedAt, beat, addrs, isLeaving } = value as Readonly<
    Record<string, unknown>
  >;
  if (role !== "gateway" && role !== "worker" && role !== "both") return undefined;
  if (!isText(version) || !isCount(slots) || !isCount(busy) || !isCount(startedAt) || !isCount(beat)) return undefined;
  if (typeof isLeaving !== "boolean") return undefined;
  if (!Array.isArray(addrs) || addrs.length > PEER_ADDRESSES_MAX || !addrs.every(isText)) return undefined;
  if (typeof labels !== "object" || labels === null) return undefined;
  const pairs = Object.entries(labels as Readonly<Record<string, unknown>>);
  if (pairs.length > LABELS_MAX || !pairs.every(isLabel)) return undefined;
  return { role, version, labels: Object.fromEntries(pairs), slots, busy, startedAt, beat, addrs, isLeaving };
}

function isLabel(pair: readonly [string, unknown]): pair is [string, string] {
  return isText(pair[0]) && isText(pair[1]);
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value.length <= TEXT_LENGTH_MAX;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}
