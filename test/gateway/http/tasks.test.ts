import { describe, expect, test } from "vitest";
import { z } from "zod";
import { moduleSchema } from "../../../src/api/module-json.ts";
import { problemSchema } from "../../../src/api/problem.ts";
import { runSchema } from "../../../src/api/run-json.ts";
import { taskSchema } from "../../../src/api/task-json.ts";
import { ApiGateway, WORKER } from "../../support/api-gateway.ts";
import { guestBytes } from "../../support/guests.ts";

const wasm = guestBytes("hash");

async function get<Schema extends z.ZodType>(
  gateway: ApiGateway,
  path: string,
  schema: Schema,
): Promise<z.infer<Schema>> {
  return schema.parse(await (await fetch(`${gateway.url}${path}`)).json());
}

async function codeOf(response: Response): Promise<[number, string]> {
  return [response.status, problemSchema.parse(await response.json()).code];
}

describe("GET /tasks", () => {
  test("is an empty array before anything is submitted", async () => {
    await using gateway = await ApiGateway.open();
    expect(await get(gateway, "/tasks", z.unknown())).toEqual([]);
  });

  test("gives pages, newest first, each with a link to the next", async () => {
    await using gateway = await ApiGateway.open();
    for (const id of ["a", "b", "c", "d", "e"]) await gateway.client().submit({ wasm, id });
    const ids: string[][] = [];
    let path: string | undefined = "/tasks?limit=2";
    while (path !== undefined) {
      const response: Response = await fetch(`${gateway.url}${path}`);
      ids.push(
        z
          .array(taskSchema)
          .parse(await response.json())
          .map(({ id }) => id),
      );
      path = /^<([^>]+)>; rel="next"$/.exec(response.headers.get("link") ?? "")?.[1];
    }
    expect(ids).toEqual([["e", "d"], ["c", "b"], ["a"]]);
  });

  test("gives what comes before a task that cannot be read, then its name, then what comes behind it", async () => {
    await using gateway = await ApiGateway.open();
    for (const id of ["a", "b", "c"]) await gateway.client().submit({ wasm, id });
    {
      using file = gateway.openBeside();
      file.exec("UPDATE tasks SET state = 'succeeded' WHERE id = 'b'");
    }
    const seen: unknown[] = [];
    for (let path: string | undefined = "/tasks"; path !== undefined;) {
      const response: Response = await fetch(`${gateway.url}${path}`);
      const body: unknown = await response.json();
      seen.push(
        response.ok
          ? z
              .array(taskSchema)
              .parse(body)
              .map(({ id }) => id)
          : problemSchema.parse(body),
      );
      path = /^<([^>]+)>; rel="next"$/.exec(response.headers.get("link") ?? "")?.[1];
    }
    const cursor = Buffer.from("tasks:2").toString("base64url");
    const detail = expect.stringMatching(`^The task "b" cannot be read: its database is damaged.*cursor=${cursor}`);
    expect(seen).toEqual([["c"], expect.objectContaining({ code: "store-unavailable", detail }), ["a"]]);
  });

  test("gives the tasks of one state", async () => {
    await using gateway = await ApiGateway.open();
    const client = gateway.client();
    await client.submit({ wasm, id: "now" });
    await client.submit({ wasm, id: "later", start: "1h" });
    await client.submit({ wasm, id: "never", start: "1h" });
    await client.cancel("never");
    const scheduled = await get(gateway, "/tasks?state=scheduled", z.array(taskSchema));
    expect(scheduled.map(({ id }) => id)).toEqual(["later"]);
    const cancelled = await get(gateway, "/tasks?state=cancelled", z.array(taskSchema));
    expect(cancelled.map(({ id }) => id)).toEqual(["never"]);
  });

  test.each(["state=done", "limit=0", "limit=1001", "limit=x", "cursor=zzz"])("refuses %s", async (query) => {
    await using gateway = await ApiGateway.open();
    expect(await codeOf(await fetch(`${gateway.url}/tasks?${query}`))).toEqual([400, "invalid-field"]);
  });
});

describe("a task", () => {
  test("shows its counter, its result and its end", async () => {
    await using gateway = await ApiGateway.open();
    await gateway.client().submit({ wasm, id: "a", complete: 7, input: 0, difficulty: 3 });
    const attempt = await gateway.start("a");
    await gateway.write(attempt, "stdout", "found\n");
    await gateway.succeed(attempt, { value: "2832" });
    expect(await get(gateway, "/tasks/a", taskSchema)).toMatchObject({
      state: "succeeded",
      complete: 8,
      completions: 8,
      runs: 1,
      progress: 1,
      nextRunAt: null,
      result: { value: "2832", stdout: "found\n", stderr: "", exitCode: 0 },
      finishedAt: expect.any(String),
    });
  });

  test("says why it failed", async () => {
    await using gateway = await ApiGateway.open();
    await gateway.client().submit({ wasm, id: "a" });
    await gateway.settle(await gateway.start("a"), { kind: "trapped", reason: "unreachable" });
    const run = await get(gateway, "/tasks/a/runs/1", runSchema);
    expect(run).toMatchObject({
      state: "failed",
      outcome: { kind: "trapped", reason: "unreachable" },
      attempts: [{ number: 1, worker: WORKER, state: "failed", outcome: { kind: "trapped", reason: "unreachable" } }],
      usage: { wallMs: 5, cpuMs: 4, memoryBytes: 65_536 },
    });
  });

  test("counts its running time towards progress", async () => {
    await using gateway = await ApiGateway.open();
    await gateway.client().submit({ wasm, id: "a", duration: "1ms" });
    await gateway.start("a");
    await expect.poll(async () => (await gateway.client().getTask("a")).progress).toBe(0.95);
  });

  test("is shown as it is when nothing is waited for, and as it ends when that is", async () => {
    await using gateway = await ApiGateway.open();
    await gateway.client().submit({ wasm, id: "a" });
    const attempt = await gateway.start("a");
    const waiting = get(gateway, "/tasks/a?wait=30s", taskSchema);
    expect((await get(gateway, "/tasks/a", taskSchema)).state).toBe("running");
    expect((await get(gateway, "/tasks/a?wait=10ms", taskSchema)).state).toBe("running");
    await gateway.succeed(attempt);
    expect((await waiting).state).toBe("succeeded");
  });

  test("that does not exist is 404, whatever is asked of it", async () => {
    await using gateway = await ApiGateway.open();
    for (const path of ["", "/runs", "/runs/1", "/logs"]) {
      expect(await codeOf(await fetch(`${gateway.url}/tasks/none${path}`))).toEqual([404, "no-such-task"]);
    }
    expect(await codeOf(await fetch(`${gateway.url}/tasks/%20`))).toEqual([404, "no-such-task"]);
    expect(await codeOf(await fetch(`${gateway.url}/tasks/none`, { method: "DELETE" }))).toEqual([404, "no-such-task"]);
    const cancel = await fetch(`${gateway.url}/tasks/none/cancel`, { method: "POST" });
    expect(await codeOf(cancel)).toEqual([404, "no-such-task"]);
  });

  test("is cancelled once", async () => {
    await using gateway = await ApiGateway.open();
    await gateway.client().submit({ wasm, id: "a" });
    const response = await fetch(`${gateway.url}/tasks/a/cancel`, { method: "POST" });
    expect([response.status, taskSchema.parse(await response.json()).state]).toEqual([200, "cancelled"]);
    const again = await fetch(`${gateway.url}/tasks/a/cancel`, { method: "POST" });
    expect(await codeOf(again)).toEqual([409, "already-finished"]);
  });

  test("that is deleted leaves its id free", async () => {
    await using gateway = await ApiGateway.open();
    await gateway.client().submit({ wasm, id: "a" });
    const response = await fetch(`${gateway.url}/tasks/a`, { method: "DELETE" });
    expect([response.status, await response.text()]).toEqual([204, ""]);
    expect((await gateway.client().submit({ wasm, id: "a" })).id).toBe("a");
  });
});

describe("the runs of a task", () => {
  test("are all shown, those that wait for their time too", async () => {
    await using gateway = await ApiGateway.open();
    const task = await gateway.client().submit({ wasm, id: "a", start: "1h", delay: "2s", repeats: 3 });
    const runs = await get(gateway, "/tasks/a/runs", z.array(runSchema));
    expect(runs.map(({ index, state, attempts }) => ({ index, state, attempts }))).toEqual(
      [1, 2, 3].map((index) => ({ index, state: "scheduled", attempts: [] })),
    );
    const first = Date.parse(runs[0]?.dueAt ?? "");
    expect(runs.map(({ dueAt }) => Date.parse(dueAt ?? "") - first)).toEqual([0, 2_000, 4_000]);
    expect(first).toBe(Date.parse(task.createdAt) + 3_600_000);
    expect(await get(gateway, "/tasks/a/runs/3", runSchema)).toEqual(runs[2]);
  });

  test("come in pages", async () => {
    await using gateway = await ApiGateway.open();
    await gateway.client().submit({ wasm, id: "a", repeats: 1_000_000 });
    const response = await fetch(`${gateway.url}/tasks/a/runs?limit=300`);
    expect(z.array(runSchema).parse(await response.json())).toHaveLength(300);
    expect(response.headers.get("link")).toBe('</tasks/a/runs?limit=300&cursor=301>; rel="next"');
    const last = await get(gateway, "/tasks/a/runs?limit=300&cursor=999999", z.array(runSchema));
    expect(last.map(({ index }) => index)).toEqual([999_999, 1_000_000]);
  });

  test("end with the last", async () => {
    await using gateway = await ApiGateway.open();
    await gateway.client().submit({ wasm, id: "a", repeats: 3 });
    for (const index of ["0", "4", "x", "-1", "1.5"]) {
      expect(await codeOf(await fetch(`${gateway.url}/tasks/a/runs/${index}`))).toEqual([404, "no-such-run"]);
    }
  });

  test("of a cancelled task are cancelled, also those that never were due", async () => {
    await using gateway = await ApiGateway.open();
    await gateway.client().submit({ wasm, id: "a", start: "1h", delay: "1h", repeats: 3 });
    await gateway.client().cancel("a");
    const runs = await get(gateway, "/tasks/a/runs", z.array(runSchema));
    expect(runs.map(({ state }) => state)).toEqual(["cancelled", "cancelled", "cancelled"]);
    const [first, ...others] = runs.map(({ outcome }) => outcome);
    expect(first).toMatchObject({ kind: "cancelled" });
    expect(others).toEqual([first, first]);
  });
});

describe("a module", () => {
  test("is shown by its digest while a task uses it", async () => {
    await using gateway = await ApiGateway.open();
    const { module } = await gateway.client().submit({ wasm, id: "a" });
    expect(await get(gateway, `/modules/${module}`, moduleSchema)).toMatchObject({
      sha256: module,
      kind: "core",
      size: wasm.length,
      exports: expect.arrayContaining([{ name: "run", kind: "function", signature: "(i32,i32)->(i32)" }]),
    });
    await gateway.client().delete("a");
    expect(await codeOf(await fetch(`${gateway.url}/modules/${module}`))).toEqual([404, "no-such-module"]);
    expect(await codeOf(await fetch(`${gateway.url}/modules/abc`))).toEqual([404, "no-such-module"]);
  });
});
