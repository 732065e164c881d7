import { once } from "node:events";
import { connect } from "node:net";
import { text as readText } from "node:stream/consumers";
import { describe, expect, test } from "vitest";
import { SSE_PING_EVERY_MS, SSE_STALL_MS_MAX } from "../../../src/base/limits.ts";
import { silentLog } from "../../../src/base/log.ts";
import { ApiGateway } from "../../support/api-gateway.ts";
import { guestBytes } from "../../support/guests.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const wasm = guestBytes("hello");

async function metrics(gateway: ApiGateway): Promise<string> {
  return (await fetch(`${gateway.url}/metrics`)).text();
}

describe("a live stream", () => {
  test("is kept open by pings while nothing happens", async () => {
    const clock = new ManualClock();
    await using gateway = await ApiGateway.open({ clock });
    const response = await fetch(`${gateway.url}/events`);
    const reader = response.body?.getReader();
    const decoder = new TextDecoder();
    let text = "";
    for (let pings = 1; pings <= 3; pings++) {
      clock.advance(SSE_PING_EVERY_MS);
      while (text.split(": ping\n\n").length <= pings) text += decoder.decode((await reader?.read())?.value);
    }
    expect(text).toMatch(/^retry: 1000\n\nid: [^\n]+\n\n(?:: ping\n\n){3}$/);
    await reader?.cancel();
  });

  test("is cut off when its reader takes nothing for long", async () => {
    const clock = new ManualClock();
    await using gateway = await ApiGateway.open({ clock });
    await gateway.client().submit({ wasm, id: "a", outputMax: 30_000_000 });
    const attempt = await gateway.start("a");
    const line = "0123456789abcde\n".repeat(8_000);
    for (let count = 0; count < 150; count++) await gateway.write(attempt, "stdout", line);
    const socket = connect(gateway.port, "127.0.0.1").pause();
    socket.on("error", () => {});
    socket.write("GET /tasks/a/logs?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await expect.poll(() => metrics(gateway), { timeout: 20_000 }).toContain("capmesh_live_streams 1");
    // It stalls some time after it was opened, so the clock is moved until that has been for long enough.
    const moved = async (): Promise<string> => {
      clock.advance(SSE_STALL_MS_MAX);
      return metrics(gateway);
    };
    await expect.poll(moved, { timeout: 30_000 }).toContain("capmesh_live_streams 0");
    const closed = once(socket, "close");
    socket.resume();
    await closed;
  });

  test("leaves no timer behind", async () => {
    const clock = new ManualClock();
    await using gateway = await ApiGateway.open({ clock });
    await gateway.client().submit({ wasm, id: "a" });
    await gateway.succeed(await gateway.start("a"));
    await Array.fromAsync(gateway.client().logs("a", { follow: true }));
    await fetch(`${gateway.url}/tasks/a?wait=30s`);
    await expect.poll(() => clock.pendingTimers).toBe(0);
  });

  test("has a head that can be asked for alone", async () => {
    await using gateway = await ApiGateway.open();
    const response = await fetch(`${gateway.url}/events`, { method: "HEAD" });
    expect([response.status, response.headers.get("content-type")]).toEqual([200, "text/event-stream; charset=utf-8"]);
    await expect.poll(() => metrics(gateway)).toContain("capmesh_live_streams 0");
  });

  test.each(["/events", "/tasks/a/logs?follow=1", "/tasks/a/logs"])(
    "a connection on which the head of %s was asked for takes more requests",
    async (path) => {
      const told: string[] = [];
      const tell = (message: string, fields?: object): void => void told.push(`${message} ${JSON.stringify(fields)}`);
      await using gateway = await ApiGateway.open({ log: { ...silentLog, debug: tell, warn: tell, error: tell } });
      await gateway.client().submit({ wasm, id: "a" });
      const socket = connect(gateway.port, "127.0.0.1");
      socket.write(`HEAD ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
      const [head] = await once(socket, "data");
      expect(String(head)).toMatch(/^HTTP\/1\.1 200 /);
      socket.write("GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
      expect(await readText(socket)).toMatch(/^HTTP\/1\.1 200 [^]*"status":"ok"/);
      expect(told.filter((line) => !line.startsWith("answered a request"))).toEqual([]);
    },
  );
});

test("a plain log whose reader takes nothing for long is cut off", async () => {
  const clock = new ManualClock();
  await using gateway = await ApiGateway.open({ clock });
  await gateway.client().submit({ wasm, id: "a", outputMax: 30_000_000 });
  const attempt = await gateway.start("a");
  const line = "0123456789abcde\n".repeat(8_000);
  for (let count = 0; count < 150; count++) await gateway.write(attempt, "stdout", line);
  const socket = connect(gateway.port, "127.0.0.1").pause();
  socket.on("error", () => {});
  socket.write("GET /tasks/a/logs HTTP/1.1\r\nHost: localhost\r\n\r\n");
  // The request for the metrics is open too.
  await expect.poll(() => metrics(gateway), { timeout: 20_000 }).toContain("capmesh_http_requests_open 2");
  const moved = async (): Promise<string> => {
    clock.advance(SSE_STALL_MS_MAX);
    return metrics(gateway);
  };
  await expect.poll(moved, { timeout: 30_000 }).toContain("capmesh_http_requests_open 1");
  await expect.poll(() => clock.pendingTimers).toBe(0);
  const closed = once(socket, "close");
  socket.resume();
  await closed;
});
