/**
 * The offer channel: one rendezvous, and the facets through which it is held. A worker's session holds a sender, which is
 * cut off with the session; the dispatcher holds `offers`, which alone can choose; receiver and closer are for who is
 * given them.
 *
 * An offer is withdrawn when its call is finished or its connection lost, and all of a session's at once when the session
 * ends. A worker that was taken is the taker's: it outlives call, sender and channel. A worker whose offer was withdrawn
 * or refused is disposed, which tells its worker that the slot is free.
 */
import { OFFERS_PER_PEER_MAX } from "../base/limits.ts";
import { overloaded } from "../base/errors.ts";
import type { PeerId } from "../base/ids.ts";
import {
  type OfferedWorker,
  serveChannelCloser,
  serveOfferReceiver,
  serveOfferSender,
} from "../caps/channel-facets.ts";
import type { Capability } from "../rpc/capability.ts";
import { type Offer, Rendezvous, type Sender, type WaitOptions } from "./rendezvous.ts";

/** An offer on the channel. */
export interface WorkerOffer extends OfferedWorker {
  /** Who sent it, as its session was authenticated. */
  readonly peer: PeerId;
}

/** The facet for who chooses among the offers that wait. */
export interface OfferChooser {
  /** Those that wait, in order. Their workers are not the caller's: `state` and `peer` may be looked at. */
  waiting(): readonly Offer<WorkerOffer>[];
  /** The worker becomes the caller's. Undefined: the offer is gone. */
  take(offer: Offer<WorkerOffer>): WorkerOffer | undefined;
  /** Calls `listener`, which must not throw, each time an offer has begun to wait, until disposed. */
  onOffer(listener: () => void): Disposable;
}

export interface SenderInit {
  readonly peer: PeerId;
  /** Cuts the sender off, with its reason: the session has ended. */
  readonly signal: AbortSignal;
}

export class OfferChannel implements Disposable {
  readonly offers: OfferChooser;
  readonly #rendezvous = new Rendezvous<WorkerOffer>({ drop: (offer) => offer.worker[Symbol.dispose]() });
  readonly #waitingByPeer = new Map<PeerId, number>();

  constructor() {
    const rendezvous = this.#rendezvous;
    this.offers = {
      waiting: () => rendezvous.waiting(),
      take: (offer) => rendezvous.take(offer),
      onOffer: (listener) => rendezvous.onOffer(listener),
    };
  }

  /** An `OfferSender` for one session, owned by the caller. */
  senderFor({ peer, signal }: SenderInit): Capability {
    const sender = this.#rendezvous.sender({ signal });
    return serveOfferSender({ send: (offer, options) => this.#send(sender, { ...offer, peer }, options) });
  }

  /** An `OfferReceiver`, owned by the caller. It takes what has waited longest. */
  receiver(): Capability {
    return serveOfferReceiver(this.#rendezvous);
  }

  /** A `ChannelCloser`, owned by the caller. */
  closer(): Capability {
    return serveChannelCloser({ close: () => this.close() });
  }

  /** Calls of this peer that wait for their offer to be taken. */
  waitingOf(peer: PeerId): number {
    return this.#waitingByPeer.get(peer) ?? 0;
  }

  /** Calls of receivers that wait for an offer. */
  get receiversWaiting(): number {
    return this.#rendezvous.receiversWaiting;
  }

  /** Fails all that wait, now and later, with `disconnected`. Idempotent. */
  close(reason?: string): void {
    this.#rendezvous.close(reason);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Takes the offer's worker over, even when it rejects. */
  async #send(sender: Sender<WorkerOffer>, offer: WorkerOffer, options: WaitOptions): Promise<void> {
    const { peer } = offer;
    const waiting = this.waitingOf(peer);
    if (waiting >= OFFERS_PER_PEER_MAX) {
      offer.worker[Symbol.dispose]();
      throw overloaded(`${waiting} offers of this worker wait already`, { code: "too-many-offers" });
    }
    this.#waitingByPeer.set(peer, waiting + 1);
    try {
      await sender.send(offer, options);
    } finally {
      const left = this.waitingOf(peer) - 1;
      if (left === 0) this.#waitingByPeer.delete(peer);
      else this.#waitingByPeer.set(peer, left);
    }
  }
}
