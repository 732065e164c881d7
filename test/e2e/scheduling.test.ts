/** Schedules, tasks after others, keys, batches, retries and a full queue, with real processes over HTTP. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { RunJson } from "../../src/api/run-json.ts";
import type { CapmeshClient } from "../../src/client/client.ts";
import { Cluster, eventually, guestPath } from "../support/processes.ts";

const MINUTES = 60_000;
const hello = await readFile(guestPath("hello"));
const copy = await readFile(join(import.meta.dirname, "../worker/runner/guests/copy.wasm"));

test("tasks run when and as often as they should, after those they name", { timeout: 3 * MINUTES }, async () => {
  await using cluster = await Cluster.create();
  const { ready, client } = await cluster.gateway();
  await cluster.worker(ready.peerId).ready;
  // What is said of labels is said of workers that have come.
  await eventually(async () => ((await client.workers()).some(({ offers }) => offers > 0) ? true : undefined));
  await Promise.all([
    everySecond(client),
    oneAtATime(client),
    oneAfterTheOther(client),
    failsAndIsRetried(client),
    manyAtOnce(client),
    explained(client),
  ]);
});

test(
  "a key is honoured by the next gateway, and a full queue says when to come back",
  { timeout: 3 * MINUTES },
  async () => {
    await using cluster = await Cluster.create();
    const args = ["--data", join(cluster.folder, "gateway"), "--queue", "3"];
    const first = await cluster.gateway(args);
    const fields = { wasm: hello, start: "1h", description: "once" };
    const made = await first.client.submit(fields, { idempotencyKey: "k" });
    expect(await first.client.submit(fields, { idempotencyKey: "k" })).toEqual(made);
    const { module } = made;
    const batch = [
      { module, id: "a", start: "1h" },
      { module, after: ["a"] },
    ];
    const both = await first.client.submitBatch(batch, { idempotencyKey: "both" });
    first.process.kill("SIGKILL");
    await first.process.exited;

    const { client, ready } = await cluster.gateway(args);
    expect(await client.submit(fields, { idempotencyKey: "k" })).toEqual(made);
    expect(await client.submitBatch(batch, { idempotencyKey: "both" })).toEqual(both);
    await expect(client.submit({ ...fields, priority: 1 }, { idempotencyKey: "k" })).rejects.toMatchObject({
      code: "idempotency-mismatch",
    });
    expect(await Array.fromAsync(client.listTasks())).toHaveLength(3);

    const form = new FormData();
    form.append("module", String(module));
    const full = await fetch(`${ready.http}/tasks`, { method: "POST", body: form });
    expect(full.status).toBe(429);
    expect(await full.json()).toMatchObject({ code: "queue-full" });
    expect(Number(full.headers.get("retry-after"))).toBeGreaterThanOrEqual(1);
    await client.cancel(made.id);
    expect(await client.submit({ module, start: "1h" })).toMatchObject({ state: "scheduled" });
  },
);

async function everySecond(client: CapmeshClient): Promise<void> {
  const schedule = { cron: "* * * * * *", timezone: "Asia/Kolkata", repeats: 3 };
  await client.submit({ wasm: hello, id: "every-second", ...schedule });
  expect(await client.waitForTask("every-second")).toMatchObject({ state: "succeeded", runs: 3, completions: 3 });
  const dueAt = (await runsOf(client, "every-second")).map((run) => Date.parse(run.dueAt ?? ""));
  const [firstAt = 0] = dueAt;
  expect(firstAt % 1_000).toBe(0);
  expect(dueAt).toEqual([firstAt, firstAt + 1_000, firstAt + 2_000]);
}

async function oneAtATime(client: CapmeshClient): Promise<void> {
  await client.submit({ wasm: hello, id: "alone", args: ["--sleep", "200"], repeats: 3, overlap: "forbid" });
  expect(await client.waitForTask("alone")).toMatchObject({ state: "succeeded", completions: 3 });
  const times = (await runsOf(client, "alone")).flatMap(({ attempts }) =>
    attempts.flatMap(({ startedAt, finishedAt }) => [startedAt, finishedAt ?? ""]),
  );
  expect(times).toEqual(times.toSorted());
}

async function oneAfterTheOther(client: CapmeshClient): Promise<void> {
  const content = new TextEncoder().encode("what goes in");
  const steps = [
    { id: "first", files: [{ path: "in.txt", content }], args: ["in.txt", "out/1.txt"] },
    { id: "second", after: ["first"], files: ["@first/out/1.txt"], args: ["out/1.txt", "out/2.txt"] },
    { id: "third", after: ["second"], files: ["in=@second#1/out/2.txt"], args: ["in", "out/3.txt"] },
  ];
  // All of them before the first has run.
  for (const step of steps) await client.submit({ wasm: copy, outputs: ["out/*"], ...step });
  expect(await client.waitForTask("third")).toMatchObject({ state: "succeeded" });
  expect(await new Response(await client.readFile("third", 1, "out/3.txt")).text()).toBe("what goes in");
  await client.submit({ wasm: hello, id: "broken", args: ["--exit", "3"] });
  await client.submit({ wasm: hello, id: "in-vain", after: ["third", "broken"] });
  const { state, reason } = await client.waitForTask("in-vain");
  expect([state, reason]).toEqual(["cancelled", expect.stringContaining("broken")]);
}

async function failsAndIsRetried(client: CapmeshClient): Promise<void> {
  await client.submit({ wasm: hello, id: "fails", args: ["--exit", "7"], retries: 1, backoff: "50ms" });
  expect(await client.waitForTask("fails")).toMatchObject({ state: "failed" });
  expect(await attemptsOf(client, "fails")).toEqual(["1 failed", "2 failed"]);
  expect(await client.explain("fails")).toMatchObject({ state: "failed", reasons: [{ code: "finished" }] });
  expect((await client.retry("fails")).state).toBe("ready");
  expect(await client.waitForTask("fails")).toMatchObject({ state: "failed" });
  expect(await attemptsOf(client, "fails")).toEqual(["1 failed", "2 failed", "3 failed", "4 failed"]);
}

async function manyAtOnce(client: CapmeshClient): Promise<void> {
  const { module } = await client.submit({ wasm: hello, id: "has-the-module" });
  const made = await client.submitBatch([
    ...Array.from({ length: 9 }, (_, index) => ({ module, id: `batch-${index}`, args: [String(index)] })),
    { module, id: "batch-last", after: Array.from({ length: 9 }, (_, index) => `batch-${index}`) },
  ]);
  expect(made).toHaveLength(10);
  expect(await client.waitForTask("batch-last")).toMatchObject({ state: "succeeded" });
  const refused = client.submitBatch([
    { module, id: "new" },
    { module, id: "batch-0" },
  ]);
  await expect(refused).rejects.toMatchObject({ code: "id-taken", errors: [{ line: 2, field: "id" }] });
  await expect(client.getTask("new")).rejects.toMatchObject({ code: "no-such-task" });
}

async function explained(client: CapmeshClient): Promise<void> {
  await client.submit({ wasm: hello, id: "later", start: "1h" });
  await client.submit({ wasm: hello, id: "picky", require: { gpu: "yes" } });
  await client.submit({ wasm: hello, id: "patient", after: ["later"] });
  const codes = async (id: string) => (await client.explain(id)).reasons.map(({ code }) => code);
  expect(await codes("later")).toEqual(["time"]);
  expect(await codes("picky")).toEqual(["label"]);
  expect(await codes("patient")).toEqual(["dependency"]);
}

function runsOf(client: CapmeshClient, id: string): Promise<RunJson[]> {
  return Array.fromAsync(client.listRuns(id));
}

async function attemptsOf(client: CapmeshClient, id: string): Promise<readonly string[]> {
  const runs = await runsOf(client, id);
  return runs.flatMap(({ attempts }) => attempts.map(({ number, state }) => `${number} ${state}`));
}
