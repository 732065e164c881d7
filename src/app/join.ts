/**
 * How a worker gets its session over a fresh connection: it proves the join secret if it has one, checks the gateway's
 * proof in return, and asks again while an operator has not admitted it yet.
 */
import { sleep } from "../base/clock.ts";
import { failed } from "../base/errors.ts";
import type { PeerId } from "../base/ids.ts";
import { LOGIN_TIMEOUT_MS, PENDING_RETRY_MS } from "../base/limits.ts";
import { BootstrapClient, type Credential } from "../caps/bootstrap.ts";
import type { WorkerSessionClient } from "../caps/worker-session.ts";
import type { WorkerState } from "../model/worker.ts";
import { type JoinProofInput, isJoinProof, joinProof, makeNonce } from "../net/join-proof.ts";
import type { Connection } from "../rpc/connection.ts";
import type { Powers } from "./app.ts";

export interface JoinInit {
  readonly connection: Connection;
  readonly gateway: PeerId;
  readonly worker: PeerId;
  readonly namespace: string;
  /** Undefined: the gateway has to be open, or its operator has to admit us. */
  readonly secret: string | undefined;
  readonly state: () => WorkerState;
  readonly powers: Powers;
}

/**
 * Resolves with the session, which is the caller's. Waits, saying so, as long as the gateway wants an operator's word.
 * Rejects with `failed`, code `refused` or `not-the-gateway`; with `disconnected` when the connection ends; or with the
 * signal's reason.
 */
export async function join(init: JoinInit, { signal }: { signal: AbortSignal }): Promise<WorkerSessionClient> {
  const { connection, powers } = init;
  using bootstrap = new BootstrapClient(connection.bootstrap());
  const ended = AbortSignal.any([signal, connection.ended]);
  let isTold = false;
  for (;;) {
    const verdict = await login(init, bootstrap, ended);
    switch (verdict.kind) {
      case "admitted":
        return verdict.session;
      case "refused":
        throw failed(`the gateway ${init.gateway} refused this worker: ${verdict.reason}`, { code: "refused" });
      case "pending":
        if (!isTold) powers.log.warn("waiting to be admitted", { gateway: init.gateway, reason: verdict.reason });
        isTold = true;
        await sleep(powers.clock, PENDING_RETRY_MS, { signal: ended });
    }
  }
}

async function login(init: JoinInit, bootstrap: BootstrapClient, ended: AbortSignal) {
  const { gateway, secret, powers } = init;
  const late = new AbortController();
  using _timer = powers.clock.setTimer(LOGIN_TIMEOUT_MS, () => {
    late.abort(failed(`the gateway ${gateway} did not answer in time`, { code: "login-timeout" }));
  });
  const signal = AbortSignal.any([ended, late.signal]);
  if (secret === undefined) return await bootstrap.login({ kind: "none" }, init.state(), { signal });
  const proofInput: JoinProofInput = {
    secret,
    namespace: init.namespace,
    gatewayPeerId: gateway,
    workerPeerId: init.worker,
    gatewayNonce: await bootstrap.challenge({ signal }),
    workerNonce: makeNonce(),
  };
  const credential: Credential = {
    kind: "join",
    workerNonce: proofInput.workerNonce,
    proof: joinProof("worker", proofInput),
  };
  const verdict = await bootstrap.login(credential, init.state(), { signal });
  if (verdict.kind === "admitted" && !isJoinProof("gateway", proofInput, verdict.proof)) {
    verdict.session[Symbol.dispose]();
    throw failed(`${gateway} admitted this worker without knowing the join secret: it is not the gateway`, {
      code: "not-the-gateway",
    });
  }
  return verdict;
}
