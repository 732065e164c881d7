import { readFile } from "node:fs/promises";
import { request } from "node:http";
import { describe, expect, test } from "vitest";
import { problemSchema } from "../../../src/api/problem.ts";
import { ApiGateway } from "../../support/api-gateway.ts";
import { guestPath } from "../../support/processes.ts";

interface Answer {
  readonly status: number;
  readonly code: string | undefined;
  readonly detail: string;
}

/** By hand: `fetch` sets Host and Origin itself. */
function ask(gateway: ApiGateway, headers: Record<string, string>, path = "/tasks", method = "GET"): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const asked = request({ host: "127.0.0.1", port: gateway.port, path, method, headers, agent: false }, (response) => {
    let text = "";
    response.on("data", (chunk: Buffer) => (text += chunk.toString()));
    response.on("end", () => {
      const problem = text.includes('"code"') ? problemSchema.parse(JSON.parse(text)) : undefined;
      resolve({ status: response.statusCode ?? 0, code: problem?.code, detail: problem?.detail ?? "" });
    });
  });
  asked.on("error", reject).end();
  return promise;
}

describe("without a token", () => {
  test("this machine's names are answered to", async () => {
    await using gateway = await ApiGateway.open();
    const { port } = gateway;
    for (const host of [
      `localhost:${port}`,
      `127.0.0.1:${port}`,
      `[::1]:${port}`,
      "LOCALHOST",
      "localhost.",
      "127.0.0.1",
    ]) {
      expect(await ask(gateway, { host })).toMatchObject({ status: 200 });
    }
  });

  test.each([
    "evil.example",
    "127.0.0.1.evil.example",
    "localhost.evil.example:80",
    "localhost@evil.example",
    "[::2]",
    "a b",
  ])("the name %j is not, and the answer says how to allow it", async (host) => {
    await using gateway = await ApiGateway.open();
    const answer = await ask(gateway, { host });
    expect(answer).toMatchObject({ status: 403, code: "forbidden" });
    expect(answer.detail).toContain("--allow-host");
  });

  test("a page of another site is refused though it names no origin, but for a visit of the dashboard", async () => {
    await using gateway = await ApiGateway.open();
    const elsewhere = { host: "localhost", "sec-fetch-site": "cross-site" };
    const visit = { ...elsewhere, "sec-fetch-mode": "navigate", "sec-fetch-dest": "document" };
    for (const path of ["/events", "/tasks", "/"]) {
      expect(await ask(gateway, elsewhere, path)).toMatchObject({ status: 403, code: "forbidden" });
    }
    expect(await ask(gateway, visit, "/tasks")).toMatchObject({ status: 403 });
    expect(await ask(gateway, { ...visit, "sec-fetch-dest": "iframe" }, "/")).toMatchObject({ status: 403 });
    expect(await ask(gateway, visit, "/")).toMatchObject({ status: 200 });
    expect(await ask(gateway, { ...elsewhere, "sec-fetch-site": "same-origin" })).toMatchObject({ status: 200 });
  });

  test("a name that is allowed is answered to", async () => {
    await using gateway = await ApiGateway.open({ allowHosts: ["Gateway.lan"] });
    expect((await ask(gateway, { host: "gateway.lan:8080" })).status).toBe(200);
    expect((await ask(gateway, { host: "other.lan:8080" })).status).toBe(403);
  });

  test("the page's own requests are answered", async () => {
    await using gateway = await ApiGateway.open();
    const host = `127.0.0.1:${gateway.port}`;
    for (const origin of [`http://${host}`, `http://localhost:${gateway.port}`]) {
      expect((await ask(gateway, { host, origin })).status).toBe(200);
    }
  });

  test.each(["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost.evil.example", "file://", "x"])(
    "pages of %s are not, whatever the method",
    async (origin) => {
      await using gateway = await ApiGateway.open();
      const headers = { host: `127.0.0.1:${gateway.port}`, origin };
      for (const method of ["GET", "POST", "DELETE", "OPTIONS"]) {
        expect(await ask(gateway, headers, "/tasks/a", method)).toMatchObject({ status: 403, code: "forbidden" });
      }
    },
  );

  test("what pages may send unasked is refused from other sites, tasks and batches of them", async () => {
    await using gateway = await ApiGateway.open();
    const host = `127.0.0.1:${gateway.port}`;
    const types = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", undefined];
    for (const type of types) {
      const headers = { host, ...(type !== undefined && { "content-type": type }) };
      for (const path of ["/tasks", "/tasks/batch"]) {
        for (const foreign of [
          { ...headers, origin: "https://evil.example" },
          { ...headers, origin: "null" },
          { ...headers, origin: `http://127.0.0.1:${gateway.port + 1}` },
          { ...headers, "sec-fetch-site": "cross-site" },
          { ...headers, host: `evil.example:${gateway.port}`, origin: `http://evil.example:${gateway.port}` },
        ]) {
          expect(await ask(gateway, foreign, path, "POST")).toMatchObject({ status: 403, code: "forbidden" });
        }
      }
    }
    // The same from its own page: it is looked at.
    const own = { host, origin: `http://${host}`, "sec-fetch-site": "same-origin", "content-type": "text/plain" };
    expect(await ask(gateway, own, "/tasks/batch", "POST")).toMatchObject({ status: 200 });
  });

  test("whether it lives is told to everybody", async () => {
    await using gateway = await ApiGateway.open();
    expect((await ask(gateway, { host: "evil.example" }, "/livez")).status).toBe(200);
    expect((await ask(gateway, { host: "evil.example" }, "/readyz")).status).toBe(200);
  });

  test("no other address than this machine's may be bound", async () => {
    await expect(ApiGateway.open({ address: { host: "0.0.0.0", port: 0 } })).rejects.toMatchObject({
      code: "token-needed",
    });
  });
});

describe("with a token", () => {
  const adminToken = "s3cret-token";

  test("nobody submits a batch without it, whatever it is called", async () => {
    await using gateway = await ApiGateway.open({ adminToken, address: { host: "0.0.0.0", port: 0 } });
    for (const type of ["text/plain", "application/x-www-form-urlencoded", "application/x-ndjson"]) {
      const headers = { host: "gateway.example", "content-type": type };
      expect(await ask(gateway, headers, "/tasks/batch", "POST")).toMatchObject({ status: 401 });
      const authorization = `Bearer ${adminToken}`;
      expect(await ask(gateway, { ...headers, authorization }, "/tasks/batch", "POST")).toMatchObject({ status: 200 });
    }
  });

  test("whoever sends it is answered, under any name", async () => {
    await using gateway = await ApiGateway.open({ adminToken, address: { host: "0.0.0.0", port: 0 } });
    const headers = { host: "gateway.example", authorization: `Bearer ${adminToken}` };
    expect((await ask(gateway, headers)).status).toBe(200);
    expect((await ask(gateway, { ...headers, authorization: `bearer  ${adminToken} ` })).status).toBe(200);
  });

  test.each([
    undefined,
    "Bearer",
    "Bearer wrong",
    "Bearer s3cret-token2",
    "Basic s3cret-token",
    "Bearer s3cret-token x",
  ])("%s is refused, with how to do it", async (authorization) => {
    await using gateway = await ApiGateway.open({ adminToken });
    const headers = authorization === undefined ? undefined : { authorization };
    for (const path of ["/tasks", "/metrics", "/workers", "/events", "/nowhere"]) {
      const response = await fetch(`${gateway.url}${path}`, headers === undefined ? {} : { headers });
      expect(response.headers.get("www-authenticate")).toBe('Bearer realm="capmesh"');
      expect([response.status, problemSchema.parse(await response.json()).code]).toEqual([401, "unauthenticated"]);
    }
  });

  test("the page itself and the health checks need none", async () => {
    await using gateway = await ApiGateway.open({ adminToken });
    for (const path of ["/", "/page.js", "/page.css", "/livez", "/readyz"]) {
      expect((await fetch(`${gateway.url}${path}`)).status).toBe(200);
    }
  });
});

test.each([
  [undefined, "local"],
  ["s3cret-token", "token:admin"],
])("with the token %j a task belongs to %s", async (adminToken, submitter) => {
  await using gateway = await ApiGateway.open({ adminToken });
  const task = await gateway.client().submit({ wasm: await readFile(guestPath("hello")) });
  expect(task.submitter).toBe(submitter);
});
