/**
 * The facets of the offer channel: servers of all three, and the client ends of `OfferReceiver` and `ChannelCloser`; that
 * of `OfferSender`, which every worker has, is `offers.ts`.
 */
import { ChannelCloser$Client, OfferReceiver$Client, OfferSender$Client } from "../generated/channel.ts";
import type { WorkerState } from "../model/worker.ts";
import { type CallOptions, type Capability, getCapability, setCapability } from "../rpc/capability.ts";
import { serve } from "../rpc/server.ts";
import { invalidMessage } from "./scalars.ts";
import { decodeWorkerState, encodeWorkerState } from "./worker-codec.ts";

const [RECV] = OfferReceiver$Client.methods;
const [CLOSE] = ChannelCloser$Client.methods;
/** Pointer indexes of interface fields, as `schema/channel.capnp` lays them out. */
const SEND_PARAMS_WORKER = 0;
const RECV_RESULTS_WORKER = 0;

/** One free slot of a worker. Whoever has it owns the capability, which may be called once. */
export interface OfferedWorker {
  readonly worker: Capability;
  /** What the worker says of itself: a claim, decoded and within the limits. */
  readonly state: WorkerState;
}

export interface OfferSenderTarget {
  /** Resolves when a receiver has taken the offer, and with it the worker. Takes the worker over, even when it rejects. */
  send(offer: OfferedWorker, options: { readonly signal: AbortSignal }): Promise<void>;
}

export interface OfferReceiverTarget {
  /** The worker becomes the caller's. */
  recv(options: { readonly signal: AbortSignal }): Promise<OfferedWorker>;
}

export interface ChannelCloserTarget {
  close(): void;
}

export function serveOfferSender(target: OfferSenderTarget): Capability {
  return serve(OfferSender$Client, {
    send: async (params, _results, { signal }) => {
      const state = decodeWorkerState(params.state);
      const worker = getCapability(params, SEND_PARAMS_WORKER);
      if (worker === undefined) throw invalidMessage("an offer without a worker");
      await target.send({ worker, state }, { signal });
    },
  });
}

export function serveOfferReceiver(target: OfferReceiverTarget): Capability {
  return serve(OfferReceiver$Client, {
    recv: async (_params, results, { signal }) => {
      const offer = await target.recv({ signal });
      using worker = offer.worker;
      setCapability(results, RECV_RESULTS_WORKER, worker);
      encodeWorkerState(results._initState(), offer.state);
    },
  });
}

export function serveChannelCloser(target: ChannelCloserTarget): Capability {
  return serve(ChannelCloser$Client, { close: () => target.close() });
}

/** Owns its capability. */
export class OfferReceiverClient implements Disposable {
  readonly capability: Capability;

  constructor(capability: Capability) {
    this.capability = capability;
  }

  /** Takes the offer that has waited longest, or waits for one. The worker becomes the caller's. */
  async recv(options: CallOptions = {}): Promise<OfferedWorker> {
    using answer = this.capability.call(RECV, undefined, options);
    const results = await answer.result();
    const state = decodeWorkerState(results.state);
    const worker = getCapability(results, RECV_RESULTS_WORKER);
    if (worker === undefined) throw invalidMessage("an offer without a worker");
    return { worker, state };
  }

  [Symbol.dispose](): void {
    this.capability[Symbol.dispose]();
  }
}

/** Owns its capability. */
export class ChannelCloserClient implements Disposable {
  readonly capability: Capability;

  constructor(capability: Capability) {
    this.capability = capability;
  }

  /** Fails all that wait on the channel, now and later. */
  async close(options: CallOptions = {}): Promise<void> {
    using answer = this.capability.call(CLOSE, undefined, options);
    await answer.result();
  }

  [Symbol.dispose](): void {
    this.capability[Symbol.dispose]();
  }
}
