/** Files over HTTP: those that come with a submission, those it names, and those that are kept of a run. */
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { keptFileSchema } from "../../../src/api/file-json.ts";
import { problemSchema } from "../../../src/api/problem.ts";
import { runSchema } from "../../../src/api/run-json.ts";
import { taskSchema } from "../../../src/api/task-json.ts";
import { INPUT_FILES_BYTES_MAX, INPUT_FILES_MAX, OUTPUT_GLOBS_MAX } from "../../../src/base/limits.ts";
import { ApiGateway, hasNoTasks } from "../../support/api-gateway.ts";
import { guestBytes } from "../../support/guests.ts";

const hash = guestBytes("hash");

function sha256(content: string | Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}

type Part = readonly [name: string, content: string | Uint8Array<ArrayBuffer>];

/** A form with a module, files by their names, and further texts. */
function formOf(files: readonly Part[], texts: readonly (readonly [string, string])[] = []): FormData {
  const form = new FormData();
  for (const [field, text] of texts) form.append(field, text);
  for (const [name, content] of files) form.append("files", new Blob([content]), name);
  form.append("wasm", new Blob([hash]), "module.wasm");
  return form;
}

function post(gateway: ApiGateway, body: FormData): Promise<Response> {
  return fetch(`${gateway.url}/tasks`, { method: "POST", body });
}

/** What is wrong with it, after a look that nothing of it stayed. */
async function refusalOf(gateway: ApiGateway, body: FormData) {
  const response = await post(gateway, body);
  const problem = problemSchema.parse(await response.json());
  expect(await hasNoTasks(gateway.store)).toBe(true);
  expect(await gateway.files()).toEqual({ blobs: [], unfinished: [] });
  return { status: response.status, code: problem.code, errors: problem.errors ?? [] };
}

async function submitted(gateway: ApiGateway, body: FormData) {
  const response = await post(gateway, body);
  expect(response.status).toBe(201);
  return taskSchema.parse(await response.json());
}

/** Keeps the files of a new task's only run, which then succeeds. */
async function keep(gateway: ApiGateway, task: string, files: readonly Part[]): Promise<void> {
  await submitted(
    gateway,
    formOf(
      [],
      [
        ["id", task],
        ["outputs", "**"],
      ],
    ),
  );
  const attempt = await gateway.start(task);
  for (const [path, content] of files) {
    await using writer = await gateway.blobs.create();
    await writer.write(Uint8Array.from(typeof content === "string" ? Buffer.from(content) : content));
    const { digest, bytes } = await writer.finish();
    using _ = await gateway.pins.pin(digest);
    await writer.commit();
    await gateway.store.keepFile(attempt, { path, digest, bytes }, { hasBytes: true });
  }
  await gateway.succeed(attempt);
}

describe("files of a submission", () => {
  test("keep their folders, are hashed, and are shown with the task", async () => {
    await using gateway = await ApiGateway.open();
    const files: readonly Part[] = [
      ["data.csv", "a,b\n"],
      ["in/deep/./bild \u00fc.png", Uint8Array.of(0, 255, 10, 13)],
      ["in/empty", ""],
    ];
    const task = await submitted(
      gateway,
      formOf(files, [
        ["id", "t"],
        ["outputs", "out/**"],
        ["outputs", "*.txt"],
      ]),
    );
    expect(task.files).toEqual([
      { path: "data.csv", bytes: 4, sha256: sha256("a,b\n") },
      { path: "in/deep/bild \u00fc.png", bytes: 4, sha256: sha256(Uint8Array.of(0, 255, 10, 13)) },
      { path: "in/empty", bytes: 0, sha256: sha256("") },
    ]);
    expect(task.outputs).toEqual(["out/**", "*.txt"]);
    expect(await gateway.client().getTask("t")).toMatchObject({ files: task.files, outputs: task.outputs });
    expect((await gateway.files()).blobs.toSorted()).toEqual(
      [sha256(hash), ...task.files.map((file) => file.sha256 ?? "")].toSorted(),
    );
    await gateway.client().delete("t");
    expect(await gateway.files()).toEqual({ blobs: [], unfinished: [] });
  });

  test("that have the same content are stored once", async () => {
    await using gateway = await ApiGateway.open();
    await submitted(
      gateway,
      formOf([
        ["a", "same"],
        ["b", "same"],
      ]),
    );
    expect((await gateway.files()).blobs.length).toBe(2);
  });

  const long = "x".repeat(256);
  test.each<readonly [string, readonly string[], RegExp]>([
    ["a way out", ["../evil"], /has the name "\.\.\/evil", which has a part \.\./],
    ["a way out in the middle", ["a/../../evil"], /has a part \.\./],
    ["an absolute path", ["/etc/passwd"], /begins with a slash/],
    ["a folder's name", ["a/"], /has an empty part/],
    ["the directory itself", ["."], /has an empty part/],
    ["an empty part", ["a//b"], /has an empty part/],
    ["a long name", [long], /longer than 255 bytes/],
    ["a long path", [Array(300).fill("abcd").join("/")], /longer than 1024 bytes/],
    ["the same path twice", ["a/b", "a/./b"], /has "a\/b" twice/],
    ["a file where a folder is", ["a", "a/b"], /has "a" as a file and as a folder/],
  ])("are refused for %s", async (_what, names, message) => {
    await using gateway = await ApiGateway.open();
    const refusal = await refusalOf(gateway, formOf(names.map((name) => [name, "content"])));
    expect(refusal).toMatchObject({ status: 400, code: "invalid-field", errors: [{ field: "files" }] });
    expect(refusal.errors[0]?.message).toMatch(message);
  });

  test("keep their names, quotes and all, though clients write some characters in another way", async () => {
    await using gateway = await ApiGateway.open();
    const names = ['q"uo%te', "100%", "two\r\nlines", "a/ü b"];
    const task = await submitted(gateway, formOf(names.map((name) => [name, "content"])));
    expect(task.files.map(({ path }) => path)).toEqual(names.toSorted());
  });

  test("are refused for a name with a zero byte, and for none", async () => {
    await using gateway = await ApiGateway.open();
    for (const [name, message] of [
      ["a\0b", /zero byte/],
      ["", /is no file/],
    ] as const) {
      const head = `--b\r\ncontent-disposition: form-data; name="files"; filename="${name}"\r\ncontent-type: text/plain\r\n\r\n`;
      const body = Buffer.from(`${head}x\r\n--b--\r\n`);
      const response = await fetch(`${gateway.url}/tasks`, {
        method: "POST",
        body,
        headers: { "content-type": "multipart/form-data; boundary=b" },
      });
      const problem = problemSchema.parse(await response.json());
      expect(problem).toMatchObject({ status: 400 });
      expect(JSON.stringify(problem)).toMatch(name === "" ? message : /zero byte|cannot be read|Malformed/i);
      expect(await gateway.files()).toEqual({ blobs: [], unfinished: [] });
    }
  });

  test("are refused when they are too many, or when there are too many globs or one that is none", async () => {
    await using gateway = await ApiGateway.open();
    const many = Array.from({ length: INPUT_FILES_MAX + 1 }, (_, index): Part => [`f${index}`, "x"]);
    expect((await refusalOf(gateway, formOf(many))).status).toBeGreaterThanOrEqual(400);
    const globs = Array.from({ length: OUTPUT_GLOBS_MAX + 1 }, () => ["outputs", "*"] as const);
    expect(await refusalOf(gateway, formOf([], globs))).toMatchObject({ code: "invalid-field" });
    const refusal = await refusalOf(gateway, formOf([], [["outputs", "a["]]));
    expect(refusal).toMatchObject({ status: 400, errors: [{ field: "outputs", message: /^has "a\["/ }] });
  });

  test("are refused beyond their bytes in all, before the rest is read", { timeout: 120_000 }, async () => {
    await using gateway = await ApiGateway.open();
    const half = new Uint8Array(INPUT_FILES_BYTES_MAX / 2 + 1);
    const refusal = await refusalOf(
      gateway,
      formOf([
        ["a", half],
        ["b", half],
      ]),
    );
    expect(refusal.status).toBe(413);
  });

  test("that come again under the same key are the same submission, and other content is another", async () => {
    await using gateway = await ApiGateway.open();
    const send = (form: FormData): Promise<Response> =>
      fetch(`${gateway.url}/tasks`, { method: "POST", body: form, headers: { "idempotency-key": "k1" } });
    const first = await send(formOf([["a", "1"]]));
    const again = await send(formOf([["a", "1"]]));
    expect([first.status, again.status, again.headers.get("idempotency-replayed")]).toEqual([201, 201, "true"]);
    expect(await again.json()).toEqual(await first.json());
    expect((await send(formOf([["a", "2"]]))).status).toBe(409);
    expect((await send(formOf([["b", "1"]]))).status).toBe(409);
    expect((await gateway.files()).blobs.length).toBe(2);
  });
});

describe("kept files of other tasks as a submission's files", () => {
  test("are found under their path or under another, and stay when their task goes", async () => {
    await using gateway = await ApiGateway.open();
    await keep(gateway, "build", [["out/app.bin", "binary"]]);
    const names = ["@build/out/app.bin", "in/app=1=@build#1/out/app.bin"];
    const task = await submitted(
      gateway,
      formOf([], [["id", "use"], ...names.map((name) => ["files", name] as const)]),
    );
    const content = { bytes: 6, sha256: sha256("binary") };
    expect(task.files).toEqual([
      { path: "out/app.bin", ...content, from: "@build/out/app.bin" },
      { path: "in/app=1", ...content, from: "@build#1/out/app.bin" },
    ]);
    await gateway.client().delete("build");
    expect((await gateway.files()).blobs).toContain(sha256("binary"));
    await gateway.client().delete("use");
    expect(await gateway.files()).toEqual({ blobs: [], unfinished: [] });
  });

  test("that are not there are refused, unless the task comes after the one that is to keep them", async () => {
    await using gateway = await ApiGateway.open();
    await keep(gateway, "build", [["a", "1"]]);
    const missing = await post(
      gateway,
      formOf(
        [],
        [
          ["files", "@build/b"],
          ["files", "@nobody/a"],
          ["files", "@build#2/c"],
        ],
      ),
    );
    const problem = problemSchema.parse(await missing.json());
    expect(problem.status).toBe(400);
    expect(problem.errors?.map(({ message }) => message.split(",")[0])).toEqual([
      "names @build/b",
      "names @nobody/a",
      "names @build#2/c",
    ]);
    const after = (id: string, path: string) =>
      formOf(
        [],
        [
          ["after", id],
          ["files", `@${id}/${path}`],
        ],
      );
    // What has succeeded keeps nothing more: what there is of it stays, whatever becomes of it.
    const [refused, found] = [await post(gateway, after("build", "b")), await submitted(gateway, after("build", "a"))];
    expect(problemSchema.parse(await refused.json())).toMatchObject({ status: 400, errors: [{ field: "files" }] });
    expect(found.files).toEqual([{ path: "a", bytes: 1, sha256: sha256("1"), from: "@build/a" }]);
    await submitted(gateway, formOf([], [["id", "open"]]));
    const later = await submitted(gateway, after("open", "b"));
    expect(later.files).toEqual([{ path: "b", bytes: null, sha256: null, from: "@open/b" }]);
  });

  test.each([
    "data.csv",
    "@",
    "@build",
    "@build/",
    "@build/../x",
    "@build#0/x",
    "@build#x/a",
    "@bad id/x",
    "/abs=@build/x",
    "a=b",
  ])("are refused as %j", async (text) => {
    await using gateway = await ApiGateway.open();
    const refusal = await refusalOf(gateway, formOf([], [["files", text]]));
    expect(refusal).toMatchObject({ status: 400, code: "invalid-field", errors: [{ field: "files" }] });
  });
});

describe("kept files of a run", () => {
  test("are listed, by themselves and with the run", async () => {
    await using gateway = await ApiGateway.open();
    await keep(gateway, "t", [
      ["out/b", "22"],
      ["a", "1"],
    ]);
    const expected = [
      { path: "a", bytes: 1, sha256: sha256("1") },
      { path: "out/b", bytes: 2, sha256: sha256("22") },
    ];
    const list = await fetch(`${gateway.url}/tasks/t/runs/1/files`);
    expect(keptFileSchema.array().parse(await list.json())).toEqual(expected);
    expect((await gateway.client().getRun("t", 1)).files).toEqual(expected);
    const runs = await (await fetch(`${gateway.url}/tasks/t/runs`)).json();
    expect(runSchema.array().parse(runs)[0]?.files).toEqual(expected);
    await gateway.client().delete("t");
    expect(await gateway.files()).toEqual({ blobs: [], unfinished: [] });
  });

  test("are downloads, never pages", async () => {
    await using gateway = await ApiGateway.open();
    const page = "<script>alert(1)</script>";
    await keep(gateway, "t", [["out/a \u00fc\"';.html", page]]);
    const url = `${gateway.url}/tasks/t/runs/1/files/out/${encodeURIComponent("a \u00fc\"';.html")}`;
    const response = await fetch(url);
    expect(response.status).toBe(200);
    expect(Object.fromEntries(response.headers)).toMatchObject({
      "content-type": "application/octet-stream",
      "content-length": String(page.length),
      "x-content-type-options": "nosniff",
      "content-disposition": "attachment; filename=\"a ____.html\"; filename*=UTF-8''a%20%C3%BC%22%27%3B.html",
      etag: `"${sha256(page)}"`,
      "accept-ranges": "bytes",
    });
    expect(await response.text()).toBe(page);
    const head = await fetch(url, { method: "HEAD" });
    expect([head.status, head.headers.get("content-length"), await head.text()]).toEqual([200, `${page.length}`, ""]);
  });

  test("come in parts, and not at all where the caller has them", async () => {
    await using gateway = await ApiGateway.open();
    await keep(gateway, "t", [
      ["f", "0123456789"],
      ["empty", ""],
    ]);
    const get = (headers: Record<string, string>, name = "f"): Promise<Response> =>
      fetch(`${gateway.url}/tasks/t/runs/1/files/${name}`, { headers });
    const etag = `"${sha256("0123456789")}"`;
    const parts = await Promise.all(
      ["bytes=2-4", "bytes=7-", "bytes=-3", "bytes=8-99"].map(async (range) => {
        const response = await get({ range });
        return [response.status, response.headers.get("content-range"), await response.text()];
      }),
    );
    expect(parts).toEqual([
      [206, "bytes 2-4/10", "234"],
      [206, "bytes 7-9/10", "789"],
      [206, "bytes 7-9/10", "789"],
      [206, "bytes 8-9/10", "89"],
    ]);
    const beyond = await get({ range: "bytes=10-" });
    expect([beyond.status, beyond.headers.get("content-range")]).toEqual([416, "bytes */10"]);
    expect(problemSchema.parse(await beyond.json()).code).toBe("range-not-satisfiable");
    for (const range of ["bytes=1-2,4-5", "bytes=4-2", "bytes=-", "lines=1-2"]) {
      expect(await (await get({ range })).text()).toBe("0123456789");
    }
    expect(await (await get({ range: "bytes=1-2", "if-range": '"other"' })).text()).toBe("0123456789");
    expect((await get({ range: "bytes=1-2", "if-range": etag })).status).toBe(206);
    expect((await get({ "if-none-match": `"x", W/${etag}` })).status).toBe(304);
    expect((await get({ range: "bytes=0-" }, "empty")).status).toBe(416);
    expect(await (await get({}, "empty")).text()).toBe("");
  });

  test.each([
    ["/tasks/none/runs/1/files", "no-such-task"],
    ["/tasks/t/runs/2/files", "no-such-run"],
    ["/tasks/t/runs/x/files/a", "no-such-run"],
    ["/tasks/t/runs/1/files/b", "no-such-file"],
    ["/tasks/t/runs/1/files/out", "no-such-file"],
    ["/tasks/t/runs/1/files/%2fetc%2fpasswd", "no-such-file"],
    ["/tasks/t/runs/1/files/a%00", "no-such-file"],
  ])("are not found at %s", async (path, code) => {
    await using gateway = await ApiGateway.open();
    await keep(gateway, "t", [
      ["a", "1"],
      ["out/a", "2"],
    ]);
    const response = await fetch(gateway.url + path);
    const problem = problemSchema.parse(await response.json());
    expect([response.status, problem.code]).toEqual([404, code]);
  });

  test("of a run that is still to come are none", async () => {
    await using gateway = await ApiGateway.open();
    await submitted(
      gateway,
      formOf(
        [],
        [
          ["id", "t"],
          ["start", "60"],
        ],
      ),
    );
    const response = await fetch(`${gateway.url}/tasks/t/runs/1/files`);
    expect([response.status, await response.json()]).toEqual([200, []]);
  });
});
