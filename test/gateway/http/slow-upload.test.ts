/** Bodies that come drop by drop, and forms that never end. */
import { once } from "node:events";
import { type Socket, connect } from "node:net";
import { expect, test } from "vitest";
import { FORM_BYTES_HELD_MAX, UPLOAD_BYTES_PER_SECOND_MIN, UPLOAD_SLOW_MS_MAX } from "../../../src/base/limits.ts";
import { ApiGateway } from "../../support/api-gateway.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const MIB = 1024 * 1024;
const PART = '--b\r\nContent-Disposition: form-data; name="wasm"; filename="a.wasm"\r\n\r\n0123456789012345';
const FORM = "POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n";

async function dial(gateway: ApiGateway): Promise<Socket> {
  const socket = connect(gateway.port, "127.0.0.1");
  socket.on("error", () => {});
  await once(socket, "connect");
  return socket;
}

const begun = async (gateway: ApiGateway): Promise<void> =>
  expect.poll(async () => (await gateway.files()).unfinished.length, { timeout: 20_000 }).toBe(1);

test.each([
  ["form", FORM, PART],
  ["module", `PUT /modules HTTP/1.1\r\nHost: localhost\r\n`, "0123456789"],
])("a %s that comes too slowly is refused, and leaves nothing behind", async (_, head, start) => {
  const clock = new ManualClock();
  await using gateway = await ApiGateway.open({ clock });
  const socket = await dial(gateway);
  socket.write(`${head}Content-Length: 60000000\r\n\r\n${start}`);
  await begun(gateway);
  clock.advance(UPLOAD_SLOW_MS_MAX);
  socket.write("x");
  const [answer] = await once(socket, "data");
  expect(String(answer)).toMatch(/^HTTP\/1.1 408 [^]*"code":"too-slow"/);
  await expect.poll(() => gateway.files(), { timeout: 20_000 }).toEqual({ blobs: [], unfinished: [] });
  socket.destroy();
});

test("a body that comes at a fair pace may take its time", async () => {
  const clock = new ManualClock();
  await using gateway = await ApiGateway.open({ clock });
  const socket = await dial(gateway);
  const rest = Buffer.alloc((2 * UPLOAD_SLOW_MS_MAX * UPLOAD_BYTES_PER_SECOND_MIN) / 1_000);
  socket.write(`PUT /modules HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${rest.length + 1}\r\n\r\n`);
  socket.write(rest);
  await begun(gateway);
  clock.advance(UPLOAD_SLOW_MS_MAX);
  socket.write("x");
  const [answer] = await once(socket, "data");
  expect(String(answer)).toMatch(/^HTTP\/1.1 422 /);
  socket.destroy();
});

test.each([
  ["a text field", '--b\r\nContent-Disposition: form-data; name="description"\r\n\r\n'],
  ["a preamble", "nothing that is a part"],
])("a form with %s that never ends is too large, however idle the gateway is", async (_, start) => {
  await using gateway = await ApiGateway.open();
  const socket = await dial(gateway);
  socket.write(`${FORM}Content-Length: ${140 * MIB}\r\n\r\n${start}`);
  const answered = once(socket, "data");
  let isAnswered = false;
  void answered.then(() => (isAnswered = true));
  const piece = Buffer.alloc(MIB, 0x61);
  for (let sent = 0; sent * MIB <= FORM_BYTES_HELD_MAX + 64 * MIB && !isAnswered; sent++) {
    const drained = new Promise<void>((resolve) => socket.once("drain", () => resolve()));
    if (!socket.write(piece)) await Promise.race([drained, answered]);
  }
  const [answer] = await answered;
  expect(String(answer)).toMatch(/^HTTP\/1.1 413 [^]*"code":"too-large"/);
  socket.destroy();
});
