/** Commands as processes, against an HTTP server that answers as a gateway would. */
import type { RequestListener } from "node:http";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { CommandLine } from "../support/command-line.ts";
import { FakeGateway, RUN, TASK, json, log, problem } from "../support/fake-gateway.ts";

const FINISHED = {
  "POST /tasks": json(TASK, 201),
  "GET /tasks/t1": json(TASK),
  "GET /tasks/t1/runs": json([RUN]),
  "GET /tasks/t1/logs": log([
    { stream: "stdout", text: "out\n" },
    { stream: "stderr", text: "err\n" },
  ]),
};

async function moduleFile(line: CommandLine): Promise<string> {
  const path = join(line.home, "m.wasm");
  await writeFile(path, "\0asm\x01\0\0\0");
  return path;
}

describe("run", () => {
  test("passes output on, each stream to its own, and ends with 0", async () => {
    await using gateway = await FakeGateway.create(FINISHED);
    await using line = await CommandLine.create();
    const result = await line.run(["run", await moduleFile(line)], { env: gateway.env });
    expect(result).toEqual({ code: 0, stdout: "out\n", stderr: "err\n" });
  });

  test("sends every flag as the field of its name, and arguments after --", async () => {
    await using gateway = await FakeGateway.create(FINISHED);
    await using line = await CommandLine.create();
    const flags =
      "--id t1 --description D --input 1 --difficulty -2 --entry run --start 1s --delay 2 --repeats 3 --duration 4 " +
      "--complete 5 --env A=1 --env B=x=y --stdin - --timeout 6 --cpu 7 --memory 8 --output-max 9 --output-limit fail " +
      "--retries 10 --retry-on trapped --backoff 11 --priority -12 --require zone=eu --idempotency-key k-1 --detach";
    const args = ["run", await moduleFile(line), ...flags.split(" "), "--", "-x", "--json"];
    const result = await line.run(args, { env: gateway.env, stdin: "typed" });
    expect(result).toEqual({ code: 0, stdout: "t1\n", stderr: "" });
    const { body = "", key } = gateway.requests[0] ?? {};
    expect(key).toBe("k-1");
    const fields = Object.fromEntries(
      [...body.matchAll(/name="(\w+)"[^\r]*\r\n(?:Content-Type[^\r]*\r\n)?\r\n([^\r]*)\r\n/g)].map((m) => [m[1], m[2]]),
    );
    expect(fields).toEqual({
      id: "t1",
      description: "D",
      input: "1",
      difficulty: "-2",
      entry: "run",
      start: "1s",
      delay: "2",
      repeats: "3",
      duration: "4",
      complete: "5",
      env: '{"A":"1","B":"x=y"}',
      stdin: "typed",
      timeout: "6",
      cpu: "7",
      memory: "8",
      outputMax: "9",
      outputLimit: "fail",
      retries: "10",
      retryOn: "trapped",
      backoff: "11",
      priority: "-12",
      require: "zone=eu",
      args: '["-x","--json"]',
      wasm: "\0asm\x01\0\0\0",
    });
  });

  test("prints the values of runs", async () => {
    const result = { value: "2832", stdout: "", stderr: "", exitCode: 0 };
    const runs = [1, 2].map((index) => ({ ...RUN, index, result }));
    await using gateway = await FakeGateway.create({
      ...FINISHED,
      "GET /tasks/t1/runs": json(runs),
      "GET /tasks/t1/logs": log([]),
    });
    await using line = await CommandLine.create();
    const { stdout } = await line.run(["run", await moduleFile(line)], { env: gateway.env });
    expect(stdout).toBe("2832\n2832\n");
  });

  test("ends with the guest's exit code, of the run that failed", async () => {
    const outcome = { kind: "exited", code: 42 };
    const failedRun = { ...RUN, state: "failed", outcome, result: { ...RUN.result, exitCode: 42 } };
    await using gateway = await FakeGateway.create({
      ...FINISHED,
      "GET /tasks/t1": json({ ...TASK, state: "failed" }),
      "GET /tasks/t1/runs": json([failedRun, { ...RUN, index: 2 }]),
    });
    await using line = await CommandLine.create();
    const result = await line.run(["run", await moduleFile(line)], { env: gateway.env });
    expect(result.code).toBe(42);
    expect(result.stderr).toContain("task t1 failed: exit code 42");
  });

  test.each([
    ["trapped", { kind: "trapped", reason: "unreachable executed" }, 1],
    ["exited with a code that is none of a process", { kind: "exited", code: 256 }, 1],
  ])("ends with 1 when the guest %s", async (_name, outcome, code) => {
    await using gateway = await FakeGateway.create({
      ...FINISHED,
      "GET /tasks/t1": json({ ...TASK, state: "failed", result: null }),
      "GET /tasks/t1/runs": json([{ ...RUN, state: "failed", outcome, result: null }]),
    });
    await using line = await CommandLine.create();
    expect((await line.run(["run", await moduleFile(line)], { env: gateway.env })).code).toBe(code);
  });

  test("says what it means that a run was poisoned", async () => {
    const outcome = { kind: "lost", reason: "poisoned" };
    await using gateway = await FakeGateway.create({
      ...FINISHED,
      "GET /tasks/t1": json({ ...TASK, state: "failed", reason: "poisoned", result: null }),
      "GET /tasks/t1/runs": json([{ ...RUN, state: "failed", outcome, result: null }]),
    });
    await using line = await CommandLine.create();
    const result = await line.run(["run", await moduleFile(line)], { env: gateway.env });
    expect(result.stderr).toContain("poisoned: 5 attempts each took their worker or runner down");
  });

  test("tells everything as JSON, one value a line", async () => {
    await using gateway = await FakeGateway.create(FINISHED);
    await using line = await CommandLine.create();
    const { stdout, stderr } = await line.run(["run", await moduleFile(line), "--json"], { env: gateway.env });
    const events = stdout
      .trimEnd()
      .split("\n")
      .map((text): unknown => JSON.parse(text));
    expect(events).toMatchObject([
      { event: "submitted", task: { id: "t1" } },
      { event: "output", stream: "stdout", text: "out\n", run: 1 },
      { event: "output", stream: "stderr", text: "err\n" },
      { event: "finished", task: { state: "succeeded" }, runs: [{ index: 1 }] },
    ]);
    expect(stderr).toBe("");
  });

  const UNENDING = {
    ...FINISHED,
    "GET /tasks/t1": json({ ...TASK, state: "running", finishedAt: null, result: null }),
    "GET /tasks/t1/logs": ((_request, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(`id: 1:3\nevent: stdout\ndata: {"run":1,"attempt":1,"offset":0,"text":"up\\n"}\n\n`);
    }) satisfies RequestListener,
  };

  test("leaves the task running when interrupted, says so, and ends with 130", async () => {
    await using gateway = await FakeGateway.create(UNENDING);
    await using line = await CommandLine.create();
    const running = line.start(["run", await moduleFile(line)], { env: gateway.env });
    await running.find(/up/);
    running.kill("SIGINT");
    const result = await running.result;
    expect(result.code).toBe(130);
    expect(result.stderr).toContain("task t1 goes on");
    expect(gateway.requests.map(({ url }) => url)).not.toContain("/tasks/t1/cancel");
  });

  test("gives up waiting with 6", async () => {
    await using gateway = await FakeGateway.create(UNENDING);
    await using line = await CommandLine.create();
    const result = await line.run(["run", await moduleFile(line), "--wait", "300ms"], { env: gateway.env });
    expect(result.code).toBe(6);
  });

  test("waits for longer than a timer of the system can", async () => {
    await using gateway = await FakeGateway.create(FINISHED);
    await using line = await CommandLine.create();
    const result = await line.run(["run", await moduleFile(line), "--wait", "30d"], { env: gateway.env });
    expect([result.code, result.stdout]).toEqual([0, "out\n"]);
  });
});

describe("other commands", () => {
  test("task ls prints a table without control characters, and an array with --json", async () => {
    await using gateway = await FakeGateway.create({ "GET /tasks": json([TASK]) });
    await using line = await CommandLine.create();
    const { stdout } = await line.run(["task", "ls"], { env: gateway.env });
    expect(stdout).toMatch(/^ID +STATE +DONE +RUNS +RESULT +AGE +DESCRIPTION\nt1 +succeeded +100 % +1\/1 +out /);
    expect(stdout).not.toContain("\u001b");
    const asJson = await line.run(["--json", "task", "ls", "--state", "succeeded"], { env: gateway.env });
    expect(JSON.parse(asJson.stdout)).toEqual([TASK]);
    expect(gateway.requests.at(-1)?.url).toContain("state=succeeded");
  });

  test("task logs passes bytes of one stream as they are", async () => {
    const bytes: RequestListener = (_request, response) => response.end(Buffer.from([0x66, 0xff, 0x00]));
    await using gateway = await FakeGateway.create({ "GET /tasks/t1/logs": bytes });
    await using line = await CommandLine.create();
    const running = line.start(["task", "logs", "t1", "--stream", "stdout"], { env: gateway.env });
    expect((await running.result).stdout).toBe("f\ufffd\0");
  });

  test("worker admit, worker drain and task cancel say what they did, on stderr", async () => {
    await using gateway = await FakeGateway.create({
      "GET /workers": json([]),
      "POST /workers/w1/drain": (_request, response) => response.writeHead(204).end(),
      "POST /workers/w1/admit": (_request, response) => response.writeHead(204).end(),
      "POST /tasks/t1/cancel": json({ ...TASK, state: "cancelled" }),
    });
    await using line = await CommandLine.create();
    expect(await line.run(["worker", "admit", "w1"], { env: gateway.env })).toEqual({
      code: 0,
      stdout: "",
      stderr: "worker w1 may join\n",
    });
    expect(await line.run(["worker", "drain", "w1", "--within", "5m"], { env: gateway.env })).toMatchObject({
      code: 0,
      stderr: "worker w1 gets no more runs; `capmesh worker admit w1` takes that back\n",
    });
    expect((await line.run(["task", "cancel", "t1"], { env: gateway.env })).stderr).toBe("task t1 is cancelled\n");
  });

  test("the token goes along", async () => {
    await using gateway = await FakeGateway.create({ "GET /workers": json([]) });
    await using line = await CommandLine.create();
    const result = await line.run(["worker", "ls"], { env: { ...gateway.env, CAPMESH_TOKEN: "sesame" } });
    expect(result).toMatchObject({ code: 0, stdout: "" });
    expect(gateway.requests[0]?.authorization).toBe("Bearer sesame");
  });

  test("config show tells where each setting comes from", async () => {
    await using line = await CommandLine.create();
    await writeFile(join(line.home, "capmesh.json"), '{"ns":"mine","secret":"hush-hush"}');
    const args = ["config", "show", "--origin", "--json", "--slots", "3", "--dial", "host:4077#sesame-sesame"];
    const { stdout } = await line.run(args, { env: { CAPMESH_PICK: "locality" } });
    expect(JSON.parse(stdout)).toMatchObject({
      ns: { value: "mine", source: "project file" },
      secret: { value: "(hidden)" },
      dial: { value: ["host:4077#(hidden)"] },
      slots: { value: 3, source: "flag", at: "--slots" },
      pick: { value: "locality", source: "environment", at: "CAPMESH_PICK" },
      http: { value: "127.0.0.1:8080", source: "default" },
    });
  });
});

describe("exit codes", () => {
  test.each([
    [["task", "get", "t1"], problem(404, "no-such-task", "there is no task t1"), 3, "capmesh: there is no task t1\n"],
    [["task", "get", "t1"], problem(403, "forbidden", "not for you"), 4, "capmesh: not for you\n"],
    [["task", "get", "t1"], problem(401, "unauthenticated", "who are you?"), 4, "CAPMESH_TOKEN"],
    [["task", "get", "t1"], problem(503, "store-unavailable", "the disk is full"), 5, "capmesh: the disk is full\n"],
    [["task", "get", "t1"], problem(404, "no-such-task", "\x1b[31mred\x07"), 3, "capmesh: \ufffd[31mred\ufffd\n"],
    [["task", "get", "t1"], json({ not: "a task" }), 1, "not what a gateway answers"],
  ])("%j", async (args, answer, code, said) => {
    await using gateway = await FakeGateway.create({ "GET /tasks/t1": answer });
    await using line = await CommandLine.create();
    const result = await line.run(args, { env: gateway.env });
    expect(result.code).toBe(code);
    expect(result.stderr).toContain(said);
    expect(result.stdout).toBe("");
  });

  test("7 for a conflict, 2 for a refused field, which is named as its flag", async () => {
    const errors = [{ field: "outputMax", message: "at most 268435456" }];
    let answers = [problem(409, "id-taken", "t1 is taken"), problem(400, "invalid-field", "no", errors)];
    const answer: RequestListener = (request, response) => answers.shift()?.(request, response);
    await using gateway = await FakeGateway.create({ "POST /tasks": answer });
    await using line = await CommandLine.create();
    const file = await moduleFile(line);
    expect((await line.run(["run", file], { env: gateway.env })).code).toBe(7);
    const refused = await line.run(["run", file], { env: gateway.env });
    expect(refused).toEqual({ code: 2, stdout: "", stderr: "capmesh: --output-max: at most 268435456\n" });
    answers = [];
  });

  test("5 when nobody listens", async () => {
    await using line = await CommandLine.create();
    let env: Readonly<Record<string, string>>;
    {
      await using gateway = await FakeGateway.create({});
      env = gateway.env;
    }
    const result = await line.run(["task", "ls"], { env });
    expect(result.code).toBe(5);
    expect(result.stderr).toContain("CAPMESH_URL");
  });

  test.each([
    [["tsk"], "did you mean task?"],
    [["tsak", "ls"], "did you mean task?"],
    [["run", "--fiel", "x", "m.wasm"], "Did you mean --file?"],
    [["help", "tsk"], "did you mean task?"],
    [["help", "task", "lss"], "did you mean ls?"],
    [["task", "ls", "more"], "too many arguments"],
    [["task", "cancel"], "`capmesh task cancel --help` shows how it is used"],
    [["task", "lss"], "Did you mean ls?"],
    [["task", "ls", "--jsn"], "Did you mean --json?"],
    [["task", "ls", "--limit", "x"], "--limit"],
    [["task"], "Usage: capmesh task"],
    [[], "--gateway, --dial <where>, or a command"],
    [["--gateway", "--dial", "host:1"], "capmesh up"],
    [["--gateway", "maybe"], '--gateway: got "maybe", expected true or false'],
    [["--gateway", "--http", "80"], "--http"],
    [["run"], "missing required argument 'file.wasm'"],
    [["run", "absent.wasm"], "<file.wasm>: cannot read absent.wasm: there is no such file"],
    [["run", "absent.wasm", "--wait", "long"], "--wait long: expected a duration"],
    [["task", "ls", "--url", "nowhere"], '--url: got "nowhere"'],
  ])("2 for %j", async (args, said) => {
    await using line = await CommandLine.create();
    const result = await line.run(args);
    expect(result.stderr).toContain(said);
    expect(result).toMatchObject({ code: 2, stdout: "" });
  });

  test("0 for help and version, on stdout", async () => {
    await using line = await CommandLine.create();
    expect(await line.run(["--version"])).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/),
    });
    expect(await line.run(["run", "--help"])).toMatchObject({
      code: 0,
      stdout: expect.stringContaining("--difficulty"),
    });
  });

  test("0 when the reader has seen enough", async () => {
    const tasks = Array.from({ length: 400 }, (_, index) => ({
      ...TASK,
      id: `t${index}`,
      description: "x".repeat(1_000),
    }));
    await using gateway = await FakeGateway.create({ "GET /tasks": json(tasks) });
    await using line = await CommandLine.create();
    const running = line.start(["task", "ls"], { env: gateway.env });
    running.closeStdout();
    expect(await running.result).toMatchObject({ code: 0, stderr: "" });
  });
});
