import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { connect, connectRpc } from "../../src/sdk/capmesh.ts";
import { guestBytes } from "../support/guests.ts";
import { Cluster } from "../support/processes.ts";
import { PlainGateway } from "../support/plain-gateway.ts";

test("over HTTP a task is submitted, followed, awaited and told of", async () => {
  await using processes = await Cluster.create();
  const up = processes.start({ args: ["up", "--slots", "1", "--no-mdns", "--http", "127.0.0.1:0"] });
  const { http = "" } = await up.ready;
  const cluster = connect(new URL(http));
  const task = await cluster.submit({ wasm: guestBytes("hello"), args: ["--name", "somebody"], repeats: 2 });
  const finished = task.wait();
  let text = "";
  for await (const chunk of task.logs({ stream: "stdout" })) text += chunk.text;
  expect(text).toContain("hello");
  expect(await finished).toMatchObject({ state: "succeeded", completions: 2 });
  const listed = await Array.fromAsync(cluster.tasks());
  expect(listed.map(({ id }) => id)).toEqual([task.id]);
  await expect(task.cancel()).rejects.toMatchObject({ code: "already-finished" });
});

test("over Cap'n Proto a task is a capability, and a session can be narrowed", async () => {
  await using gateway = await PlainGateway.open({ kind: "unix" });
  await using cluster = await connectRpc(gateway.endpoint.address, { name: "sdk" });
  using task = await cluster.submit({ module: guestBytes("hash"), start: 3_600_000 });
  await using reader = await cluster.narrow(["read"]);
  using found = await reader.find(task.id);
  expect(await found.status()).toMatchObject({ id: task.id, state: "scheduled" });
  await expect(found.cancel()).rejects.toMatchObject({ code: "forbidden" });
  await expect(reader.submit({ module: guestBytes("hash") })).rejects.toMatchObject({ code: "forbidden" });
  expect(await task.cancel()).toMatchObject({ state: "cancelled" });
  expect(await found.wait()).toMatchObject({ state: "cancelled" });
});

test("over Cap'n Proto files go along, and the log is read as it is written, at the reader's pace", async () => {
  await using processes = await Cluster.create();
  const address = `unix:${join(processes.folder, "rpc.sock")}` as const;
  const up = processes.start({
    args: ["up", "--slots", "1", "--no-mdns", "--http", "127.0.0.1:0", "--rpc", address],
  });
  await up.ready;
  await using cluster = await connect(address);
  const copy = readFileSync(join(import.meta.dirname, "../worker/runner/guests/copy.wasm"));
  const changes = cluster.events();
  const change = changes.next();
  const files = { "data/in.txt": Buffer.from("content") };
  using copied = await cluster.submit({ module: copy, files, args: ["data/in.txt", "out.txt"] });
  expect(await copied.wait()).toMatchObject({ state: "succeeded" });
  expect((await change).value).toMatchObject({ task: copied.id });
  await changes.return();
  using task = await cluster.submit({ module: guestBytes("hello"), args: ["--name", "somebody"], repeats: 2 });
  const pieces = await Array.fromAsync(task.logs({ run: 2 }));
  const text = Buffer.concat(pieces.map(({ bytes }) => bytes)).toString();
  expect(text).toContain("hello");
  const [first] = pieces;
  expect(first).toMatchObject({ attempt: 1, offset: 0 });
  await task.wait();
  const rest = await Array.fromAsync(task.logs({ offset: 3, follow: false }));
  expect(Buffer.concat(rest.map(({ bytes }) => bytes)).toString()).toBe(text.slice(3));
  await expect(Array.fromAsync(task.logs({ run: 3 }))).rejects.toMatchObject({ code: "no-such-run" });
  await expect(task.retry()).rejects.toMatchObject({ code: "nothing-to-retry" });
});

test("a module of any size goes over Cap'n Proto, in pieces", async () => {
  await using gateway = await PlainGateway.open({ kind: "unix" });
  await using cluster = await connectRpc(gateway.endpoint.address);
  // A custom section that nobody reads, of 2 MiB.
  const padding = new Uint8Array(2 * 1024 * 1024);
  const name = new TextEncoder().encode("pad");
  const section = [0, ...leb128(1 + name.length + padding.length), name.length, ...name];
  const module = Buffer.concat([guestBytes("hash"), Uint8Array.from(section), padding]);
  using task = await cluster.submit({ module, start: 3_600_000 });
  expect((await task.status()).state).toBe("scheduled");
});

test("what cannot be connected to is told", async () => {
  expect(() => connect("http:nowhere:x")).toThrow("URL");
  await expect(connect("unix:/nonexistent/socket")).rejects.toMatchObject({ code: "unreachable" });
  await expect(connect("tcp:example")).rejects.toMatchObject({ type: "failed" });
});

function leb128(value: number): readonly number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...leb128(value >>> 7)];
}
