/** Files at the gateway: what a worker is given to read, what it may hand over, and what becomes of it. */
import { describe, expect, test } from "vitest";
import type { Digest } from "../../src/base/ids.ts";
import { INPUT_FILES_BYTES_MAX, INPUT_FILES_MAX, KEPT_FILES_BYTES_MAX } from "../../src/base/limits.ts";
import type { FileContent } from "../../src/model/task-file.ts";
import { digest, taskId } from "../store/store-samples.ts";
import { GatewayCluster } from "../support/gateway-cluster.ts";
import { bytesOf, digestOf } from "../worker/gateway-parts.ts";

async function storeBlob(cluster: GatewayCluster, bytes: Uint8Array): Promise<Digest> {
  await using writer = await cluster.blobs.create();
  await writer.write(bytes);
  const { digest: stored } = await writer.finish();
  await writer.commit();
  return stored;
}

async function blobsOf(cluster: GatewayCluster): Promise<Digest[]> {
  return (await Array.fromAsync(cluster.blobs.list())).toSorted();
}

async function contentOf(
  cluster: GatewayCluster,
  { digest: name, bytes }: FileContent,
): Promise<Uint8Array | undefined> {
  await using blob = await cluster.blobs.open(name);
  return await blob?.read(0, bytes);
}

const CONTENT = bytesOf(3_000, 4);

describe("the input files of a run", () => {
  test("can be read by its worker, and no other blob can", async () => {
    await using cluster = await GatewayCluster.open();
    const worker = await cluster.join();
    const given = await storeBlob(cluster, CONTENT);
    const other = await storeBlob(cluster, bytesOf(10, 5));
    const file = { path: "in/a", digest: given, bytes: CONTENT.length };
    await cluster.submit("t", { files: [file], outputs: ["out/*"] });
    const run = await worker.take();
    expect(run.spec).toMatchObject({ files: [file], outputs: ["out/*"] });
    expect(await run.files?.read(given, 1_000, 5_000)).toEqual(CONTENT.subarray(1_000));
    await expect(run.files?.read(other, 0, 10)).rejects.toMatchObject({ code: "no-such-file" });
    await expect(run.files?.read(digest("f"), 0, 10)).rejects.toMatchObject({ code: "no-such-file" });
    run.files?.[Symbol.dispose]();
    run.end();
    await run.acknowledged;
  });

  test("that are another task's are looked up when the run is leased, the latest ones", async () => {
    await using cluster = await GatewayCluster.open();
    const worker = await cluster.join();
    await cluster.submit("first", { outputs: ["**"], repeats: 2 });
    for (const seed of [1, 2]) {
      const run = await worker.take();
      await run.keep("out", bytesOf(10, seed * 10 + run.id.run));
      run.end();
      await run.acknowledged;
    }
    const task = taskId("first");
    const files = [
      { path: "latest", from: { task, path: "out" } },
      { path: "of run 1", from: { task, path: "out", run: 1 } },
    ];
    await cluster.submit("second", { after: [task], files });
    const run = await worker.take();
    const [latest, first] = run.spec.files;
    const kept = await Promise.all([1, 2].map(async (index) => (await cluster.run("first", index)).files[0]?.digest));
    expect([first?.digest, latest?.digest]).toEqual(kept);
    // They can be read while the worker holds them, though nothing refers to them any more.
    await cluster.gateway.tasks.delete(task);
    if (latest === undefined) throw new Error("two files");
    expect((await run.files?.read(latest.digest, 0, 10))?.length).toBe(10);
    run.files?.[Symbol.dispose]();
    await cluster.until("they are gone", async () => (await blobsOf(cluster)).length === 0);
    run.end();
    await run.acknowledged;
  });

  test("that nobody has kept make the run rejected, with what is missing", async () => {
    await using cluster = await GatewayCluster.open();
    const worker = await cluster.join();
    worker.offer(2);
    await cluster.submit("other");
    (await worker.nextRun()).end();
    await cluster.hasState("other", "succeeded");
    await cluster.submit("t", {
      after: [taskId("other")],
      files: [{ path: "a", from: { task: taskId("other"), path: "out/a" } }],
    });
    const run = await cluster.hasRunState("t", "failed");
    expect(run.outcome).toMatchObject({ kind: "rejected", reason: expect.stringContaining("@other/out/a") });
    expect((await cluster.task("t")).reason).toContain("@other/out/a");
  });

  test("of a task that was deleted are not those of another that has its id now", async () => {
    await using cluster = await GatewayCluster.open();
    const worker = await cluster.join();
    const other = taskId("other");
    const keep = async (content: Uint8Array): Promise<void> => {
      const run = await worker.take();
      await run.keep("out", content);
      run.end();
      await run.acknowledged;
    };
    await cluster.submit("other", { outputs: ["out"] });
    await cluster.submit("t", { after: [other], files: [{ path: "a", from: { task: other, path: "out" } }] });
    await keep(bytesOf(10, 1));
    await cluster.until("the end of other has been seen to", async () => {
      await cluster.pass(1);
      return (await cluster.task("t")).state === "ready";
    });
    await cluster.gateway.tasks.delete(other);
    await cluster.submit("other", { outputs: ["out"], priority: 1 });
    await keep(bytesOf(10, 2));
    worker.offer(1);
    const { outcome } = await cluster.hasRunState("t", "failed");
    expect(outcome).toMatchObject({ kind: "rejected", reason: expect.stringContaining("its task was deleted since") });
  });

  test("that are too large together, once they are looked up, make the run rejected, with the limit", async () => {
    await using cluster = await GatewayCluster.open();
    const worker = await cluster.join();
    const bytes = Math.floor(INPUT_FILES_BYTES_MAX / (INPUT_FILES_MAX - 1));
    await cluster.submit("other", { outputs: ["out"] });
    const run = await worker.take();
    await run.keep("out", bytesOf(bytes));
    run.end();
    await run.acknowledged;
    const from = { task: taskId("other"), path: "out" };
    const inputs = (count: number) => Array.from({ length: count }, (_, index) => ({ path: `in/${index}`, from }));
    worker.offer(2);
    await cluster.submit("excess", { after: [from.task], files: inputs(INPUT_FILES_MAX) });
    const { outcome } = await cluster.hasRunState("excess", "failed");
    expect(outcome).toMatchObject({ kind: "rejected", reason: expect.stringContaining(String(INPUT_FILES_BYTES_MAX)) });
    await cluster.submit("t", { after: [from.task], files: inputs(INPUT_FILES_MAX - 1) });
    const next = await worker.nextRun();
    expect(next.spec.files).toHaveLength(INPUT_FILES_MAX - 1);
    next.files?.[Symbol.dispose]();
    next.end();
    await next.acknowledged;
  });
});

describe("files that a worker hands over", () => {
  test("are the run's once it is settled, and not before", async () => {
    await using cluster = await GatewayCluster.open();
    const worker = await cluster.join();
    await cluster.submit("t", { outputs: ["out/**"] });
    const run = await worker.take();
    await run.keep("out/a", CONTENT);
    await run.keep("out/empty", new Uint8Array(0));
    expect((await cluster.run("t")).files).toEqual([]);
    run.end({ kind: "exited", code: 1 });
    await run.acknowledged;
    const { files } = await cluster.run("t");
    expect(files.map(({ path }) => path)).toEqual(["out/a", "out/empty"]);
    expect(await Promise.all(files.map((file) => contentOf(cluster, file)))).toEqual([CONTENT, new Uint8Array(0)]);
    await cluster.gateway.tasks.delete(taskId("t"));
    expect(await blobsOf(cluster)).toEqual([]);
  });

  test("need no bytes that are there already, be it as an input or under another name", async () => {
    await using cluster = await GatewayCluster.open();
    const worker = await cluster.join();
    const given = await storeBlob(cluster, CONTENT);
    await cluster.submit("t", { files: [{ path: "in", digest: given, bytes: CONTENT.length }], outputs: ["**"] });
    const run = await worker.take();
    const announce = (path: string, bytes: Uint8Array) =>
      run.output.keep({ path, digest: digestOf(bytes), bytes: bytes.length });
    expect(await announce("in", CONTENT)).toBeUndefined();
    await run.keep("new", bytesOf(5));
    expect(await announce("again", bytesOf(5))).toBeUndefined();
    run.files?.[Symbol.dispose]();
    run.end();
    await run.acknowledged;
    expect((await cluster.run("t")).files.map(({ path }) => path)).toEqual(["again", "in", "new"]);
  });

  test("give nobody the content of a blob by its name alone", async () => {
    await using cluster = await GatewayCluster.open();
    const worker = await cluster.join();
    const secret = await storeBlob(cluster, CONTENT);
    await cluster.submit("owner", { files: [{ path: "in", digest: secret, bytes: CONTENT.length }], firstDueAt: 2e12 });
    await cluster.submit("t", { outputs: ["**"] });
    const run = await worker.take();
    using content = await run.output.keep({ path: "a", digest: secret, bytes: CONTENT.length });
    expect(content).toBeDefined();
    await expect(content?.finish()).rejects.toMatchObject({ code: "file-corrupt" });
    run.end();
    await run.acknowledged;
    expect((await cluster.run("t")).files).toEqual([]);
  });

  test.each<[string, string, (run: Awaited<ReturnType<typeof running>>["run"]) => Promise<unknown>]>([
    ["a path that no glob matches", "not-wanted", (run) => run.keep("in/a", CONTENT)],
    ["other bytes than announced", "file-corrupt", (run) => run.keep("out/a", CONTENT, bytesOf(3_000, 9))],
    ["fewer bytes than announced", "file-corrupt", (run) => run.keep("out/a", CONTENT, CONTENT.subarray(1))],
    ["more bytes than announced", "file-corrupt", (run) => run.keep("out/a", CONTENT.subarray(1), CONTENT)],
    [
      "another file under the same path",
      "file-conflict",
      async (run) => {
        await run.keep("out/a", CONTENT);
        await run.keep("out/a", bytesOf(3_000, 9));
      },
    ],
    [
      "a file that is too large",
      "too-large",
      (run) => run.output.keep({ path: "out/a", digest: digest("1"), bytes: KEPT_FILES_BYTES_MAX + 1 }),
    ],
  ])("are refused when there is %s", async (_, code, hand) => {
    const { cluster, run } = await running();
    await using _cluster = cluster;
    await expect(hand(run)).rejects.toMatchObject({ type: "failed", code });
    run.end({ kind: "trapped", reason: "enough" });
    await run.acknowledged;
    await cluster.until("nothing is left of them", async () => (await blobsOf(cluster)).length === 0);
  });

  test("are refused when too many come in at once, until one is done with", async () => {
    const { cluster, run } = await running();
    await using _cluster = cluster;
    const announce = (index: number) =>
      run.output.keep({ path: `out/${index}`, digest: digestOf(bytesOf(9, index)), bytes: 9 });
    const contents = await Promise.all([1, 2, 3, 4].map(announce));
    await expect(announce(5)).rejects.toMatchObject({ type: "overloaded" });
    for (const content of contents) content?.[Symbol.dispose]();
    await cluster.until("there is room", async () => {
      const content = await announce(5).catch(() => undefined);
      content?.[Symbol.dispose]();
      return content !== undefined;
    });
    run.end();
    await run.acknowledged;
  });

  test("are refused once the attempt is over, and leave nothing", async () => {
    const { cluster, run } = await running();
    await using _cluster = cluster;
    using late = await run.output.keep({ path: "out/a", digest: digestOf(CONTENT), bytes: CONTENT.length });
    await late?.write(CONTENT);
    await cluster.gateway.tasks.cancel(taskId("t"), "enough");
    await expect(late?.finish()).rejects.toMatchObject({ type: "failed", code: "stale-attempt" });
    await expect(run.keep("out/b", CONTENT)).rejects.toMatchObject({ code: "stale-attempt" });
    expect(await blobsOf(cluster)).toEqual([]);
  });

  test("of attempts that are not accepted go, and those of the accepted one stay", async () => {
    await using cluster = await GatewayCluster.open();
    const worker = await cluster.join();
    await cluster.submit("t", { outputs: ["out/**"], retries: 1, backoffMs: 0 });
    const first = await worker.take();
    await first.keep("out/of the first", bytesOf(8, 1));
    await first.keep("out/of both", bytesOf(8, 2));
    first.end({ kind: "exited", code: 1 });
    await first.acknowledged;
    const second = await worker.take();
    await second.keep("out/of both", bytesOf(8, 2));
    second.end();
    await second.acknowledged;
    expect((await cluster.run("t")).files.map(({ path }) => path)).toEqual(["out/of both"]);
    await cluster.until("the other is gone", async () => {
      return String(await blobsOf(cluster)) === String([digestOf(bytesOf(8, 2))]);
    });
  });

  test("stay while the gateway is away, and are not asked for again", async () => {
    await using cluster = await GatewayCluster.open();
    const worker = await cluster.join();
    await cluster.submit("t", { outputs: ["out/**"] });
    const run = await worker.take();
    await run.keep("out/a", CONTENT);
    await cluster.stop();
    await cluster.start();
    const again = cluster.connect("A");
    const verdict = await again.login();
    expect(verdict.kind).toBe("admitted");
    expect(await again.resume([run])).toMatchObject([{ kind: "adopt" }]);
    const file = { path: "out/a", digest: digestOf(CONTENT), bytes: CONTENT.length };
    expect(await run.output.keep(file)).toBeUndefined();
    await run.keep("out/b", bytesOf(4));
    run.end();
    await run.acknowledged;
    expect((await cluster.run("t")).files.map(({ path }) => path)).toEqual(["out/a", "out/b"]);
  });

  test("wait while the store is out of order", async () => {
    const { cluster, run } = await running();
    await using _cluster = cluster;
    cluster.trouble.broken.add("keepFile");
    await expect(run.keep("out/a", CONTENT)).rejects.toMatchObject({ type: "overloaded" });
    cluster.trouble.broken.clear();
    await run.keep("out/a", CONTENT);
    run.end();
    await run.acknowledged;
    expect((await cluster.run("t")).files).toHaveLength(1);
  });
});

/** A task that keeps files, with its run on a worker. */
async function running() {
  const cluster = await GatewayCluster.open();
  try {
    const worker = await cluster.join();
    await cluster.submit("t", { outputs: ["out/**"] });
    return { cluster, run: await worker.take() };
  } catch (error) {
    await cluster[Symbol.asyncDispose]();
    throw error;
  }
}
