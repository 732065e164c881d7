import { IncomingMessage, ServerResponse } from "node:http";
import { Socket, connect } from "node:net";
import { gzipSync } from "node:zlib";
import { expect, test, vi } from "vitest";
import { z } from "zod";
import { type ProblemJson, problemSchema } from "../../../src/api/problem.ts";
import {
  type MadeTokenJson,
  type TokenRequest,
  auditEntrySchema,
  madeTokenSchema,
  tokenSchema,
} from "../../../src/api/token-json.ts";
import { overloaded } from "../../../src/base/errors.ts";
import { SSE_CONNECTIONS_PER_TOKEN_MAX, TOKEN_REQUEST_BYTES_MAX } from "../../../src/base/limits.ts";
import { Grant } from "../../../src/gateway/grant.ts";
import { SseStreams } from "../../../src/gateway/http/sse-stream.ts";
import { Tokens } from "../../../src/gateway/tokens.ts";
import { parseTokenId } from "../../../src/model/token.ts";
import { ApiGateway } from "../../support/api-gateway.ts";
import { guestBytes } from "../../support/guests.ts";
import { ManualClock } from "../../support/manual-clock.ts";

interface Asked {
  readonly method?: string;
  readonly token?: string;
  readonly json?: unknown;
  readonly body?: FormData;
}

function ask(gateway: ApiGateway, path: string, { method = "GET", token, json, body }: Asked = {}): Promise<Response> {
  return fetch(`${gateway.url}${path}`, {
    method,
    headers: {
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...(json === undefined ? {} : { "content-type": "application/json" }),
    },
    ...(json === undefined ? (body === undefined ? {} : { body }) : { body: JSON.stringify(json) }),
  });
}

async function make(gateway: ApiGateway, json: TokenRequest, token?: string): Promise<MadeTokenJson> {
  const response = await ask(gateway, "/tokens", { method: "POST", json, ...(token === undefined ? {} : { token }) });
  expect(response.status).toBe(201);
  const made = madeTokenSchema.parse(await response.json());
  expect(response.headers.get("location")).toBe(`/tokens/${made.id}`);
  return made;
}

async function problemOf(asked: Promise<Response>): Promise<ProblemJson> {
  const response = await asked;
  const problem = problemSchema.parse(await response.json());
  expect(problem.status).toBe(response.status);
  return problem;
}

async function submit(gateway: ApiGateway, token?: string): Promise<Response> {
  const body = new FormData();
  body.set("wasm", new Blob([guestBytes("hash")]), "hash.wasm");
  return ask(gateway, "/tasks", { method: "POST", body, ...(token === undefined ? {} : { token }) });
}

test("a token does what it can and is refused the rest, which the audit log tells", async () => {
  await using gateway = await ApiGateway.open({ adminToken: "the-admin-token" });
  const admin = { token: "the-admin-token" };
  const reader = await make(gateway, { can: ["read"], label: "colleague" }, admin.token);
  const writer = await make(gateway, { can: ["submit"] }, admin.token);
  expect((await ask(gateway, "/tasks", reader)).status).toBe(200);
  expect((await ask(gateway, "/metrics", reader)).status).toBe(200);
  const refused = await problemOf(submit(gateway, reader.token));
  expect(refused).toMatchObject({ status: 403, code: "forbidden" });
  expect(refused.detail).toContain("can only read");
  const accepted = await submit(gateway, writer.token);
  expect(accepted.status).toBe(201);
  const { id } = z.object({ id: z.string() }).parse(await accepted.json());
  expect(await problemOf(ask(gateway, "/tasks", writer))).toMatchObject({ status: 403 });
  for (const [method, path] of [
    ["GET", "/tokens"],
    ["POST", "/tokens"],
    ["GET", "/audit"],
    ["DELETE", `/tokens/${writer.id}`],
    ["DELETE", "/workers/x"],
  ] as const) {
    const refusal = await problemOf(ask(gateway, path, { method, token: writer.token }));
    expect([path, refusal.status]).toEqual([path, 403]);
  }
  expect((await ask(gateway, "/workers")).status).toBe(401);
  const audit = z.array(auditEntrySchema).parse(await (await ask(gateway, "/audit", admin)).json());
  const told = audit.map(({ actor, action, subject }) => `${actor} ${action} ${subject}`);
  expect(told).toContain(`token:admin token.created ${reader.id}`);
  expect(told).toContain(`token:${writer.id} task.submitted ${id}`);
  expect(told).toContain(`token:${reader.id} refused /tasks`);
  expect(told).toContain("nobody refused /workers");
});

test("a token's text is shown once, and neither lists nor the audit log have it", async () => {
  await using gateway = await ApiGateway.open();
  const made = await make(gateway, { can: ["read"], for: "30d", label: "ci" });
  const listed = await (await ask(gateway, "/tokens")).text();
  const [token] = z.array(tokenSchema).parse(JSON.parse(listed));
  expect(token).toMatchObject({ id: made.id, label: "ci", can: ["read"], state: "active", createdBy: "local" });
  expect(Date.parse(token?.expiresAt ?? "") - Date.parse(token?.createdAt ?? "")).toBe(30 * 86_400_000);
  const audit = await (await ask(gateway, "/audit")).text();
  expect(listed + audit).not.toContain(made.token.slice(-43));
});

test("where none is needed, a token that is sent still narrows, and a wrong one is refused", async () => {
  await using gateway = await ApiGateway.open();
  const reader = await make(gateway, { can: ["read"] });
  expect(await problemOf(submit(gateway, reader.token))).toMatchObject({ status: 403 });
  expect(await problemOf(ask(gateway, "/tasks", { token: `${reader.token}x` }))).toMatchObject({ status: 401 });
  const basic = fetch(`${gateway.url}/tasks`, { headers: { authorization: "Basic YTpi" } });
  expect(await problemOf(basic)).toMatchObject({ status: 401 });
  expect((await submit(gateway)).status).toBe(201);
});

test("a token makes only narrower ones", async () => {
  await using gateway = await ApiGateway.open();
  const admin = await make(gateway, { can: ["admin"], for: 60, limits: { queuedTasks: 5 } });
  const wide = await problemOf(
    ask(gateway, "/tokens", { method: "POST", token: admin.token, json: { can: ["admin"], for: 61 } }),
  );
  expect(wide).toMatchObject({ status: 403, code: "forbidden" });
  expect(wide.errors?.map(({ field }) => field)).toEqual(["for", "queuedTasks"]);
  const narrow = await make(gateway, { can: ["read"], for: 30, limits: { queuedTasks: 5 } }, admin.token);
  expect(narrow).toMatchObject({ parent: admin.id, createdBy: `token:${admin.id}` });
});

test.each([
  [{}, "can"],
  [{ can: [] }, "can"],
  [{ can: ["read", "write"] }, "can.1"],
  [{ can: ["read"], for: "soon" }, "for"],
  [{ can: ["read"], for: 0 }, "for"],
  [{ can: ["read"], for: "9999d" }, "for"],
  [{ can: ["read"], label: "x".repeat(129) }, "label"],
  [{ can: ["read"], limits: { queuedTasks: 0.5 } }, "limits.queuedTasks"],
  [{ can: ["read"], limits: { queued: 1 } }, "limits"],
  [{ can: ["read"], forever: true }, "body"],
  [[], "body"],
])("%j is refused as a token, by its field %s", async (json, field) => {
  await using gateway = await ApiGateway.open();
  const refused = await problemOf(ask(gateway, "/tokens", { method: "POST", json }));
  expect(refused).toMatchObject({ status: 400, code: "invalid-field" });
  expect(refused.errors?.map((error) => error.field)).toContain(field);
});

test("a request for a token is plain JSON of a modest size, and says what it is not", async () => {
  await using gateway = await ApiGateway.open();
  const send = (body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string> = {}) =>
    problemOf(
      fetch(`${gateway.url}/tokens`, {
        method: "POST",
        body,
        headers: { "content-type": "application/json; charset=utf-8", ...headers },
      }),
    );
  const large = JSON.stringify({ can: ["read"], label: "x".repeat(TOKEN_REQUEST_BYTES_MAX) });
  expect(await send(large)).toMatchObject({ status: 413, code: "too-large" });
  expect(await send("{}", { "content-type": "text/plain" })).toMatchObject({ status: 415 });
  expect(await send(gzipSync("{}"), { "content-encoding": "gzip" })).toMatchObject({
    status: 415,
    code: "unsupported-media-type",
  });
  for (const body of ["{", "", new Uint8Array([0x22, 0xff, 0x22])]) {
    expect(await send(body)).toMatchObject({
      status: 400,
      code: "invalid-request",
      detail: expect.stringContaining("no JSON"),
    });
  }
});

test("a client that waits for leave to send its request for a token is given it", async () => {
  await using gateway = await ApiGateway.open();
  const socket = connect(gateway.port, "127.0.0.1").setEncoding("utf8");
  const body = JSON.stringify({ can: ["read"] });
  const head = ["POST /tokens HTTP/1.1", "Host: localhost", "Content-Type: application/json", "Connection: close"];
  socket.write([...head, `Content-Length: ${body.length}`, "Expect: 100-continue", "", ""].join("\r\n"));
  let answer = "";
  for await (const text of socket) {
    answer += text;
    if (answer === "HTTP/1.1 100 Continue\r\n\r\n") socket.write(body);
  }
  expect(answer).toContain("HTTP/1.1 201 Created");
});

test("who is told that there are too many tokens is not told of the store", async () => {
  await using gateway = await ApiGateway.open();
  const full = overloaded("10000 tokens are kept", { code: "too-many-tokens" });
  using _ = vi.spyOn(Tokens.prototype, "mint").mockRejectedValue(full);
  const refused = await ask(gateway, "/tokens", { method: "POST", json: { can: ["read"] } });
  expect(refused.headers.get("retry-after")).not.toBeNull();
  expect(problemSchema.parse(await refused.json())).toMatchObject({ status: 429, code: "too-many-tokens" });
});

test("who cannot read is shown nothing of others' tasks, and names files of the own only", async () => {
  await using gateway = await ApiGateway.open();
  const body = new FormData();
  body.set("wasm", new Blob([guestBytes("hash")]));
  body.set("id", "theirs");
  body.set("stdin", "a secret");
  body.set("env", JSON.stringify({ KEY: "a secret" }));
  body.set("outputs", "*");
  expect((await ask(gateway, "/tasks", { method: "POST", body })).status).toBe(201);
  const writer = await make(gateway, { can: ["submit"] });
  const reader = await make(gateway, { can: ["submit", "read"] });
  for (const action of ["cancel", "retry", "cancel"]) {
    const answer = await ask(gateway, `/tasks/theirs/${action}`, { method: "POST", token: writer.token });
    expect(answer.status).toBe(200);
    expect(await answer.text()).not.toContain("secret");
  }
  const seen = await ask(gateway, "/tasks/theirs/retry", { method: "POST", token: reader.token });
  expect(await seen.text()).toContain("a secret");
  const use = async (token: string, file: string, after: readonly string[] = []) => {
    const form = new FormData();
    form.set("wasm", new Blob([guestBytes("hash")]));
    form.set("files", file);
    for (const id of after) form.append("after", id);
    return problemOf(ask(gateway, "/tasks", { method: "POST", body: form, token }));
  };
  const noPower = /no power to read/;
  expect((await use(writer.token, "@theirs/a")).detail).toMatch(noPower);
  expect((await use(writer.token, "@theirs/a", ["theirs"])).detail).toMatch(noPower);
  expect((await use(writer.token, "@nobodys/a")).detail).toMatch(noPower);
  expect((await use(reader.token, "@theirs/a")).detail).not.toMatch(noPower);
  const own = await submit(gateway, writer.token);
  const { id, module } = z.object({ id: z.string(), module: z.string() }).parse(await own.json());
  expect((await use(writer.token, `@${id}/a`)).detail).not.toMatch(noPower);
  const batch = (lines: readonly object[]) =>
    fetch(`${gateway.url}/tasks/batch`, {
      method: "POST",
      headers: { authorization: `Bearer ${writer.token}`, "content-type": "application/x-ndjson" },
      body: lines.map((line) => JSON.stringify(line)).join("\n"),
    });
  const second = { id: "second", module, after: ["first"], files: ["@first/a"] };
  const misspelt = await problemOf(
    batch([{ ID: "first", module }, second, { module, after: ["theirs"], files: ["@theirs/a"] }]),
  );
  expect(misspelt.errors).toMatchObject([
    { line: 1, field: "ID" },
    { line: 3, field: "files", message: expect.stringMatching(noPower) },
  ]);
  expect((await batch([{ id: "first", module, outputs: ["*"] }, second])).status).toBe(200);
});

test("a token has a share of the live streams, and gets it back", () => {
  const token = parseTokenId("aaaaaaaaaaaa");
  const grant = new Grant({ actor: "token:a", token, can: ["read"], limits: {} }, new ManualClock());
  const request = new IncomingMessage(new Socket());
  const streams = new SseStreams(new ManualClock(), new WeakMap([[request, grant]]));
  const open = Array.from({ length: SSE_CONNECTIONS_PER_TOKEN_MAX }, () => streams.open(new ServerResponse(request)));
  expect(() => streams.open(new ServerResponse(request))).toThrow(
    expect.objectContaining({ code: "too-many-streams" }),
  );
  streams.open(new ServerResponse(new IncomingMessage(new Socket())));
  open[0]?.end();
  streams.open(new ServerResponse(request));
  streams.close();
});

test("revoking a token refuses it, and cuts off what it asked for and is under way", async () => {
  await using gateway = await ApiGateway.open();
  const reader = await make(gateway, { can: ["read"] });
  const stream = await ask(gateway, "/events", reader);
  const read = stream.text().catch((error: unknown) => error);
  expect((await ask(gateway, `/tokens/${reader.id}`, { method: "DELETE" })).status).toBe(204);
  expect(await read).toBeInstanceOf(Error);
  const refused = await problemOf(ask(gateway, "/tasks", reader));
  expect(refused).toMatchObject({ status: 401, code: "unauthenticated" });
  expect(refused.detail).toContain("revoked");
  expect((await ask(gateway, `/tokens/${reader.id}`, { method: "DELETE" })).status).toBe(204);
  for (const id of ["aaaaaaaaaaaa", "admin", "x"]) {
    const missing = problemOf(ask(gateway, `/tokens/${id}`, { method: "DELETE" }));
    expect(await missing).toMatchObject({ status: 404, code: "no-such-token" });
  }
});

test("a token that takes itself back is told so, and whoever uses it then is in the audit log", async () => {
  await using gateway = await ApiGateway.open();
  const parent = await make(gateway, { can: ["admin"] });
  const admin = await make(gateway, { can: ["admin"] }, parent.token);
  expect((await ask(gateway, `/tokens/${parent.id}`, { method: "DELETE", token: admin.token })).status).toBe(204);
  expect((await ask(gateway, "/tasks", admin)).status).toBe(401);
  expect((await ask(gateway, "/workers", { token: "cm_wrong" })).status).toBe(401);
  const audit = z.array(auditEntrySchema).parse(await (await ask(gateway, "/audit")).json());
  const refused = audit.filter(({ action }) => action === "refused");
  expect(refused.map(({ actor, subject, detail }) => `${actor} ${subject} ${detail}`)).toEqual([
    "nobody /workers GET: its token is not valid here",
    `token:${admin.id} /tasks GET: its token is revoked`,
  ]);
});

test("an expired token is refused, and so is one beyond its rate, with when to come back", async () => {
  const clock = new ManualClock({ now: Date.now() });
  await using gateway = await ApiGateway.open({ clock });
  const brief = await make(gateway, { can: ["read"], for: 10 });
  const slow = await make(gateway, { can: ["submit"], limits: { submitsPerSecond: 0.1 } });
  expect((await submit(gateway, slow.token)).status).toBe(201);
  const limited = await submit(gateway, slow.token);
  expect([limited.status, limited.headers.get("retry-after")]).toEqual([429, "10"]);
  clock.advance(10_000);
  expect((await submit(gateway, slow.token)).status).toBe(201);
  expect((await problemOf(ask(gateway, "/tasks", brief))).detail).toContain("expired");
});

test("a token has no more unfinished tasks than its limit, over every way to submit", async () => {
  await using gateway = await ApiGateway.open();
  const one = await make(gateway, { can: ["submit"], limits: { queuedTasks: 1 } });
  const made = await submit(gateway, one.token);
  expect(made.status).toBe(201);
  const { id, module } = z.object({ id: z.string(), module: z.string() }).parse(await made.json());
  const limited = await submit(gateway, one.token);
  expect(limited.headers.get("retry-after")).toBe("8");
  expect(problemSchema.parse(await limited.json())).toMatchObject({ status: 429, code: "rate-limited" });
  const batch = await fetch(`${gateway.url}/tasks/batch`, {
    method: "POST",
    headers: { authorization: `Bearer ${one.token}`, "content-type": "application/x-ndjson" },
    body: `${JSON.stringify({ module })}\n`,
  });
  expect([batch.status, batch.headers.get("retry-after")]).toEqual([429, "8"]);
  // Others have their own.
  expect((await submit(gateway)).status).toBe(201);
  expect((await ask(gateway, `/tasks/${id}/cancel`, { method: "POST", token: one.token })).status).toBe(200);
  const next = z.object({ id: z.string() }).parse(await (await submit(gateway, one.token)).json());
  const retried = ask(gateway, `/tasks/${id}/retry`, { method: "POST", token: one.token });
  expect(await problemOf(retried)).toMatchObject({ status: 429, code: "rate-limited" });
  expect((await ask(gateway, `/tasks/${next.id}`, { method: "DELETE", token: one.token })).status).toBe(204);
  expect((await ask(gateway, `/tasks/${id}/retry`, { method: "POST", token: one.token })).status).toBe(200);
});

test("tokens that are made with a token have no tasks of their own beside its limit", async () => {
  await using gateway = await ApiGateway.open();
  const admin = await make(gateway, { can: ["admin"], limits: { queuedTasks: 2 } });
  const limits = { queuedTasks: 2 };
  const [one, other] = [
    await make(gateway, { can: ["submit"], limits }, admin.token),
    await make(gateway, { can: ["submit"], limits }, admin.token),
  ];
  expect((await submit(gateway, one.token)).status).toBe(201);
  expect((await submit(gateway, other.token)).status).toBe(201);
  for (const { token } of [one, other, admin]) {
    expect(await problemOf(submit(gateway, token))).toMatchObject({ status: 429, code: "rate-limited" });
  }
});

test("every line of a batch is a submission, and so is a retry, whosever task it is", async () => {
  const clock = new ManualClock({ now: Date.now() });
  await using gateway = await ApiGateway.open({ clock });
  const others = await make(gateway, { can: ["submit"], limits: { queuedTasks: 1 } });
  const made = await submit(gateway, others.token);
  const { id, module } = z.object({ id: z.string(), module: z.string() }).parse(await made.json());
  const token = (await make(gateway, { can: ["submit"], limits: { submitsPerSecond: 0.5 } })).token;
  const batch = async (lines: number) => {
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/x-ndjson" };
    const body = `${JSON.stringify({ module })}\n`.repeat(lines);
    return (await fetch(`${gateway.url}/tasks/batch`, { method: "POST", headers, body })).status;
  };
  expect(await batch(6)).toBe(413);
  expect([await batch(3), await batch(3)]).toEqual([200, 429]);
  clock.advance(2_000);
  expect([await batch(3), await batch(1)]).toEqual([200, 429]);
  const retry = () => ask(gateway, `/tasks/${id}/retry`, { method: "POST", token });
  await ask(gateway, `/tasks/${id}/cancel`, { method: "POST" });
  expect(await problemOf(retry())).toMatchObject({ code: "rate-limited" });
  clock.advance(4_000);
  // Its submitter has as many as it may have.
  await submit(gateway, others.token);
  expect(await problemOf(retry())).toMatchObject({ code: "rate-limited", detail: expect.stringContaining("Too many") });
});

test("all bytes of a body count, those that come with the head too", async () => {
  const clock = new ManualClock({ now: Date.now() });
  await using gateway = await ApiGateway.open({ clock });
  const module = guestBytes("hash");
  const limits = { bytesPerHour: 100 };
  const requests: readonly ((token: string) => Promise<Response>)[] = [
    (token) => submit(gateway, token),
    (token) => fetch(`${gateway.url}/modules`, { method: "PUT", body: module, headers: bearer(token) }),
    (token) =>
      fetch(`${gateway.url}/tasks/batch`, { method: "POST", body: "x".repeat(module.length), headers: bearer(token) }),
  ];
  for (const request of requests) {
    const { token } = await make(gateway, { can: ["submit"], limits });
    await (await request(token)).text();
    const limited = await request(token);
    expect([limited.status, Number(limited.headers.get("retry-after"))]).toEqual([429, expect.any(Number)]);
    const waitMs = ((module.length - 100) / 100) * 3_600_000;
    expect(Number(limited.headers.get("retry-after")) * 1_000).toBeGreaterThanOrEqual(waitMs);
  }
});

function bearer(token: string): Record<string, string> {
  return { authorization: `Bearer ${token}`, "content-type": "application/x-ndjson" };
}

test("the audit log is read page by page", async () => {
  await using gateway = await ApiGateway.open();
  for (let count = 0; count < 5; count++) await make(gateway, { can: ["read"] });
  const first = await ask(gateway, "/audit?limit=3");
  expect(z.array(auditEntrySchema).parse(await first.json())).toHaveLength(3);
  const next = /<([^>]+)>; rel="next"/.exec(first.headers.get("link") ?? "")?.[1] ?? "";
  const second = await fetch(new URL(next, gateway.url));
  expect(
    z
      .array(auditEntrySchema)
      .parse(await second.json())
      .map(({ seq }) => seq),
  ).toEqual([2, 1]);
});
