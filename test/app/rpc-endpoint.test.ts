/** The plain RPC endpoint: who gets in, with what, and what it costs to misbehave: the own connection and a line of log. */
import { readFile, stat } from "node:fs/promises";
import type { Socket } from "node:net";
import { Message as Arena, type Struct, utils } from "capnp-es";
import * as rpc from "capnp-es/capnp/rpc";
import { expect, test } from "vitest";
import {
  RPC_CONNECTIONS_MAX,
  STRANGERS_MAX,
  STRANGER_BYTES_MAX,
  STRANGER_ANSWERS_UNFINISHED_MAX,
} from "../../src/base/limits.ts";
import type { Credential } from "../../src/caps/bootstrap.ts";
import { ClientSession$Client } from "../../src/generated/client.ts";
import { Bootstrap$Client, WorkerSession$Client } from "../../src/generated/bootstrap.ts";
import type { WorkerState } from "../../src/model/worker.ts";
import type { Method } from "../../src/rpc/capability.ts";
import { taskId } from "../store/store-samples.ts";
import { guestPath } from "../support/processes.ts";
import { PLAIN_SECRET, PLAIN_TOKEN, PlainGateway, type PlainPeer } from "../support/plain-gateway.ts";

const STATE: WorkerState = { slots: 1, busy: 0, weight: 1, labels: {}, version: "test", cachedModules: [] };
const NOBODY: Credential = { kind: "none", name: "somebody" };
const WITH_TOKEN: Credential = { kind: "token", token: PLAIN_TOKEN, name: "somebody" };

/** Whether a login as a worker, and one as a client on another connection, is admitted. */
async function admissions(
  plain: PlainGateway,
  credentialOf: (peer: PlainPeer, role: "worker" | "client") => Promise<Credential>,
) {
  const [one, other] = [await plain.connect(), await plain.connect()];
  const worker = await one.bootstrap.login(await credentialOf(one, "worker"), STATE);
  const client = await other.bootstrap.loginClient(await credentialOf(other, "client")).then(
    () => "admitted",
    (error: { readonly code: string }) => error.code,
  );
  return { worker: worker.kind, client };
}

test("a unix socket can be opened by its owner alone, and admits its owner's workers and clients", async () => {
  await using plain = await PlainGateway.open({ token: PLAIN_TOKEN });
  const { address } = plain;
  expect(address.kind === "unix" && (await stat(address.path)).mode & 0o777).toBe(0o600);
  expect(await admissions(plain, async () => NOBODY)).toEqual({ worker: "admitted", client: "admitted" });
});

test.each([
  [undefined, false],
  [PLAIN_TOKEN, false],
  [undefined, true],
  [PLAIN_TOKEN, true],
])("TCP admits nobody without a credential (token %s, open %s)", async (token, isOpen) => {
  await using plain = await PlainGateway.open({ kind: "tcp", token, isOpen });
  expect(await admissions(plain, async () => NOBODY)).toEqual({ worker: "refused", client: "refused" });
});

test("over TCP the token admits workers and clients, and another one nobody", async () => {
  await using plain = await PlainGateway.open({ kind: "tcp", token: PLAIN_TOKEN });
  expect(await admissions(plain, async () => WITH_TOKEN)).toEqual({ worker: "admitted", client: "admitted" });
  const wrong: Credential = { ...WITH_TOKEN, token: `${PLAIN_TOKEN}x` };
  expect(await admissions(plain, async () => wrong)).toEqual({ worker: "refused", client: "refused" });
});

test("a client's tasks belong to its token or, where it needs none, to its name", async () => {
  for (const [kind, credential, submitter] of [
    ["tcp", WITH_TOKEN, "token:admin"],
    ["unix", { kind: "none", name: "somebody" }, "rpc:somebody"],
  ] as const) {
    await using plain = await PlainGateway.open({ kind, token: PLAIN_TOKEN });
    const { session } = await (await plain.connect()).bootstrap.loginClient(credential);
    using client = session;
    const { task, accepted } = client.submit({ id: "owned", module: await readFile(guestPath("hello")) });
    using _ = task;
    await accepted;
    expect((await plain.store.getTask(taskId("owned")))?.spec.submitter).toBe(submitter);
  }
});

test("a gateway without a token knows none", async () => {
  await using plain = await PlainGateway.open({ kind: "tcp" });
  const nothing: Credential = { ...WITH_TOKEN, token: "" };
  expect(await admissions(plain, async () => nothing)).toEqual({ worker: "refused", client: "refused" });
});

test("the join secret's proof admits workers, and clients where there is no token to ask for", async () => {
  await using plain = await PlainGateway.open({ kind: "tcp" });
  const proven = await admissions(plain, async (peer, role) => (await peer.proof("prover", { role })).credential);
  expect(proven).toEqual({ worker: "admitted", client: "admitted" });
  await using guarded = await PlainGateway.open({ kind: "tcp", token: PLAIN_TOKEN });
  const again = await admissions(guarded, async (peer, role) => (await peer.proof("prover", { role })).credential);
  expect(again).toEqual({ worker: "admitted", client: "refused" });
});

test("the gateway proves the join secret in return", async () => {
  await using plain = await PlainGateway.open({ kind: "tcp" });
  const peer = await plain.connect();
  const { credential, answer } = await peer.proof("prover");
  const verdict = await peer.bootstrap.login(credential, STATE);
  expect(verdict.kind === "admitted" && Buffer.from(verdict.proof).equals(answer)).toBe(true);
});

test("a worker's proof is no client's, nor a client's a worker's", async () => {
  await using plain = await PlainGateway.open({ kind: "tcp" });
  const swapped = await admissions(plain, async (peer, role) => {
    return (await peer.proof("prover", { role: role === "worker" ? "client" : "worker" })).credential;
  });
  expect(swapped).toEqual({ worker: "refused", client: "refused" });
});

test("a proof is for its name, its nonce and its secret", async () => {
  await using plain = await PlainGateway.open({ kind: "tcp" });
  const refused = async (change: (credential: Credential, peer: PlainPeer) => Promise<Credential>) => {
    const peer = await plain.connect();
    const { credential } = await peer.proof("prover");
    expect(await peer.bootstrap.login(await change(credential, peer), STATE)).toMatchObject({ kind: "refused" });
  };
  await refused(async (credential) => ({ ...credential, name: "another" }));
  await refused(async (credential, peer) => {
    await peer.bootstrap.challenge();
    return credential;
  });
  await refused(async (_, peer) => (await peer.proof("prover", { secret: `${PLAIN_SECRET}x` })).credential);
});

test.each([undefined, "", "-x", "a b", "rpc:x", "x".repeat(65), "ä"])(
  "a peer without a good name is refused (%s)",
  async (name) => {
    await using plain = await PlainGateway.open();
    const peer = await plain.connect();
    expect(await peer.bootstrap.login({ kind: "none", name }, STATE)).toMatchObject({ kind: "refused" });
    expect(plain.gateway.sessions.list()).toEqual([]);
  },
);

test("a worker is known by its name, and a newer login of the same name takes its place", async () => {
  await using plain = await PlainGateway.open();
  const [old, young] = [await plain.connect(), await plain.connect()];
  const session = await old.addAs("adder");
  await young.addAs("adder");
  expect(plain.gateway.sessions.list()).toMatchObject([{ id: "rpc:adder", status: "ready" }]);
  await expect(session.renew([], STATE)).rejects.toMatchObject({ type: "disconnected" });
});

test("a worker that an operator has barred is refused, be it on the gateway's own machine", async () => {
  await using plain = await PlainGateway.open();
  const first = await plain.connect();
  await first.addAs("adder");
  const [view] = plain.gateway.sessions.list();
  if (view === undefined) throw new Error("there is no worker");
  await plain.gateway.sessions.forget(view.id);
  const peer = await plain.connect();
  expect(await peer.bootstrap.login({ kind: "none", name: "adder" }, STATE)).toMatchObject({ kind: "refused" });
});

test("a session is for what its login was for", async () => {
  await using plain = await PlainGateway.open();
  const worker = await (await plain.connect()).addAs("adder");
  using submitting = worker.capability.call(ClientSession$Client.methods[0]);
  await expect(submitting.result()).rejects.toMatchObject({ type: "unimplemented" });
  using client = await plain.client();
  using offering = client.capability.call(WorkerSession$Client.methods[0]);
  await expect(offering.result()).rejects.toMatchObject({ type: "unimplemented" });
});

test("one refusal is all that a connection gets, and all that is written of it", async () => {
  await using plain = await PlainGateway.open({ kind: "tcp", isTimeManual: true });
  const peer = await plain.connect();
  for (let round = 0; round < 50; round++) {
    expect(await peer.bootstrap.login(NOBODY, STATE)).toMatchObject({ kind: "refused" });
  }
  const { credential } = await peer.proof("prover");
  expect(await peer.bootstrap.login(credential, STATE)).toMatchObject({ kind: "refused" });
  await plain.passLoginTimeout();
  await plain.until("the connection is ended", () => !peer.isConnected);
  expect(plain.warnings).toMatchObject([{ message: "a worker was refused over plain RPC" }]);
});

test("a connection that does not log in is ended, and the log says why", async () => {
  await using plain = await PlainGateway.open({ isTimeManual: true });
  const peer = await plain.connect();
  await peer.bootstrap.challenge();
  await plain.passLoginTimeout();
  await plain.until("the connection is ended", () => !peer.isConnected);
  expect(plain.warnings).toMatchObject([{ fields: { reason: "no login in time" } }]);
});

test("a task that is held keeps its connection, and so does an upload; without any it is a stranger's again", async () => {
  await using plain = await PlainGateway.open({ isTimeManual: true });
  const peer = await plain.connect();
  const { session } = await peer.bootstrap.loginClient(NOBODY);
  const upload = await session.upload();
  session[Symbol.dispose]();
  await plain.passLoginTimeout();
  await upload.write(new Uint8Array(1));
  upload[Symbol.dispose]();
  await peer.bootstrap.challenge();
  await plain.passLoginTimeout();
  await plain.until("the connection is ended", () => !peer.isConnected);
});

/** Resolves when the connection is over, however it ended. */
function closedOf(socket: Socket): Promise<unknown> {
  return new Promise((resolve) => socket.once("close", resolve));
}

/** While `mischief` goes on, a client that was there before and one that comes after it are served. */
async function costsNobodyElse(plain: PlainGateway, mischief: () => Promise<void>): Promise<void> {
  using before = await plain.client("before");
  await mischief();
  await expect(before.find("nothing")).rejects.toMatchObject({ code: "no-such-task" });
  using after = await plain.client("after");
  await expect(after.find("nothing")).rejects.toMatchObject({ code: "no-such-task" });
}

test.each([
  ["an HTTP request", Buffer.from("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")],
  ["a TLS hello", Buffer.from("16030100a5010000a10303", "hex")],
  ["zeros", Buffer.alloc(64)],
  ["a frame of 2^28 segments", Buffer.from("ffffff0f00000000", "hex")],
  ["a frame of 32 GiB", Buffer.from("00000000ffffffff", "hex")],
  ["noise", Buffer.from(Array.from({ length: 4_096 }, (_, index) => (index * 167 + 13) % 256))],
])("%s on the socket ends that connection, with one line of log", async (_, bytes) => {
  await using plain = await PlainGateway.open();
  await costsNobodyElse(plain, async () => {
    const socket = await plain.socket();
    const closed = closedOf(socket);
    socket.resume();
    socket.write(bytes);
    await closed;
  });
  expect(plain.warnings).toMatchObject([{ message: "the peer broke the protocol" }]);
});

test("half a frame and silence is ended when the time to log in is over", async () => {
  await using plain = await PlainGateway.open({ isTimeManual: true });
  await costsNobodyElse(plain, async () => {
    const socket = await plain.socket();
    const closed = closedOf(socket);
    socket.resume();
    socket.write(Buffer.from("0000000010000000", "hex"));
    socket.write(Buffer.alloc(16));
    await plain.passLoginTimeout();
    await closed;
  });
  expect(plain.warnings).toMatchObject([{ fields: { reason: "no login in time" } }]);
});

test("of a message that a stranger does not end, little is read", async () => {
  await using plain = await PlainGateway.open({ isTimeManual: true });
  const socket = await plain.socket();
  const closed = closedOf(socket);
  socket.resume();
  // One segment of 8 MiB, of which all but the last word come.
  const header = Buffer.from("0000000000001000", "hex");
  socket.write(Buffer.concat([header, Buffer.alloc(8 * 1024 * 1024 - 8)]));
  await plain.until(
    "nothing moves any more",
    () => plain.endpoint.connections().length === 1 && socket.writableLength > 0,
  );
  for (let turn = 0; turn < 50; turn++) await plain.until("a turn has passed", () => true);
  expect(socket.bytesWritten - socket.writableLength).toBeLessThan(STRANGER_BYTES_MAX + 4 * 1024 * 1024);
  // The time to log in, and then some for the last words to go out.
  await plain.until("the connection is ended", async () => {
    await plain.passLoginTimeout();
    return socket.destroyed;
  });
  await closed;
  expect(plain.warnings).toMatchObject([{ fields: { reason: "no login in time" } }]);
});

test("a login and what is pipelined on it may be longer than what is read of a stranger", async () => {
  await using plain = await PlainGateway.open();
  const peer = await plain.connect();
  const login = peer.bootstrap.loginClient(NOBODY);
  // Far beyond the bound, sent before the answer to the login is there.
  const noise = Array.from({ length: 2_000 }, () => peer.bootstrap.login({ ...NOBODY, name: "x".repeat(200) }, STATE));
  expect((await Promise.all(noise)).every(({ kind }) => kind === "refused")).toBe(true);
  (await login).session[Symbol.dispose]();
});

test("a thousand connections cost themselves", { timeout: 120_000 }, async () => {
  await using plain = await PlainGateway.open();
  await costsNobodyElse(plain, async () => {
    let isEnded = 0;
    for (let count = 20; count <= 1_000; count += 20) {
      const sockets = await Promise.all(Array.from({ length: 20 }, () => plain.socket()));
      for (const socket of sockets) socket.resume().on("close", () => isEnded++);
      // More than the system queues it would refuse by itself.
      const accepted = () => plain.endpoint.connections().length + plain.warnings.length;
      await plain.until("they are accepted", () => accepted() >= count);
    }
    await plain.until("those too many are ended", () => isEnded >= 1_000 - STRANGERS_MAX);
    expect(plain.endpoint.connections().length).toBeLessThanOrEqual(RPC_CONNECTIONS_MAX);
    expect(plain.warnings.length).toBe(isEnded);
  });
});

/** A message as a stream carries it, made with capnp-es's own structs. */
function frame(fill: (message: rpc.Message) => void): Buffer {
  const arena = new Arena();
  fill(arena.initRoot(rpc.Message));
  return Buffer.from(arena.toArrayBuffer());
}

/** A call to the bootstrap capability, which question 0 asks for. */
function callFrame<P extends Struct>(
  questionId: number,
  method: Method<P, Struct>,
  encode?: (params: P) => void,
): Buffer {
  return frame((message) => {
    const call = message._initCall();
    call.questionId = questionId;
    call._initTarget()._initPromisedAnswer().questionId = 0;
    call.interfaceId = method.interfaceId;
    call.methodId = method.methodId;
    encode?.(utils.initStructAt(0, method.ParamsClass, call._initParams()));
  });
}

const [CHALLENGE, , LOGIN_CLIENT] = Bootstrap$Client.methods;
const BOOTSTRAP = frame((message) => (message._initBootstrap().questionId = 0));
const LOGIN = callFrame(1, LOGIN_CLIENT, (params) => (params._initCredential().name = "deaf"));

/** Asks and asks, and reads nothing. Resolves when the gateway has ended the connection. */
async function neverRead(socket: Socket, opening: readonly Buffer[]): Promise<void> {
  const closed = closedOf(socket);
  socket.pause();
  socket.write(Buffer.concat([...opening]));
  for (let question = 2; !socket.destroyed; question += 1_000) {
    const frames = Array.from({ length: 1_000 }, (_, index) => callFrame(question + index, CHALLENGE));
    if (socket.write(Buffer.concat(frames))) continue;
    const drained = new Promise((resolve) => socket.once("drain", resolve));
    await Promise.race([drained, closed]);
  }
  await closed;
}

test("a client that asks and asks and never reads is ended, with one line of log", { timeout: 120_000 }, async () => {
  await using plain = await PlainGateway.open();
  await costsNobodyElse(plain, async () => neverRead(await plain.socket(), [BOOTSTRAP, LOGIN]));
  expect(plain.warnings).toMatchObject([{ message: "the peer broke the protocol" }]);
});

test("strangers that ask for the bootstrap without end hold a few answers each", { timeout: 120_000 }, async () => {
  await using plain = await PlainGateway.open();
  const floods = await Promise.all(
    Array.from({ length: 50 }, async () => {
      const socket = await plain.socket();
      const closed = closedOf(socket);
      const questions = Array.from({ length: 2_000 }, (_, questionId) =>
        frame((message) => (message._initBootstrap().questionId = questionId)),
      );
      socket.resume().write(Buffer.concat(questions));
      return { closed };
    }),
  );
  const answers = () => plain.endpoint.connections().map((connection) => connection.answers);
  // On a machine that stands still for a moment all may have been ended before one is looked at.
  await plain.until("they have asked", () => plain.warnings.length > 0 || answers().some((count) => count > 0));
  expect(Math.max(0, ...answers())).toBeLessThanOrEqual(STRANGER_ANSWERS_UNFINISHED_MAX);
  await costsNobodyElse(plain, async () => void (await Promise.all(floods.map(({ closed }) => closed))));
  expect(plain.warnings.length).toBe(50);
});

test("a stranger that asks and asks and never reads is not even listened to", { timeout: 120_000 }, async () => {
  await using plain = await PlainGateway.open({ isTimeManual: true });
  const socket = await plain.socket();
  const ended = neverRead(socket, [BOOTSTRAP]);
  await plain.until("it has to wait", () => socket.writableNeedDrain);
  await plain.passLoginTimeout();
  await plain.until("the connection is ended", async () => {
    await plain.passLoginTimeout();
    return socket.destroyed;
  });
  await ended;
  expect(plain.warnings).toMatchObject([{ fields: { code: "too-many-unfinished" } }]);
});
