import { once } from "node:events";
import { connect } from "node:net";
import { describe, expect, test } from "vitest";
import { problemSchema } from "../../../src/api/problem.ts";
import { type SseEvent, SseParser } from "../../../src/api/sse.ts";
import { ApiGateway } from "../../support/api-gateway.ts";
import { guestBytes } from "../../support/guests.ts";

const wasm = guestBytes("hello");

async function submitted(fields: object = {}): Promise<ApiGateway> {
  const gateway = await ApiGateway.open();
  await gateway.client().submit({ wasm, id: "a", ...fields });
  return gateway;
}

/** A live log, read event by event. */
class LiveLog implements AsyncDisposable {
  readonly #response: Response;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #parser = new SseParser();
  readonly #events: SseEvent[] = [];

  static async open(gateway: ApiGateway, query = "", headers: Record<string, string> = {}): Promise<LiveLog> {
    const response = await fetch(`${gateway.url}/tasks/a/logs?follow=1${query}`, { headers });
    if (response.body === null || response.status !== 200) throw new Error(`no live log: ${response.status}`);
    return new LiveLog(response, response.body.getReader());
  }

  private constructor(response: Response, reader: ReadableStreamDefaultReader<Uint8Array>) {
    this.#response = response;
    this.#reader = reader;
  }

  get headers(): Headers {
    return this.#response.headers;
  }

  /** Undefined: the stream has ended. */
  async next(): Promise<SseEvent | undefined> {
    while (this.#events.length === 0) {
      const { done, value } = await this.#reader.read();
      if (done) return undefined;
      this.#events.push(...this.#parser.push(new TextDecoder().decode(value)));
    }
    return this.#events.shift();
  }

  async rest(): Promise<[string, unknown, string][]> {
    const events: [string, unknown, string][] = [];
    for (let event = await this.next(); event !== undefined; event = await this.next()) {
      events.push([event.event, JSON.parse(event.data), event.id]);
    }
    return events;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#reader.cancel();
  }
}

describe("a plain log", () => {
  test("is the bytes as they are, and safe to show", async () => {
    await using gateway = await submitted();
    const attempt = await gateway.start("a");
    await gateway.write(attempt, "stdout", Uint8Array.of(0xff, 0x00, 0x0d, 0x0a));
    await gateway.write(attempt, "stderr", "<script>");
    const response = await fetch(`${gateway.url}/tasks/a/logs`);
    expect(response.headers.get("content-type")).toBe("text/plain; charset=utf-8");
    expect(response.headers.get("x-content-type-options")).toBe("nosniff");
    expect(Buffer.from(await response.arrayBuffer())).toEqual(
      Buffer.concat([Uint8Array.of(0xff, 0x00, 0x0d, 0x0a), Buffer.from("<script>")]),
    );
  });

  test("can be of one stream, and begin anywhere", async () => {
    await using gateway = await submitted();
    const attempt = await gateway.start("a");
    await gateway.write(attempt, "stdout", "one ");
    await gateway.write(attempt, "stderr", "two ");
    await gateway.write(attempt, "stdout", "three");
    const text = async (query: string): Promise<string> => (await fetch(`${gateway.url}/tasks/a/logs?${query}`)).text();
    expect(await text("stream=stdout")).toBe("one three");
    expect(await text("stream=stderr")).toBe("two ");
    expect(await text("offset=4")).toBe("two three");
    expect(await text("offset=6&stream=stdout")).toBe("three");
    expect(await text("offset=100")).toBe("");
  });

  test("is of the run that started last, of one, or of all in order", async () => {
    await using gateway = await submitted({ repeats: 3 });
    expect(await (await fetch(`${gateway.url}/tasks/a/logs`)).text()).toBe("");
    for (const run of [1, 2]) {
      const attempt = await gateway.start("a", run);
      await gateway.write(attempt, "stdout", `run ${run}\n`);
      await gateway.succeed(attempt);
    }
    const text = async (query: string): Promise<string> => (await fetch(`${gateway.url}/tasks/a/logs${query}`)).text();
    expect(await text("")).toBe("run 2\n");
    expect(await text("?run=1")).toBe("run 1\n");
    expect(await text("?run=3")).toBe("");
    expect(await text("?run=all")).toBe("run 1\nrun 2\n");
  });

  test("that is long comes whole", async () => {
    await using gateway = await submitted({ outputMax: 8_000_000 });
    const attempt = await gateway.start("a");
    const line = "0123456789abcde\n".repeat(10_000);
    for (let count = 0; count < 30; count++) await gateway.write(attempt, "stdout", line);
    const text = await (await fetch(`${gateway.url}/tasks/a/logs`)).text();
    expect(text === line.repeat(30)).toBe(true);
  });

  test.each([
    ["run=0", 404, "no-such-run"],
    ["run=2", 404, "no-such-run"],
    ["run=x", 404, "no-such-run"],
    ["stream=stdin", 400, "invalid-field"],
    ["offset=-1", 400, "invalid-field"],
    ["run=all&offset=3", 400, "invalid-field"],
    ["follow=maybe", 400, "invalid-field"],
  ])("refuses %s", async (query, status, code) => {
    await using gateway = await submitted();
    const response = await fetch(`${gateway.url}/tasks/a/logs?${query}`);
    expect([response.status, problemSchema.parse(await response.json()).code]).toEqual([status, code]);
  });
});

describe("a live log", () => {
  test("tells what is there, what comes, and the end", async () => {
    await using gateway = await submitted();
    const attempt = await gateway.start("a");
    await gateway.write(attempt, "stdout", "one");
    await using log = await LiveLog.open(gateway);
    expect(log.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
    expect(log.headers.get("cache-control")).toBe("no-store");
    const data = JSON.stringify({ run: 1, attempt: 1, offset: 0, text: "one" });
    expect(await log.next()).toEqual({ event: "stdout", data, id: "1:3" });
    await gateway.write(attempt, "stderr", "twö");
    expect(await log.next()).toMatchObject({ event: "stderr", id: "1:7" });
    await gateway.succeed(attempt);
    expect(await log.rest()).toEqual([["end", { run: 1, state: "succeeded" }, "1:7"]]);
  });

  test("is what Accept asks for, too", async () => {
    await using gateway = await submitted();
    await gateway.succeed(await gateway.start("a"));
    const response = await fetch(`${gateway.url}/tasks/a/logs`, { headers: { accept: "text/event-stream" } });
    expect(await response.text()).toMatch(/^retry: \d+\n\nevent: end\ndata: \{"run":1,"state":"succeeded"\}\n\n$/);
  });

  test("waits for the first run to start", async () => {
    await using gateway = await submitted();
    await using log = await LiveLog.open(gateway);
    const attempt = await gateway.start("a");
    await gateway.write(attempt, "stdout", "x");
    expect(await log.next()).toMatchObject({ event: "stdout", id: "1:1" });
  });

  test("goes on over attempts", async () => {
    await using gateway = await submitted();
    const first = await gateway.start("a");
    await gateway.write(first, "stdout", "one");
    await using log = await LiveLog.open(gateway);
    await log.next();
    await gateway.settle(first, { kind: "lost", reason: "the worker went away" });
    const second = await gateway.start("a");
    await gateway.write(second, "stdout", "two");
    expect(await log.next()).toMatchObject({ data: '{"run":1,"attempt":2,"offset":3,"text":"two"}', id: "1:6" });
    await gateway.succeed(second);
    expect((await log.rest()).at(-1)?.[0]).toBe("end");
  });

  test("is of the run that started last, and ends with it", async () => {
    await using gateway = await submitted({ repeats: 2 });
    await gateway.succeed(await gateway.start("a", 1));
    const attempt = await gateway.start("a", 2);
    await using log = await LiveLog.open(gateway);
    await gateway.write(attempt, "stdout", "2");
    await gateway.succeed(attempt);
    expect((await log.rest()).map(([event, , id]) => [event, id])).toEqual([
      ["stdout", "2:1"],
      ["end", "2:1"],
    ]);
  });

  test("follows a run that is not due yet", async () => {
    await using gateway = await submitted({ start: "1h", delay: "1h", repeats: 2 });
    await using log = await LiveLog.open(gateway, "&run=2");
    const first = await gateway.start("a", 1);
    const second = await gateway.start("a", 2);
    await gateway.write(first, "stdout", "no");
    await gateway.write(second, "stdout", "yes");
    expect(await log.next()).toMatchObject({ id: "2:3" });
  });

  test("follows all runs in order until the task ends", async () => {
    await using gateway = await submitted({ repeats: 2 });
    await using log = await LiveLog.open(gateway, "&run=all");
    const first = await gateway.start("a", 1);
    const second = await gateway.start("a", 2);
    await gateway.write(second, "stdout", "two");
    await gateway.succeed(second);
    await gateway.write(first, "stdout", "one");
    await gateway.succeed(first);
    expect(await log.rest()).toEqual([
      ["stdout", { run: 1, attempt: 1, offset: 0, text: "one" }, "1:3"],
      ["stdout", { run: 2, attempt: 1, offset: 0, text: "two" }, "2:3"],
      ["end", { run: null, state: "succeeded" }, "2:3"],
    ]);
  });

  test("ends when the task is cancelled before a run has started", async () => {
    await using gateway = await submitted({ start: "1h" });
    await using log = await LiveLog.open(gateway);
    await gateway.client().cancel("a");
    expect(await log.rest()).toEqual([["end", { run: null, state: "cancelled" }, ""]]);
  });

  test("ends when the task is deleted", async () => {
    await using gateway = await submitted();
    await gateway.start("a");
    await using log = await LiveLog.open(gateway, "&run=all");
    await gateway.client().delete("a");
    expect(await log.rest()).toEqual([["end", { run: null, state: "deleted" }, ""]]);
  });

  test("resumes after the last event that was seen", async () => {
    await using gateway = await submitted({ repeats: 2 });
    const first = await gateway.start("a", 1);
    await gateway.write(first, "stdout", "onetwo");
    await gateway.succeed(first);
    const second = await gateway.start("a", 2);
    await gateway.write(second, "stdout", "three");
    await gateway.succeed(second);
    const resume = { "last-event-id": "1:3" };
    await using log = await LiveLog.open(gateway, "", resume);
    expect((await log.rest())[0]).toEqual(["stdout", { run: 1, attempt: 1, offset: 3, text: "two" }, "1:6"]);
    await using all = await LiveLog.open(gateway, "&run=all", resume);
    expect((await all.rest()).map(([event, , id]) => [event, id])).toEqual([
      ["stdout", "1:6"],
      ["stdout", "2:5"],
      ["end", "2:5"],
    ]);
  });

  test.each(["x", "0:1", "1", "1:2+stdin@0", "1:9+stdout@0", "1:0+stdout@0"])("refuses the id %s", async (id) => {
    await using gateway = await submitted();
    const attempt = await gateway.start("a");
    await gateway.write(attempt, "stdout", "123456789");
    const response = await fetch(`${gateway.url}/tasks/a/logs?follow=1`, { headers: { "last-event-id": id } });
    expect([response.status, problemSchema.parse(await response.json()).code]).toEqual([400, "invalid-field"]);
  });

  test.each(["", "&run=all"])("refuses the id of a run that the task does not have%s", async (query) => {
    await using gateway = await submitted({ repeats: 3 });
    const headers = { "last-event-id": "99:0" };
    const response = await fetch(`${gateway.url}/tasks/a/logs?follow=1${query}`, { headers });
    expect([response.status, problemSchema.parse(await response.json()).code]).toEqual([404, "no-such-run"]);
  });

  test("is not sent to whom says that it wants no events", async () => {
    await using gateway = await submitted();
    const headers = { accept: "text/event-stream;q=0, text/plain" };
    const response = await fetch(`${gateway.url}/tasks/a/logs`, { headers });
    expect(response.headers.get("content-type")).toBe("text/plain; charset=utf-8");
  });

  test("cuts where a character ends", async () => {
    await using gateway = await submitted();
    const attempt = await gateway.start("a");
    const bytes = Buffer.from("€");
    await gateway.write(attempt, "stdout", bytes.subarray(0, 2));
    await using log = await LiveLog.open(gateway);
    await gateway.write(attempt, "stderr", "e");
    expect(await log.next()).toMatchObject({ event: "stderr", id: "1:3+stdout@0" });
    await gateway.write(attempt, "stdout", bytes.subarray(2));
    expect(await log.next()).toEqual({
      event: "stdout",
      data: '{"run":1,"attempt":1,"offset":0,"text":"€"}',
      id: "1:4",
    });
  });

  test("resumes in the middle of a character, too", async () => {
    await using gateway = await submitted();
    const attempt = await gateway.start("a");
    const bytes = Buffer.from("€");
    await gateway.write(attempt, "stdout", bytes.subarray(0, 1));
    await gateway.write(attempt, "stderr", "e");
    await gateway.write(attempt, "stdout", bytes.subarray(1, 2));
    await gateway.write(attempt, "stderr", "f");
    await gateway.write(attempt, "stdout", bytes.subarray(2));
    await gateway.succeed(attempt);
    await using log = await LiveLog.open(gateway, "", { "last-event-id": "1:4+stdout@0" });
    expect((await log.rest()).map(([event, data, id]) => [event, data, id])).toEqual([
      ["stdout", { run: 1, attempt: 1, offset: 0, text: "€" }, "1:5"],
      ["end", { run: 1, state: "succeeded" }, "1:5"],
    ]);
  });

  test("shows what is no UTF-8 as U+FFFD, at the end too", async () => {
    await using gateway = await submitted();
    const attempt = await gateway.start("a");
    await gateway.write(attempt, "stdout", Uint8Array.of(0x61, 0xff, 0x62, 0xe2));
    await gateway.succeed(attempt);
    await using log = await LiveLog.open(gateway);
    expect((await log.rest()).map(([event, data]) => [event, data])).toEqual([
      ["stdout", { run: 1, attempt: 1, offset: 0, text: "a\ufffdb" }],
      ["stdout", { run: 1, attempt: 1, offset: 3, text: "\ufffd" }],
      ["end", { run: 1, state: "succeeded" }],
    ]);
  });

  test("says where it was cut", async () => {
    await using gateway = await submitted({ outputMax: 3 });
    const attempt = await gateway.start("a");
    await gateway.write(attempt, "stdout", "one");
    await gateway.succeed(attempt, { outputTruncated: true });
    await using log = await LiveLog.open(gateway);
    expect((await log.rest()).map(([event, data]) => [event, data])).toEqual([
      ["stdout", { run: 1, attempt: 1, offset: 0, text: "one" }],
      ["truncated", { run: 1, offset: 3 }],
      ["end", { run: 1, state: "succeeded" }],
    ]);
  });

  test("ends without an end when the server closes, so that its reader comes back", async () => {
    await using gateway = await submitted();
    await gateway.start("a");
    await using log = await LiveLog.open(gateway);
    await gateway.stop();
    expect(await log.rest()).toEqual([]);
  });

  test("holds little for a reader that does not read, and is gap-free for it in the end", async () => {
    await using gateway = await submitted({ outputMax: 20_000_000 });
    const attempt = await gateway.start("a");
    const line = "0123456789abcde\n".repeat(8_000);
    for (let count = 0; count < 100; count++) await gateway.write(attempt, "stdout", line);
    await gateway.succeed(attempt);
    const socket = connect(gateway.port, "127.0.0.1").pause();
    socket.write("GET /tasks/a/logs?follow=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    // Others are answered meanwhile.
    expect((await fetch(`${gateway.url}/livez`)).status).toBe(200);
    let text = 0;
    let tail = "";
    socket.on("data", (chunk: Buffer) => {
      tail = (tail + chunk.toString("latin1")).slice(-200);
      text += chunk.length;
    });
    socket.resume();
    await once(socket, "close");
    expect(tail).toMatch(/event: end/);
    expect(text).toBeGreaterThan(line.length * 100);
  });
});
