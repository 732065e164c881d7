import { gunzipSync, brotliDecompressSync } from "node:zlib";
import { type IncomingMessage, request } from "node:http";
import { expect, test } from "vitest";
import { COMPRESS_BYTES_MIN } from "../../../src/base/limits.ts";
import { ApiGateway, taskId } from "../../support/api-gateway.ts";
import { guestBytes } from "../../support/guests.ts";

interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  /** As they came, compressed or not. */
  readonly bytes: Buffer;
}

/** As fetch does not do it: what came is not decompressed. */
async function ask(
  gateway: ApiGateway,
  path: string,
  headers: Readonly<Record<string, string>> = {},
  { method = "GET", body = "" } = {},
): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  request(`${gateway.url}${path}`, { method, headers }, resolve).on("error", reject).end(body);
  const answer = await promise;
  const pieces: Buffer[] = await answer.toArray();
  return { status: answer.statusCode ?? 0, headers: answer.headers, bytes: Buffer.concat(pieces) };
}

function parsePiece(piece: unknown): Buffer {
  if (Buffer.isBuffer(piece)) return piece;
  throw new Error("an answer comes in bytes");
}

const GZIP = { "accept-encoding": "gzip" };
const wasm = guestBytes("hash");

/** A task whose one run has written `text`, and has succeeded. */
async function withLog(gateway: ApiGateway, text: string): Promise<string> {
  const { id } = await gateway.client().submit({ wasm });
  const attempt = await gateway.start(id);
  await gateway.write(attempt, "stdout", text);
  await gateway.succeed(attempt, { outputBytes: Buffer.byteLength(text) });
  return id;
}

test.each(["/openapi.json", "/", "/page.js", "/page.css", "/tasks", "/tasks/{id}"])(
  "%s has a tag by which whoever has it is spared it",
  async (path) => {
    await using gateway = await ApiGateway.open();
    const { id } = await gateway.client().submit({ wasm });
    const url = path.replace("{id}", id);
    const first = await ask(gateway, url);
    const etag = first.headers.etag ?? "";
    expect([first.status, etag]).toEqual([200, expect.stringMatching(/^W\/"[\w-]{27}"$/)]);
    for (const header of [etag, `"other", ${etag}`, etag.slice(2), "*"]) {
      const again = await ask(gateway, url, { "if-none-match": header });
      expect([again.status, again.bytes.length, again.headers.etag]).toEqual([304, 0, etag]);
    }
    const other = await ask(gateway, url, { "if-none-match": 'W/"something-else"' });
    expect([other.status, other.bytes.equals(first.bytes)]).toEqual([200, true]);
    expect((await ask(gateway, url, { "if-none-match": etag }, { method: "HEAD" })).status).toBe(304);
  },
);

test("a task's tag changes when the task does", async () => {
  await using gateway = await ApiGateway.open();
  const { id } = await gateway.client().submit({ wasm });
  const { etag = "" } = (await ask(gateway, `/tasks/${id}`)).headers;
  await gateway.store.cancelTask(taskId(id), "enough", 1_800_000_000_000);
  const changed = await ask(gateway, `/tasks/${id}`, { "if-none-match": etag });
  expect([changed.status, changed.headers.etag === etag]).toEqual([200, false]);
});

test("long texts are compressed for those who accept it, and say that this matters", async () => {
  await using gateway = await ApiGateway.open();
  const plain = await ask(gateway, "/openapi.json");
  expect(plain.headers).toMatchObject({ vary: "Accept-Encoding" });
  expect(plain.headers["content-encoding"]).toBeUndefined();
  const gzip = await ask(gateway, "/openapi.json", GZIP);
  expect(gzip.headers).toMatchObject({ "content-encoding": "gzip", vary: "Accept-Encoding" });
  expect(gzip.bytes.length).toBeLessThan(plain.bytes.length / 3);
  expect(gunzipSync(gzip.bytes).equals(plain.bytes)).toBe(true);
  const brotli = await ask(gateway, "/openapi.json", { "accept-encoding": "br, gzip" });
  expect(brotli.headers["content-encoding"]).toBe("br");
  expect(brotliDecompressSync(brotli.bytes).equals(plain.bytes)).toBe(true);
  expect(gzip.headers.etag).toBe(plain.headers.etag);
  expect((await ask(gateway, "/page.js", GZIP)).headers["content-encoding"]).toBe("gzip");
  expect((await ask(gateway, "/metrics", GZIP)).headers["content-encoding"]).toBe("gzip");
});

test("a long log is compressed as it is read, a short one is not, and both are whole", async () => {
  await using gateway = await ApiGateway.open();
  const text = Array.from({ length: 20_000 }, (_, line) => `line ${line}\n`).join("");
  const long = await ask(gateway, `/tasks/${await withLog(gateway, text)}/logs`, GZIP);
  expect(long.headers["content-encoding"]).toBe("gzip");
  expect(long.bytes.length).toBeLessThan(text.length / 2);
  expect(gunzipSync(long.bytes).toString()).toBe(text);
  const brief = "x".repeat(COMPRESS_BYTES_MIN - 1);
  const short = await ask(gateway, `/tasks/${await withLog(gateway, brief)}/logs`, GZIP);
  expect([short.headers["content-encoding"], short.bytes.toString()]).toEqual([undefined, brief]);
  const none = await ask(gateway, `/tasks/${await withLog(gateway, "")}/logs`, GZIP);
  expect([none.status, none.bytes.length]).toEqual([200, 0]);
});

test("a reader that takes a compressed log slowly gets all of it", async () => {
  await using gateway = await ApiGateway.open();
  const client = gateway.client();
  const { id } = await client.submit({ wasm, outputMax: 32 * 1024 * 1024 });
  const attempt = await gateway.start(id);
  let written = 0;
  const piece = Buffer.alloc(256 * 1024);
  for (let count = 0; count < 24; count++) {
    // Nothing that compresses well: it has to come through the socket.
    for (let at = 0; at < piece.length; at += 4)
      piece.writeUInt32LE(Math.imul(count * piece.length + at, 0x9e3779b1) >>> 0, at);
    await gateway.write(attempt, "stdout", piece);
    written += piece.length;
  }
  await gateway.succeed(attempt, { outputBytes: written });
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  request(`${gateway.url}/tasks/${id}/logs`, { headers: GZIP }, resolve).on("error", reject).end();
  const answer = await promise;
  const pieces: Buffer[] = [];
  for await (const each of answer) {
    pieces.push(parsePiece(each));
    await new Promise((next) => setImmediate(next));
  }
  expect(gunzipSync(Buffer.concat(pieces)).length).toBe(written);
}, 60_000);

test("neither live streams, kept files, answers to POST nor refusals of them are compressed", async () => {
  await using gateway = await ApiGateway.open();
  const text = "a line of a log\n".repeat(1_000);
  const id = await withLog(gateway, text);
  const live = await ask(gateway, `/tasks/${id}/logs?follow=1`, GZIP);
  expect(live.headers["content-encoding"]).toBeUndefined();
  expect(live.bytes.toString()).toContain("event: end");
  const label = "l".repeat(100);
  const json = { "content-type": "application/json", ...GZIP };
  const body = JSON.stringify({ can: ["read"], label });
  const made = await ask(gateway, "/tokens", json, { method: "POST", body });
  expect([made.status, made.headers["content-encoding"], made.headers.etag]).toEqual([201, undefined, undefined]);
  const lines = `${JSON.stringify({ module: "a".repeat(64), description: "d".repeat(4_000) })}\n`.repeat(50);
  const batch = await ask(gateway, "/tasks/batch", GZIP, { method: "POST", body: lines });
  expect([batch.status, batch.headers["content-encoding"]]).toEqual([400, undefined]);
  expect(batch.bytes.length).toBeGreaterThan(COMPRESS_BYTES_MIN);
});
