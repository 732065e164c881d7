import { createServer } from "node:http";
import { once } from "node:events";
import { describe, expect, test } from "vitest";
import { ApiError } from "../../src/client/api-error.ts";
import { CapmeshClient } from "../../src/client/client.ts";
import type { LogChunk } from "../../src/client/log-reader.ts";
import { ClusterError } from "../../src/base/errors.ts";
import { ApiGateway, WORKER, taskId } from "../support/api-gateway.ts";
import { guestBytes } from "../support/guests.ts";

const wasm = guestBytes("hello");

/** A server that answers each request with what `answer` gives. */
async function fakeServer(answer: { status: number; type: string; body: string }) {
  const server = createServer((_request, response) => {
    response.writeHead(answer.status, { "content-type": answer.type }).end(answer.body);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    url: `http://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

describe("submitting", () => {
  test("sends every field as it is", async () => {
    await using gateway = await ApiGateway.open();
    const task = await gateway.client().submit({
      wasm,
      id: "a",
      description: "line one\nline two",
      complete: 3,
      duration: 1.5,
      start: 3_600,
      delay: "2m",
      repeats: 4,
      entry: "command",
      args: ["a\nb", "", "[x]"],
      env: { A: "1\r\n2", B: "" },
      stdin: "in\r\nput",
      timeout: 7,
      cpu: "500ms",
      memory: 64,
      outputMax: 4_096,
      outputLimit: "fail",
      retries: 2,
      backoff: 0.25,
      retryOn: ["trapped"],
      priority: -5,
      require: { os: "linux", gpu: "yes" },
    });
    expect(task).toMatchObject({
      id: "a",
      complete: 3,
      duration: 1.5,
      start: 3_600,
      delay: 120,
      repeats: 4,
      entry: "command",
      args: ["a\nb", "", "[x]"],
      env: { A: "1\r\n2", B: "" },
      stdin: "in\r\nput",
      stdinBytes: 7,
      timeout: 7,
      cpu: 0.5,
      memory: 64,
      outputMax: 4_096,
      outputLimit: "fail",
      retries: 2,
      backoff: 0.25,
      retryOn: ["trapped"],
      priority: -5,
      require: { os: "linux", gpu: "yes" },
    });
  });

  test("takes a Blob, and a module that the gateway has", async () => {
    await using gateway = await ApiGateway.open();
    const { module } = await gateway.client().submit({ wasm: new Blob([wasm]) });
    expect((await gateway.client().submit({ module })).module).toBe(module);
  });

  test("tells a refusal with its code and fields", async () => {
    await using gateway = await ApiGateway.open();
    const thrown: unknown = await gateway
      .client()
      .submit({ wasm, start: "abc", repeats: -1 })
      .catch((error: unknown) => error);
    expect(thrown).toBeInstanceOf(ApiError);
    expect(thrown).toBeInstanceOf(ClusterError);
    expect(thrown).toMatchObject({
      status: 400,
      code: "invalid-field",
      type: "failed",
      requestId: expect.any(String),
      message: expect.stringContaining('start is "abc"'),
      errors: [{ field: "start" }, { field: "repeats" }],
    });
  });

  test("with a key is done once, and a key for two submissions is refused", async () => {
    await using gateway = await ApiGateway.open();
    const client = gateway.client();
    const first = await client.submit({ wasm }, { idempotencyKey: "k-1" });
    expect(await client.submit({ wasm }, { idempotencyKey: "k-1" })).toEqual(first);
    expect((await client.submit({ wasm }, { idempotencyKey: "k-2" })).id).not.toBe(first.id);
    await expect(client.submit({ wasm, priority: 1 }, { idempotencyKey: "k-1" })).rejects.toMatchObject({
      status: 409,
      code: "idempotency-mismatch",
    });
    for (const idempotencyKey of ["", "  ", "ключ", "a\nb"]) {
      await expect(client.submit({ wasm }, { idempotencyKey })).rejects.toMatchObject({ code: "invalid-field" });
    }
  });

  test("of many makes all of them, in their order, or none", async () => {
    await using gateway = await ApiGateway.open();
    const client = gateway.client();
    const { module } = await client.submit({ wasm, id: "has-the-module" });
    const batch = [
      { module, id: "a", args: ["a\nb", ""], env: { A: "1" }, require: { gpu: "yes" }, delay: 1e-7, stdin: "in" },
      { module, after: ["a"], repeats: 2, retryOn: ["trapped"], description: "é" },
    ];
    const made = await client.submitBatch(batch, { idempotencyKey: "k" });
    expect(made).toMatchObject([
      { id: "a", args: ["a\nb", ""], env: { A: "1" }, require: { gpu: "yes" }, delay: 0, stdin: "in" },
      { after: ["a"], runs: 2, retryOn: ["trapped"], description: "é" },
    ]);
    expect(await client.submitBatch(batch, { idempotencyKey: "k" })).toEqual(made);
    const refused = client.submitBatch([{ module }, { module, priority: Number.NaN }, { module, id: "a" }]);
    await expect(refused).rejects.toMatchObject({
      code: "invalid-field",
      errors: [
        { line: 2, index: 1, field: "priority" },
        { line: 3, index: 2, id: "a", field: "id" },
      ],
    });
    expect(await Array.fromAsync(client.listTasks())).toHaveLength(3);
    expect(await client.submitBatch([])).toEqual([]);
  });

  test("of many is no success when the answer stops early", async () => {
    await using server = await fakeServer({ status: 200, type: "application/x-ndjson", body: "" });
    const client = new CapmeshClient({ url: server.url });
    const made = client.submitBatch([{ module: "0".repeat(64) }]);
    await expect(made).rejects.toMatchObject({ type: "failed", code: "bad-answer" });
  });

  test("says what may be tried again", async () => {
    await using gateway = await ApiGateway.open();
    gateway.isQueueFull = true;
    await expect(gateway.client().submit({ wasm })).rejects.toMatchObject({ type: "overloaded", code: "queue-full" });
  });
});

describe("a gateway", () => {
  test("that is not there is unreachable", async () => {
    await using gateway = await ApiGateway.open();
    const client = gateway.client();
    const { url } = gateway;
    await gateway.stop();
    for (const call of [
      () => client.workers(),
      () => client.waitForTask("a"),
      () => Array.fromAsync(client.logs("a")),
      () => client.rawLog("a"),
      () => client.submit({ wasm }),
    ]) {
      await expect(call()).rejects.toMatchObject({
        name: "ClusterError",
        type: "disconnected",
        code: "unreachable",
        message: expect.stringContaining(`the gateway at ${url} cannot be reached: `),
      });
    }
  });

  test("that speaks no TLS, or is at a port that fetch refuses, is unreachable in one line that says so", async () => {
    await using gateway = await ApiGateway.open();
    for (const [url, why] of [
      [gateway.url.replace("http:", "https:"), "it does not speak TLS there"],
      ["http://127.0.0.1:1", "refuses to talk to this port"],
    ] as const) {
      await expect(new CapmeshClient({ url }).workers()).rejects.toMatchObject({
        code: "unreachable",
        message: expect.stringMatching(new RegExp(`^the gateway at ${url} cannot be reached: .*${why}.*$`)),
      });
    }
  });

  test("that is something else is told", async () => {
    await using page = await fakeServer({ status: 200, type: "text/html", body: "<html>" });
    await expect(new CapmeshClient({ url: page.url }).workers()).rejects.toMatchObject({ code: "bad-answer" });
    await using missing = await fakeServer({ status: 404, type: "text/html", body: "<html>" });
    await expect(new CapmeshClient({ url: missing.url }).workers()).rejects.toMatchObject({
      code: "http-404",
      status: 404,
      message: expect.stringContaining("is it a gateway?"),
    });
  });

  test("may be newer", async () => {
    await using gateway = await fakeServer({
      status: 418,
      type: "application/problem+json",
      body: JSON.stringify({ title: "New", status: 418, code: "brand-new", extra: 1 }),
    });
    await expect(new CapmeshClient({ url: gateway.url }).cluster()).rejects.toMatchObject({
      code: "brand-new",
      message: "New",
    });
  });

  test("may be under a path, and needs a URL", () => {
    expect(() => new CapmeshClient({ url: "localhost:8080" })).toThrow(/is not the URL of a gateway/);
    expect(() => new CapmeshClient({ url: "" })).toThrow(expect.objectContaining({ code: "invalid-url" }));
  });

  test("is sent the token", async () => {
    await using gateway = await ApiGateway.open({ adminToken: "s3cret" });
    expect(await gateway.client().workers()).toEqual([]);
    const stranger = new CapmeshClient({ url: gateway.url });
    await expect(stranger.workers()).rejects.toMatchObject({ status: 401, code: "unauthenticated" });
  });
});

describe("lists", () => {
  test("are read page by page", async () => {
    await using gateway = await ApiGateway.open();
    const client = gateway.client();
    for (let count = 0; count < 5; count++) await client.submit({ wasm, id: `t${count}` });
    expect((await Array.fromAsync(client.listTasks())).map(({ id }) => id)).toEqual(["t4", "t3", "t2", "t1", "t0"]);
    expect((await Array.fromAsync(client.listTasks({ limit: 2 }))).map(({ id }) => id)).toEqual(["t4", "t3"]);
    expect(await Array.fromAsync(client.listTasks({ state: "failed" }))).toEqual([]);
  });

  test("of many runs come whole", async () => {
    await using gateway = await ApiGateway.open();
    await gateway.client().submit({ wasm, id: "a", repeats: 1_200 });
    const indexes = (await Array.fromAsync(gateway.client().listRuns("a"))).map(({ index }) => index);
    expect(indexes).toEqual(Array.from({ length: 1_200 }, (_, at) => at + 1));
  });
});

test("workers are admitted, drained, forgotten and looked for", async () => {
  await using gateway = await ApiGateway.open();
  const client = gateway.client();
  await client.admit(WORKER);
  await expect(client.drain(WORKER, { grace: "5s" })).rejects.toMatchObject({ status: 404, code: "no-such-worker" });
  await client.forget(WORKER);
  expect(gateway.admissions).toEqual([`admit ${WORKER}`, `drain ${WORKER} 5000`, `forget ${WORKER}`]);
  await expect(client.worker(WORKER)).rejects.toMatchObject({ status: 404, code: "no-such-worker" });
});

test("a task is cancelled and deleted", async () => {
  await using gateway = await ApiGateway.open();
  const client = gateway.client();
  await client.submit({ wasm, id: "a" });
  expect((await client.cancel("a")).state).toBe("cancelled");
  await expect(client.cancel("a")).rejects.toMatchObject({ status: 409, code: "already-finished" });
  await client.delete("a");
  await expect(client.getTask("a")).rejects.toMatchObject({ status: 404, code: "no-such-task" });
});

describe("waiting for a task", () => {
  test("ends with it", async () => {
    await using gateway = await ApiGateway.open();
    await gateway.client().submit({ wasm, id: "a" });
    const waiting = gateway.client().waitForTask("a");
    await gateway.succeed(await gateway.start("a"));
    expect((await waiting).state).toBe("succeeded");
  });

  test("goes on over a restart of the gateway", async () => {
    await using gateway = await ApiGateway.open();
    await gateway.client().submit({ wasm, id: "a" });
    const attempt = await gateway.start("a");
    const { port } = gateway;
    const asked = Promise.withResolvers<void>();
    const client = new CapmeshClient({
      url: gateway.url,
      fetch: async (...call) => {
        const response = await fetch(...call);
        asked.resolve();
        return response;
      },
    });
    const waiting = client.waitForTask("a");
    await asked.promise;
    await gateway.stop();
    await gateway.succeed(attempt);
    await gateway.listen(port);
    expect((await waiting).state).toBe("succeeded");
  });

  test("ends with the signal's reason", async () => {
    await using gateway = await ApiGateway.open();
    await gateway.client().submit({ wasm, id: "a" });
    const controller = new AbortController();
    const waiting = gateway.client().waitForTask("a", { signal: controller.signal });
    controller.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
  });

  test("that does not exist ends at once", async () => {
    await using gateway = await ApiGateway.open();
    await expect(gateway.client().waitForTask("none")).rejects.toMatchObject({ code: "no-such-task" });
  });
});

describe("logs", () => {
  test("that are not followed end with what is there", async () => {
    await using gateway = await ApiGateway.open();
    await gateway.client().submit({ wasm, id: "a" });
    const attempt = await gateway.start("a");
    await gateway.write(attempt, "stdout", "one");
    await gateway.write(attempt, "stderr", "two");
    expect(await Array.fromAsync(gateway.client().logs("a"))).toEqual([
      { run: 1, attempt: 1, offset: 0, text: "one", stream: "stdout" },
      { run: 1, attempt: 1, offset: 3, text: "two", stream: "stderr" },
    ]);
    expect(Buffer.from(await gateway.client().rawLog("a", { stream: "stderr" })).toString()).toBe("two");
  });

  test("that are followed end with the run, and say how", async () => {
    await using gateway = await ApiGateway.open();
    await gateway.client().submit({ wasm, id: "a" });
    const ends: unknown[] = [];
    const reading = Array.fromAsync(gateway.client().logs("a", { follow: true, onEnd: (end) => ends.push(end) }));
    const attempt = await gateway.start("a");
    await gateway.write(attempt, "stdout", "one");
    await gateway.succeed(attempt, { outputTruncated: true });
    expect((await reading).map(({ text }) => text)).toEqual(["one"]);
    expect(ends).toEqual([{ run: 1, state: "succeeded" }]);
  });

  test("have neither gap nor repeat over lost connections", async () => {
    await using gateway = await ApiGateway.open();
    await gateway.client().submit({ wasm, id: "a", repeats: 2 });
    const { port } = gateway;
    const chunks: LogChunk[] = [];
    const arrived = new Map<string, () => void>();
    const reading = (async () => {
      for await (const chunk of gateway.client().logs("a", { follow: true, run: "all" })) {
        chunks.push(chunk);
        arrived.get(chunk.text)?.();
      }
    })();
    for (const run of [1, 2]) {
      const attempt = await gateway.start("a", run);
      for (const piece of ["eins", "zwei", "drei"]) {
        const seen = new Promise<void>((resolve) => arrived.set(`${piece} ${run}`, resolve));
        await gateway.write(attempt, "stdout", `${piece} ${run}`);
        await seen;
        await gateway.stop();
        await gateway.listen(port);
      }
      await gateway.succeed(attempt);
    }
    await reading;
    const expected = ["eins 1", "zwei 1", "drei 1", "eins 2", "zwei 2", "drei 2"];
    expect(chunks.map(({ text }) => text)).toEqual(expected);
  });

  test("stop when their reader does, and free the stream", async () => {
    await using gateway = await ApiGateway.open();
    await gateway.client().submit({ wasm, id: "a" });
    const attempt = await gateway.start("a");
    await gateway.write(attempt, "stdout", "one");
    for await (const { text } of gateway.client().logs("a", { follow: true })) {
      expect(text).toBe("one");
      break;
    }
    const metrics = async (): Promise<string> => (await fetch(`${gateway.url}/metrics`)).text();
    await expect.poll(metrics, { timeout: 20_000 }).toContain("capmesh_live_streams 0");
  });

  test("end with the signal's reason", async () => {
    await using gateway = await ApiGateway.open();
    await gateway.client().submit({ wasm, id: "a" });
    const controller = new AbortController();
    const reading = Array.fromAsync(gateway.client().logs("a", { follow: true, signal: controller.signal }));
    await expect.poll(() => gateway.store.getTask(taskId("a"))).toBeDefined();
    controller.abort(new Error("enough"));
    await expect(reading).rejects.toThrow("enough");
  });

  test("of a task that does not exist are refused at once", async () => {
    await using gateway = await ApiGateway.open();
    await expect(Array.fromAsync(gateway.client().logs("none", { follow: true }))).rejects.toMatchObject({
      code: "no-such-task",
    });
  });
});

test("events are told as they happen, over lost connections, and a restart asks to read everything anew", async () => {
  await using gateway = await ApiGateway.open();
  const { port } = gateway;
  const stop = new AbortController();
  const events = gateway.client().events({ signal: stop.signal });
  let told: unknown;
  const first = events.next().then(({ value }) => (told = value));
  await expect
    .poll(() => {
      gateway.events.publish({ type: "task", task: taskId("a"), state: "ready" });
      return told;
    })
    .toEqual({ type: "task", task: "a", state: "ready" });
  await first;
  await gateway.stop();
  await gateway.listen(port);
  for await (const event of events) if (event.type === "reset") break;
  const others = gateway.client().events({ signal: stop.signal });
  const next = others.next().catch((error: unknown) => error);
  stop.abort(new Error("enough"));
  expect(await next).toMatchObject({ message: "enough" });
});
