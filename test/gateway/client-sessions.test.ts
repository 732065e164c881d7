/** What a client can do with its session, its uploads and its tasks, over a unix socket, with a worker that adds. */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { CHUNK_BYTES_MAX, MODULE_BYTES_MAX, UPLOADS_PER_CLIENT_MAX } from "../../src/base/limits.ts";
import type { Submission } from "../../src/caps/client-codec.ts";
import { peerId, taskId } from "../store/store-samples.ts";
import { PlainGateway } from "../support/plain-gateway.ts";
import { guestPath } from "../support/processes.ts";

const hash = await readFile(guestPath("hash"));
const hello = await readFile(guestPath("hello"));

/** Never due while a test lasts. */
const LATER = { module: hash, run: { input: 1, difficulty: 1 }, start: 3_600_000 };

test("a client submits, and has the outcome of a foreign worker's run in one round trip", async () => {
  await using plain = await PlainGateway.open();
  await (await plain.connect()).addAs("adder");
  using client = await plain.client();
  const { task, accepted } = client.submit({ id: "sum", module: hash, run: { input: 40, difficulty: 2 } });
  using _ = task;
  expect(await task.outcome()).toMatchObject({
    id: "sum",
    state: "succeeded",
    runs: 1,
    succeeded: 1,
    completions: 1,
    progress: 1,
    result: { value: "42" },
  });
  expect(await accepted).toBe("sum");
  const run = await plain.store.getRun(taskId("sum"), 1);
  expect(run?.attempts.map(({ worker }) => worker)).toEqual(["rpc:adder"]);
});

test("an outcome can be waited for by many, before and after the end", async () => {
  await using plain = await PlainGateway.open();
  using client = await plain.client();
  const { task } = client.submit({ module: hash, run: { input: 1, difficulty: 2 }, repeats: 3 });
  using _ = task;
  const waiting = [task.outcome(), task.outcome()];
  expect(await task.status()).toMatchObject({ runs: 3, result: undefined });
  await (await plain.connect()).addAs("adder");
  const ends = [...(await Promise.all(waiting)), await task.outcome()];
  expect(ends.map(({ state, completions }) => [state, completions])).toEqual(Array(3).fill(["succeeded", 3]));
});

test("a log is waited for, page by page, until its run is over", async () => {
  await using plain = await PlainGateway.open();
  using client = await plain.client();
  const { task } = client.submit({ id: "t", module: hash, run: { input: 1, difficulty: 2 } });
  using _ = task;
  expect(await task.log({ run: 0, offset: 0, follow: false })).toEqual({
    run: 0,
    pieces: [],
    nextOffset: 0,
    isEnd: true,
    isTruncated: false,
  });
  const followed = task.log({ run: 0, offset: 0, follow: true });
  await (await plain.connect()).addAs("adder");
  expect(await followed).toMatchObject({ run: 1, isEnd: true });
  await expect(task.log({ run: 2, offset: 0, follow: true })).rejects.toMatchObject({ code: "no-such-run" });
});

test("events are told to who may read, from where they were told before", async () => {
  await using plain = await PlainGateway.open();
  using client = await plain.client();
  let isTold = false;
  const told = client.events("").finally(() => (isTold = true));
  // It counts from when the gateway has the call.
  const event = { type: "worker", worker: peerId("W"), status: "ready" } as const;
  await expect.poll(() => (plain.gateway.events.publish(event), isTold)).toBe(true);
  const { events, last } = await told;
  expect(events).toEqual([event]);
  const { task, accepted } = client.submit({ ...LATER, id: "t" });
  using _ = task;
  await accepted;
  expect((await client.events(last)).events).toContainEqual({ type: "task", task: "t", state: "scheduled" });
  expect(await client.events("another:1")).toMatchObject({ events: [{ type: "reset" }] });
  using submitter = await client.narrow(["submit"]);
  await expect(submitter.events("")).rejects.toMatchObject({ code: "forbidden" });
});

test("who waits for a log is told when the task is deleted", async () => {
  await using plain = await PlainGateway.open();
  using client = await plain.client();
  const { task, accepted } = client.submit({ ...LATER, id: "t" });
  using _ = task;
  await accepted;
  const followed = task.log({ run: 1, offset: 0, follow: true });
  followed.catch(() => {});
  await plain.gateway.tasks.delete(taskId("t"));
  await expect(followed).rejects.toMatchObject({ code: "no-such-task" });
});

test("a task is cancelled, once", async () => {
  await using plain = await PlainGateway.open();
  using client = await plain.client();
  const { task } = client.submit(LATER);
  using _ = task;
  const outcome = task.outcome();
  expect(await task.cancel()).toMatchObject({ state: "cancelled" });
  expect(await outcome).toMatchObject({ state: "cancelled", reason: "cancelled by request" });
  await expect(task.cancel()).rejects.toMatchObject({ type: "failed", code: "already-finished" });
});

test("a finished task is tried again, and says why where it cannot be", async () => {
  await using plain = await PlainGateway.open();
  using client = await plain.client();
  const { task } = client.submit(LATER);
  using _ = task;
  await expect(task.retry()).rejects.toMatchObject({ type: "failed", code: "not-finished" });
  await task.cancel();
  expect(await task.retry()).toMatchObject({ state: "scheduled", cancelled: 0, reason: undefined });
});

test("a submission with a key is accepted once", async () => {
  await using plain = await PlainGateway.open();
  using client = await plain.client();
  const submit = async (submission: Submission): Promise<string> => {
    const { task, accepted } = client.submit(submission);
    using _ = task;
    return await accepted;
  };
  const keyed = { ...LATER, idempotencyKey: "k1" };
  const id = await submit(keyed);
  expect(await submit(keyed)).toBe(id);
  expect((await plain.store.measureQueue()).tasks).toBe(1);
  await expect(submit({ ...keyed, repeats: 2 })).rejects.toMatchObject({ code: "idempotency-mismatch" });
  await expect(submit({ ...keyed, idempotencyKey: "a\nb" })).rejects.toMatchObject({ code: "invalid-field" });
});

test("a task without end has no number of runs, and no task may run after it", async () => {
  await using plain = await PlainGateway.open();
  using client = await plain.client();
  const { task, accepted } = client.submit({ module: hash, id: "t", cron: "0 3 * * *", timezone: "Europe/Berlin" });
  using _ = task;
  await accepted;
  expect(await task.status()).toMatchObject({ state: "scheduled", runs: 0 });
  await expect(client.submit({ ...LATER, after: ["t"] }).accepted).rejects.toMatchObject({ code: "invalid-field" });
});

test("finishing the call for an outcome leaves the task as it is", async () => {
  await using plain = await PlainGateway.open();
  using client = await plain.client();
  const { task } = client.submit(LATER);
  using _ = task;
  const given = new AbortController();
  const outcome = task.outcome({ signal: given.signal });
  await task.status();
  given.abort(new Error("enough"));
  await expect(outcome).rejects.toThrow("enough");
  expect(await task.status()).toMatchObject({ state: "scheduled" });
});

test("a task goes on without its client, and is found by its id", async () => {
  await using plain = await PlainGateway.open();
  const peer = await plain.connect();
  const { session } = await peer.bootstrap.loginClient({ kind: "none", name: "first" });
  await session.submit({ id: "kept", module: hash, run: { input: 2, difficulty: 3 } }).accepted;
  await peer.connection.close();
  await (await plain.connect()).addAs("adder");
  using client = await plain.client("second");
  using task = await client.find("kept");
  expect(await task.outcome()).toMatchObject({ state: "succeeded", result: { value: "5" } });
  await expect(client.find("missing")).rejects.toMatchObject({ type: "failed", code: "no-such-task" });
  await expect(client.find("no id")).rejects.toMatchObject({ type: "failed", code: "no-such-task" });
});

test("a task is the one that was submitted, not whichever has its id", async () => {
  await using plain = await PlainGateway.open();
  using client = await plain.client();
  const first = client.submit({ ...LATER, id: "again" }).task;
  using _ = first;
  const outcome = first.outcome().catch((error: unknown) => error);
  await first.status();
  await plain.gateway.tasks.delete(taskId("again"));
  expect(await outcome).toMatchObject({ code: "no-such-task" });
  const second = client.submit({ ...LATER, id: "again" }).task;
  using __ = second;
  await second.status();
  await expect(first.cancel()).rejects.toMatchObject({ code: "no-such-task" });
  expect(await second.status()).toMatchObject({ state: "scheduled" });
});

const REFUSED: readonly (readonly [string, Partial<Submission>, string, RegExp])[] = [
  ["an id that is none", { id: "no id" }, "invalid-field", /^id /],
  ["a module that is none", { module: new Uint8Array(8) }, "module-rejected", /cannot run here/],
  ["no module", { module: new Uint8Array(0) }, "module-rejected", /cannot run here/],
  ["a module too large for a message", { module: new Uint8Array(CHUNK_BYTES_MAX + 1) }, "invalid-message", /module/],
  ["an entry that the module has not", { entry: "component" }, "module-rejected", /./],
  ["too much memory", { memoryMiB: 5_000 }, "invalid-field", /^memory /],
  ["no time", { timeoutMs: 0 }, "invalid-field", /^timeout /],
  ["too many retries", { retries: 100_000 }, "invalid-field", /^retries /],
  ["an outcome that is not retried", { retryOn: ["lost"] }, "invalid-field", /^retryOn /],
  ["a name with =", { env: { "A=B": "C" } }, "invalid-field", /^env /],
  ["an argument with a zero", { args: ["a\0b"] }, "invalid-field", /^args /],
  ["a time that is none", { start: "tomorrow" }, "invalid-field", /^start /],
  ["a priority beyond the range", { priority: 101 }, "invalid-field", /^priority /],
  ["too long a description", { description: "x".repeat(5_000) }, "invalid-field", /^description /],
];

test.each(REFUSED)("%s is refused as over HTTP, and leaves nothing", async (_, change, code, message) => {
  await using plain = await PlainGateway.open();
  using client = await plain.client();
  const { task, accepted } = client.submit({ module: hash, run: { input: 1, difficulty: 1 }, ...change });
  using __ = task;
  const refusal = { type: "failed", code, message: expect.stringMatching(message) };
  await expect(task.outcome()).rejects.toMatchObject(refusal);
  await expect(accepted).rejects.toMatchObject(refusal);
  expect(await plain.blobs()).toEqual([]);
  expect((await plain.store.listTasks({ limit: 1 })).tasks).toEqual([]);
});

test("an id that is taken is refused", async () => {
  await using plain = await PlainGateway.open();
  using client = await plain.client();
  await client.submit({ ...LATER, id: "one" }).accepted;
  await expect(client.submit({ ...LATER, id: "one" }).accepted).rejects.toMatchObject({ code: "id-taken" });
});

test("every field arrives, and what is left out has the defaults of HTTP", async () => {
  await using plain = await PlainGateway.open();
  using client = await plain.client();
  await client.submit({ id: "plain", module: hello }).accepted;
  expect((await plain.store.getTask(taskId("plain")))?.spec).toMatchObject({
    entry: "command",
    description: "",
    repeats: 1,
    delayMs: 0,
    timeoutMs: 300_000,
    cpuMs: 300_000,
    memoryBytes: 256 * 1024 * 1024,
    outputBytesMax: 1024 * 1024,
    outputLimit: "truncate",
    retries: 0,
    backoffMs: 1_000,
    retryOn: ["exited", "trapped", "timed-out", "memory-exceeded"],
    priority: 0,
    require: {},
  });
  const spec = {
    description: "größer",
    args: ["[1]", "", "-x"],
    env: { A: "1=2", B: "", ["__proto__"]: "own" },
    delayMs: 1_500,
    repeats: 7,
    durationMs: 250,
    complete: 5,
    timeoutMs: 1_234,
    cpuMs: 1_000,
    outputBytesMax: 0,
    outputLimit: "fail",
    retries: 2,
    backoffMs: 50,
    retryOn: ["trapped"],
    priority: -3,
    require: { zone: "eu" },
  } as const;
  const stdin = Buffer.from("in\0put");
  await client.submit({ ...spec, id: "full", module: hello, stdin, start: "2999-01-01T00:00:00Z", memoryMiB: 64 })
    .accepted;
  const full = (await plain.store.getTask(taskId("full")))?.spec;
  expect(full).toMatchObject({ ...spec, memoryBytes: 64 * 1024 * 1024, firstDueAt: Date.UTC(2999, 0, 1) });
  expect(Buffer.from(full?.stdin ?? []).equals(stdin)).toBe(true);
});

test("an uploaded module is named by its digest, as often as wanted, and goes with its last task", async () => {
  await using plain = await PlainGateway.open();
  using client = await plain.client();
  const upload = await client.upload();
  const pieces: Promise<void>[] = [];
  for (let offset = 0; offset < hash.length; offset += 1_000)
    pieces.push(upload.write(hash.subarray(offset, offset + 1_000)));
  await Promise.all(pieces);
  const digest = await upload.finish();
  expect(digest).toBe(createHash("sha256").update(hash).digest("hex"));
  expect(await upload.finish()).toBe(digest);
  await expect(upload.write(new Uint8Array(1))).rejects.toMatchObject({ code: "upload-finished" });
  await client.submit({ ...LATER, id: "one", module: digest }).accepted;
  await plain.gateway.tasks.delete(taskId("one"));
  await client.submit({ ...LATER, id: "two", module: digest }).accepted;
  upload[Symbol.dispose]();
  await client.submit({ ...LATER, id: "three", module: digest }).accepted;
  expect(await plain.blobs()).toEqual([digest]);
  for (const id of ["two", "three"]) await plain.gateway.tasks.delete(taskId(id));
  await plain.until("the bytes are gone", async () => (await plain.blobs()).length === 0);
  await expect(client.submit({ ...LATER, module: digest }).accepted).rejects.toMatchObject({ code: "invalid-field" });
});

test("an upload that is dropped leaves nothing, finished or not, and neither does one whose client is gone", async () => {
  await using plain = await PlainGateway.open();
  const peer = await plain.connect();
  const { session } = await peer.bootstrap.loginClient({ kind: "none", name: "leaver" });
  const [begun, finished, left] = [await session.upload(), await session.upload(), await session.upload()];
  await begun.write(hash.subarray(0, 100));
  await finished.write(hash);
  const digest = await finished.finish();
  expect(await plain.blobs()).toContain(digest);
  begun[Symbol.dispose]();
  finished[Symbol.dispose]();
  await left.write(hash.subarray(0, 100));
  await peer.connection.close();
  await plain.until("nothing is left", async () => (await plain.blobs()).length === 0);
});

test("what is uploaded and cannot run is refused", async () => {
  await using plain = await PlainGateway.open();
  using client = await plain.client();
  using upload = await client.upload();
  await upload.write(new Uint8Array(100));
  await expect(upload.finish()).rejects.toMatchObject({ code: "module-rejected" });
  expect(plain.warnings).toEqual([]);
});

test("a module beyond the limit is refused, and every later call on its upload", { timeout: 120_000 }, async () => {
  await using plain = await PlainGateway.open();
  using client = await plain.client();
  using upload = await client.upload();
  const piece = new Uint8Array(CHUNK_BYTES_MAX);
  for (let bytes = 0; bytes < MODULE_BYTES_MAX; bytes += piece.length) await upload.write(piece);
  await expect(upload.write(new Uint8Array(1))).rejects.toMatchObject({ code: "too-large" });
  await expect(upload.finish()).rejects.toMatchObject({ code: "too-large" });
});

test("uploads of one connection are few, however many sessions it has", async () => {
  await using plain = await PlainGateway.open();
  const peer = await plain.connect();
  const login = async () => (await peer.bootstrap.loginClient({ kind: "none", name: "many" })).session;
  const sessions = await Promise.all(Array.from({ length: UPLOADS_PER_CLIENT_MAX }, login));
  const uploads = await Promise.all(sessions.map((session) => session.upload()));
  const another = await login();
  await expect(another.upload()).rejects.toMatchObject({ type: "overloaded", code: "too-many-uploads" });
  uploads[0]?.[Symbol.dispose]();
  await plain.until("there is room again", () =>
    another.upload().then(
      () => true,
      () => false,
    ),
  );
  for (const session of sessions) session[Symbol.dispose]();
});

test("a gateway that drains takes no submission, and those who wait for an outcome go on waiting", async () => {
  await using plain = await PlainGateway.open();
  using client = await plain.client();
  const { task } = client.submit(LATER);
  using _ = task;
  const outcome = task.outcome();
  await task.status();
  await plain.gateway.drain({ signal: AbortSignal.abort() });
  await expect(client.submit(LATER).accepted).rejects.toMatchObject({ type: "overloaded", code: "not-ready" });
  await task.cancel();
  expect(await outcome).toMatchObject({ state: "cancelled" });
});
