/** `Bootstrap`: what a stranger gets, and the way to a session. */
import { unimplemented } from "../base/errors.ts";
import { type PeerId, parsePeerId } from "../base/ids.ts";
import { LABEL_LENGTH_MAX, REASON_LENGTH_MAX, TOKEN_LENGTH_MAX } from "../base/limits.ts";
import {
  Bootstrap$Client,
  type Credential as WireCredential,
  type Verdict as WireVerdict,
} from "../generated/bootstrap.ts";
import type { WorkerState } from "../model/worker.ts";
import { type CallOptions, type Capability, getCapability, setCapability } from "../rpc/capability.ts";
import { serve } from "../rpc/server.ts";
import { ClientSessionClient } from "./client-session.ts";
import { decodeData, decodeText, encodeData, invalidMessage } from "./scalars.ts";
import { decodeWorkerState, encodeWorkerState } from "./worker-codec.ts";
import { WorkerSessionClient } from "./worker-session.ts";

const [CHALLENGE, LOGIN, LOGIN_CLIENT] = Bootstrap$Client.methods;
/** Pointer indexes of the interface fields, as `schema/bootstrap.capnp` lays them out. */
const ADMITTED_SESSION = 0;
const LOGIN_CLIENT_SESSION = 0;

/** Bytes of a nonce, and of a proof. */
export const NONCE_BYTES = 32;

export type Credential = (
  | { readonly kind: "none" }
  | { readonly kind: "join"; readonly workerNonce: Uint8Array; readonly proof: Uint8Array }
  | { readonly kind: "token"; readonly token: string }
) & {
  /** What a peer of the plain RPC endpoint calls itself; nothing of it is checked yet. */
  readonly name?: string | undefined;
};

/** `S` is the session as its holder has it. */
export type Verdict<S> =
  | { readonly kind: "admitted"; readonly session: S; readonly proof: Uint8Array }
  | { readonly kind: "pending"; readonly reason: string }
  | { readonly kind: "refused"; readonly reason: string };

/** What a client that was admitted has. */
export interface ClientAdmission<S> {
  readonly session: S;
  /** The gateway's proof in return for one of the join secret; else empty. */
  readonly proof: Uint8Array;
}

export interface BootstrapTarget extends Partial<Disposable> {
  /** The gateway, where the transport has not authenticated it. */
  readonly gateway?: PeerId | undefined;
  challenge(): Uint8Array;
  /** The session of an admission becomes the caller's. */
  login(credential: Credential, state: WorkerState): Promise<Verdict<Capability>>;
  /** The session becomes the caller's. Rejects with `failed`, code `refused`. Absent: clients cannot log in here. */
  loginClient?(credential: Credential): Promise<ClientAdmission<Capability>>;
}

/** Owns its capability. */
export class BootstrapClient implements Disposable {
  readonly capability: Capability;

  constructor(capability: Capability) {
    this.capability = capability;
  }

  async challenge(options: CallOptions = {}): Promise<Uint8Array> {
    return (await this.challengeBy(options)).nonce;
  }

  /** A nonce, and the gateway as it says itself where the transport has not authenticated it. */
  async challengeBy(
    options: CallOptions = {},
  ): Promise<{ readonly nonce: Uint8Array; readonly gateway: PeerId | undefined }> {
    using answer = this.capability.call(CHALLENGE, undefined, options);
    const results = await answer.result();
    return { nonce: decodeData(results.nonce, NONCE_BYTES, "a nonce"), gateway: parsePeerId(results.gateway) };
  }

  /** The session becomes the caller's. Rejects with `failed`, code `refused`. */
  async loginClient(credential: Credential, options: CallOptions = {}): Promise<ClientAdmission<ClientSessionClient>> {
    using answer = this.capability.call(
      LOGIN_CLIENT,
      (params) => encodeCredential(params._initCredential(), credential),
      options,
    );
    const results = await answer.result();
    // Before the session is taken out, which nobody would dispose.
    const proof = decodeData(results.proof, NONCE_BYTES, "a proof");
    const session = getCapability(results, LOGIN_CLIENT_SESSION);
    if (session === undefined) throw invalidMessage("an admission without a session");
    return { session: new ClientSessionClient(session), proof };
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
      if (target.gateway !== undefined) results.gateway = target.gateway;
    },
    login: async (params, results) => {
      const verdict = await target.login(decodeCredential(params.credential), decodeWorkerState(params.state));
      encodeVerdict(results._initVerdict(), verdict);
    },
    loginClient: async (params, results) => {
      const credential = decodeCredential(params.credential);
      if (target.loginClient === undefined) {
        throw unimplemented("clients log in over the plain RPC endpoint or HTTP", { code: "no-client-login" });
      }
      const { session, proof } = await target.loginClient(credential);
      using owned = session;
      setCapability(results, LOGIN_CLIENT_SESSION, owned);
      encodeData(results._initProof(proof.length), proof);
    },
    [Symbol.dispose]: () => target[Symbol.dispose]?.(),
  });
}

function encodeCredential(wire: WireCredential, credential: Credential): void {
  if (credential.name !== undefined) wire.name = credential.name;
  if (credential.kind === "none") {
    wire.none = true;
    return;
  }
  if (credential.kind === "token") {
    wire.token = credential.token;
    return;
  }
  const join = wire._initJoin();
  encodeData(join._initWorkerNonce(credential.workerNonce.length), credential.workerNonce);
  encodeData(join._initProof(credential.proof.length), credential.proof);
}

function decodeCredential(wire: WireCredential): Credential {
  const name = wire.name === "" ? undefined : decodeText(wire.name, LABEL_LENGTH_MAX, "a name");
  if (wire._isNone) return { kind: "none", name };
  if (wire._isToken) return { kind: "token", token: decodeText(wire.token, TOKEN_LENGTH_MAX, "a token"), name };
  if (!wire._isJoin) throw invalidMessage("a credential that this version does not know");
  return {
    kind: "join",
    workerNonce: decodeData(wire.join.workerNonce, NONCE_BYTES, "a nonce"),
    proof: decodeData(wire.join.proof, NONCE_BYTES, "a proof"),
    name,
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
