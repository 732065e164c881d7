/**
 * Who gets in over plain RPC, where the transport authenticates nobody: programs in any language, on this machine. The
 * table is in `schema/bootstrap.capnp`.
 *
 * A name is what a peer says of itself, and an operator's word about one would admit whoever takes it: so nobody is
 * pending here, and an open gateway is no more open. A connection gets one refusal; later logins on it get the same one,
 * and nothing is written about them.
 */
import type { Clock } from "../base/clock.ts";
import { disconnected, failed, toClusterError } from "../base/errors.ts";
import { type PeerId, parseRpcName } from "../base/ids.ts";
import type { Log } from "../base/log.ts";
import {
  type BootstrapTarget,
  type ClientAdmission,
  type Credential,
  type Verdict,
  serveBootstrap,
} from "../caps/bootstrap.ts";
import type { WorkerState } from "../model/worker.ts";
import type { Capability } from "../rpc/capability.ts";
import type { Store } from "../store/store.ts";
import { type JoinVerifier, barredMessage, openSession } from "./admission.ts";
import type { AuditLog } from "./audit.ts";
import type { ClientSessions } from "./client-sessions.ts";
import { Grant } from "./grant.ts";
import { RefusalLog } from "./refusal-log.ts";
import { storeTrouble } from "./store-trouble.ts";
import { type Newcomer, Strangers, type Visit } from "./strangers.ts";
import type { Tokens } from "./tokens.ts";
import type { WorkerSessions } from "./worker-sessions.ts";

export interface PlainAdmissionInit {
  readonly sessions: WorkerSessions;
  readonly clients: ClientSessions;
  readonly store: Store;
  readonly verifier: JoinVerifier;
  /** This gateway, as its proofs name it. */
  readonly gateway: PeerId;
  readonly tokens: Tokens;
  readonly audit: AuditLog;
  readonly clock: Clock;
  readonly log: Log;
}

/** A connection whose peer nobody has authenticated. */
export interface PlainStranger extends Newcomer {
  /** Only this gateway's own user can have opened it. */
  readonly isOwnUser: boolean;
  /** Somebody has logged in, for the first time or again. */
  readonly onAdmitted: () => void;
}

type Role = "worker" | "client";

type Check =
  | {
      readonly isAdmitted: true;
      readonly id: PeerId;
      readonly proof: Uint8Array;
      readonly grant: Grant;
      /** By what it was admitted, in words. */
      readonly how: string;
    }
  | { readonly isAdmitted: false; readonly reason: string };

const NO_PROOF = new Uint8Array(0);

export class PlainAdmission {
  readonly #init: PlainAdmissionInit;
  readonly #strangers: Strangers;
  readonly #refusals: RefusalLog;

  constructor(init: PlainAdmissionInit) {
    this.#init = init;
    this.#refusals = new RefusalLog(init.log);
    this.#strangers = new Strangers(init);
  }

  /** What a stranger gets. It has a time to log in; then its connection is ended. The capability becomes the caller's. */
  bootstrap(stranger: PlainStranger): Capability {
    return serveBootstrap(new Lobby(this.#init, stranger, this.#strangers.receive(stranger), this.#refusals));
  }

  /** Connections without a session. */
  get strangers(): number {
    return this.#strangers.size;
  }
}

/** The bootstrap interface of one connection. */
class Lobby implements BootstrapTarget {
  readonly gateway: PeerId;
  readonly #init: PlainAdmissionInit;
  readonly #stranger: PlainStranger;
  readonly #visit: Visit;
  readonly #refusals: RefusalLog;
  #nonce: Uint8Array | undefined;
  #refusal: string | undefined;
  /** Whose end ends the connection. */
  readonly #endings = new Set<Grant>();

  constructor(init: PlainAdmissionInit, stranger: PlainStranger, visit: Visit, refusals: RefusalLog) {
    this.gateway = init.gateway;
    this.#refusals = refusals;
    this.#init = init;
    this.#stranger = stranger;
    this.#visit = visit;
  }

  challenge(): Uint8Array {
    this.#nonce = this.#init.verifier.makeNonce();
    return this.#nonce;
  }

  async login(credential: Credential, state: WorkerState): Promise<Verdict<Capability>> {
    const { sessions, store } = this.#init;
    const { ended, address } = this.#stranger;
    const check = this.#check("worker", credential);
    if (!check.isAdmitted) return { kind: "refused", reason: this.#refuse("worker", credential, check.reason) };
    const { id, proof } = check;
    const admission = await store.getAdmission(id).catch((error: unknown) => {
      throw storeTrouble(error);
    });
    // A session for a connection that is gone would only end a newer one of the same worker.
    if (ended.aborted) throw disconnected("the connection has ended");
    // Its end would not be heard of any more.
    if (check.grant.ended.aborted) throw toClusterError(check.grant.ended.reason);
    if (admission === "barred") {
      return { kind: "refused", reason: this.#refuse("worker", credential, barredMessage(id)) };
    }
    this.#refusals.admitted(`worker ${credential.name ?? ""}`);
    const audit = { log: this.#init.audit, actor: check.grant.actor, detail: `worker, ${check.how}` };
    const session = openSession(sessions, { peer: { id, address }, state, ended, visit: this.#visit, audit });
    this.#endWith(check.grant);
    this.#stranger.onAdmitted();
    return { kind: "admitted", session, proof };
  }

  async loginClient(credential: Credential): Promise<ClientAdmission<Capability>> {
    const check = this.#check("client", credential);
    if (!check.isAdmitted) {
      throw failed(this.#refuse("client", credential, check.reason), { code: "refused" });
    }
    const { id, proof, grant } = check;
    this.#refusals.admitted(`client ${credential.name ?? ""}`);
    const { address } = this.#stranger;
    const session = this.#init.clients.open({ client: id, grant, address, visit: this.#visit });
    this.#stranger.onAdmitted();
    return { session, proof };
  }

  #refuse(role: Role, { name }: Credential, reason: string): string {
    if (this.#refusal !== undefined) return this.#refusal;
    this.#refusal = reason;
    this.#visit.isExplained();
    const { address } = this.#stranger;
    const fields = { name, address, reason };
    const isNews = this.#refusals.refused(`${role} ${name ?? ""}`, `a ${role} was refused over plain RPC`, fields);
    if (isNews) this.#init.audit.recordRefusal("nobody", `${role} ${name ?? ""}`, `login over plain RPC: ${reason}`);
    return reason;
  }

  /** A worker's session is its connection's: it has no capabilities that could be taken back one by one. */
  #endWith(grant: Grant): void {
    if (grant.token === undefined || this.#endings.has(grant)) return;
    this.#endings.add(grant);
    const onEnded = (): void => this.#stranger.abort(toClusterError(grant.ended.reason));
    grant.ended.addEventListener("abort", onEnded, { once: true });
    const { ended } = this.#stranger;
    ended.addEventListener("abort", () => grant.ended.removeEventListener("abort", onEnded), { once: true });
  }

  /** Takes the nonce, whatever comes of it. */
  #check(role: Role, credential: Credential): Check {
    const gatewayNonce = this.#nonce;
    this.#nonce = undefined;
    if (this.#refusal !== undefined) return refused(this.#refusal);
    const id = parseRpcName(credential.name ?? "");
    if (id === undefined) {
      return refused("a credential has a name here: 1 to 64 of [A-Za-z0-9._-], the first a letter or digit");
    }
    switch (credential.kind) {
      case "none":
        if (this.#stranger.isOwnUser)
          return { isAdmitted: true, id, proof: NO_PROOF, grant: this.#ownGrant(id), how: "of this user" };
        return refused("over TCP a peer proves the join secret or sends a token; over a unix socket it needs neither");
      case "token":
        return this.#checkToken(role, id, credential.token);
      case "join":
        if (role === "client" && this.#init.tokens.hasRoot) {
          return refused("the join secret admits workers only, since this gateway has a token for clients");
        }
        return this.#checkProof(role, id, credential, gatewayNonce);
    }
  }

  /** Of somebody who needs no token, and whom nobody can take it from. */
  #ownGrant(id: PeerId): Grant {
    return new Grant({ actor: id, can: ["admin"], limits: {} }, this.#init.clock);
  }

  #checkToken(role: Role, id: PeerId, text: string): Check {
    const recognition = this.#init.tokens.recognise(text);
    if (recognition.kind === "ended") return refused(`the token is ${recognition.state}`);
    if (recognition.kind === "unknown") return refused("the token is not valid here");
    const { grant } = recognition;
    if (role === "worker" && !grant.can("admin")) {
      return refused("a worker needs a token that can admin, or proves the join secret");
    }
    return { isAdmitted: true, id, proof: NO_PROOF, grant, how: "by token" };
  }

  #checkProof(
    role: Role,
    id: PeerId,
    { workerNonce, proof }: Extract<Credential, { kind: "join" }>,
    gatewayNonce: Uint8Array | undefined,
  ): Check {
    if (gatewayNonce === undefined) return refused("a proof is for a nonce: call challenge before each login");
    const own = this.#init.verifier.verify({ role, worker: id, gatewayNonce, workerNonce, proof });
    if (own !== undefined)
      return { isAdmitted: true, id, proof: own, grant: this.#ownGrant(id), how: "by join secret" };
    return refused("wrong join secret, or a proof not made as schema/bootstrap.capnp says");
  }
}

function refused(reason: string): Check {
  return { isAdmitted: false, reason };
}
