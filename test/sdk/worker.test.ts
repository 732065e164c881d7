/** A worker with executors of its own, in this process, at a gateway that is another. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, expectTypeOf, test } from "vitest";
import type { CapmeshClient } from "../../src/client/client.ts";
import { type KindExecutor, type KindOutcome, type ServedWorker, serveWorker } from "../../src/sdk/worker.ts";
import { Cluster, type Ready, eventually } from "../support/processes.ts";
import { guestBytes } from "../support/guests.ts";

/** A gateway process, and one worker of its own kinds. */
class Setup implements AsyncDisposable {
  readonly client: CapmeshClient;
  readonly ready: Ready;
  readonly processes: Cluster;
  readonly #folder: string;
  readonly #workers: ServedWorker[] = [];

  private constructor(processes: Cluster, folder: string, ready: Ready, client: CapmeshClient) {
    this.processes = processes;
    this.#folder = folder;
    this.ready = ready;
    this.client = client;
  }

  static async open(): Promise<Setup> {
    const processes = await Cluster.create();
    const { ready, client } = await processes.gateway();
    return new Setup(processes, await mkdtemp(join(tmpdir(), "capmesh-kinds-")), ready, client);
  }

  async serve(executors: Readonly<Record<string, KindExecutor>>): Promise<ServedWorker> {
    const worker = await serveWorker({
      dial: this.ready.addrs.find((address) => address.includes("127.0.0.1")) ?? "",
      secret: this.ready.dial?.split("#")[1],
      namespace: this.processes.namespace,
      data: join(this.#folder, String(this.#workers.length)),
      slots: 2,
      labels: { zone: "eu" },
      mdns: false,
      graceMs: 500,
      log: "silent",
      executors,
    });
    this.#workers.push(worker);
    await eventually(async () =>
      (await this.client.workers()).some(({ id, offers }) => id === worker.peerId && offers > 0) ? true : undefined,
    );
    return worker;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const worker of this.#workers) await worker.close();
    await this.processes[Symbol.asyncDispose]();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

test("a task reaches the worker that has its kind, with all it was given, and what that writes and keeps comes back", async () => {
  await using setup = await Setup.open();
  const { client } = setup;
  const worker = await setup.serve({
    shout: {
      run: async (spec, io) => {
        await io.stdout(`${spec.task} ${spec.kind} ${spec.args.join(" ")} ${spec.env["MODE"] ?? ""}\n`);
        await io.stdout(Buffer.from(io.stdin.toString().toUpperCase()));
        for (const { path, localPath } of io.files) await io.stdout(`${path}: ${await readFile(localPath, "utf8")}\n`);
        await io.stderr(io.module === undefined ? "no module" : await readFile(io.module.localPath, "utf8"));
        await writeFile(join(tmpdir(), `capmesh-${spec.task}`), "from a path");
        const kept = await Promise.all([
          io.keep("out/a.txt", "kept"),
          io.keep("out/b.txt", { localPath: join(tmpdir(), `capmesh-${spec.task}`) }),
          io.keep("elsewhere", "not wanted"),
        ]);
        await io.stdout(`${kept.join()}\n`);
        return { kind: "exited", code: 0, value: 7 };
      },
    },
  });
  expect(await client.worker(worker.peerId)).toMatchObject({ kinds: ["shout"], labels: { zone: "eu" }, slots: 2 });
  const id = `loud-${process.pid}`;
  const task = await client.submit({
    id,
    entry: "shout",
    args: ["one", "two"],
    env: { MODE: "fast" },
    stdin: "hello ",
    files: [{ path: "in.txt", content: Buffer.from("a file") }],
    outputs: ["out/**"],
    require: { zone: "eu" },
  });
  expect(task).toMatchObject({ entry: "shout", module: null, kind: null });
  expect(await client.waitForTask(id)).toMatchObject({ state: "succeeded", result: { value: "7" } });
  const text = Buffer.from(await client.rawLog(id, { stream: "stdout" })).toString();
  expect(text).toMatch(
    new RegExp(`^${id} shout one two fast\n.*\nin.txt: a file\ntrue,true,false\n$|^${id} shout`, "s"),
  );
  expect(Buffer.from(await client.rawLog(id, { stream: "stderr" })).toString()).toBe("no module");
  expect((await client.listFiles(id, 1)).map(({ path }) => path)).toEqual(["out/a.txt", "out/b.txt"]);
  await rm(join(tmpdir(), `capmesh-${id}`));

  // Any bytes are a module of such a task, and are named again by their digest.
  const script = await client.submit({ entry: "shout", wasm: Buffer.from("#!/bin/sh"), outputs: [] });
  expect(await client.waitForTask(script.id)).toMatchObject({ state: "succeeded", kind: null });
  expect(Buffer.from(await client.rawLog(script.id, { stream: "stderr" })).toString()).toBe("#!/bin/sh");
  const again = await client.submit({ entry: "shout", module: script.module });
  expect((await client.waitForTask(again.id)).state).toBe("succeeded");
});

test("output is seen while it is written; a cancelled task and one out of time end, and their functions are told", async () => {
  await using setup = await Setup.open();
  const { client } = setup;
  const reasons: string[] = [];
  await setup.serve({
    linger: {
      run: async (_spec, io, signal) => {
        await io.stdout("begun\n");
        await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
        reasons.push(String(signal.reason));
      },
    },
  });
  await client.submit({ id: "cancelled", entry: "linger" });
  for await (const chunk of client.logs("cancelled", { run: 1, follow: true })) {
    expect(chunk.text).toBe("begun\n");
    await client.cancel("cancelled");
  }
  await client.submit({ id: "late", entry: "linger", timeout: "300ms" });
  expect(await client.waitForTask("late")).toMatchObject({ state: "failed" });
  expect((await client.getRun("late", 1)).outcome).toMatchObject({ kind: "timed-out" });
  await eventually(async () => (reasons.length === 2 ? true : undefined));
  expect(reasons[1]).toContain("longer than 0.3 s");
});

test("a function that writes or keeps what has no bytes is told what is expected", async () => {
  await using setup = await Setup.open();
  // As a program without types would.
  const strange: { readonly content: never } = JSON.parse('{"content":{"a":1}}');
  await setup.serve({
    write: { run: (_, io) => io.stdout(strange.content) },
    keep: { run: async (_, io) => void (await io.keep("a.txt", strange.content)) },
  });
  for (const [entry, expected] of [
    ["write", "stdout takes a string or a Uint8Array, and was given another object"],
    ["keep", "keep takes a string, a Uint8Array or { localPath: string }, and was given another object"],
  ] as const) {
    await setup.client.submit({ id: entry, entry, outputs: ["a.txt"] });
    await setup.client.waitForTask(entry);
    expect((await setup.client.getRun(entry, 1)).outcome).toMatchObject({ kind: "trapped", reason: expected });
  }
});

test("nobody gets what it has no executor for, and an explanation says so", async () => {
  await using setup = await Setup.open();
  const { client } = setup;
  let calls = 0;
  await setup.serve({ count: { run: () => void calls++ } });
  await client.submit({ id: "wasm", wasm: guestBytes("hash"), input: 0, difficulty: 1 });
  await client.submit({ id: "other", entry: "resize" });
  await client.submit({ id: "mine", entry: "count" });
  expect((await client.waitForTask("mine")).state).toBe("succeeded");
  expect(calls).toBe(1);
  const [why] = (await client.explain("wasm")).reasons;
  expect(why).toMatchObject({ code: "entry", message: expect.stringContaining("no connected worker runs entry=run") });
  expect((await client.explain("other")).reasons[0]).toMatchObject({
    code: "entry",
    entry: "resize",
    kinds: ["count"],
  });
  for (const id of ["wasm", "other"]) expect((await client.getTask(id)).state).toBe("ready");
});

describe("what cannot be is refused", () => {
  test.each([
    [{ Upper: { run: () => {} } }, "no kind"],
    [{ comand: { run: () => {} } }, "too like command"],
    [{}, "empty"],
  ])("of a worker: %j", async (executors, reason) => {
    await expect(serveWorker({ dial: "127.0.0.1:1", executors })).rejects.toThrow(reason);
  });
});

test("its types say what a function gets and may return", () => {
  expectTypeOf<KindExecutor["run"]>().parameter(2).toEqualTypeOf<AbortSignal>();
  expectTypeOf<{ kind: "exited"; code: number; value: number }>().toExtend<KindOutcome>();
  expectTypeOf<{ kind: "lost"; reason: string }>().toExtend<KindOutcome>();
  expectTypeOf<{ kind: "cancelled"; reason: string }>().not.toExtend<KindOutcome>();
  expectTypeOf<ServedWorker>().toExtend<AsyncDisposable>();
});
