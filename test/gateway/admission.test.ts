/** Who gets a session, and who does not: every row of the table in admission.ts. */
import { expect, test } from "vitest";
import { LOGIN_TIMEOUT_MS, STRANGERS_MAX } from "../../src/base/limits.ts";
import { silentLog } from "../../src/base/log.ts";
import type { Credential } from "../../src/caps/bootstrap.ts";
import { joinProof, makeNonce } from "../../src/net/join-proof.ts";
import { GATEWAY_PEER, GatewayCluster, NAMESPACE, SECRET } from "../support/gateway-cluster.ts";
import type { HandWorker } from "../support/hand-worker.ts";

interface Claim {
  readonly credential: Credential;
  /** What the gateway has to answer. */
  readonly answer: Uint8Array;
}

function claim(worker: HandWorker, gatewayNonce: Uint8Array, secret = SECRET): Claim {
  const workerNonce = makeNonce();
  const input = {
    secret,
    namespace: NAMESPACE,
    gatewayPeerId: GATEWAY_PEER,
    workerPeerId: worker.peer,
    gatewayNonce,
    workerNonce,
  };
  return {
    credential: { kind: "join", workerNonce, proof: joinProof("worker", input) },
    answer: joinProof("gateway", input),
  };
}

async function loginWith(worker: HandWorker, secret: string) {
  return worker.login(claim(worker, await worker.bootstrap.challenge(), secret).credential);
}

test("the join secret admits, and the gateway proves that it has it too", async () => {
  await using cluster = await GatewayCluster.open({ isOpen: false });
  const worker = cluster.connect();
  const { credential, answer } = claim(worker, await worker.bootstrap.challenge());
  const verdict = await worker.login(credential);
  expect(verdict).toMatchObject({ kind: "admitted" });
  expect(verdict.kind === "admitted" && Buffer.from(verdict.proof).equals(answer)).toBe(true);
});

test.each([false, true])("a wrong secret is refused, be the gateway open (%s) or the peer admitted", async (isOpen) => {
  await using cluster = await GatewayCluster.open({ isOpen });
  const worker = cluster.connect();
  await cluster.gateway.sessions.admit(worker.peer);
  expect(await loginWith(worker, "another-secret")).toMatchObject({ kind: "refused" });
  expect(cluster.gateway.sessions.list()).toEqual([]);
});

test("an open gateway admits without a secret", async () => {
  await using cluster = await GatewayCluster.open({ isOpen: true });
  expect(await cluster.connect().login()).toMatchObject({ kind: "admitted" });
});

test("a peer without a secret is pending until an operator admits it, and is remembered then", async () => {
  await using cluster = await GatewayCluster.open({ isOpen: false });
  const worker = cluster.connect();
  expect(await worker.login()).toMatchObject({ kind: "pending" });
  expect(cluster.gateway.sessions.list()).toMatchObject([{ id: worker.peer, status: "pending", running: 0 }]);
  await cluster.gateway.sessions.admit(worker.peer);
  expect(await worker.login()).toMatchObject({ kind: "admitted" });
  expect(cluster.gateway.sessions.list()).toMatchObject([{ id: worker.peer, status: "ready" }]);
  await cluster.stop();
  await cluster.start();
  expect(await cluster.connect().login()).toMatchObject({ kind: "admitted" });
});

test("a pending peer is no longer shown when its connection is gone", async () => {
  await using cluster = await GatewayCluster.open({ isOpen: false });
  const worker = cluster.connect();
  await worker.login();
  worker.drop();
  await cluster.until("it is gone", () => cluster.gateway.sessions.list().length === 0);
});

test("a barred peer is refused, with the secret too, until it is admitted", async () => {
  await using cluster = await GatewayCluster.open({ isOpen: true });
  const worker = await cluster.join();
  await cluster.gateway.sessions.forget(worker.peer);
  expect(cluster.gateway.sessions.list()).toEqual([]);
  expect(await worker.login()).toMatchObject({ kind: "refused" });
  expect(await loginWith(worker, SECRET)).toMatchObject({ kind: "refused" });
  await cluster.gateway.sessions.admit(worker.peer);
  expect(await loginWith(worker, SECRET)).toMatchObject({ kind: "admitted" });
});

test("that a peer is refused is a warning once, and again when it had been let in between", async () => {
  const warnings: string[] = [];
  const log = { ...silentLog, warn: (message: string) => void warnings.push(message) };
  await using cluster = await GatewayCluster.open({ isOpen: true, log });
  const worker = await cluster.join();
  for (let time = 0; time < 2; time++) {
    await cluster.gateway.sessions.forget(worker.peer);
    for (let each = 0; each < 5; each++) expect(await worker.login()).toMatchObject({ kind: "refused" });
    await cluster.gateway.sessions.admit(worker.peer);
    expect(await worker.login()).toMatchObject({ kind: "admitted" });
  }
  expect(warnings).toEqual(["a worker was refused", "a worker was refused"]);
});

test("a worker that is barred while its login is being decided gets no session", async () => {
  await using cluster = await GatewayCluster.open();
  const release = cluster.trouble.holdAnswers("getAdmission");
  const worker = cluster.connect();
  const login = worker.login();
  await cluster.until("its admission is looked up", () => (cluster.trouble.calls.get("getAdmission") ?? 0) > 0);
  await cluster.quiet();
  await cluster.gateway.sessions.forget(worker.peer);
  release();
  await expect(login).rejects.toMatchObject({ code: "barred" });
  expect(cluster.gateway.sessions.list()).toEqual([]);
  expect(await worker.login()).toMatchObject({ kind: "refused" });
  await cluster.gateway.sessions.admit(worker.peer);
  expect(await worker.login()).toMatchObject({ kind: "admitted" });
});

test("a proof is good for one login", async () => {
  await using cluster = await GatewayCluster.open({ isOpen: false });
  const worker = cluster.connect();
  const { credential } = claim(worker, await worker.bootstrap.challenge());
  expect(await worker.login(credential)).toMatchObject({ kind: "admitted" });
  expect(await worker.login(credential)).toMatchObject({ kind: "refused" });
});

test("a proof for an earlier nonce of the same connection is refused", async () => {
  await using cluster = await GatewayCluster.open({ isOpen: false });
  const worker = cluster.connect();
  const { credential } = claim(worker, await worker.bootstrap.challenge());
  await worker.bootstrap.challenge();
  expect(await worker.login(credential)).toMatchObject({ kind: "refused" });
});

test("a proof for the nonce of another connection is refused, be it of the same peer", async () => {
  await using cluster = await GatewayCluster.open({ isOpen: false });
  const [one, other] = [cluster.connect(), cluster.connect()];
  const { credential } = claim(one, await one.bootstrap.challenge());
  await other.bootstrap.challenge();
  expect(await other.login(credential)).toMatchObject({ kind: "refused" });
});

test("a proof made for another peer is refused", async () => {
  await using cluster = await GatewayCluster.open({ isOpen: false });
  const [one, other] = [cluster.connect("A"), cluster.connect("B")];
  const { credential } = claim(one, await other.bootstrap.challenge());
  expect(await other.login(credential)).toMatchObject({ kind: "refused" });
});

test("a proof without a challenge is refused", async () => {
  await using cluster = await GatewayCluster.open({ isOpen: false });
  const worker = cluster.connect();
  expect(await worker.login(claim(worker, makeNonce()).credential)).toMatchObject({ kind: "refused" });
});

test("two logins that race for one nonce are one admission", async () => {
  await using cluster = await GatewayCluster.open({ isOpen: false });
  const worker = cluster.connect();
  const { credential } = claim(worker, await worker.bootstrap.challenge());
  const verdicts = await Promise.all([worker.login(credential), worker.login(credential)]);
  expect(verdicts.map(({ kind }) => kind).toSorted()).toEqual(["admitted", "refused"]);
});

test("a connection that does not log in is ended", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = cluster.connect();
  await cluster.pass(LOGIN_TIMEOUT_MS, 1_000);
  expect(await worker.abortedByGateway).toMatchObject({ code: "login-timeout" });
});

test("a refusal does not buy a connection more time", async () => {
  await using cluster = await GatewayCluster.open({ isOpen: false });
  const worker = cluster.connect();
  await loginWith(worker, "another-secret");
  await cluster.pass(LOGIN_TIMEOUT_MS, 1_000);
  expect(await worker.abortedByGateway).toMatchObject({ code: "login-timeout" });
});

test("a pending connection is kept, and so is one with a session", async () => {
  await using cluster = await GatewayCluster.open({ isOpen: false });
  const pending = cluster.connect("A");
  await pending.login();
  const admitted = cluster.connect("B");
  await loginWith(admitted, SECRET);
  await cluster.pass(2 * LOGIN_TIMEOUT_MS, 1_000);
  expect([pending.isConnected, admitted.isConnected]).toEqual([true, true]);
  expect(cluster.gateway.admission.strangers).toBe(1);
});

test("a connection whose session has ended is a stranger's again", async () => {
  await using cluster = await GatewayCluster.open();
  const old = await cluster.join("A");
  const young = await cluster.join("A");
  await cluster.pass(LOGIN_TIMEOUT_MS, 1_000);
  expect(await old.abortedByGateway).toMatchObject({ code: "login-timeout" });
  expect(young.isConnected).toBe(true);
});

test("logging in a thousand times is one session", async () => {
  await using cluster = await GatewayCluster.open();
  const worker = cluster.connect();
  for (let round = 0; round < 1_000; round++) {
    const verdict = await worker.login();
    if (verdict.kind === "admitted" && round % 2 === 0) verdict.session[Symbol.dispose]();
  }
  await cluster.quiet();
  expect(cluster.gateway.sessions.list()).toMatchObject([{ status: "ready" }]);
  expect(cluster.clock.pendingTimers).toBeLessThan(5);
  await cluster.pass(LOGIN_TIMEOUT_MS, 1_000);
  expect(worker.isConnected).toBe(true);
});

test("past the limit of strangers the one that has been there longest goes", async () => {
  await using cluster = await GatewayCluster.open({ isOpen: false });
  const first = cluster.connect("A");
  const member = cluster.connect("B");
  await loginWith(member, SECRET);
  for (let count = 1; count < STRANGERS_MAX; count++) cluster.connect("C");
  await first.bootstrap.challenge();
  const last = cluster.connect("D");
  expect(await first.abortedByGateway).toMatchObject({ type: "overloaded", code: "too-many-strangers" });
  expect(await loginWith(last, SECRET)).toMatchObject({ kind: "admitted" });
  expect(member.isConnected).toBe(true);
});

test("a login whose connection is gone before it is decided ends no newer session of the same worker", async () => {
  await using cluster = await GatewayCluster.open();
  const old = cluster.connect();
  const release = cluster.trouble.holdAnswers("getAdmission");
  old.login().catch(() => {});
  await cluster.until("the gateway decides", () => (cluster.trouble.calls.get("getAdmission") ?? 0) > 0);
  old.drop();
  await cluster.quiet();
  const young = cluster.connect();
  const joining = young.join();
  release();
  await joining;
  await cluster.quiet();
  expect(await young.renew([])).toEqual([]);
});

test("a gateway that is closed gives no session", async () => {
  await using cluster = await GatewayCluster.open();
  const { sessions } = cluster.gateway;
  const worker = await cluster.join();
  await cluster.gateway.close();
  await expect(worker.login()).rejects.toMatchObject({ type: "overloaded" });
  expect(sessions.list()).toEqual([]);
});
