/**
 * Who becomes a worker. A stranger gets a `Bootstrap` and nothing else; a login turns a credential into a session.
 *
 * In this order: barred peers are refused; a proof of the join secret admits, a wrong one is refused; without a proof an
 * open gateway admits, and so does an operator's earlier word; anybody else is pending until an operator says so.
 *
 * A connection without a session is a stranger's: when it opens, while it is pending, and again when its session has
 * ended. Strangers are few: past STRANGERS_MAX the one that has been there longest goes, so that those who come with a
 * secret always get their turn. One that neither has logged in nor is pending goes after LOGIN_TIMEOUT_MS.
 */
import type { Clock, Timer } from "../base/clock.ts";
import { type ClusterError, disconnected, failed, overloaded } from "../base/errors.ts";
import type { PeerId } from "../base/ids.ts";
import { LOGIN_TIMEOUT_MS, STRANGERS_MAX } from "../base/limits.ts";
import type { Log } from "../base/log.ts";
import { type BootstrapTarget, type Credential, type Verdict, serveBootstrap } from "../caps/bootstrap.ts";
import type { WorkerState } from "../model/worker.ts";
import type { Capability } from "../rpc/capability.ts";
import type { Store } from "../store/store.ts";
import { storeTrouble } from "./store-trouble.ts";
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

/** How long a connection may be a stranger's. */
interface Patience {
  /** It is one, and is given its time from now. */
  readonly begin: () => void;
  /** It is one for as long as it likes. */
  readonly end: () => void;
  /** It is none any more. */
  readonly admitted: () => void;
}

const NO_PROOF = new Uint8Array(0);

export class Admission {
  readonly #init: AdmissionInit;
  /** Those that became strangers longest ago come first. */
  readonly #strangers = new Set<Stranger>();

  constructor(init: AdmissionInit) {
    this.#init = init;
  }

  /** What a stranger gets. It has a time to log in; then its connection is ended. The capability becomes the caller's. */
  bootstrap(stranger: Stranger): Capability {
    const patience = this.#becomesStranger(stranger);
    let nonce: Uint8Array | undefined;
    const target: BootstrapTarget = {
      challenge: () => {
        nonce = this.#init.verifier.makeNonce();
        return nonce;
      },
      login: async (credential, state) => {
        const challenge = nonce;
        nonce = undefined;
        const verdict = await this.#login(stranger, credential, state, { challenge, patience });
        if (verdict.kind === "pending") patience.end();
        return verdict;
      },
    };
    return serveBootstrap(target);
  }

  /** Connections without a session. */
  get strangers(): number {
    return this.#strangers.size;
  }

  #becomesStranger(stranger: Stranger): Patience {
    const { clock } = this.#init;
    let timer: Timer | undefined;
    const patience: Patience = {
      begin: () => {
        if (stranger.ended.aborted) return;
        timer?.[Symbol.dispose]();
        timer = clock.setTimer(LOGIN_TIMEOUT_MS, () => {
          stranger.abort(failed("no login in time", { code: "login-timeout" }));
        });
        this.#strangers.add(stranger);
        const [longest] = this.#strangers;
        if (this.#strangers.size <= STRANGERS_MAX || longest === undefined) return;
        this.#strangers.delete(longest);
        longest.abort(overloaded("too many connections are not logged in", { code: "too-many-strangers" }));
      },
      end: () => timer?.[Symbol.dispose](),
      admitted: () => {
        timer?.[Symbol.dispose]();
        this.#strangers.delete(stranger);
      },
    };
    stranger.ended.addEventListener("abort", () => patience.admitted(), { once: true });
    patience.begin();
    return patience;
  }

  async #login(
    stranger: Stranger,
    credential: Credential,
    state: WorkerState,
    { challenge, patience }: { readonly challenge: Uint8Array | undefined; readonly patience: Patience },
  ): Promise<Verdict<Capability>> {
    const { sessions, store, isOpen, log } = this.#init;
    const { peer } = stranger;
    const refuse = (reason: string): Verdict<Capability> => {
      log.warn("a worker was refused", { worker: peer.id, address: peer.address, reason });
      return { kind: "refused", reason };
    };
    const admission = await store.getAdmission(peer.id).catch((error: unknown) => {
      throw storeTrouble(error);
    });
    // A session for a connection that is gone would only end a newer one of the same worker.
    if (stranger.ended.aborted) throw disconnected("the connection has ended");
    if (admission === "barred")
      return refuse(`barred by an operator; \`capmesh worker admit ${peer.id}\` lets it in again`);
    let proof: Uint8Array = NO_PROOF;
    if (credential.kind === "join") {
      const own = this.#verify(peer.id, credential, challenge);
      if (own === undefined) return refuse("wrong join secret; the gateway prints the right one as <peerId>#<secret>");
      proof = own;
    } else if (!isOpen && admission !== "admitted") {
      const note = `worker ${peer.id} waits to be admitted: run \`capmesh worker admit ${peer.id}\` at the gateway`;
      sessions.showPending(peer, state, note, stranger.ended);
      return { kind: "pending", reason: note };
    }
    const session = sessions.open(peer, state, stranger.ended, { onEnded: () => patience.begin() });
    patience.admitted();
    return { kind: "admitted", session, proof };
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
