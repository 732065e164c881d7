/** Tokens over RPC: a session holds what its token can, and all that came of it ends with the token. */
import { expect, test, vi } from "vitest";
import { SESSIONS_PER_CONNECTION_MAX } from "../../src/base/limits.ts";
import { FileBlobStore } from "../../src/store/file-blobs.ts";
import type { TokenId } from "../../src/model/token.ts";
import type { MintInit } from "../../src/gateway/tokens.ts";
import type { ClientSessionClient } from "../../src/caps/client-session.ts";
import { PlainGateway } from "../support/plain-gateway.ts";
import { guestBytes } from "../support/guests.ts";

async function mint(plain: PlainGateway, init: Partial<MintInit> = {}): Promise<{ id: TokenId; text: string }> {
  const { tokens } = plain.access;
  const made = await tokens.mint(tokens.local, { label: "", can: ["read", "submit"], limits: {}, ...init });
  if (made.kind !== "made") throw new Error("the token is too wide");
  return { id: made.token.id, text: made.text };
}

async function login(plain: PlainGateway, token: string): Promise<ClientSessionClient> {
  const peer = await plain.connect();
  return (await peer.bootstrap.loginClient({ kind: "token", token, name: "client" })).session;
}

const SUBMISSION = { module: guestBytes("hash"), start: 3_600_000 } as const;
const FORBIDDEN = { code: "forbidden" };
const REVOKED = { type: "failed", message: expect.stringContaining("revoked") };

test("a session holds what its token can, and nothing else", async () => {
  await using plain = await PlainGateway.open({ kind: "tcp" });
  using writer = await login(plain, (await mint(plain, { can: ["submit"] })).text);
  using reader = await login(plain, (await mint(plain, { can: ["read"] })).text);
  const { task, accepted } = writer.submit(SUBMISSION);
  using own = task;
  const id = await accepted;
  expect((await own.status()).id).toBe(id);
  using found = await reader.find(id);
  expect((await found.status()).id).toBe(id);
  await expect(found.cancel()).rejects.toMatchObject(FORBIDDEN);
  await expect(writer.find(id)).rejects.toMatchObject(FORBIDDEN);
  await expect(reader.upload()).rejects.toMatchObject(FORBIDDEN);
  const refused = reader.submit(SUBMISSION);
  using nothing = refused.task;
  await expect(refused.accepted).rejects.toMatchObject(FORBIDDEN);
  await expect(nothing.status()).rejects.toMatchObject(FORBIDDEN);
  expect((await own.cancel()).state).toBe("cancelled");
});

test("a session can be narrowed, and never widened", async () => {
  await using plain = await PlainGateway.open({ kind: "tcp" });
  using session = await login(plain, (await mint(plain)).text);
  using reader = await session.narrow(["read", "admin"]);
  using again = await reader.narrow(["submit"]);
  for (const narrower of [reader, again]) {
    const refused = narrower.submit(SUBMISSION);
    using nothing = refused.task;
    await expect(refused.accepted).rejects.toMatchObject(FORBIDDEN);
    await expect(nothing.status()).rejects.toMatchObject(FORBIDDEN);
  }
  await expect(reader.find("no-such")).rejects.toMatchObject({ code: "no-such-task" });
  await expect(again.find("no-such")).rejects.toMatchObject(FORBIDDEN);
  await expect(session.narrow(["fly"])).rejects.toMatchObject({ code: "invalid-field" });
});

test("revoking a token fails all that came of it at once, what is pending included", async () => {
  await using plain = await PlainGateway.open({ kind: "tcp" });
  const token = await mint(plain);
  using session = await login(plain, token.text);
  using other = await login(plain, (await mint(plain)).text);
  using narrower = await session.narrow(["read"]);
  using upload = await session.upload();
  const { task, accepted } = session.submit(SUBMISSION);
  using held = task;
  const id = await accepted;
  using found = await narrower.find(id);
  const pending = held.outcome().catch((error: unknown) => error);
  await plain.access.tokens.revoke(plain.access.tokens.local, token.id);
  expect(await pending).toMatchObject(REVOKED);
  await Promise.all(
    [session.find(id), narrower.find(id), held.status(), found.status(), upload.finish(), session.narrow([])].map(
      (call) => expect(call).rejects.toMatchObject(REVOKED),
    ),
  );
  using kept = await other.find(id);
  expect((await kept.status()).state).toBe("scheduled");
  await expect(login(plain, token.text)).rejects.toThrow("the token is revoked");
});

test("a worker needs a token that can admin, and its connection ends with it", async () => {
  await using plain = await PlainGateway.open({ kind: "tcp" });
  const state = { slots: 1, busy: 0, weight: 1, labels: {}, version: "0", cachedModules: [] };
  const narrow = await plain.connect();
  const reader = { kind: "token", token: (await mint(plain)).text, name: "narrow" } as const;
  expect(await narrow.bootstrap.login(reader, state)).toMatchObject({ kind: "refused" });
  const token = await mint(plain, { can: ["admin"] });
  const peer = await plain.connect();
  const verdict = await peer.bootstrap.login({ kind: "token", token: token.text, name: "worker" }, state);
  if (verdict.kind !== "admitted") throw new Error(verdict.reason);
  using session = verdict.session;
  await plain.access.tokens.revoke(plain.access.tokens.local, token.id);
  await expect(session.drain()).rejects.toThrow();
});

test("a session has no more unfinished tasks than its token may have, however many it asks for at once", async () => {
  await using plain = await PlainGateway.open({ kind: "tcp" });
  const token = await mint(plain, { limits: { queuedTasks: 2 } });
  using session = await login(plain, token.text);
  using narrower = await session.narrow(["submit"]);
  const submissions = [session, session, narrower, narrower].map((each) => each.submit(SUBMISSION));
  using held = new DisposableStack();
  for (const { task } of submissions) held.use(task);
  const answers = await Promise.allSettled(submissions.map(({ accepted }) => accepted));
  const refusals = answers.filter((answer) => answer.status === "rejected");
  expect(refusals).toHaveLength(2);
  for (const { reason } of refusals) {
    expect(reason).toMatchObject({ type: "overloaded", code: "rate-limited" });
    expect(String(reason)).toContain("2 tasks under this token's limit are unfinished");
  }
  const [made] = submissions.filter((_, index) => answers[index]?.status === "fulfilled");
  await made?.task.cancel();
  const { task, accepted } = session.submit(SUBMISSION);
  using _ = task;
  expect(await accepted).toBeTruthy();
  expect((await plain.store.measureQueue()).tasks).toBe(2);
});

test("what a session brings counts: texts and stdin as well as modules, and each piece of an upload", async () => {
  await using plain = await PlainGateway.open({ kind: "tcp" });
  const limited = { code: "rate-limited", type: "overloaded" };
  const spoken = await mint(plain, { limits: { bytesPerHour: 100_000 } });
  using session = await login(plain, spoken.text);
  const { task, accepted } = session.submit({ ...SUBMISSION, stdin: new Uint8Array(110_000) });
  using _task = task;
  await accepted;
  const refused = session.submit(SUBMISSION);
  using _nothing = refused.task;
  await expect(refused.accepted).rejects.toMatchObject(limited);
  await expect(session.upload()).rejects.toMatchObject(limited);
  const uploading = await mint(plain, { limits: { bytesPerHour: 100_000, submitsPerSecond: 0.1 } });
  using other = await login(plain, uploading.text);
  using upload = await other.upload();
  await expect(other.upload()).rejects.toMatchObject(limited);
  await upload.write(new Uint8Array(110_000));
  await expect(upload.write(new Uint8Array(1))).rejects.toMatchObject(limited);
  await expect(upload.finish()).rejects.toMatchObject(limited);
});

test("a worker whose token ends while it is looked up gets no session", async () => {
  await using plain = await PlainGateway.open({ kind: "tcp" });
  const token = await mint(plain, { can: ["admin"] });
  const peer = await plain.connect();
  const look = plain.store.getAdmission.bind(plain.store);
  using _ = vi.spyOn(plain.store, "getAdmission").mockImplementation(async (id) => {
    await plain.access.tokens.revoke(plain.access.tokens.local, token.id);
    return look(id);
  });
  const state = { slots: 1, busy: 0, weight: 1, labels: {}, version: "0", cachedModules: [] };
  const login = peer.bootstrap.login({ kind: "token", token: token.text, name: "worker" }, state);
  await expect(login).rejects.toMatchObject({ message: expect.stringContaining("revoked") });
  expect(plain.gateway.sessions.list()).toEqual([]);
});

test("an upload whose token ends while its place is made leaves nothing behind", async () => {
  await using plain = await PlainGateway.open({ kind: "tcp" });
  const token = await mint(plain);
  using session = await login(plain, token.text);
  using create = vi.spyOn(FileBlobStore.prototype, "create").mockImplementation(async function (this: FileBlobStore) {
    create.mockRestore();
    const writer = await this.create();
    await plain.access.tokens.revoke(plain.access.tokens.local, token.id);
    return writer;
  });
  await expect(session.upload()).rejects.toMatchObject(REVOKED);
  await plain.until("the upload is gone", async () => (await plain.blobs()).length === 0);
});

test("a connection has only so many sessions, and has room again when it drops one", async () => {
  await using plain = await PlainGateway.open({ kind: "tcp" });
  const token = await mint(plain);
  const peer = await plain.connect();
  const credential = { kind: "token", token: token.text, name: "client" } as const;
  const { session } = await peer.bootstrap.loginClient(credential);
  using held = new DisposableStack();
  held.use(session);
  for (let count = 1; count < SESSIONS_PER_CONNECTION_MAX; count++) held.use(await session.narrow(["read"]));
  const full = { type: "overloaded", code: "too-many-sessions" };
  await expect(session.narrow(["read"])).rejects.toMatchObject(full);
  await expect(peer.bootstrap.loginClient(credential)).rejects.toMatchObject(full);
  held.dispose();
  await plain.until("the sessions have ended", async () => {
    const again = await peer.bootstrap.loginClient(credential).catch(() => undefined);
    again?.session[Symbol.dispose]();
    return again !== undefined;
  });
});

test("the audit log tells who was let in, what they brought, when they left, and who was refused", async () => {
  await using plain = await PlainGateway.open({ kind: "tcp" });
  const token = await mint(plain, { can: ["admin"] });
  const client = await login(plain, token.text);
  const upload = await client.upload();
  await upload.write(SUBMISSION.module);
  await upload.finish();
  upload[Symbol.dispose]();
  client[Symbol.dispose]();
  const state = { slots: 1, busy: 0, weight: 1, labels: {}, version: "0", cachedModules: [] };
  const peer = await plain.connect();
  const { credential } = await peer.proof("mill");
  expect((await peer.bootstrap.login(credential, state)).kind).toBe("admitted");
  await peer.connection.close();
  await expect(login(plain, `${token.text}x`)).rejects.toThrow("not valid");
  const told = async (): Promise<readonly string[]> => {
    const entries = await plain.access.audit.list({ limit: 100 });
    return entries.map(({ actor, action, subject, detail }) => `${actor} ${action} ${subject} ${detail}`.trim());
  };
  const own = `token:${token.id}`;
  await expect
    .poll(told)
    .toEqual(
      expect.arrayContaining([
        `${own} session.opened rpc:client can admin`,
        expect.stringMatching(new RegExp(`^${own} module.stored [0-9a-f]{64}$`)),
        `${own} session.ended rpc:client`,
        "rpc:mill session.opened rpc:mill worker, by join secret",
        "rpc:mill session.ended rpc:mill worker, by join secret",
        "nobody refused client client login over plain RPC: the token is not valid here",
      ]),
    );
});
