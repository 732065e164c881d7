/**
 * Who becomes a worker. A stranger gets a `Bootstrap` and nothing else; a login turns a credential into a session.
 *
 * In this order: barred peers are refused; a proof of the join secret admits, a wrong one is refused; without a proof an
 * open gateway admits, and so does an operator's earlier word; anybody else is pending until an operator says so.
 */
import type { Clock } from "../base/clock.ts";
import { type ClusterError, failed } from "../base/errors.ts";
import type { PeerId } from "../base/ids.ts";
import { LOGIN_TIMEOUT_MS } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import { type BootstrapTarget, type Credential, type Verdict, serveBootstrap } from "../caps/bootstrap.ts";
import type { WorkerState } from "../model/worker.ts";
import type { Capability } from "../rpc/capability.ts";
import type { Store } from "../store/store.ts";
import type { PeerAddress, WorkerSessions } from "./worker-sessions.ts";

/** Proofs of the join secret, which only its maker knows. */
export interface JoinVerifier {
  makeNonce(): Uint8Array;
  /** Our own proof in return for a worker's valid one; undefined when it is wrong. */
  verify(claim: {
    readonly worker: PeerId;
    readonly gatewayNonce: Uint8Array;
    readonly workerNonce: Uint8Array;
    readonly proof: Uint8Array;
  }): Uint8Array | undefined;
}

export interface AdmissionInit {
  readonly sessions: WorkerSessions;
  readonly store: Store;
  readonly verifier: JoinVerifier;
  /** Admit without a proof. */
  readonly isOpen: boolean;
  readonly clock: Clock;
  readonly log: Log;
}

/** A stranger's connection. */
export interface Stranger {
  readonly peer: PeerAddress;
  /** Aborted when its connection has ended. */
  readonly ended: AbortSignal;
  /** Ends its connection. */
  readonly abort: (reason: ClusterError) => void;
}

const NO_PROOF = new Uint8Array(0);

export class Admission {
  readonly #init: AdmissionInit;

  constructor(init: AdmissionInit) {
    this.#init = init;
  }

  /** What a stranger gets. It has a time to log in; then its connection is ended. The capability becomes the caller's. */
  bootstrap(stranger: Stranger): Capability {
    const timer = this.#init.clock.setTimer(LOGIN_TIMEOUT_MS, () => {
      stranger.abort(failed("no login in time", { code: "login-timeout" }));
    });
    stranger.ended.addEventListener("abort", () => timer[Symbol.dispose](), { once: true });
    let nonce: Uint8Array | undefined;
    const target: BootstrapTarget = {
      challenge: () => {
        nonce = this.#init.verifier.makeNonce();
        return nonce;
      },
      login: async (credential, state) => {
        const challenge = nonce;
        nonce = undefined;
        const verdict = await this.#login(stranger, credential, state, challenge);
        if (verdict.kind !== "refused") timer[Symbol.dispose]();
        return verdict;
      },
    };
    return serveBootstrap(target);
  }

  async #login(
    stranger: Stranger,
    credential: Credential,
    state: WorkerState,
    gatewayNonce: Uint8Array | undefined,
  ): Promise<Verdict<Capability>> {
    const { sessions, store, isOpen, log } = this.#init;
    const { peer } = stranger;
    const refuse = (reason: string): Verdict<Capability> => {
      log.warn("a worker was refused", { worker: peer.id, address: peer.address, reason });
      return { kind: "refused", reason };
    };
    const admission = await store.getAdmission(peer.id);
    if (admission === "barred")
      return refuse(`barred by an operator; \`capmesh worker admit ${peer.id}\` lets it in again`);
    let proof: Uint8Array = NO_PROOF;
    if (credential.kind === "join") {
      const own = this.#verify(peer.id, credential, gatewayNonce);
      if (own === undefined) return refuse("wrong join secret; the gateway prints the right one as <peerId>#<secret>");
      proof = own;
    } else if (!isOpen && admission !== "admitted") {
      const note = `worker ${peer.id} waits to be admitted: run \`capmesh worker admit ${peer.id}\` at the gateway`;
      sessions.showPending(peer, state, note, stranger.ended);
      return { kind: "pending", reason: note };
    }
    return { kind: "admitted", session: sessions.open(peer, state, stranger.ended), proof };
  }

  #verify(
    worker: PeerId,
    credential: Extract<Credential, { kind: "join" }>,
    gatewayNonce: Uint8Array | undefined,
  ): Uint8Array | undefined {
    if (gatewayNonce === undefined) return undefined;
    const { workerNonce, proof } = credential;
    return this.#init.verifier.verify({ worker, gatewayNonce, workerNonce, proof });
  }
}
