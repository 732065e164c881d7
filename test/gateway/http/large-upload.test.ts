/** Bodies that are too large, or never end, as programs really send them: curl, fetch, and a socket written by hand. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, open, rm } from "node:fs/promises";
import { type Socket, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { problemSchema } from "../../../src/api/problem.ts";
import { ApiGateway, hasNoTasks } from "../../support/api-gateway.ts";

const MIB = 1024 * 1024;

async function expectNothingStored(gateway: ApiGateway): Promise<void> {
  expect(await hasNoTasks(gateway.store)).toBe(true);
  await expect.poll(() => gateway.files(), { timeout: 20_000 }).toEqual({ blobs: [], unfinished: [] });
}

interface CurlAnswer {
  readonly exitCode: number;
  readonly status: string;
  readonly body: string;
}

/** Sends a file of `bytes` as the module. */
async function curl(gateway: ApiGateway, bytes: number, ...options: string[]): Promise<CurlAnswer> {
  const folder = await mkdtemp(join(tmpdir(), "capmesh-curl-"));
  try {
    const path = join(folder, "large.wasm");
    await using file = await open(path, "w");
    await file.truncate(bytes);
    const child = spawn("curl", [
      "-sS",
      "-w",
      "\n%{http_code}",
      "-F",
      `wasm=@${path}`,
      ...options,
      `${gateway.url}/tasks`,
    ]);
    let output = "";
    child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
    await once(child, "close");
    const [status = "", ...lines] = output.split("\n").toReversed();
    return { exitCode: child.exitCode ?? -1, status, body: lines.toReversed().join("\n") };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const hasCurl = await new Promise<boolean>((resolve) => {
  spawn("curl", ["--version"], { stdio: "ignore" })
    .on("error", () => resolve(false))
    .on("close", (code) => resolve(code === 0));
});

describe.skipIf(!hasCurl)("curl that sends 100 MB is told so", () => {
  test.each([
    ["as it asks first", []],
    ["without asking first", ["-H", "Expect:"]],
    ["without saying how much comes", ["-H", "Transfer-Encoding: chunked"]],
    ["without either", ["-H", "Transfer-Encoding: chunked", "-H", "Expect:"]],
  ])("%s", async (_, options) => {
    await using gateway = await ApiGateway.open();
    const answer = await curl(gateway, 100 * MIB, ...options);
    expect(answer).toMatchObject({ exitCode: 0, status: "413" });
    const problem = problemSchema.parse(JSON.parse(answer.body));
    expect(problem.code).toBe("too-large");
    expect(problem.detail).toBe("wasm is larger than 64 MiB: make the module smaller (strip it, optimize for size)");
    await expectNothingStored(gateway);
  });

  test("and so is one whose module alone is too large", async () => {
    await using gateway = await ApiGateway.open();
    expect(await curl(gateway, 65 * MIB)).toMatchObject({ exitCode: 0, status: "413" });
    await expectNothingStored(gateway);
  });
});

test("fetch that sends too much is told so", async () => {
  await using gateway = await ApiGateway.open({ moduleBytesMax: 100_000 });
  const form = new FormData();
  form.append("wasm", new Blob([new Uint8Array(8 * MIB)]), "large.wasm");
  const response = await fetch(`${gateway.url}/tasks`, { method: "POST", body: form });
  const problem = problemSchema.parse(await response.json());
  expect([response.status, problem.code, problem.errors?.[0]?.field]).toEqual([413, "too-large", "wasm"]);
  await expectNothingStored(gateway);
});

const PART = '--b\r\nContent-Disposition: form-data; name="wasm"; filename="a.wasm"\r\n\r\n0123456789012345';
const HEAD = "POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n";

async function dial(gateway: ApiGateway): Promise<Socket> {
  const socket = connect(gateway.port, "127.0.0.1");
  socket.on("error", () => {});
  await once(socket, "connect");
  return socket;
}

describe("a client that goes away in the middle of its module", () => {
  test.each([
    ["with a known length", "Content-Length: 1000000\r\n\r\n"],
    ["with an unknown length", `Transfer-Encoding: chunked\r\n\r\n${PART.length.toString(16)}\r\n`],
  ])("leaves nothing behind, %s", async (_, rest) => {
    await using gateway = await ApiGateway.open();
    const socket = await dial(gateway);
    socket.write(`${HEAD}${rest}${PART}`);
    await expect.poll(async () => (await gateway.files()).unfinished.length, { timeout: 20_000 }).toBe(1);
    socket.resetAndDestroy();
    await expectNothingStored(gateway);
  });

  test("and closes its side cleanly leaves nothing behind either", async () => {
    await using gateway = await ApiGateway.open();
    const socket = await dial(gateway);
    socket.write(`${HEAD}Content-Length: 1000000\r\n\r\n${PART}`);
    await expect.poll(async () => (await gateway.files()).unfinished.length, { timeout: 20_000 }).toBe(1);
    socket.end();
    await expectNothingStored(gateway);
    await fetch(`${gateway.url}/livez`);
  });
});

test("a refused body is read up to a limit, and the answer comes before it ends", async () => {
  await using gateway = await ApiGateway.open();
  const socket = await dial(gateway);
  socket.write(
    `POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 400000000\r\n\r\nx`,
  );
  const [answer] = await once(socket, "data");
  expect(String(answer)).toMatch(/^HTTP\/1.1 415 /);
  expect(String(answer)).toMatch(/connection: close/i);
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  const piece = Buffer.alloc(MIB);
  let sent = 0;
  while (!socket.destroyed && sent < 400) {
    sent++;
    const drained = new Promise<void>((resolve) => socket.once("drain", resolve));
    if (!socket.write(piece)) await Promise.race([drained, closed]);
  }
  await closed;
  expect(sent).toBeLessThan(400);
});

test("a module is on its way to the disk while it comes in, and is not held", async () => {
  await using gateway = await ApiGateway.open();
  const before = process.memoryUsage().rss;
  const socket = await dial(gateway);
  socket.write(`${HEAD}Content-Length: ${63 * MIB}\r\n\r\n${PART}`);
  const piece = Buffer.alloc(MIB, 1);
  for (let sent = 0; sent < 60; sent++) if (!socket.write(piece)) await once(socket, "drain");
  expect(process.memoryUsage().rss - before).toBeLessThan(60 * MIB);
  socket.destroy();
  await expectNothingStored(gateway);
});
