import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { problemSchema } from "../../../src/api/problem.ts";
import { taskSchema } from "../../../src/api/task-json.ts";
import { StoreFailure, type StoreTrouble } from "../../../src/store/trouble.ts";
import { ApiGateway, hasNoTasks, taskId } from "../../support/api-gateway.ts";
import { guestBytes } from "../../support/guests.ts";
import { I32, core, exportedFunctions, functionType, list, name, section } from "../../support/wasm-bytes.ts";

type Fields = Readonly<Record<string, string | Blob | readonly string[]>>;

function formOf(fields: Fields): FormData {
  const form = new FormData();
  for (const [field, value] of Object.entries(fields)) {
    if (value instanceof Blob) form.append(field, value, `${field}.bin`);
    else for (const text of [value].flat()) form.append(field, text);
  }
  return form;
}

function post(gateway: ApiGateway, body: FormData | string, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`${gateway.url}/tasks`, { method: "POST", body, headers });
}

/** A refusal's parts, after a look that nothing of it stayed. */
async function refusalOf(gateway: ApiGateway, response: Response) {
  expect(response.headers.get("content-type")).toBe("application/problem+json");
  const problem = problemSchema.parse(await response.json());
  expect(problem.status).toBe(response.status);
  expect(await hasNoTasks(gateway.store)).toBe(true);
  expect(await gateway.files()).toEqual({ blobs: [], unfinished: [] });
  return { status: response.status, code: problem.code, detail: problem.detail, errors: problem.errors };
}

const hash = guestBytes("hash");
const wasm = new Blob([hash]);
const digest = createHash("sha256").update(hash).digest("hex");

describe("POST /tasks", () => {
  test("stores task and module, and answers 201 with where it is", async () => {
    await using gateway = await ApiGateway.open();
    const form = formOf({
      wasm,
      id: "task1",
      description: "Hash puzzle",
      complete: "0",
      duration: "5",
      start: "1",
      delay: "2",
      repeats: "3",
      input: "0",
      difficulty: "3",
    });
    const response = await post(gateway, form);
    expect(response.status).toBe(201);
    expect(response.headers.get("location")).toBe("/tasks/task1");
    const task = taskSchema.parse(await response.json());
    expect(task).toMatchObject({
      id: "task1",
      wasm: null,
      module: digest,
      kind: "core",
      entry: "run",
      description: "Hash puzzle",
      state: "scheduled",
      complete: 0,
      completions: 0,
      runs: 3,
      progress: 0,
      duration: 5,
      start: 1,
      delay: 2,
      repeats: 3,
      input: 0,
      difficulty: 3,
      timeout: 300,
      memory: 256,
      outputMax: 1_048_576,
    });
    expect(await gateway.files()).toEqual({ blobs: [digest], unfinished: [] });
    expect((await gateway.store.getTask(taskId("task1")))?.spec).toMatchObject({ difficulty: 3, repeats: 3 });
  });

  test("makes an id that sorts by time", async () => {
    await using gateway = await ApiGateway.open();
    const ids = [];
    for (let count = 0; count < 3; count++) {
      ids.push(taskSchema.parse(await (await post(gateway, formOf({ wasm }))).json()).id);
    }
    expect(ids).toEqual(ids.toSorted());
    expect(ids[0]).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  });

  test("takes the parts in any order", async () => {
    await using gateway = await ApiGateway.open();
    expect((await post(gateway, formOf({ id: "a", wasm, input: "1" }))).status).toBe(201);
    expect((await post(gateway, formOf({ wasm, input: "1", id: "b" }))).status).toBe(201);
  });

  test("takes args, env and stdin as they are", async () => {
    await using gateway = await ApiGateway.open();
    const stdin = new Blob([Uint8Array.of(0, 0xff, 0x0d, 0x0a)]);
    await post(
      gateway,
      formOf({ wasm: new Blob([guestBytes("hello")]), id: "a", args: ["x y", "ü"], env: ["A=1"], stdin }),
    );
    const spec = (await gateway.store.getTask(taskId("a")))?.spec;
    expect(spec).toMatchObject({ entry: "command", args: ["x y", "ü"], env: { A: "1" } });
    expect([...(spec?.stdin ?? [])]).toEqual([0, 0xff, 0x0d, 0x0a]);
  });

  test("takes a component", async () => {
    await using gateway = await ApiGateway.open();
    const response = await post(gateway, formOf({ wasm: new Blob([guestBytes("component")]) }));
    expect(taskSchema.parse(await response.json())).toMatchObject({ kind: "component", entry: "component" });
  });

  test("takes a module by its digest once it has it", async () => {
    await using gateway = await ApiGateway.open();
    await post(gateway, formOf({ wasm, id: "a" }));
    const response = await post(gateway, formOf({ module: digest, id: "b", difficulty: "2" }));
    expect(taskSchema.parse(await response.json())).toMatchObject({ id: "b", module: digest, entry: "run" });
  });

  test("forgets the module with the last task that uses it", async () => {
    await using gateway = await ApiGateway.open();
    await post(gateway, formOf({ wasm, id: "a" }));
    await post(gateway, formOf({ wasm, id: "b" }));
    await fetch(`${gateway.url}/tasks/a`, { method: "DELETE" });
    expect((await gateway.files()).blobs).toEqual([digest]);
    await fetch(`${gateway.url}/tasks/b`, { method: "DELETE" });
    expect((await gateway.files()).blobs).toEqual([]);
    const refused = await post(gateway, formOf({ module: digest }));
    expect(await refusalOf(gateway, refused)).toMatchObject({
      status: 400,
      code: "invalid-field",
      errors: [{ field: "module", message: expect.stringContaining("send the file as wasm") }],
    });
  });

  test("gives one of many that ask for the same id the id, and keeps nothing of the others", async () => {
    await using gateway = await ApiGateway.open();
    const modules = [1, 2, 3, 4, 5, 6].map((count) => {
      const padding = section(0, [...name("n"), count]);
      return new Blob([Uint8Array.from([...hash, ...padding])]);
    });
    const responses = await Promise.all(modules.map((module) => post(gateway, formOf({ wasm: module, id: "same" }))));
    expect(responses.map(({ status }) => status).toSorted((one, other) => one - other)).toEqual([
      201, 409, 409, 409, 409, 409,
    ]);
    const kept = (await gateway.store.getTask(taskId("same")))?.spec.module;
    expect(await gateway.files()).toEqual({ blobs: [kept], unfinished: [] });
  });

  test("keeps a module that one task brought while another with it is refused", async () => {
    await using gateway = await ApiGateway.open();
    const responses = await Promise.all(
      Array.from({ length: 8 }, (_, index) => post(gateway, formOf({ wasm, id: `t${index % 4}` }))),
    );
    expect(responses.filter(({ status }) => status === 201)).toHaveLength(4);
    expect(await gateway.files()).toEqual({ blobs: [digest], unfinished: [] });
  });
});

const run = { name: "run", parameters: [I32, I32], results: [I32] };

function importing(module: string, field: string): Blob {
  const [types, functions, exports, code] = exportedFunctions([run]);
  const imports = section(2, list([[...name(module), ...name(field), 0x00, 1]]));
  const twoTypes = section(1, list([functionType([I32, I32], [I32]), functionType([], [])]));
  // The import comes first in the index space, so the export is function 1.
  const moved = section(7, list([[...name("run"), 0x00, 1]]));
  expect([types, functions, exports, code]).not.toContain(undefined);
  return new Blob([Uint8Array.from(core(twoTypes, imports, functions ?? [], moved, code ?? []))]);
}

describe("a submission that cannot be is refused, and nothing of it stays:", () => {
  const cases: [string, Fields, { status: number; code: string; detail: RegExp }][] = [
    [
      "no wasm part",
      { id: "a" },
      { status: 400, code: "invalid-field", detail: /^wasm is missing: send the module as a file/ },
    ],
    ["wasm as text", { wasm: "module.wasm" }, { status: 400, code: "invalid-field", detail: /mind the @/ }],
    ["an empty file", { wasm: new Blob([]) }, { status: 422, code: "module-rejected", detail: /the file is empty/ }],
    [
      "a text file",
      { wasm: new Blob(["hello, I am no module"]) },
      { status: 422, code: "module-rejected", detail: /not WebAssembly/ },
    ],
    [
      "a truncated module",
      { wasm: wasm.slice(0, 300) },
      { status: 422, code: "module-rejected", detail: /cannot be read/ },
    ],
    [
      "a module without entry",
      { wasm: new Blob([Uint8Array.from(core(...exportedFunctions([{ ...run, name: "other" }])))]) },
      { status: 422, code: "module-rejected", detail: /neither `_start` nor `run`, but `other`/ },
    ],
    [
      "an unknown import",
      { wasm: importing("env", "launch_missiles") },
      { status: 422, code: "module-rejected", detail: /imports `env.launch_missiles`, which nothing here provides/ },
    ],
    [
      "an entry that is not there",
      { wasm: new Blob([guestBytes("hello")]), input: "1" },
      { status: 422, code: "module-rejected", detail: /does not export `run`, which the task asks for/ },
    ],
    [
      "memory over the cap",
      {
        wasm: new Blob([
          Uint8Array.from(core(...exportedFunctions([run]).toSpliced(2, 0, section(5, [1, 0x00, 0x80, 0x01])))),
        ]),
        memory: "1",
      },
      { status: 422, code: "module-rejected", detail: /begins with 8 MiB of memory, and 1 is the cap/ },
    ],
    ["start=abc", { wasm, start: "abc" }, { status: 400, code: "invalid-field", detail: /^start is "abc"/ }],
    ["repeats=-1", { wasm, repeats: "-1" }, { status: 400, code: "invalid-field", detail: /^repeats is "-1"/ }],
    [
      "a large difficulty",
      { wasm, difficulty: "99999999999" },
      { status: 400, code: "invalid-field", detail: /^difficulty is/ },
    ],
    ["a stranger", { wasm, inputt: "1" }, { status: 400, code: "invalid-field", detail: /did you mean input\?/ }],
    [
      "globs as a file",
      { wasm, outputs: new Blob(["x"]) },
      { status: 400, code: "invalid-field", detail: /^outputs came as a file: send it as text/ },
    ],
    [
      "a field as a file",
      { wasm, id: new Blob(["x"]) },
      { status: 400, code: "invalid-field", detail: /^id came as a file: send it as text/ },
    ],
    ["a bad id", { wasm, id: "../x" }, { status: 400, code: "invalid-field", detail: /^id is/ }],
    [
      "stdin beyond its limit",
      { wasm, stdin: new Blob([new Uint8Array(9 * 1024 * 1024)]) },
      { status: 413, code: "too-large", detail: /^stdin is longer/ },
    ],
    [
      "a text beyond its limit",
      { wasm, stdin: "x".repeat(2 * 1024 * 1024) },
      { status: 413, code: "too-large", detail: /send it as a file/ },
    ],
  ];
  test.each(cases)("%s", async (_, fields, expected) => {
    await using gateway = await ApiGateway.open();
    const refusal = await refusalOf(gateway, await post(gateway, formOf(fields)));
    expect(refusal).toMatchObject({ status: expected.status, code: expected.code });
    expect(refusal.detail).toMatch(expected.detail);
    expect(refusal.errors).not.toEqual([]);
  });

  test("two modules", async () => {
    await using gateway = await ApiGateway.open();
    const form = formOf({ wasm });
    form.append("wasm", wasm, "again.wasm");
    const refusal = await refusalOf(gateway, await post(gateway, form));
    expect(refusal).toMatchObject({ status: 400, code: "invalid-field", errors: [{ field: "wasm" }] });
  });

  test("JSON instead of a form", async () => {
    await using gateway = await ApiGateway.open();
    const response = await post(gateway, JSON.stringify({ id: "a" }), { "content-type": "application/json" });
    const refusal = await refusalOf(gateway, response);
    expect(refusal).toMatchObject({ status: 415, code: "unsupported-media-type" });
    expect(refusal.detail).toBe(
      "The task came as application/json: send it as multipart/form-data, as in curl -F wasm=@task.wasm -F id=task1.",
    );
  });

  test("no body at all", async () => {
    await using gateway = await ApiGateway.open();
    const response = await fetch(`${gateway.url}/tasks`, { method: "POST" });
    expect(await refusalOf(gateway, response)).toMatchObject({ status: 415, code: "unsupported-media-type" });
  });

  test("a form without boundary", async () => {
    await using gateway = await ApiGateway.open();
    const response = await post(gateway, "x", { "content-type": "multipart/form-data" });
    expect(await refusalOf(gateway, response)).toMatchObject({ status: 400, code: "invalid-form" });
  });

  test("a form that ends too early", async () => {
    await using gateway = await ApiGateway.open();
    const body = '--b\r\ncontent-disposition: form-data; name="wasm"; filename="a"\r\n\r\n\0asm';
    const response = await post(gateway, body, { "content-type": "multipart/form-data; boundary=b" });
    expect(await refusalOf(gateway, response)).toMatchObject({ status: 400, code: "invalid-form" });
  });

  test("a form that is none", async () => {
    await using gateway = await ApiGateway.open();
    const response = await post(gateway, "garbage", { "content-type": "multipart/form-data; boundary=b" });
    expect(await refusalOf(gateway, response)).toMatchObject({ status: 400, code: "invalid-form" });
  });

  test("more parts than there may be", async () => {
    await using gateway = await ApiGateway.open();
    const form = formOf({ wasm, args: Array.from({ length: 4_200 }, () => "x") });
    expect(await refusalOf(gateway, await post(gateway, form))).toMatchObject({ status: 413, code: "too-large" });
  });

  test("a full queue", async () => {
    await using gateway = await ApiGateway.open();
    gateway.isQueueFull = true;
    const response = await post(gateway, formOf({ wasm }));
    expect(response.headers.get("retry-after")).toBe("8");
    expect(await refusalOf(gateway, response)).toMatchObject({ status: 429, code: "queue-full" });
  });

  test("a gateway that drains", async () => {
    await using gateway = await ApiGateway.open({ readiness: { notReadyBecause: () => "it is shutting down" } });
    const response = await post(gateway, formOf({ wasm }));
    expect(await refusalOf(gateway, response)).toMatchObject({ status: 503, code: "not-ready" });
  });
});

test("forms that hold more memory than there is for all are told to come back, and what they held is free again", async () => {
  await using gateway = await ApiGateway.open({ uploadsBytesHeldMax: 1_000_000 });
  const large = formOf({ wasm, stdin: new Blob([new Uint8Array(1_100_000)]) });
  const response = await post(gateway, large);
  expect(response.headers.get("retry-after")).toBe("1");
  expect(await refusalOf(gateway, response)).toMatchObject({ status: 503, code: "not-ready" });
  const texts = formOf({ wasm, args: Array.from({ length: 6 }, () => "x".repeat(100_000)) });
  expect(await refusalOf(gateway, await post(gateway, texts))).toMatchObject({ status: 503, code: "not-ready" });
  for (const id of ["a", "b", "c"]) {
    const fitting = formOf({ wasm, id, stdin: new Blob([new Uint8Array(700_000)]) });
    expect((await post(gateway, fitting)).status).toBe(201);
  }
});

test("a module takes none of the memory that forms share, and neither does a part that nobody wants", async () => {
  await using gateway = await ApiGateway.open({ uploadsBytesHeldMax: 1_000_000 });
  const big = new Uint8Array(5_000_000);
  const asModule = await refusalOf(gateway, await post(gateway, formOf({ wasm: new Blob([big]) })));
  expect([asModule.status, asModule.code]).toEqual([422, "module-rejected"]);
  const asField = await refusalOf(gateway, await post(gateway, formOf({ wasm, id: new Blob([big]) })));
  expect([asField.status, asField.code]).toEqual([400, "invalid-field"]);
});

test("a taken id is refused, and the task that has it stays", async () => {
  await using gateway = await ApiGateway.open();
  await post(gateway, formOf({ wasm, id: "a" }));
  const response = await post(gateway, formOf({ wasm: new Blob([guestBytes("hello")]), id: "a" }));
  const problem = problemSchema.extend({ requestId: z.string() }).parse(await response.json());
  expect([response.status, problem.code]).toEqual([409, "id-taken"]);
  expect(problem.requestId).toBe(response.headers.get("x-request-id"));
  expect(await gateway.files()).toEqual({ blobs: [digest], unfinished: [] });
});

test("what the store fails with in this very request is what is told, and readiness follows at once", async () => {
  await using gateway = await ApiGateway.open();
  let trouble: StoreTrouble | undefined;
  gateway.store.check = () => Promise.resolve(trouble);
  const createTask = gateway.store.createTask.bind(gateway.store);
  gateway.store.createTask = () => {
    trouble = { kind: "disk-full", message: "the disk that holds /secret/path is full" };
    return Promise.reject(new StoreFailure(trouble.kind, trouble.message));
  };
  const first = await refusalOf(gateway, await post(gateway, formOf({ wasm })));
  expect([first.status, first.code]).toEqual([503, "store-unavailable"]);
  expect(first.detail).toBe("The store cannot do this now: its disk is full. Send this again later.");
  // Nothing looks by the clock here.
  const second = await refusalOf(gateway, await post(gateway, formOf({ wasm })));
  expect(second.detail).toBe("The store takes nothing new now: its disk is full. Send this again later.");
  expect((await fetch(`${gateway.url}/readyz`)).status).toBe(503);
  trouble = undefined;
  gateway.store.createTask = createTask;
});

test("what the blob store fails with is told likewise", async () => {
  await using gateway = await ApiGateway.open();
  gateway.blobs.create = () => Promise.reject(new StoreFailure("not-writable", "/secret/path is read-only"));
  const problem = await refusalOf(gateway, await post(gateway, formOf({ wasm })));
  expect([problem.status, problem.code]).toEqual([503, "store-unavailable"]);
  expect(problem.detail).toBe("The store cannot do this now: its files cannot be written. Send this again later.");
});

test("a store that fails is told as such, without its secrets, and no module stays", async () => {
  await using gateway = await ApiGateway.open();
  await gateway.store.close();
  const response = await post(gateway, formOf({ wasm, id: "a" }));
  const text = await response.text();
  expect(response.status).toBe(503);
  expect(problemSchema.parse(JSON.parse(text)).code).toBe("store-unavailable");
  expect(text).not.toMatch(/\.ts|\.db|node_modules|at /);
  expect(await gateway.files()).toEqual({ blobs: [], unfinished: [] });
});
