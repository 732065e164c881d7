/** `POST /tasks/batch`: many tasks, all or none. */
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { BATCH_TYPES } from "../../../src/api/batch.ts";
import { problemSchema } from "../../../src/api/problem.ts";
import { taskSchema } from "../../../src/api/task-json.ts";
import {
  AFTER_MAX,
  BATCH_AFTER_MAX,
  BATCH_BYTES_MAX,
  BATCH_CRONS_MAX,
  BATCH_ERRORS_MAX,
  BATCH_LINES_MAX,
  LOOP_TURN_MS_MAX,
} from "../../../src/base/limits.ts";
import { systemClock } from "../../../src/base/system-clock.ts";
import { ApiGateway } from "../../support/api-gateway.ts";
import { guestBytes } from "../../support/guests.ts";

const hash = guestBytes("hash");
const digest = createHash("sha256").update(hash).digest("hex");

/** A gateway that has the module: a task of the name `first` uses it. */
async function openGateway(): Promise<ApiGateway> {
  const gateway = await ApiGateway.open();
  await gateway.client().submit({ wasm: new Blob([hash]), id: "first" });
  return gateway;
}

function post(gateway: ApiGateway, lines: readonly unknown[] | string, headers: Record<string, string> = {}) {
  const body = typeof lines === "string" ? lines : lines.map((line) => `${JSON.stringify(line)}\n`).join("");
  return fetch(`${gateway.url}/tasks/batch`, {
    method: "POST",
    body,
    headers: { "content-type": "application/x-ndjson", ...headers },
  });
}

async function refusalOf(gateway: ApiGateway, response: Response) {
  const problem = problemSchema.parse(await response.json());
  expect(problem.status).toBe(response.status);
  expect((await gateway.store.listTasks({ limit: 9 })).tasks.map(({ spec }) => spec.id)).toEqual(["first"]);
  return problem;
}

async function tasksOf(response: Response) {
  expect(response.status).toBe(200);
  expect(response.headers.get("content-type")).toBe("application/x-ndjson");
  const text = await response.text();
  return text
    .split("\n")
    .slice(0, -1)
    .map((line) => taskSchema.parse(JSON.parse(line)));
}

describe("POST /tasks/batch", () => {
  test("makes the tasks in their order and answers a line for each", async () => {
    await using gateway = await openGateway();
    const response = await post(gateway, [
      { module: digest, id: "a", input: 7, difficulty: "2", priority: -3, description: "first of three" },
      { module: digest.toUpperCase(), id: "b", after: ["a", "first"], start: 0.5, args: ["x", "[y]"], stdin: "hi" },
      { module: digest, env: { A: "1" }, require: { os: "linux" }, retryOn: ["trapped"], cron: "0 3 * * *", id: null },
    ]);
    const tasks = await tasksOf(response);
    expect(tasks).toMatchObject([
      { id: "a", state: "ready", input: 7, difficulty: 2, priority: -3, entry: "run", description: "first of three" },
      { id: "b", state: "scheduled", after: ["a", "first"], start: 0.5, args: ["x", "[y]"], stdin: "hi" },
      { env: { A: "1" }, require: { os: "linux" }, retryOn: ["trapped"], cron: "0 3 * * *", runs: null },
    ]);
    const { tasks: stored } = await gateway.store.listTasks({ limit: 9 });
    expect(stored.map(({ spec }) => spec.id).toReversed()).toEqual(["first", ...tasks.map(({ id }) => id)]);
  });

  test("passes over empty lines, and needs no line end at its end", async () => {
    await using gateway = await openGateway();
    const tasks = await tasksOf(
      await post(gateway, `\n {"module":"${digest}","id":"a"}\r\n\n{"module":"${digest}","id":"b"}`),
    );
    expect(tasks.map(({ id }) => id)).toEqual(["a", "b"]);
  });

  test("makes as many tasks as a batch may have", { timeout: 60_000 }, async () => {
    await using gateway = await openGateway();
    const lines = Array.from({ length: BATCH_LINES_MAX }, (_, each) => ({ module: digest, id: `t${each}` }));
    expect(await tasksOf(await post(gateway, lines))).toHaveLength(BATCH_LINES_MAX);
    expect((await gateway.store.measureQueue()).tasks).toBe(BATCH_LINES_MAX + 1);
    const problem = problemSchema.parse(await (await post(gateway, [...lines, { module: digest }])).json());
    expect(problem).toMatchObject({ status: 413, code: "too-large" });
    expect(problem.detail).toBe(`The batch has more than ${BATCH_LINES_MAX} lines: send it in parts.`);
  });

  test("refuses all where a field is wrong, and names every line", async () => {
    await using gateway = await openGateway();
    const response = await post(
      gateway,
      `{"module":"${digest}","id":"a"}\n{"module":"${digest}","strat":1,"repeats":-1}\n\nnot json\n[]\n{"id":"b"}\n{"wasm":"x"}\n{"module":"${digest}","start":true}`,
    );
    const problem = await refusalOf(gateway, response);
    expect([problem.status, problem.code]).toEqual([400, "invalid-field"]);
    expect(problem.errors?.map(({ line, field }) => [line, field])).toEqual([
      [2, "strat"],
      [2, "repeats"],
      [4, "line"],
      [5, "line"],
      [6, "module"],
      [7, "wasm"],
      [8, "start"],
    ]);
    expect(problem.detail).toMatch(
      /^6 of 7 lines cannot be accepted, so none is: line 2: strat is no field .* did you mean start\?; line 2: repeats/,
    );
  });

  test("says all that is wrong with all lines at once, whatever it is, and of which task", async () => {
    await using gateway = await openGateway();
    const missing = "ab".repeat(32);
    const response = await post(
      gateway,
      [
        { module: digest, id: "a", repeats: -1, after: ["nowhere"] },
        { module: missing, id: "b", timeout: "soon", files: ["@first/x"] },
        { module: digest, id: "first", entry: "component" },
        { module: digest, after: ["a", "b", "first", "elsewhere"] },
        { module: digest, id: "endless", cron: "* * * * *", memory: 0 },
        { module: digest, id: "c", after: ["endless"], strat: 1 },
        { module: missing, id: "c", strat: 1, retries: true },
      ]
        .map((line) => `${JSON.stringify(line)}\n\n`)
        .join(""),
    );
    const problem = await refusalOf(gateway, response);
    expect([problem.status, problem.code]).toEqual([400, "invalid-field"]);
    expect(problem.errors?.map(({ line, index, id, field }) => [line, index, id, field])).toEqual([
      [1, 0, "a", "repeats"],
      [1, 0, "a", "after"],
      [3, 1, "b", "timeout"],
      [3, 1, "b", "files"],
      [3, 1, "b", "module"],
      [5, 2, "first", "module"],
      [5, 2, "first", "id"],
      [7, 3, undefined, "after"],
      [9, 4, "endless", "memory"],
      [11, 5, "c", "strat"],
      [11, 5, "c", "after"],
      [13, 6, "c", "retries"],
      [13, 6, "c", "strat"],
      [13, 6, "c", "module"],
      [13, 6, "c", "id"],
    ]);
    expect(problem.detail).toContain("7 of 7 lines cannot be accepted, so none is: line 1 (a): repeats is");
    expect(problem.errors?.[7]?.message).toMatch(/^names elsewhere, and there is no such task/);
  });

  test("does not say what only follows from another error", async () => {
    await using gateway = await openGateway();
    const odd = await refusalOf(
      gateway,
      await post(
        gateway,
        `not json\n{"module":"${digest}","id":"b","after":["a"]}\n{"module":"${digest}","id":"c","entri":"component","memory":"x"}`,
      ),
    );
    expect(odd.errors?.map(({ line, field }) => [line, field])).toEqual([
      [1, "line"],
      [3, "entri"],
      [3, "memory"],
    ]);
    const chain = await refusalOf(
      gateway,
      await post(gateway, [
        { module: digest, id: "a", after: ["nowhere"] },
        { module: digest, id: "b", after: ["a"] },
        { module: digest, id: "first", after: ["b", "nowhere"] },
      ]),
    );
    expect(chain.errors?.map(({ line, field }) => [line, field])).toEqual([
      [1, "after"],
      [3, "id"],
      [3, "after"],
    ]);
  });

  test("takes a line for no task without end, and for none that has no name, where that only follows", async () => {
    await using gateway = await openGateway();
    const cron = "0 3 * * *";
    const response = await post(gateway, [
      { module: digest, id: "a", cron, repeat: 3 },
      { module: digest, id: "b", cron, repeats: -1 },
      { module: digest, id: "c", cron, delay: 5 },
      { module: digest, id: "d", cron, memory: 0 },
      { module: digest, after: ["a", "b", "c", "elsewhere"] },
      { module: digest, after: ["d"] },
    ]);
    const problem = await refusalOf(gateway, response);
    expect(problem.errors?.map(({ line, field }) => [line, field])).toEqual([
      [1, "repeat"],
      [2, "repeats"],
      [3, "delay"],
      [4, "memory"],
      [5, "after"],
      [6, "after"],
    ]);
    expect(problem.errors?.[4]?.message).toMatch(/^names elsewhere, and there is no such task/);
    expect(problem.errors?.[5]?.message).toMatch(/^names d, which runs until it is cancelled/);
    const misspelt = await post(gateway, [
      { module: digest, after: ["e"] },
      { module: digest, ID: "e" },
      { module: digest, after: ["e"] },
    ]);
    expect((await refusalOf(gateway, misspelt)).errors).toMatchObject([{ line: 2, field: "ID" }]);
  });

  test("names a bounded number of errors, of all kinds by line", async () => {
    await using gateway = await openGateway();
    const response = await post(
      gateway,
      Array.from({ length: BATCH_ERRORS_MAX + 5 }, () => ({ module: digest, x: 1 })),
    );
    const problem = await refusalOf(gateway, response);
    expect(problem.errors).toHaveLength(BATCH_ERRORS_MAX);
    const last = BATCH_ERRORS_MAX + 1;
    expect(problem.detail).toMatch(
      new RegExp(`^at least ${last} of ${last + 4} lines .*; and more; behind line ${last} nothing was looked at$`),
    );
    const unknown = Array.from({ length: last + 4 }, (_, each) => ({ module: digest, files: [`@first/${each}`] }));
    const later = await refusalOf(gateway, await post(gateway, [...unknown, { module: "ab".repeat(32) }]));
    expect(later.detail).toMatch(
      new RegExp(
        `^at least ${last + 1} of ${last + 5} lines .*; and more; behind line ${last} kept files were not looked for$`,
      ),
    );
    const unread = [{ module: digest, after: ["last"], x: 1 }, ...unknown.map(() => "no object"), { id: "last" }];
    const early = await refusalOf(gateway, await post(gateway, unread));
    expect(early.errors?.filter(({ line }) => line === 1)).toMatchObject([{ field: "x" }]);
    const mixed = Array.from({ length: BATCH_ERRORS_MAX }, () => ({ module: digest, priority: 1e6, after: ["x"] }));
    const more = await refusalOf(gateway, await post(gateway, mixed));
    expect(more.errors).toHaveLength(BATCH_ERRORS_MAX);
    expect(more.errors?.at(-1)).toMatchObject({ line: BATCH_ERRORS_MAX / 2, field: "after" });
    expect(more.detail).toMatch(new RegExp(`; and ${BATCH_ERRORS_MAX} more$`));
  });

  test("lets others have their turn while it is read", async () => {
    let elapsedMs = 0;
    await using gateway = await ApiGateway.open({
      clock: { ...systemClock, monotonicMs: () => (elapsedMs += LOOP_TURN_MS_MAX) },
    });
    await gateway.client().submit({ wasm: new Blob([hash]), id: "first" });
    let turns = 0;
    let isOver = false;
    const count = (): void => {
      turns++;
      if (!isOver) setImmediate(count);
    };
    setImmediate(count);
    const lines = 2_000;
    const response = await post(
      gateway,
      Array.from({ length: lines }, () => ({ module: digest, cron: "0 3 * * *" })),
    );
    isOver = true;
    expect(response.status).toBe(200);
    expect(turns).toBeGreaterThan(lines);
  });

  test("refuses more dependencies than fit one transaction, before it looks for any of them", async () => {
    await using gateway = await openGateway();
    const after = Array.from({ length: AFTER_MAX }, (_, each) => `t${each}`);
    const line = { module: digest, after };
    const full = Array.from({ length: BATCH_AFTER_MAX / AFTER_MAX }, () => line);
    const problem = await refusalOf(gateway, await post(gateway, [...full, { module: digest, after: ["first"] }]));
    expect(problem).toMatchObject({ status: 413, code: "too-large" });
    expect(problem.detail).toMatch(/^The lines of the batch run after 50001 tasks in all, and 50000 are the most: /);
    const withErrors = [...full, { module: digest, after: ["first"], strat: 1 }, "no object"];
    expect(await refusalOf(gateway, await post(gateway, withErrors))).toMatchObject({ detail: problem.detail });
    expect(await refusalOf(gateway, await post(gateway, full.slice(1)))).toMatchObject({ code: "invalid-field" });
  });

  test("takes many that run after many, and binds each to each", { timeout: 60_000 }, async () => {
    await using gateway = await openGateway();
    const roots = Array.from({ length: 200 }, (_, each) => ({ module: digest, id: `r${each}`, start: 60 }));
    const after = roots.map(({ id }) => id);
    const leaves = Array.from({ length: 50 }, (_, each) => ({ module: digest, id: `l${each}`, after }));
    expect(await tasksOf(await post(gateway, [...roots, ...leaves]))).toHaveLength(250);
    await gateway.client().cancel("r199");
    await gateway.store.promoteDue(systemClock.now(), 1_000);
    const { tasks } = await gateway.store.listTasks({ limit: 300, state: "cancelled" });
    expect(tasks.map(({ spec }) => spec.id).toSorted()).toEqual(["r199", ...leaves.map(({ id }) => id)].toSorted());
  });

  test("refuses more different cron expressions than fit one transaction", { timeout: 60_000 }, async () => {
    await using gateway = await openGateway();
    const lines = Array.from({ length: BATCH_CRONS_MAX + 1 }, (_, each) => ({
      module: digest,
      cron: `${each % 60} ${Math.floor(each / 60) % 60} 3 * * *`,
    }));
    const problem = await refusalOf(gateway, await post(gateway, lines));
    expect(problem).toMatchObject({ status: 413, code: "too-large" });
    expect(problem.detail).toMatch(/^The batch has 2001 different cron expressions, and 2000 are the most: /);
  });

  test("refuses all where an id is taken, also by another line", async () => {
    await using gateway = await openGateway();
    const response = await post(gateway, [
      { module: digest, id: "a" },
      { module: digest, id: "first" },
      { module: digest, id: "a" },
    ]);
    const problem = await refusalOf(gateway, response);
    expect([problem.status, problem.code]).toEqual([409, "id-taken"]);
    expect(problem.errors?.map(({ line, field }) => [line, field])).toEqual([
      [2, "id"],
      [3, "id"],
    ]);
  });

  test("takes a task after a later one, and a file that one is to keep", async () => {
    await using gateway = await openGateway();
    const tasks = await tasksOf(
      await post(gateway, [
        { module: digest, id: "c", after: ["b", "a"], files: ["in=@a/out.txt", "@b#1/x"] },
        { module: digest, id: "b", after: ["a"] },
        { module: digest, id: "a", outputs: ["out.txt"] },
      ]),
    );
    expect(tasks).toMatchObject([
      { id: "c", state: "scheduled", after: ["b", "a"] },
      { id: "b", state: "scheduled" },
      { id: "a", state: "ready" },
    ]);
    await gateway.client().cancel("a");
    await gateway.store.promoteDue(systemClock.now(), 10);
    expect((await gateway.client().getTask("c")).reason).toMatch(/^it runs after [ab], which was cancelled/);
  });

  test("refuses a task after itself, after one without end, and after one that there is not", async () => {
    await using gateway = await openGateway();
    const response = await post(gateway, [
      { module: digest, id: "a", after: ["b"] },
      { module: digest, id: "b", cron: "* * * * *" },
      { module: digest, id: "c", after: ["b", "d"] },
    ]);
    const problem = await refusalOf(gateway, response);
    expect([problem.status, problem.code]).toEqual([400, "invalid-field"]);
    expect(problem.errors).toMatchObject([
      { line: 1, field: "after", message: expect.stringMatching(/^names b, which runs until it is cancelled/) },
      { line: 3, field: "after", message: expect.stringMatching(/^names d, and there is no such task/) },
      { line: 3, field: "after", message: expect.stringMatching(/^names b, which runs until it is cancelled/) },
    ]);
    const itself = await refusalOf(gateway, await post(gateway, [{ module: digest, id: "a", after: ["a"] }]));
    expect(itself.errors?.[0]?.message).toMatch(/^names the task itself/);
  });

  test("refuses tasks that run after each other, with a line of the cycle and all that are in it", async () => {
    await using gateway = await openGateway();
    const cycle = [
      { module: digest, id: "x", after: ["c"] },
      { module: digest, id: "a", after: ["b"] },
      { module: digest, id: "b", after: ["c"] },
      { module: digest, id: "c", after: ["a", "first"] },
    ];
    const problem = await refusalOf(gateway, await post(gateway, cycle));
    expect([problem.status, problem.code]).toEqual([400, "invalid-field"]);
    const message =
      "makes a cycle of 3 tasks, which would wait for ever: a runs after b, b runs after c, c runs after a; take one of these out";
    expect(problem.errors).toEqual([{ line: 2, index: 1, id: "a", field: "after", message }]);
    // Beside other errors too, unless an id that is taken may be what makes it one.
    const wrong = await refusalOf(gateway, await post(gateway, [...cycle, { module: digest, priority: 1e6 }]));
    expect(wrong.errors).toMatchObject([{ line: 2, message }, { line: 5 }]);
    const twice = await refusalOf(gateway, await post(gateway, [...cycle, { module: digest, id: "a" }]));
    expect(twice.errors).toMatchObject([{ line: 5, field: "id" }]);
    const long = Array.from({ length: 100 }, (_, each) => ({
      module: digest,
      id: `t${each}`,
      after: [`t${(each + 99) % 100}`],
    }));
    const [only, ...others] = (await refusalOf(gateway, await post(gateway, long))).errors ?? [];
    expect(others).toEqual([]);
    expect(only?.message).toMatch(
      /^makes a cycle of 100 tasks, .*: t0 runs after t99, t99 runs after t98, .*, …, t1 runs/,
    );
  });

  test("refuses modules that are not there, or cannot run so", async () => {
    await using gateway = await openGateway();
    const missing = await refusalOf(gateway, await post(gateway, [{ module: "ab".repeat(32) }]));
    expect(missing).toMatchObject({ status: 400, code: "invalid-field", errors: [{ line: 1, field: "module" }] });
    const rejected = await refusalOf(gateway, await post(gateway, [{ module: digest, entry: "component" }]));
    expect(rejected).toMatchObject({ status: 422, code: "module-rejected", errors: [{ line: 1, field: "module" }] });
  });

  test("refuses what is no batch", async () => {
    await using gateway = await openGateway();
    for (const type of ["multipart/form-data; boundary=x", "multipart/mixed", "application/wasm", "text/csv"]) {
      const refused = await refusalOf(gateway, await post(gateway, [], { "content-type": type }));
      expect(refused).toMatchObject({ status: 415, code: "unsupported-media-type" });
      expect(refused.detail).toContain(`The batch came as ${type.split(";")[0]}: send lines of JSON`);
    }
    const large = await refusalOf(gateway, await post(gateway, " ".repeat(BATCH_BYTES_MAX + 1)));
    expect(large).toMatchObject({ status: 413, code: "too-large" });
    const binary = await fetch(`${gateway.url}/tasks/batch`, { method: "POST", body: Uint8Array.of(0xff, 0xfe) });
    expect(await refusalOf(gateway, binary)).toMatchObject({ code: "invalid-form" });
  });

  test("is taken by all the names that lines of JSON have, or whatever programs call text and bytes", async () => {
    await using gateway = await openGateway();
    const written = ["Application/X-NDJSON", "application/jsonl; charset=utf-8", "text/plain;charset=UTF-8", ""];
    for (const type of [...BATCH_TYPES, ...written]) {
      const response = await post(gateway, [{ module: digest }], { "content-type": type });
      expect([type, response.status]).toEqual([type, 200]);
      expect(await tasksOf(response)).toHaveLength(1);
    }
  });

  test("is taken without a type, and with the one that programs add by themselves", async () => {
    await using gateway = await openGateway();
    const bytes = new TextEncoder().encode(`{"module":"${digest}"}\n`);
    for (const body of [bytes, new TextDecoder().decode(bytes)]) {
      expect(await tasksOf(await fetch(`${gateway.url}/tasks/batch`, { method: "POST", body }))).toHaveLength(1);
    }
  });

  test("takes numbers wherever there may be text", async () => {
    await using gateway = await openGateway();
    const line = { module: digest, id: 1, args: [1, "b", -2.5], env: { A: 1, B: "x" }, require: { cores: 8 } };
    const tasks = await tasksOf(await post(gateway, [line, { module: digest, after: [1] }]));
    expect(tasks).toMatchObject([
      { id: "1", args: ["1", "b", "-2.5"], env: { A: "1", B: "x" }, require: { cores: "8" } },
      { after: ["1"] },
    ]);
  });

  test("refuses what is neither text nor a number, or would be another number", async () => {
    await using gateway = await openGateway();
    const wrong = [
      ['"args":[1,true]', /^is "\[1,true\]", in which a value is neither text nor a number: put it in quotes$/],
      ['"args":[null]', /in which a value is neither text nor a number/],
      ['"args":[1e400]', /in which a value is neither text nor a number/],
      ['"env":{"A":{}}', /^has a value of "A" that is neither text nor a number: put it in quotes$/],
      ['"env":{"A":false}', /^has a value of "A" that is neither text nor a number/],
      [
        '"args":[12345678901234567890]',
        /in which a value is a number with more digits than are kept: put it in quotes$/,
      ],
      ['"stdin":12345678901234567890', /^is a number with more digits than are kept/],
      ['"stdin":1e400', /^is a number with more digits than are kept/],
      ['"stdin":true', /^is neither text nor a number/],
    ] as const;
    const lines = wrong.map(([field]) => `{"module":"${digest}",${field}}\n`).join("");
    const problem = await refusalOf(gateway, await post(gateway, lines));
    expect(problem.errors).toMatchObject(
      wrong.map(([, message], index) => ({ index, message: expect.stringMatching(message) })),
    );
  });

  test("says of lines that are no objects how they come to be", async () => {
    await using gateway = await openGateway();
    const [list, joined] = [`[{"module":"${digest}"}]`, `{"module":"${digest}"}{"module":"${digest}"}`];
    const problem = await refusalOf(gateway, await post(gateway, `${list}\n${joined}\nx`));
    expect(problem.errors?.map(({ message }) => message)).toEqual([
      "is no JSON object: send what is in the list line by line, as jq -c '.[]' writes it",
      "is no JSON object: each line is one; curl takes line ends out of a file unless it is sent with --data-binary",
      'is no JSON object: each line is one, like {"module":"<sha256>","id":"a"}',
    ]);
  });

  test("tells a full queue", async () => {
    await using gateway = await openGateway();
    gateway.isQueueFull = true;
    const response = await post(gateway, [{ module: digest }]);
    expect(response.headers.get("retry-after")).toBe("8");
    expect(await refusalOf(gateway, response)).toMatchObject({ status: 429, code: "queue-full" });
  });

  test("with an Idempotency-Key is made once", async () => {
    await using gateway = await openGateway();
    const key = { "idempotency-key": "k1" };
    const lines = [{ module: digest }, { module: digest, id: "b" }];
    const [first, second] = await Promise.all([post(gateway, lines, key), post(gateway, lines, key)]);
    const text = await first.text();
    expect(await second.text()).toBe(text);
    expect(await (await post(gateway, lines, key)).text()).toBe(text);
    expect((await gateway.store.listTasks({ limit: 9 })).tasks).toHaveLength(3);
    const other = await post(gateway, [{ module: digest }], key);
    expect(problemSchema.parse(await other.json()).code).toBe("idempotency-mismatch");
  });
});
