/** Requests that are none, and bodies that nobody has asked for, written by hand. */
import { once } from "node:events";
import { type Socket, connect } from "node:net";
import { describe, expect, test } from "vitest";
import { problemSchema } from "../../../src/api/problem.ts";
import { UNREAD_BODY_BYTES_MAX } from "../../../src/base/limits.ts";
import { ApiGateway } from "../../support/api-gateway.ts";

const MIB = 1024 * 1024;

async function dial(gateway: ApiGateway): Promise<Socket> {
  const socket = connect(gateway.port, "127.0.0.1");
  socket.on("error", () => {});
  await once(socket, "connect");
  return socket;
}

describe("a request that is none is answered by a problem document, and its connection closed", () => {
  test.each([
    ["an unknown method", "FOO / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "invalid-request"],
    ["no Host", "GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n", 400, "invalid-request"],
    ["large headers", `GET / HTTP/1.1\r\nHost: localhost\r\nX: ${"x".repeat(20_000)}\r\n\r\n`, 431, "head-too-large"],
    [
      "an expectation that nobody meets",
      "GET /livez HTTP/1.1\r\nHost: localhost\r\nExpect: wonders\r\nConnection: close\r\n\r\n",
      417,
      "expectation-failed",
    ],
    [
      "a chunk without length",
      "POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\nTransfer-Encoding: chunked\r\n\r\nno length\r\n",
      400,
      "invalid-request",
    ],
  ])("%s", async (_, text, status, code) => {
    await using gateway = await ApiGateway.open();
    const socket = await dial(gateway);
    let answer = "";
    socket.on("data", (bytes: Buffer) => (answer += bytes.toString()));
    const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
    socket.write(text);
    await closed;
    const [head = "", body = ""] = answer.split("\r\n\r\n");
    expect(head).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(head).toMatch(/content-type: application\/problem\+json/i);
    expect(problemSchema.parse(JSON.parse(body))).toMatchObject({ status, code, requestId: expect.any(String) });
  });
});

describe("a body that nobody has asked for", () => {
  test("is read up to a limit once the request is answered, and then the connection is closed", async () => {
    await using gateway = await ApiGateway.open();
    const socket = await dial(gateway);
    const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
    socket.write("GET /livez HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    const [answer] = await once(socket, "data");
    expect(String(answer)).toMatch(/^HTTP\/1.1 200 /);
    const piece = Buffer.concat([Buffer.from(`${MIB.toString(16)}\r\n`), Buffer.alloc(MIB), Buffer.from("\r\n")]);
    let sent = 0;
    // What the system holds for both sides comes on top.
    while (!socket.destroyed && sent * MIB < UNREAD_BODY_BYTES_MAX + 63 * MIB) {
      sent++;
      const drained = new Promise<void>((resolve) => socket.once("drain", () => resolve()));
      if (!socket.write(piece)) await Promise.race([drained, closed]);
    }
    await closed;
    expect(sent * MIB).toBeLessThan(UNREAD_BODY_BYTES_MAX + 63 * MIB);
  });

  test("that ends within it leaves the connection to the next request", async () => {
    await using gateway = await ApiGateway.open();
    const socket = await dial(gateway);
    socket.write("GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n01234");
    await once(socket, "data");
    socket.write("56789GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    const [answer] = await once(socket, "data");
    expect(String(answer)).toMatch(/^HTTP\/1.1 200 /);
    socket.destroy();
  });
});

test("two tokens are none", async () => {
  await using gateway = await ApiGateway.open({ adminToken: "a-token-of-the-gateway-itself" });
  const socket = await dial(gateway);
  const bearer = "Authorization: Bearer a-token-of-the-gateway-itself\r\n";
  socket.write(`GET /tasks HTTP/1.1\r\nHost: localhost\r\n${bearer}${bearer}\r\n`);
  const [answer] = await once(socket, "data");
  expect(String(answer)).toMatch(/^HTTP\/1.1 401 [^]*send one/);
  socket.destroy();
});
