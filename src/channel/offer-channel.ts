/**
 * The offer channel: one rendezvous, and the facets through which it is held. A worker's session holds a sender, which is
 * cut off with the session; the dispatcher holds the rendezvous itself and can choose; receiver and closer are for who is
 * given them.
 *
 * An offer is withdrawn when its call is finished or its connection lost, and all of a session's at once when the session
 * ends. A worker that was taken is the taker's: it outlives call, sender and channel. A worker whose offer was withdrawn
 * or refused is disposed, which tells its worker that the slot is free.
 */
import { OFFERS_PER_PEER_MAX } from "../base/limits.ts";
import { overloaded } from "../base/errors.ts";
import type { PeerId } from "../base/ids.ts";
import { type WorkerOffer, serveChannelCloser, serveOfferReceiver, serveOfferSender } from "../caps/channel-facets.ts";
import type { Capability } from "../rpc/capability.ts";
import { Rendezvous, type Sender, type WaitOptions } from "./rendezvous.ts";

/** An offer on the channel. */
export interface OfferedWorker extends WorkerOffer {
  /** Who sent it, as its session was authenticated. */
  readonly peer: PeerId;
}

export interface SenderInit {
  readonly peer: PeerId;
  /** Cuts the sender off, with its reason: the session has ended. */
  readonly signal: AbortSignal;
}

export class OfferChannel implements Disposable {
  /** For the dispatcher, which alone may choose among the offers that wait. Closed with the channel. */
  readonly rendezvous = new Rendezvous<OfferedWorker>({ drop: (offer) => offer.worker[Symbol.dispose]() });
  readonly #waitingByPeer = new Map<PeerId, number>();

  /** An `OfferSender` for one session, owned by the caller. */
  senderFor({ peer, signal }: SenderInit): Capability {
    const sender = this.rendezvous.sender({ signal });
    return serveOfferSender({ send: (offer, options) => this.#send(sender, { ...offer, peer }, options) });
  }

  /** An `OfferReceiver`, owned by the caller. It takes what has waited longest. */
  receiver(): Capability {
    return serveOfferReceiver(this.rendezvous);
  }

  /** A `ChannelCloser`, owned by the caller. */
  closer(): Capability {
    return serveChannelCloser({ close: () => this.close() });
  }

  /** Calls of this peer that wait for their offer to be taken. */
  waitingOf(peer: PeerId): number {
    return this.#waitingByPeer.get(peer) ?? 0;
  }

  /** Fails all that wait, now and later, with `disconnected`. Idempotent. */
  close(reason?: string): void {
    this.rendezvous.close(reason);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Takes the offer's worker over, even when it rejects. */
  async #send(sender: Sender<OfferedWorker>, offer: OfferedWorker, options: WaitOptions): Promise<void> {
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
