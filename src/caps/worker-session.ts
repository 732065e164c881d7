/** `WorkerSession`: what a worker that has been admitted holds. */
import { HELD_ATTEMPTS_MAX, REASON_LENGTH_MAX } from "../base/limits.ts";
import { type ResumeVerdict as WireResumeVerdict, WorkerSession$Client } from "../generated/bootstrap.ts";
import type { AttemptId } from "../model/run.ts";
import type { WorkerState } from "../model/worker.ts";
import { type CallOptions, type Capability, getCapability, setCapability } from "../rpc/capability.ts";
import { serve } from "../rpc/server.ts";
import { OfferSenderClient } from "./offers.ts";
import { OutputClient } from "./output.ts";
import { RunClient } from "./run.ts";
import { checkLength, decodeText, decodeUint, invalidMessage } from "./scalars.ts";
import { decodeAttemptId, decodeWorkerState, encodeAttemptId, encodeWorkerState } from "./worker-codec.ts";

const [OFFERS, RESUME, RENEW, DRAIN] = WorkerSession$Client.methods;
/** Pointer indexes of interface fields, as `schema/bootstrap.capnp` lays them out. */
const OFFERS_RESULTS_SENDER = 0;
const HELD_ATTEMPT_RUN = 1;
const VERDICT_ADOPT_OUTPUT = 0;

export interface OfferTerms {
  /** How long the gateway holds an attempt to be alive after it was renewed. */
  readonly leaseMs: number;
  readonly renewEveryMs: number;
}

/** An attempt that a worker holds, finished and not acknowledged ones included. `R` is how the holder names its run. */
export interface HeldAttempt<R> {
  readonly id: AttemptId;
  readonly run: R;
  /** The first byte of output that the worker still has. */
  readonly outputOffset: number;
}

export type ResumeVerdict<O> =
  | { readonly kind: "adopt"; readonly output: O; readonly offset: number }
  | { readonly kind: "stop"; readonly reason: string };

export interface WorkerSessionTarget extends Partial<Disposable> {
  /** The sender is borrowed: it stays the target's. */
  offers(): OfferTerms & { readonly sender: Capability };
  /** Takes the runs over; the outputs of the verdicts become the caller's. One verdict each, in order. */
  resume(attempts: readonly HeldAttempt<RunClient>[]): Promise<readonly ResumeVerdict<Capability>[]>;
  /** Resolves with those that the worker has to stop. */
  renew(attempts: readonly AttemptId[], state: WorkerState): Promise<readonly AttemptId[]>;
  drain(): void | Promise<void>;
}

/** Owns its capability. */
export class WorkerSessionClient implements Disposable {
  readonly capability: Capability;

  constructor(capability: Capability) {
    this.capability = capability;
  }

  /** The sender becomes the caller's. */
  async offers(options: CallOptions = {}): Promise<OfferTerms & { readonly sender: OfferSenderClient }> {
    using answer = this.capability.call(OFFERS, undefined, options);
    const results = await answer.result();
    const sender = getCapability(results, OFFERS_RESULTS_SENDER);
    if (sender === undefined) throw invalidMessage("a session without an offer channel");
    return {
      sender: new OfferSenderClient(sender),
      leaseMs: decodeUint(results.leaseMs, "lease"),
      renewEveryMs: decodeUint(results.renewEveryMs, "renewal interval"),
    };
  }

  /** The runs are borrowed; the outputs of the verdicts become the caller's. */
  async resume(
    attempts: readonly HeldAttempt<Capability>[],
    options: CallOptions = {},
  ): Promise<readonly ResumeVerdict<OutputClient>[]> {
    using answer = this.capability.call(
      RESUME,
      (params) => {
        const list = params._initAttempts(attempts.length);
        attempts.forEach((attempt, index) => {
          const entry = list.get(index);
          encodeAttemptId(entry._initId(), attempt.id);
          setCapability(entry, HELD_ATTEMPT_RUN, attempt.run);
          entry.outputOffset = BigInt(attempt.outputOffset);
        });
      },
      options,
    );
    const { verdicts } = await answer.result();
    if (verdicts.length !== attempts.length)
      throw invalidMessage(`${verdicts.length} verdicts on ${attempts.length} attempts`);
    return takeAll(attempts.length, (index, taken) => {
      const verdict = decodeVerdict(verdicts.get(index));
      if (verdict.kind === "adopt") taken.use(verdict.output);
      return verdict;
    });
  }

  async renew(
    attempts: readonly AttemptId[],
    state: WorkerState,
    options: CallOptions = {},
  ): Promise<readonly AttemptId[]> {
    using answer = this.capability.call(
      RENEW,
      (params) => {
        const list = params._initAttempts(attempts.length);
        attempts.forEach((id, index) => encodeAttemptId(list.get(index), id));
        encodeWorkerState(params._initState(), state);
      },
      options,
    );
    const { stop } = await answer.result();
    const count = checkLength(stop, HELD_ATTEMPTS_MAX, "attempts to stop");
    return Array.from({ length: count }, (_, index) => decodeAttemptId(stop.get(index)));
  }

  async drain(options: CallOptions = {}): Promise<void> {
    using answer = this.capability.call(DRAIN, undefined, options);
    await answer.result();
  }

  [Symbol.dispose](): void {
    this.capability[Symbol.dispose]();
  }
}

/** Decodes a list whose entries hold capabilities. When one is refused, those taken out before are given up. */
function takeAll<T>(count: number, take: (index: number, taken: DisposableStack) => T): T[] {
  using taken = new DisposableStack();
  const entries = Array.from({ length: count }, (_, index) => take(index, taken));
  taken.move();
  return entries;
}

function decodeVerdict(wire: WireResumeVerdict): ResumeVerdict<OutputClient> {
  if (wire._isStop) return { kind: "stop", reason: decodeText(wire.stop, REASON_LENGTH_MAX, "a reason") };
  if (!wire._isAdopt) throw invalidMessage("a verdict that this version does not know");
  const offset = decodeUint(wire.adopt.offset, "offset");
  const output = getCapability(wire.adopt, VERDICT_ADOPT_OUTPUT);
  if (output === undefined) throw invalidMessage("an adoption without an output");
  return { kind: "adopt", output: new OutputClient(output), offset };
}

/** `target` is disposed when the worker has dropped the session, or the connection is gone. */
export function serveWorkerSession(target: WorkerSessionTarget): Capability {
  return serve(WorkerSession$Client, {
    offers: (_params, results) => {
      const { sender, leaseMs, renewEveryMs } = target.offers();
      setCapability(results, OFFERS_RESULTS_SENDER, sender);
      results.leaseMs = BigInt(leaseMs);
      results.renewEveryMs = BigInt(renewEveryMs);
    },
    resume: async (params, results) => {
      const { attempts } = params;
      const count = checkLength(attempts, HELD_ATTEMPTS_MAX, "held attempts");
      const held = takeAll(count, (index, taken) => {
        const wire = attempts.get(index);
        const run = getCapability(wire, HELD_ATTEMPT_RUN);
        if (run === undefined) throw invalidMessage("a held attempt without a run");
        const runClient = taken.use(new RunClient(run));
        return { id: decodeAttemptId(wire.id), run: runClient, outputOffset: decodeUint(wire.outputOffset, "offset") };
      });
      const verdicts = await target.resume(held);
      const list = results._initVerdicts(verdicts.length);
      verdicts.forEach((verdict, index) => encodeVerdict(list.get(index), verdict));
    },
    renew: async (params, results) => {
      const { attempts } = params;
      const count = checkLength(attempts, HELD_ATTEMPTS_MAX, "attempts");
      const ids = Array.from({ length: count }, (_, index) => decodeAttemptId(attempts.get(index)));
      const stop = await target.renew(ids, decodeWorkerState(params.state));
      const list = results._initStop(stop.length);
      stop.forEach((id, index) => encodeAttemptId(list.get(index), id));
    },
    drain: () => target.drain(),
    [Symbol.dispose]: () => target[Symbol.dispose]?.(),
  });
}

function encodeVerdict(wire: WireResumeVerdict, verdict: ResumeVerdict<Capability>): void {
  if (verdict.kind === "stop") {
    wire.stop = verdict.reason.slice(0, REASON_LENGTH_MAX);
    return;
  }
  const adopt = wire._initAdopt();
  using output = verdict.output;
  setCapability(adopt, VERDICT_ADOPT_OUTPUT, output);
  adopt.offset = BigInt(verdict.offset);
}
