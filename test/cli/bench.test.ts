import { expect, test } from "vitest";
import { CommandLine } from "../support/command-line.ts";
import { Cluster } from "../support/processes.ts";

const SUMMARY = { min: expect.any(Number), median: expect.any(Number), max: expect.any(Number) };

test("bench measures a gateway with a worker, and leaves no task behind", async () => {
  await using cluster = await Cluster.create();
  const up = cluster.start({ args: ["up", "--slots", "1", "--no-mdns", "--http", "127.0.0.1:0"] });
  const { http = "" } = await up.ready;
  await using line = await CommandLine.create();
  const { code, stdout } = await line.run(["bench", "-n", "3", "--url", http, "--json"]);
  expect(code).toBe(0);
  const result: unknown = JSON.parse(stdout);
  expect(result).toEqual({
    gateway: http,
    slots: 1,
    submitMs: { count: 3, ...SUMMARY },
    firstOutputMs: { count: 3, ...SUMMARY },
    runsPerSecond: { count: 3, ...SUMMARY },
  });
  expect((await line.run(["task", "ls", "--url", http, "--json"])).stdout).toBe("[]\n");
});

test("bench of a gateway without a worker measures submissions", async () => {
  await using cluster = await Cluster.create();
  const { http = "" } = await cluster.start({ args: ["--gateway", "--no-mdns", "--http", "127.0.0.1:0"] }).ready;
  await using line = await CommandLine.create();
  const { code, stdout, stderr } = await line.run(["bench", "-n", "2", "--url", http]);
  expect({ code, stderr }).toMatchObject({ code: 0, stderr: expect.stringContaining("no worker is ready") });
  expect(stdout).toMatch(/^MEASURE +MIN +MEDIAN +MAX +OF\nsubmit, ms +[\d.]+ +[\d.]+ +[\d.]+ +2\n/);
});
