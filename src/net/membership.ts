/**
 * Seeing the cluster: signed heartbeats over gossipsub, one topic per namespace. Every process hears all others, through
 * whom it is connected to. Who holds work is decided elsewhere, by leases; a lie told here only shows.
 */
import type { Libp2p, PeerId as Libp2pPeerId } from "@libp2p/interface";
import type { GossipSub, Message, SubscriptionChangeData } from "@libp2p/gossipsub";
import type { Clock, Timer } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import { parsePeerId, type PeerId } from "../base/ids.ts";
import { HEARTBEAT_BYTES_MAX, HEARTBEAT_EVERY_MS, PEER_ADDRESSES_MAX } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import { decodeHeartbeat, encodeHeartbeat, MemberTable, type Member, type MemberState } from "./member-table.ts";
import { membersTopicOf } from "./namespace.ts";

export interface MembershipInit {
  readonly libp2p: Libp2p;
  readonly gossip: GossipSub;
  readonly namespace: string;
  readonly peerId: PeerId;
  /** Our own addresses, as others may dial them. */
  readonly addrs: () => readonly string[];
  readonly clock: Clock;
  readonly log: Log;
}

/** Beats outside the rhythm, for news and for newcomers, are at least this far apart. */
const EXTRA_BEAT_EVERY_MS = 250;

export class Membership {
  readonly #init: MembershipInit;
  readonly #topic: string;
  readonly #table = new MemberTable();
  readonly #startedAt: number;
  readonly #listeners = new Set<() => void>();
  readonly #abort = new AbortController();
  #state: MemberState | undefined;
  #beat = 0;
  #lastBeatMs = -Infinity;
  #timer: Timer | undefined;
  #extraTimer: Timer | undefined;

  constructor(init: MembershipInit) {
    this.#init = init;
    this.#topic = membersTopicOf(init.namespace);
    this.#startedAt = Math.max(0, Math.floor(init.clock.now()));
    const { signal } = this.#abort;
    init.gossip.addEventListener("message", ({ detail }) => this.#onMessage(detail), { signal });
    init.gossip.addEventListener("subscription-change", ({ detail }) => this.#onSubscription(detail), { signal });
    init.libp2p.addEventListener("peer:disconnect", ({ detail }) => this.#onDisconnected(detail), { signal });
    init.gossip.subscribe(this.#topic);
    this.#schedule();
  }

  /**
   * Says what we are, now and from now on with every beat. Before the first call nothing is sent. Calls in quick
   * succession go out together.
   */
  announce(state: MemberState): void {
    this.#state = state;
    this.#beatSoon();
  }

  /** Who is there, ourselves included once announced, in the order of their peer ids. */
  members(): Member[] {
    this.#expire();
    const connected = new Set(this.#init.libp2p.getPeers().map((peer) => peer.toString()));
    const others = this.#table.members((peerId) => connected.has(peerId));
    if (this.#state === undefined) return others;
    const self: Member = {
      ...this.#state,
      peerId: this.#init.peerId,
      startedAt: this.#startedAt,
      addrs: this.#init.addrs(),
      lastSeen: this.#init.clock.now(),
      isConnected: true,
    };
    return [...others, self].sort((a, b) => (a.peerId < b.peerId ? -1 : 1));
  }

  /** Called after `members()` has changed, until disposed. Several changes may make one call. */
  onChange(listener: () => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) };
  }

  /** Says goodbye and falls silent. Resolves when the goodbye is handed to the network. Never rejects. */
  async stop(): Promise<void> {
    if (this.#abort.signal.aborted) return;
    this.#abort.abort();
    this.#timer?.[Symbol.dispose]();
    this.#extraTimer?.[Symbol.dispose]();
    this.#listeners.clear();
    await this.#publish(true);
  }

  #schedule(): void {
    this.#timer = this.#init.clock.setTimer(HEARTBEAT_EVERY_MS, () => {
      this.#schedule();
      this.#expire();
      void this.#publish(false);
    });
  }

  #beatSoon(): void {
    if (this.#extraTimer !== undefined || this.#state === undefined || this.#abort.signal.aborted) return;
    const sinceMs = this.#init.clock.monotonicMs() - this.#lastBeatMs;
    this.#extraTimer = this.#init.clock.setTimer(Math.max(0, EXTRA_BEAT_EVERY_MS - sinceMs), () => {
      this.#extraTimer = undefined;
      void this.#publish(false);
    });
  }

  async #publish(isLeaving: boolean): Promise<void> {
    if (this.#state === undefined) return;
    this.#beat++;
    this.#lastBeatMs = this.#init.clock.monotonicMs();
    const payload = encodeHeartbeat({
      ...this.#state,
      startedAt: this.#startedAt,
      beat: this.#beat,
      addrs: this.#init.addrs().slice(0, PEER_ADDRESSES_MAX),
      isLeaving,
    });
    if (payload.byteLength > HEARTBEAT_BYTES_MAX) {
      this.#init.log.warn("the heartbeat is too large to be sent: use fewer or shorter labels", {
        bytes: payload.byteLength,
      });
      return;
    }
    try {
      await this.#init.gossip.publish(this.#topic, payload);
    } catch (error) {
      this.#init.log.debug("a heartbeat was not sent", { error: messageOf(error) });
    }
  }

  #onMessage(message: Message): void {
    if (message.topic !== this.#topic || message.type !== "signed") return;
    if (message.data.byteLength > HEARTBEAT_BYTES_MAX) return;
    const peerId = parsePeerId(message.from.toString());
    const beat = decodeHeartbeat(message.data);
    if (peerId === undefined || beat === undefined || peerId === this.#init.peerId) return;
    const { clock } = this.#init;
    const change = this.#table.onHeartbeat(peerId, beat, { wallMs: clock.now(), monotonicMs: clock.monotonicMs() });
    if (change !== "none") this.#tell();
  }

  /** Somebody new listens: it need not wait for our next beat. */
  #onSubscription(change: SubscriptionChangeData): void {
    if (change.subscriptions.some((one) => one.topic === this.#topic && one.subscribe)) this.#beatSoon();
  }

  #onDisconnected(peer: Libp2pPeerId): void {
    const peerId = parsePeerId(peer.toString());
    if (peerId === undefined) return;
    if (this.#table.onDisconnected(peerId, this.#init.clock.monotonicMs()) !== "none") this.#tell();
  }

  #expire(): void {
    if (this.#table.expire(this.#init.clock.monotonicMs()).length > 0) this.#tell();
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }
}
