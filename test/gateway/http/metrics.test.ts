import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { GatewayMetrics } from "../../../src/gateway/http/metrics/gateway-metrics.ts";
import { ProcessMetrics } from "../../../src/gateway/http/metrics/process-metrics.ts";
import { ApiGateway } from "../../support/api-gateway.ts";
import { type Family, exposureFaults, parseExposition, valueOf } from "../../support/exposition.ts";
import { guestBytes } from "../../support/guests.ts";

async function scrape(gateway: ApiGateway): Promise<ReadonlyMap<string, Family>> {
  return parseExposition(await (await fetch(`${gateway.url}/metrics`)).text());
}

function allMetrics(): GatewayMetrics {
  const metrics = new GatewayMetrics();
  metrics.showStore(() => ({ commits: 3, operations: 9, pending: 1 }));
  const tables = { questions: 1, answers: 2, exports: 3, imports: 4 };
  metrics.showRpc({ libp2p: () => [tables, tables], plain: () => [] });
  return metrics;
}

test("all that is shown follows the rules for names, types, units and help", async () => {
  const metrics = allMetrics();
  using _ = new ProcessMetrics(metrics.registry);
  await using gateway = await ApiGateway.open({ registry: metrics.registry });
  metrics.runs.started(12);
  metrics.runs.ended({ outcome: "exited", usage: { wallMs: 30, cpuMs: 20, memoryBytes: 65_536 }, state: "succeeded" });
  metrics.store.answered("createTask", 4, false);
  metrics.store.answered("createTask", 4, true);
  await gateway.client().submit({ wasm: guestBytes("hash") });
  const families = await scrape(gateway);
  expect(exposureFaults(families)).toEqual([]);
  expect(families.size).toBeGreaterThan(40);
  expect(valueOf(families, "capmesh_runs", { state: "ready" })).toBe(1);
  expect(valueOf(families, "capmesh_tasks_unfinished")).toBe(1);
  expect(valueOf(families, "capmesh_queue_bytes")).toBeGreaterThan(100);
  expect(valueOf(families, "capmesh_store_trouble")).toBe(0);
  expect(valueOf(families, "capmesh_rpc_table_entries", { transport: "libp2p", table: "imports" })).toBe(8);
  expect(valueOf(families, "capmesh_rpc_connections")).toBe(2);
  expect(valueOf(families, "capmesh_store_operation_duration_seconds_count", { operation: "createTask" })).toBe(2);
  expect(valueOf(families, "capmesh_store_operations_refused_total")).toBe(1);
  for (const name of ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_start_time_seconds"]) {
    expect(valueOf(families, name)).toBeGreaterThan(0);
  }
  expect(valueOf(families, "nodejs_eventloop_lag_max_seconds")).toBeGreaterThanOrEqual(0);
});

test("times are in seconds, and an attempt that never ran has none", async () => {
  const metrics = new GatewayMetrics();
  metrics.runs.started(1_500);
  metrics.runs.started(undefined);
  const usage = { wallMs: 2_000, cpuMs: 500, memoryBytes: 1_048_576 };
  metrics.runs.ended({ outcome: "trapped", usage, state: "ready" });
  metrics.runs.ended({ outcome: "trapped", usage, state: "failed" });
  const none = { wallMs: 0, cpuMs: 0, memoryBytes: 0 };
  metrics.runs.ended({ outcome: "lost", usage: none, state: "ready" });
  metrics.runs.refused("superseded");
  const families = parseExposition(await metrics.registry.metrics());
  expect(valueOf(families, "capmesh_run_wait_seconds_sum")).toBe(1.5);
  expect(valueOf(families, "capmesh_run_wait_seconds_count")).toBe(1);
  expect(valueOf(families, "capmesh_attempt_duration_seconds_sum")).toBe(4);
  expect(valueOf(families, "capmesh_attempt_duration_seconds_count", { outcome: "trapped" })).toBe(2);
  expect(valueOf(families, "capmesh_attempts_ended_total", { outcome: "lost" })).toBe(1);
  expect(valueOf(families, "capmesh_runs_finished_total", { state: "failed", outcome: "trapped" })).toBe(1);
  expect(valueOf(families, "capmesh_results_refused_total", { reason: "superseded" })).toBe(1);
  expect(valueOf(families, "capmesh_results_refused_total", { reason: "lost" })).toBe(0);
  expect(valueOf(families, "capmesh_guest_cpu_seconds_total")).toBe(1);
});

test("labels are of fixed sets, whatever is asked for", async () => {
  await using gateway = await ApiGateway.open();
  const paths = ["/tasks/a", "/tasks/b", "/tasks/a/runs/1/files/x/y", "/nowhere", "/elsewhere", "/workers/none"];
  for (const path of paths) await fetch(`${gateway.url}${path}`);
  await fetch(`${gateway.url}/tasks`, { method: "PATCH" });
  await expect
    .poll(async () => valueOf(await scrape(gateway), "capmesh_http_requests_total", { route: "not-found" }))
    .toBe(2);
  const requests = (await scrape(gateway)).get("capmesh_http_requests_total")?.samples ?? [];
  const routes = new Set(requests.map(({ labels }) => `${labels["method"]} ${labels["route"]}`));
  expect([...routes].toSorted()).toEqual([
    "GET /metrics",
    "GET /tasks/{id}",
    "GET /tasks/{id}/runs/{n}/files/{path*}",
    "GET /workers/{id}",
    "other not-found",
    "other wrong-method",
  ]);
});

test("a store that does not answer leaves its figures out, and /metrics up", async () => {
  await using gateway = await ApiGateway.open();
  await gateway.store.close();
  const families = await scrape(gateway);
  expect(families.get("capmesh_runs")?.samples).toEqual([]);
  expect(valueOf(families, "capmesh_slots")).toBe(0);
  expect(valueOf(families, "capmesh_tasks_unfinished")).toBeNaN();
});

test("the README names metrics that there are", async () => {
  const metrics = allMetrics();
  await using gateway = await ApiGateway.open({ registry: metrics.registry });
  const shown = new Set((await scrape(gateway)).keys());
  const readme = await readFile(new URL("../../../README.md", import.meta.url), "utf8");
  const named = readme.match(/capmesh_[a-z_]+/g) ?? [];
  expect(named.length).toBeGreaterThan(5);
  expect(named.filter((name) => !shown.has(name))).toEqual([]);
});
