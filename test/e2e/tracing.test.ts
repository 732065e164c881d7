/** Traces of real processes, taken by a collector of our own. */
import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { Cluster, eventually, guestPath } from "../support/processes.ts";
import { type CollectedSpan, TraceCollector } from "../support/trace-collector.ts";

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER = "00f067aa0ba902b7";

test("one trace leads from whoever submits over gateway and worker to the guest", { timeout: 180_000 }, async () => {
  await using collector = await TraceCollector.open();
  await using cluster = await Cluster.create();
  const gateway = cluster.start({
    args: ["--gateway", "--no-mdns", "--http", "127.0.0.1:0", "--listen", "/ip4/127.0.0.1/tcp/0"],
    env: collector.env,
  });
  const { peerId, http = "" } = await gateway.ready;
  const worker = cluster.start({
    args: ["--dial", peerId, "--no-mdns", "--slots", "1"],
    env: { ...collector.env, OTEL_SERVICE_NAME: "the-workers" },
  });
  await worker.ready;
  const form = new FormData();
  form.set("wasm", new Blob([await readFile(guestPath("hash"))]), "hash.wasm");
  for (const [field, value] of Object.entries({ id: "traced", input: "0", difficulty: "2", repeats: "2" })) {
    form.set(field, value);
  }
  const traceparent = `00-${TRACE}-${CALLER}-01`;
  const posted = await fetch(`${http}/tasks`, { method: "POST", body: form, headers: { traceparent } });
  expect(posted.status).toBe(201);
  await fetch(`${http}/tasks/traced?wait=60s`);
  const guests = await eventually(async () => {
    const found = collector.named("guest");
    return found.length === 2 && collector.named("attempt").length === 2 ? found : undefined;
  });
  const first = guests.find(({ traceId }) => traceId === TRACE);
  expect(chainOf(collector.spans, first).map(({ name, service, kind }) => `${service} ${name} ${kind}`)).toEqual([
    "the-workers guest 1",
    "the-workers Worker.run 2",
    "capmesh-gateway Worker.run 3",
    "capmesh-gateway attempt 1",
    "capmesh-gateway task submit 1",
    "capmesh-gateway POST /tasks 2",
  ]);
  const [post] = collector.named("POST /tasks");
  expect(post).toMatchObject({ traceId: TRACE, parent: CALLER, attributes: { "http.response.status_code": 201 } });
  expect(post?.attributes["capmesh.request.id"]).toBe(posted.headers.get("x-request-id"));
  expect(collector.named("fetch").map(({ service, isError }) => [service, isError])).toEqual([
    ["the-workers", false],
    ["the-workers", false],
  ]);
  // The second run is no part of the request: it may come years later. It says where it came from.
  const second = collector.named("attempt").find(({ traceId }) => traceId !== TRACE);
  expect(second?.parent).toBeUndefined();
  const [submit] = collector.named("task submit");
  expect(second?.links).toMatchObject([{ traceId: TRACE, spanId: submit?.spanId }]);
  expect(second?.attributes).toMatchObject({ "capmesh.task": "traced", "capmesh.outcome": "exited" });
  // Nothing is held back for ever.
  expect(await gateway.stop()).toBe(0);
  expect(await worker.stop()).toBe(0);
});

test(
  "a process that is told nothing of traces sends none, and passes on what it is given",
  { timeout: 120_000 },
  async () => {
    await using collector = await TraceCollector.open();
    await using cluster = await Cluster.create();
    // Neither is to trace: one is not asked to, the other is told not to.
    const gateway = cluster.start({
      args: ["--gateway", "--no-mdns", "--http", "127.0.0.1:0", "--listen", "/ip4/127.0.0.1/tcp/0"],
    });
    const { peerId, http = "" } = await gateway.ready;
    const silent = cluster.start({
      args: ["--dial", peerId, "--no-mdns", "--slots", "1", "--label", "is=silent"],
      env: { ...collector.env, OTEL_SDK_DISABLED: "true" },
    });
    const tracing = cluster.start({
      args: ["--dial", peerId, "--no-mdns", "--slots", "1", "--label", "is=tracing"],
      env: collector.env,
    });
    await Promise.all([silent.ready, tracing.ready]);
    const wasm = await readFile(guestPath("hello"));
    for (const label of ["silent", "tracing"]) {
      const form = new FormData();
      form.set("wasm", new Blob([wasm]), "hello.wasm");
      form.set("id", label);
      form.set("require", `is=${label}`);
      form.set("args", "--exit");
      form.append("args", "3");
      const traceparent = `00-${TRACE}-${CALLER}-01`;
      await fetch(`${http}/tasks`, { method: "POST", body: form, headers: { traceparent } });
      await fetch(`${http}/tasks/${label}?wait=60s`);
    }
    const [run] = await eventually(async () => {
      const found = collector.named("Worker.run");
      return found.length > 0 ? found : undefined;
    });
    expect(run).toMatchObject({ traceId: TRACE, parent: CALLER, service: "capmesh-worker", isError: true });
    expect(collector.spans.filter(({ attributes }) => attributes["capmesh.task"] === "silent")).toEqual([]);
  },
);

/** The span and those that it is a part of, from the inside out. */
function chainOf(spans: readonly CollectedSpan[], span: CollectedSpan | undefined): readonly CollectedSpan[] {
  if (span === undefined) return [];
  const parent = spans.find(({ spanId, traceId }) => spanId === span.parent && traceId === span.traceId);
  return [span, ...chainOf(spans, parent)];
}
