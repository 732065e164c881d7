/** The client end of the offer channel's `OfferSender`; its server is the channel itself. */
import { OfferSender$Client } from "../generated/channel.ts";
import type { WorkerState } from "../model/worker.ts";
import { type CallOptions, type Capability, setCapability } from "../rpc/capability.ts";
import { encodeWorkerState } from "./worker-codec.ts";

const [SEND] = OfferSender$Client.methods;
/** Pointer index of the interface field, as `schema/channel.capnp` lays it out. */
const SEND_PARAMS_WORKER = 0;

/** Owns its capability. */
export class OfferSenderClient implements Disposable {
  readonly capability: Capability;

  constructor(capability: Capability) {
    this.capability = capability;
  }

  /** Resolves when the gateway has taken the worker, which is borrowed. Aborting the signal withdraws the offer. */
  async send(worker: Capability, state: WorkerState, options: CallOptions = {}): Promise<void> {
    using answer = this.capability.call(
      SEND,
      (params) => {
        setCapability(params, SEND_PARAMS_WORKER, worker);
        encodeWorkerState(params._initState(), state);
      },
      options,
    );
    await answer.result();
  }

  [Symbol.dispose](): void {
    this.capability[Symbol.dispose]();
  }
}
