import { once } from "node:events";
import { connect } from "node:net";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { problemSchema } from "../../../src/api/problem.ts";
import { memberSchema, workerSchema } from "../../../src/api/worker-json.ts";
import { type SseEvent, SseParser } from "../../../src/api/sse.ts";
import type { WorkerView } from "../../../src/model/worker.ts";
import { ApiGateway, WORKER, taskId } from "../../support/api-gateway.ts";
import { guestBytes } from "../../support/guests.ts";

const wasm = guestBytes("hash");

const worker: WorkerView = {
  id: WORKER,
  status: "pending",
  state: { slots: 2, busy: 1, weight: 1, labels: { os: "linux" }, version: "1.0.0", cachedModules: [] },
  running: 1,
  offers: 1,
  address: "/ip4/127.0.0.1/tcp/4077",
  connectedAt: 0,
  lastSeenAt: 1_000,
  note: "admit it",
};

describe("workers", () => {
  test("are listed and shown", async () => {
    await using gateway = await ApiGateway.open();
    gateway.workers.push(worker);
    const list = z.array(workerSchema).parse(await (await fetch(`${gateway.url}/workers`)).json());
    expect(list).toEqual([
      {
        id: WORKER,
        status: "pending",
        slots: 2,
        busy: 1,
        running: 1,
        offers: 1,
        weight: 1,
        labels: { os: "linux" },
        version: "1.0.0",
        kinds: ["command", "run", "component"],
        cachedModules: [],
        address: "/ip4/127.0.0.1/tcp/4077",
        note: "admit it",
        connectedAt: "1970-01-01T00:00:00.000Z",
        lastSeenAt: "1970-01-01T00:00:01.000Z",
      },
    ]);
    expect(workerSchema.parse(await (await fetch(`${gateway.url}/workers/${WORKER}`)).json())).toEqual(list[0]);
  });

  test("are admitted and forgotten, those that are not there too", async () => {
    await using gateway = await ApiGateway.open();
    const admit = await fetch(`${gateway.url}/workers/${WORKER}/admit`, { method: "POST" });
    const forget = await fetch(`${gateway.url}/workers/${WORKER}`, { method: "DELETE" });
    expect([admit.status, forget.status]).toEqual([204, 204]);
    expect(gateway.admissions).toEqual([`admit ${WORKER}`, `forget ${WORKER}`]);
  });

  test("are drained, within the grace that is asked for", async () => {
    await using gateway = await ApiGateway.open();
    gateway.workers.push(worker);
    const statuses: number[] = [];
    for (const query of ["", "?grace=2m", "?grace=soon"]) {
      const response = await fetch(`${gateway.url}/workers/${WORKER}/drain${query}`, { method: "POST" });
      statuses.push(response.status);
    }
    expect(statuses).toEqual([204, 204, 400]);
    expect(gateway.admissions).toEqual([`drain ${WORKER} undefined`, `drain ${WORKER} 120000`]);
  });

  test("that are not there are 404, and so is what is no peer id", async () => {
    await using gateway = await ApiGateway.open();
    for (const [method, path] of [
      ["GET", `/workers/${WORKER}`],
      ["GET", "/workers/x"],
      ["POST", "/workers/x/admit"],
      ["POST", "/workers/x/drain"],
      ["POST", `/workers/${WORKER}/drain`],
      ["DELETE", "/workers/x"],
    ] as const) {
      const response = await fetch(`${gateway.url}${path}`, { method });
      expect([response.status, problemSchema.parse(await response.json()).code]).toEqual([404, "no-such-worker"]);
    }
  });
});

test("the cluster is what gossip shows", async () => {
  await using gateway = await ApiGateway.open();
  const { state } = worker;
  const { slots, busy, labels, version } = state;
  const common = { slots, busy, labels, version, addresses: [], startedAt: 0, lastSeenAt: 0 };
  gateway.members.push({ id: WORKER, role: "both", ...common });
  const members = z.array(memberSchema).parse(await (await fetch(`${gateway.url}/cluster`)).json());
  expect(members).toMatchObject([{ id: WORKER, role: "both", slots: 2, labels: { os: "linux" } }]);
});

describe("health", () => {
  test("is live and ready while it takes work", async () => {
    await using gateway = await ApiGateway.open();
    expect((await fetch(`${gateway.url}/livez`)).status).toBe(200);
    expect((await fetch(`${gateway.url}/readyz`)).status).toBe(200);
  });

  test("is live and not ready while it drains", async () => {
    await using gateway = await ApiGateway.open({ readiness: { notReadyBecause: () => "it is shutting down" } });
    expect((await fetch(`${gateway.url}/livez`)).status).toBe(200);
    const response = await fetch(`${gateway.url}/readyz`);
    expect(problemSchema.parse(await response.json())).toMatchObject({
      status: 503,
      code: "not-ready",
      detail: "The gateway takes no work now: it is shutting down.",
    });
  });

  test("is live and not ready while the store is away", async () => {
    await using gateway = await ApiGateway.open();
    await gateway.store.close();
    expect((await fetch(`${gateway.url}/livez`)).status).toBe(200);
    expect((await fetch(`${gateway.url}/readyz`)).status).toBe(503);
  });
});

test("metrics count requests, tasks and slots", async () => {
  await using gateway = await ApiGateway.open();
  gateway.workers.push(worker);
  const task = taskId((await gateway.client().submit({ wasm })).id);
  await fetch(`${gateway.url}/tasks/none`);
  const attempt = { type: "attempt", task, run: 1, attempt: 1, worker: worker.id, reason: "gone" } as const;
  gateway.events.publish({ ...attempt, state: "lost" });
  gateway.events.publish({ ...attempt, state: "refused" });
  const response = await fetch(`${gateway.url}/metrics`);
  expect(response.headers.get("content-type")).toMatch(/^text\/plain; version=0\.0\.4/);
  const lines = (await response.text()).split("\n");
  for (const line of [
    'capmesh_http_requests_total{method="POST",route="/tasks",status="201"} 1',
    'capmesh_http_requests_total{method="GET",route="/tasks/{id}",status="404"} 1',
    "capmesh_tasks_unfinished 1",
    'capmesh_task_changes_total{state="ready"} 1',
    'capmesh_workers{status="pending"} 1',
    'capmesh_workers{status="quarantined"} 0',
    'capmesh_attempt_changes_total{state="lost"} 1',
    'capmesh_attempt_changes_total{state="adopted"} 0',
    'capmesh_attempt_changes_total{state="refused"} 1',
    "capmesh_slots 2",
    "capmesh_slots_busy 1",
  ]) {
    expect(lines).toContain(line);
  }
});

describe("the status page", () => {
  test("runs nothing but its own files", async () => {
    await using gateway = await ApiGateway.open();
    const response = await fetch(gateway.url);
    expect(response.headers.get("content-type")).toBe("text/html; charset=utf-8");
    const policy = response.headers.get("content-security-policy");
    expect(policy).toMatch(/default-src 'none'; script-src 'self'; style-src 'self'/);
    expect(policy).not.toContain("unsafe");
    const html = await response.text();
    expect(html).not.toMatch(/<script(?![^>]*src=)|\son\w+=|style=/);
    expect((await fetch(`${gateway.url}/page.js`)).headers.get("content-type")).toBe("text/javascript; charset=utf-8");
    expect((await fetch(`${gateway.url}/page.css`)).headers.get("content-type")).toBe("text/css; charset=utf-8");
  });
});

describe("every answer", () => {
  test("has headers that keep browsers from guessing", async () => {
    await using gateway = await ApiGateway.open();
    for (const path of ["/tasks", "/nowhere", "/livez", "/"]) {
      const { headers } = await fetch(`${gateway.url}${path}`);
      expect(headers.get("x-content-type-options")).toBe("nosniff");
      expect(headers.get("content-security-policy")).toContain("default-src 'none'");
      expect(headers.get("cross-origin-resource-policy")).toBe("same-origin");
      expect(headers.get("x-powered-by")).toBeNull();
      expect(headers.get("access-control-allow-origin")).toBeNull();
    }
  });

  test("has a request id, the caller's if it gave one", async () => {
    await using gateway = await ApiGateway.open();
    const given = await fetch(`${gateway.url}/livez`, { headers: { "x-request-id": "abc-1" } });
    expect(given.headers.get("x-request-id")).toBe("abc-1");
    const strange = await fetch(`${gateway.url}/livez`, { headers: { "x-request-id": "a b" } });
    expect(strange.headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
  });

  test("to an address that is none is 404, to a wrong method 405 with those that fit", async () => {
    await using gateway = await ApiGateway.open();
    const codeOf = async (method: string, path: string): Promise<unknown> => {
      const response = await fetch(`${gateway.url}${path}`, { method });
      return [problemSchema.parse(await response.json()).code, response.headers.get("allow")];
    };
    expect(await codeOf("GET", "/nowhere")).toEqual(["not-found", null]);
    expect(await codeOf("POST", "/tasks/a/b")).toEqual(["not-found", null]);
    expect(await codeOf("PUT", "/tasks")).toEqual(["method-not-allowed", "GET, HEAD, POST"]);
    expect(await codeOf("POST", "/tasks/a")).toEqual(["method-not-allowed", "GET, HEAD, DELETE"]);
    expect(await codeOf("GET", "/tasks/a/cancel")).toEqual(["method-not-allowed", "POST"]);
    expect(await codeOf("GET", "/tasks/%zz")).toEqual(["invalid-request", null]);
  });
});

async function readEvents(response: Response, count: number): Promise<SseEvent[]> {
  if (response.body === null) throw new Error("no body");
  const parser = new SseParser();
  const events: SseEvent[] = [];
  for await (const bytes of response.body) {
    events.push(...parser.push(new TextDecoder().decode(bytes)));
    if (events.length >= count) break;
  }
  return events;
}

describe("the event stream", () => {
  test("tells changes as they happen, and leaves output out", async () => {
    await using gateway = await ApiGateway.open();
    const response = await fetch(`${gateway.url}/events`);
    gateway.events.publish({ type: "task", task: taskId("a"), state: "ready" });
    gateway.events.publish({ type: "output", task: taskId("a"), run: 1, outputBytes: 3 });
    gateway.events.publish({ type: "worker", worker: WORKER, status: "gone" });
    const events = await readEvents(response, 2);
    expect(events.map(({ event, data }): [string, unknown] => [event, JSON.parse(data)])).toEqual([
      ["task", { type: "task", task: "a", state: "ready" }],
      ["worker", { type: "worker", worker: WORKER, status: "gone" }],
    ]);
  });

  test("goes on where a reader was, or says that it cannot", async () => {
    await using gateway = await ApiGateway.open();
    const response = await fetch(`${gateway.url}/events`);
    for (const id of ["a", "b", "c"]) gateway.events.publish({ type: "task", task: taskId(id), state: "ready" });
    const [first] = await readEvents(response, 1);
    const resumed = await fetch(`${gateway.url}/events`, { headers: { "last-event-id": first?.id ?? "" } });
    expect((await readEvents(resumed, 2)).map(({ data }) => data)).toEqual([
      '{"type":"task","task":"b","state":"ready"}',
      '{"type":"task","task":"c","state":"ready"}',
    ]);
    const lost = await fetch(`${gateway.url}/events`, { headers: { "last-event-id": "other:7" } });
    expect((await readEvents(lost, 1))[0]).toMatchObject({ event: "reset" });
  });

  test("cuts a reader off that does not read", async () => {
    await using gateway = await ApiGateway.open();
    const socket = connect(gateway.port, "127.0.0.1").pause();
    socket.write("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await expect
      .poll(async () => (await (await fetch(`${gateway.url}/metrics`)).text()).includes("capmesh_live_streams 1"))
      .toBe(true);
    const id = taskId("x".repeat(128));
    const socketGone = once(socket, "close");
    for (let count = 0; count < 100; count++) {
      for (let each = 0; each < 1_000; each++) gateway.events.publish({ type: "task", task: id, state: "ready" });
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await (await fetch(`${gateway.url}/metrics`)).text()).toContain("capmesh_live_streams 0");
    socket.on("error", () => {}).resume();
    await socketGone.catch(() => {});
  });
});

describe("closing", () => {
  test("waits for a submission that is under way, and takes it", async () => {
    await using gateway = await ApiGateway.open();
    const socket = connect(gateway.port, "127.0.0.1");
    const body = Buffer.concat([
      Buffer.from('--b\r\ncontent-disposition: form-data; name="wasm"; filename="a.wasm"\r\n\r\n'),
      wasm,
      Buffer.from("\r\n--b--\r\n"),
    ]);
    socket.write("POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n");
    socket.write(`Content-Length: ${body.length}\r\n\r\n`);
    socket.write(body.subarray(0, 1_000));
    await expect.poll(async () => (await gateway.files()).unfinished.length, { timeout: 20_000 }).toBe(1);
    const stopping = gateway.stop();
    socket.write(body.subarray(1_000));
    const [answer] = await once(socket, "data");
    expect(String(answer)).toMatch(/^HTTP\/1.1 201 /);
    await stopping;
  });

  test("answers those that wait for a task's end", async () => {
    await using gateway = await ApiGateway.open();
    await gateway.client().submit({ wasm, id: "a" });
    const socket = connect(gateway.port, "127.0.0.1");
    // Asked and answered first, so that the connection is known to be open.
    socket.write("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await once(socket, "data");
    socket.write("GET /tasks/a?wait=60s HTTP/1.1\r\nHost: localhost\r\n\r\n");
    const metrics = async (): Promise<string> => (await fetch(`${gateway.url}/metrics`)).text();
    await expect.poll(metrics).toContain("capmesh_http_requests_open 2");
    const stopping = gateway.stop();
    const [answer] = await once(socket, "data");
    expect(String(answer)).toMatch(/^HTTP\/1.1 200 /);
    await stopping;
  });

  test("can be called twice, and cuts off what takes too long when it is told to", async () => {
    await using gateway = await ApiGateway.open();
    const { server } = gateway;
    const socket = connect(gateway.port, "127.0.0.1");
    socket.on("error", () => {});
    socket.write(
      "POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 99\r\n\r\n--b",
    );
    await once(socket, "connect");
    await expect.poll(async () => (await fetch(`${gateway.url}/livez`)).status).toBe(200);
    const closed = once(socket, "close");
    const closing = server.close();
    await server.close({ signal: AbortSignal.abort() });
    await closing;
    await closed;
  });

  test("frees the port at once", async () => {
    await using gateway = await ApiGateway.open();
    const { port } = gateway;
    await gateway.stop();
    await gateway.listen(port);
    expect(gateway.port).toBe(port);
  });
});

test("a port that is taken is said", async () => {
  await using gateway = await ApiGateway.open();
  const address = { host: "127.0.0.1", port: gateway.port };
  await expect(ApiGateway.open({ address })).rejects.toMatchObject({
    code: "cannot-listen",
    message: expect.stringMatching(new RegExp(`cannot listen on 127.0.0.1:${gateway.port}: .*give another --http`)),
  });
});
