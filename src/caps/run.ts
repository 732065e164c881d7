/** `Run`: one attempt on a worker, as the gateway holds it. */
import { type Capability, type CallOptions } from "../rpc/capability.ts";
import { Run$Client } from "../generated/worker.ts";
import type { AttemptEnd } from "../model/outcome.ts";
import { serve } from "../rpc/server.ts";
import { decodeAttemptEnd, encodeAttemptEnd } from "./worker-codec.ts";

const [OUTCOME, CANCEL, ACKNOWLEDGE] = Run$Client.methods;

export interface RunTarget {
  /** Resolves when the guest has ended and its output is acknowledged. The signal ends the waiting, not the attempt. */
  outcome(options: { signal: AbortSignal }): Promise<AttemptEnd>;
  /** Ends the guest: it is known to be told when this has resolved. Idempotent. */
  cancel(): void | Promise<void>;
  /** The outcome is durable, or will never be wanted. Idempotent. */
  acknowledge(): void;
}

/** Owns its capability. */
export class RunClient implements Disposable {
  readonly capability: Capability;

  constructor(capability: Capability) {
    this.capability = capability;
  }

  /** Rejects with `disconnected` when the worker is out of reach; the attempt may go on there. */
  async outcome(options: CallOptions = {}): Promise<AttemptEnd> {
    using answer = this.capability.call(OUTCOME, undefined, options);
    return decodeAttemptEnd((await answer.result()).outcome);
  }

  async cancel(options: CallOptions = {}): Promise<void> {
    using answer = this.capability.call(CANCEL, undefined, options);
    await answer.result();
  }

  async acknowledge(options: CallOptions = {}): Promise<void> {
    using answer = this.capability.call(ACKNOWLEDGE, undefined, options);
    await answer.result();
  }

  [Symbol.dispose](): void {
    this.capability[Symbol.dispose]();
  }
}

export function serveRun(target: RunTarget): Capability {
  return serve(Run$Client, {
    outcome: async (_params, results, { signal }) => {
      encodeAttemptEnd(results._initOutcome(), await target.outcome({ signal }));
    },
    cancel: () => target.cancel(),
    acknowledge: () => target.acknowledge(),
  });
}
