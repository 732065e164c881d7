/** Over HTTP: cron, tasks after others, and tasks that are tried again. */
import { describe, expect, test } from "vitest";
import { problemSchema } from "../../../src/api/problem.ts";
import { ApiGateway } from "../../support/api-gateway.ts";
import { guestBytes } from "../../support/guests.ts";

const wasm = guestBytes("hash");

async function retry(gateway: ApiGateway, id: string): Promise<Response> {
  return fetch(`${gateway.url}/tasks/${id}/retry`, { method: "POST" });
}

async function codeOf(response: Response): Promise<readonly [number, string, string]> {
  const problem = problemSchema.parse(await response.json());
  return [response.status, problem.code, problem.detail];
}

describe("a task with cron", () => {
  test("has no number of runs and shows those that were made", async () => {
    await using gateway = await ApiGateway.open();
    const client = gateway.client();
    const task = await client.submit({ wasm, id: "t", cron: "0 3 * * *", timezone: "europe/berlin", catchup: "all" });
    expect(task).toMatchObject({
      state: "scheduled",
      runs: null,
      repeats: 0,
      progress: 0,
      cron: "0 3 * * *",
      timezone: "Europe/Berlin",
      overlap: "allow",
      catchup: "all",
      start: 0,
      delay: 0,
    });
    const runs = await Array.fromAsync(client.listRuns("t"));
    expect(runs).toMatchObject([{ index: 1, state: "scheduled", dueAt: task.nextRunAt }]);
    expect(await codeOf(await fetch(`${gateway.url}/tasks/t/runs/2`))).toMatchObject([
      404,
      "no-such-run",
      expect.stringMatching(/it has run 1 only so far/),
    ]);
  });

  test("shows the runs that are to come where their number is known", async () => {
    await using gateway = await ApiGateway.open();
    const client = gateway.client();
    await client.submit({ wasm, id: "t", cron: "0 3 * * *", repeats: 3, overlap: "forbid" });
    const runs = await Array.fromAsync(client.listRuns("t"));
    expect(runs.map(({ index, state, dueAt }) => [index, state, typeof dueAt])).toEqual([
      [1, "scheduled", "string"],
      [2, "scheduled", "object"],
      [3, "scheduled", "object"],
    ]);
  });

  test("tells when the run is due that waits for the one before", async () => {
    await using gateway = await ApiGateway.open();
    const client = gateway.client();
    const { nextRunAt } = await client.submit({ wasm, id: "t", cron: "* * * * *", overlap: "forbid", repeats: 3 });
    await gateway.store.promoteDue(Date.parse(nextRunAt ?? ""), 10);
    const task = await client.getTask("t");
    expect(task.nextRunAt).not.toBeNull();
    const runs = await Array.fromAsync(client.listRuns("t"));
    expect(runs).toMatchObject([{ state: "ready" }, { dueAt: task.nextRunAt }, { dueAt: null }]);
  });

  test("ends with its cancellation", async () => {
    await using gateway = await ApiGateway.open();
    const client = gateway.client();
    await client.submit({ wasm, id: "t", cron: "* * * * *" });
    expect(await client.cancel("t")).toMatchObject({ state: "cancelled", runs: null, nextRunAt: null });
  });
});

describe("a task after others", () => {
  test("is scheduled, without a time, until they have succeeded", async () => {
    await using gateway = await ApiGateway.open();
    const client = gateway.client();
    await client.submit({ wasm, id: "a" });
    const task = await client.submit({ wasm, id: "t", after: ["a"], delay: 1, repeats: 2 });
    expect(task).toMatchObject({ state: "scheduled", after: ["a"], nextRunAt: null, runs: 2 });
    const runs = await Array.fromAsync(client.listRuns("t"));
    expect(runs).toMatchObject([
      { index: 1, state: "scheduled", dueAt: null },
      { index: 2, state: "scheduled", dueAt: null },
    ]);
  });

  test("is refused where there is no such task, or one without end, or itself", async () => {
    await using gateway = await ApiGateway.open();
    const client = gateway.client();
    await client.submit({ wasm, id: "endless", cron: "* * * * *" });
    const refused = { status: 400, code: "invalid-field" };
    await expect(client.submit({ wasm, after: ["nobody", "endless"] })).rejects.toMatchObject({
      ...refused,
      errors: [
        { field: "after", message: "names nobody, and there is no such task: submit that one first" },
        { field: "after", message: expect.stringMatching(/^names endless, which runs until it is cancelled/) },
      ],
    });
    await expect(client.submit({ wasm, id: "t", after: ["t"] })).rejects.toMatchObject(refused);
    await expect(client.submit({ wasm, id: "t", after: ["endless", "endless"] })).rejects.toMatchObject(refused);
    await expect(client.submit({ wasm, id: "t", after: ["not an id"] })).rejects.toMatchObject(refused);
  });
});

describe("POST /tasks/{id}/retry", () => {
  test("runs what failed again", async () => {
    await using gateway = await ApiGateway.open();
    const client = gateway.client();
    await client.submit({ wasm, id: "t" });
    await gateway.settle(await gateway.start("t"), { kind: "exited", code: 3 });
    const response = await retry(gateway, "t");
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({
      id: "t",
      state: "ready",
      finishedAt: null,
      reason: null,
      result: null,
    });
    await gateway.succeed(await gateway.start("t"));
    expect(await client.getTask("t")).toMatchObject({ state: "succeeded" });
    expect((await client.getRun("t", 1)).attempts.map(({ number, state }) => [number, state])).toEqual([
      [1, "failed"],
      [2, "succeeded"],
    ]);
  });

  test("says why it cannot", async () => {
    await using gateway = await ApiGateway.open();
    const client = gateway.client();
    expect(await codeOf(await retry(gateway, "t"))).toMatchObject([404, "no-such-task", expect.any(String)]);
    await client.submit({ wasm, id: "t" });
    expect(await codeOf(await retry(gateway, "t"))).toMatchObject([
      409,
      "not-finished",
      expect.stringMatching(/is ready: wait/),
    ]);
    await client.submit({ wasm, id: "after", after: ["t"] });
    await gateway.settle(await gateway.start("t"), { kind: "trapped", reason: "unreachable" });
    await gateway.store.promoteDue(Date.now(), 10);
    expect(await codeOf(await retry(gateway, "after"))).toEqual([
      409,
      "dependency-failed",
      "The task after cannot run again: it runs after t, which has failed; retry that one first, or submit this one anew.",
    ]);
    await retry(gateway, "t");
    expect((await retry(gateway, "after")).status).toBe(200);
    await gateway.succeed(await gateway.start("t"));
    expect(await codeOf(await retry(gateway, "t"))).toMatchObject([409, "nothing-to-retry", expect.any(String)]);
  });
});
