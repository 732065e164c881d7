/** `Bootstrap`: what a stranger gets, and the way to a session. */
import { REASON_LENGTH_MAX } from "../base/limits.ts";
import {
  Bootstrap$Client,
  type Credential as WireCredential,
  type Verdict as WireVerdict,
} from "../generated/bootstrap.ts";
import type { WorkerState } from "../model/worker.ts";
import { type CallOptions, type Capability, getCapability, setCapability } from "../rpc/capability.ts";
import { serve } from "../rpc/server.ts";
import { decodeData, decodeText, encodeData, invalidMessage } from "./scalars.ts";
import { decodeWorkerState, encodeWorkerState } from "./worker-codec.ts";
import { WorkerSessionClient } from "./worker-session.ts";

const [CHALLENGE, LOGIN] = Bootstrap$Client.methods;
/** Pointer index of the interface field, as `schema/bootstrap.capnp` lays it out. */
const ADMITTED_SESSION = 0;

/** Bytes of a nonce, and of a proof. */
export const NONCE_BYTES = 32;

export type Credential =
  { readonly kind: "none" } | { readonly kind: "join"; readonly workerNonce: Uint8Array; readonly proof: Uint8Array };

/** `S` is the session as its holder has it. */
export type Verdict<S> =
  | { readonly kind: "admitted"; readonly session: S; readonly proof: Uint8Array }
  | { readonly kind: "pending"; readonly reason: string }
  | { readonly kind: "refused"; readonly reason: string };

export interface BootstrapTarget extends Partial<Disposable> {
  challenge(): Uint8Array;
  /** The session of an admission becomes the caller's. */
  login(credential: Credential, state: WorkerState): Promise<Verdict<Capability>>;
}

/** Owns its capability. */
export class BootstrapClient implements Disposable {
  readonly capability: Capability;

  constructor(capability: Capability) {
    this.capability = capability;
  }

  async challenge(options: CallOptions = {}): Promise<Uint8Array> {
    using answer = this.capability.call(CHALLENGE, undefined, options);
    return decodeData((await answer.result()).nonce, NONCE_BYTES, "a nonce");
  }

  /** The session of an admission becomes the caller's. */
  async login(
    credential: Credential,
    state: WorkerState,
    options: CallOptions = {},
  ): Promise<Verdict<WorkerSessionClient>> {
    using answer = this.capability.call(
      LOGIN,
      (params) => {
        encodeCredential(params._initCredential(), credential);
        encodeWorkerState(params._initState(), state);
      },
      options,
    );
    return decodeVerdict((await answer.result()).verdict);
  }

  [Symbol.dispose](): void {
    this.capability[Symbol.dispose]();
  }
}

export function serveBootstrap(target: BootstrapTarget): Capability {
  return serve(Bootstrap$Client, {
    challenge: (_params, results) => {
      const nonce = target.challenge();
      encodeData(results._initNonce(nonce.length), nonce);
    },
    login: async (params, results) => {
      const verdict = await target.login(decodeCredential(params.credential), decodeWorkerState(params.state));
      encodeVerdict(results._initVerdict(), verdict);
    },
    [Symbol.dispose]: () => target[Symbol.dispose]?.(),
  });
}

function encodeCredential(wire: WireCredential, credential: Credential): void {
  if (credential.kind === "none") {
    wire.none = true;
    return;
  }
  const join = wire._initJoin();
  encodeData(join._initWorkerNonce(credential.workerNonce.length), credential.workerNonce);
  encodeData(join._initProof(credential.proof.length), credential.proof);
}

function decodeCredential(wire: WireCredential): Credential {
  if (wire._isNone) return { kind: "none" };
  if (!wire._isJoin) throw invalidMessage("a credential that this version does not know");
  return {
    kind: "join",
    workerNonce: decodeData(wire.join.workerNonce, NONCE_BYTES, "a nonce"),
    proof: decodeData(wire.join.proof, NONCE_BYTES, "a proof"),
  };
}

function encodeVerdict(wire: WireVerdict, verdict: Verdict<Capability>): void {
  switch (verdict.kind) {
    case "admitted": {
      const admitted = wire._initAdmitted();
      using session = verdict.session;
      setCapability(admitted, ADMITTED_SESSION, session);
      encodeData(admitted._initProof(verdict.proof.length), verdict.proof);
      return;
    }
    case "pending":
      wire.pending = verdict.reason.slice(0, REASON_LENGTH_MAX);
      return;
    case "refused":
      wire.refused = verdict.reason.slice(0, REASON_LENGTH_MAX);
  }
}

function decodeVerdict(wire: WireVerdict): Verdict<WorkerSessionClient> {
  if (wire._isPending) return { kind: "pending", reason: decodeText(wire.pending, REASON_LENGTH_MAX, "a reason") };
  if (wire._isRefused) return { kind: "refused", reason: decodeText(wire.refused, REASON_LENGTH_MAX, "a reason") };
  if (!wire._isAdmitted) throw invalidMessage("a verdict that this version does not know");
  // Before the session is taken out, which nobody would dispose.
  const proof = decodeData(wire.admitted.proof, NONCE_BYTES, "a proof");
  const session = getCapability(wire.admitted, ADMITTED_SESSION);
  if (session === undefined) throw invalidMessage("an admission without a session");
  return { kind: "admitted", session: new WorkerSessionClient(session), proof };
}
