/** What `/metrics` says of a real run, on a real worker. */
import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { type Family, exposureFaults, parseExposition, valueOf } from "../support/exposition.ts";
import { Cluster, guestPath } from "../support/processes.ts";

test("figures move with a run, from its submission to its end", { timeout: 180_000 }, async () => {
  await using cluster = await Cluster.create();
  const { ready, client } = await cluster.gateway();
  await cluster.worker(ready.peerId).ready;
  const scrape = async (): Promise<ReadonlyMap<string, Family>> =>
    parseExposition(await (await fetch(`${ready.http}/metrics`)).text());
  const before = await scrape();
  expect(exposureFaults(before)).toEqual([]);
  expect(valueOf(before, "capmesh_run_wait_seconds_count")).toBe(0);
  const wasm = await readFile(guestPath("hash"));
  const submitted = await client.submit({ wasm, input: 0, difficulty: 3, repeats: 2 });
  await client.waitForTask(submitted.id);
  const failing = await client.submit({ wasm: await readFile(guestPath("hello")), args: ["--exit", "7"] });
  await client.waitForTask(failing.id);
  const after = await scrape();
  expect(exposureFaults(after)).toEqual([]);
  const moved = (sample: string, labels?: Readonly<Record<string, string>>): number =>
    valueOf(after, sample, labels) - (valueOf(before, sample, labels) || 0);
  expect(moved("capmesh_run_wait_seconds_count")).toBe(3);
  expect(moved("capmesh_attempt_duration_seconds_count", { outcome: "exited" })).toBe(3);
  expect(moved("capmesh_runs_finished_total", { state: "succeeded", outcome: "exited" })).toBe(2);
  expect(moved("capmesh_runs_finished_total", { state: "failed", outcome: "exited" })).toBe(1);
  expect(moved("capmesh_guest_cpu_seconds_total")).toBeGreaterThan(0);
  for (const operation of ["createTask", "lease", "settle"]) {
    expect(moved("capmesh_store_operation_duration_seconds_count", { operation })).toBeGreaterThanOrEqual(2);
  }
  expect(moved("capmesh_store_commits_total")).toBeGreaterThan(3);
  expect(valueOf(after, "capmesh_runs")).toBe(0);
  expect(valueOf(after, "capmesh_rpc_connections", { transport: "libp2p" })).toBe(1);
  expect(valueOf(after, "capmesh_rpc_table_entries", { transport: "libp2p" })).toBeGreaterThan(0);
  expect(valueOf(after, "capmesh_workers", { status: "ready" })).toBe(1);
  expect(valueOf(after, "capmesh_slots")).toBeGreaterThan(0);
  expect(valueOf(after, "process_open_fds")).toBeGreaterThan(0);
});
