/**
 * Which libp2p peer becomes a worker. A stranger gets a `Bootstrap` and nothing else; a login turns a credential into a
 * session. Peers over plain RPC, whom no transport has authenticated, are the business of `plain-admission.ts`.
 *
 * In this order: barred peers are refused; a proof of the join secret admits, a wrong one is refused; without a proof an
 * open gateway admits, and so does an operator's earlier word; anybody else is pending until an operator says so.
 */
import type { Clock } from "../base/clock.ts";
import { disconnected } from "../base/errors.ts";
import type { PeerId } from "../base/ids.ts";
import type { Log } from "../base/log.ts";
import { type BootstrapTarget, type Credential, type Verdict, serveBootstrap } from "../caps/bootstrap.ts";
import type { AuditAction } from "../model/audit.ts";
import type { WorkerState } from "../model/worker.ts";
import type { Capability } from "../rpc/capability.ts";
import type { Store } from "../store/store.ts";
import type { AuditLog } from "./audit.ts";
import { RefusalLog } from "./refusal-log.ts";
import { storeTrouble } from "./store-trouble.ts";
import { type Newcomer, Strangers, type Visit } from "./strangers.ts";
import type { PeerAddress, WorkerSessions } from "./worker-sessions.ts";

/** Proofs of the join secret, which only its maker knows. */
export interface JoinVerifier {
  makeNonce(): Uint8Array;
  /** Our own proof in return for a peer's valid one; undefined when it is wrong. */
  verify(claim: JoinClaim): Uint8Array | undefined;
}

export interface JoinClaim {
  /** As whom it joins. Default: as a worker. */
  readonly role?: "worker" | "client" | undefined;
  /** Who says so. */
  readonly worker: PeerId;
  readonly gatewayNonce: Uint8Array;
  readonly workerNonce: Uint8Array;
  readonly proof: Uint8Array;
}

export interface AdmissionInit {
  readonly sessions: WorkerSessions;
  readonly store: Store;
  readonly verifier: JoinVerifier;
  /** Admit without a proof. */
  readonly isOpen: boolean;
  /** Who was let in and who was not; undefined: nobody keeps it. */
  readonly audit?: AuditLog | undefined;
  readonly clock: Clock;
  readonly log: Log;
}

/** A stranger's connection. */
export interface Stranger extends Omit<Newcomer, "address"> {
  readonly peer: PeerAddress;
  /** It has a session: it may ask more than a stranger may. */
  readonly onAdmitted?: (() => void) | undefined;
}

const NO_PROOF = new Uint8Array(0);

export class Admission {
  readonly #init: AdmissionInit;
  readonly #strangers: Strangers;
  readonly #refusals: RefusalLog;

  constructor(init: AdmissionInit) {
    this.#init = init;
    this.#refusals = new RefusalLog(init.log);
    this.#strangers = new Strangers(init);
  }

  /** What a stranger gets. It has a time to log in; then its connection is ended. The capability becomes the caller's. */
  bootstrap(stranger: Stranger): Capability {
    const visit = this.#strangers.receive({ ...stranger, address: stranger.peer.address });
    let nonce: Uint8Array | undefined;
    const target: BootstrapTarget = {
      challenge: () => {
        nonce = this.#init.verifier.makeNonce();
        return nonce;
      },
      login: async (credential, state) => {
        const challenge = nonce;
        nonce = undefined;
        const verdict = await this.#login(stranger, credential, state, { challenge, visit });
        if (verdict.kind === "pending") visit.isPending();
        if (verdict.kind === "admitted") stranger.onAdmitted?.();
        return verdict;
      },
    };
    return serveBootstrap(target);
  }

  /** Connections without a session. */
  get strangers(): number {
    return this.#strangers.size;
  }

  async #login(
    stranger: Stranger,
    credential: Credential,
    state: WorkerState,
    { challenge, visit }: { readonly challenge: Uint8Array | undefined; readonly visit: Visit },
  ): Promise<Verdict<Capability>> {
    const { sessions, store, isOpen, audit } = this.#init;
    const { peer } = stranger;
    const refuse = (reason: string): Verdict<Capability> => {
      const fields = { worker: peer.id, address: peer.address, reason };
      const isNews = this.#refusals.refused(peer.id, "a worker was refused", fields);
      if (isNews) audit?.recordRefusal(peer.id, `worker ${peer.id}`, `login: ${reason}`);
      return { kind: "refused", reason };
    };
    const admission = await store.getAdmission(peer.id).catch((error: unknown) => {
      throw storeTrouble(error);
    });
    // A session for a connection that is gone would only end a newer one of the same worker.
    if (stranger.ended.aborted) throw disconnected("the connection has ended");
    if (admission === "barred") return refuse(barredMessage(peer.id));
    let proof: Uint8Array = NO_PROOF;
    if (credential.kind === "join") {
      const own = this.#verify(peer.id, credential, challenge);
      if (own === undefined) return refuse("wrong join secret; the gateway prints the right one as <peerId>#<secret>");
      proof = own;
    } else if (credential.kind === "token") {
      return refuse("a token opens the gateway's API and its plain RPC endpoint; here a worker proves the join secret");
    } else if (!isOpen && admission !== "admitted") {
      const note = `worker ${peer.id} waits to be admitted: run \`capmesh worker admit ${peer.id}\` at the gateway`;
      sessions.showPending(peer, state, note, stranger.ended);
      return { kind: "pending", reason: note };
    }
    this.#refusals.admitted(peer.id);
    const how =
      credential.kind === "join" ? "by join secret" : admission === "admitted" ? "by an operator's word" : "by --open";
    const trail = audit && { log: audit, actor: peer.id, detail: `worker, ${how}` };
    const session = openSession(sessions, { peer, state, ended: stranger.ended, visit, audit: trail });
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

export function barredMessage(id: PeerId): string {
  return `barred by an operator; \`capmesh worker admit ${id}\` lets it in again`;
}

export interface OpenSessionInit {
  readonly peer: PeerAddress;
  readonly state: WorkerState;
  readonly ended: AbortSignal;
  readonly visit: Visit;
  /** Where its beginning and its end are told. */
  readonly audit?: { readonly log: AuditLog; readonly actor: string; readonly detail: string } | undefined;
}

/** The session of a worker that was admitted, on a connection that is no stranger's for as long as it lasts. */
export function openSession(
  sessions: WorkerSessions,
  { peer, state, ended, visit, audit }: OpenSessionInit,
): Capability {
  const membership = visit.join();
  const tell = (action: AuditAction): void =>
    audit?.log.recordSession({ actor: audit.actor, action, subject: peer.id, detail: audit.detail });
  try {
    const session = sessions.open(peer, state, ended, {
      onEnded: () => {
        membership[Symbol.dispose]();
        tell("session.ended");
      },
    });
    tell("session.opened");
    return session;
  } catch (thrown) {
    membership[Symbol.dispose]();
    throw thrown;
  }
}
